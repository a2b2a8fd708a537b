/*
 * fuzz_num.c - numbers, durations, hexadecimal: strict, in range, and their own texts parse back.
 */
#include "base/num.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_number(const char *s, size_t len)
{
	uint64_t v = 7, again;
	char text[32];

	if (np_parse_u64(s, len, 0, UINT64_MAX, &v) != NP_OK) {
		NP_ASSERT(v == 7);
		return;
	}
	snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	NP_ASSERT(np_parse_u64(text, strlen(text), v, v, &again) == NP_OK && again == v);
}

static void check_duration(const char *s, size_t len)
{
	int64_t ms = 7, again;
	char text[32];

	if (np_parse_duration(s, len, INT64_MAX / 1000000, &ms) != NP_OK) {
		NP_ASSERT(ms == 7);
		return;
	}
	NP_ASSERT(ms >= 0);
	np_format_duration(ms, text);
	NP_ASSERT(np_parse_duration(text, strlen(text), ms, &again) == NP_OK && again == ms);
	if (ms > 0)
		NP_ASSERT(np_parse_duration(text, strlen(text), ms - 1, &again) == NP_ERANGE);
}

static void check_hex(const uint8_t *p, size_t n)
{
	char text[129];
	uint8_t back[64];

	n = n < sizeof(back) ? n : sizeof(back);
	np_format_hex(p, n, text);
	NP_ASSERT(np_parse_hex(text, 2 * n, back, n) == NP_OK && memcmp(p, back, n) == 0);
	if (np_parse_hex((const char *)p, n, back, n / 2) == NP_OK) {
		np_format_hex(back, n / 2, text);
		NP_ASSERT(strlen(text) == n);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = malloc(size > 0 ? size : 1);

	NP_ASSERT(s != NULL);
	if (size > 0)
		memcpy(s, data, size);
	/* No terminator is relied on: the parsers see an exact block. */
	check_number(s, size);
	check_duration(s, size);
	check_hex((const uint8_t *)s, size);
	free(s);
	return 0;
}
