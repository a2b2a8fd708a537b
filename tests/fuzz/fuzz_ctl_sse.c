/*
 * fuzz_ctl_sse.c - a stream of events cut into pieces of any length: the same events come out, and
 * what of them goes to a terminal has no control bytes.
 */
#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* The program is no library that a fuzz target could link; what it poisons must come after. */
#include "../../ctl/sse.c"
#include "../../ctl/text.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
	uint64_t hash;
	size_t n;
};

static void check_clean(const char *s)
{
	struct np_buf b;
	const char *text;

	np_buf_init(&b, SSE_BLOCK_MAX);
	text_clean(s, false, &b);
	text = np_buf_cstr(&b);
	for (; text != NULL && *text != '\0'; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			abort();
	}
	np_buf_release(&b);
}

static bool on_event(void *arg, const char *data, size_t len)
{
	struct sum *s = arg;

	for (size_t i = 0; i < len; i++)
		s->hash = (s->hash ^ (unsigned char)data[i]) * 1099511628211u;
	s->hash = (s->hash ^ 0x100) * 1099511628211u;
	check_clean(data);
	return ++s->n < 1000;
}

static bool feed(const uint8_t *data, size_t size, size_t step, struct sum *sum)
{
	struct sse s;
	bool more = true;

	*sum = (struct sum){.hash = 14695981039346656037u};
	sse_init(&s, on_event, sum);
	for (size_t at = 0; more && at < size; at += step)
		more = sse_feed(&s, (const char *)data + at, size - at < step ? size - at : step);
	sse_release(&s);
	return more;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sum whole, pieces;
	size_t step;

	if (size < 2)
		return 0;
	setlocale(LC_CTYPE, "C.UTF-8");
	step = (size_t)data[0] % 31 + 1;
	if (feed(data + 1, size - 1, size, &whole) != feed(data + 1, size - 1, step, &pieces) ||
	    whole.hash != pieces.hash || whole.n != pieces.n)
		abort();
	return 0;
}
