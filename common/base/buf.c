/*
 * buf.c - the growable bounded buffer and the bounded reader.
 *
 * Never holds more than its maximum, never copies content after an error. One byte behind cap is
 * always allocated, so that np_buf_cstr needs no memory.
 */
#include "base/buf.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define BUF_FIRST 64

void np_buf_init(struct np_buf *b, size_t max)
{
	NP_ASSERT(max < UINT32_MAX); /* a byte more is allocated */
	*b = (struct np_buf){.max = (uint32_t)max};
}

void np_buf_release(struct np_buf *b)
{
	np_free(b->data);
	np_buf_init(b, b->max);
}

void np_buf_wipe(struct np_buf *b)
{
	if (b->data != NULL)
		explicit_bzero(b->data, (size_t)b->cap + 1);
	np_buf_release(b);
}

static bool move_to_larger(struct np_buf *b, size_t need)
{
	size_t cap = b->cap > b->max / 2 ? b->max : b->cap * (size_t)2;
	uint8_t *data;

	if (cap < BUF_FIRST)
		cap = BUF_FIRST;
	if (cap < need)
		cap = need;
	if (cap > b->max)
		cap = b->max;
	data = np_malloc(cap + 1);
	if (data == NULL) {
		b->err = NP_ENOMEM;
		return false;
	}
	if (b->data != NULL) {
		memcpy(data, b->data + b->off, b->len);
		/* np_buf_wipe cannot reach this block any more, and it may hold a secret. */
		explicit_bzero(b->data, (size_t)b->cap + 1);
		np_free(b->data);
	}
	b->data = data;
	b->off = 0;
	b->cap = (uint32_t)cap;
	return true;
}

static bool make_room(struct np_buf *b, size_t n)
{
	if (b->err != NP_OK)
		return false;
	if (n > b->max - b->len) {
		b->err = NP_ELIMIT;
		return false;
	}
	if (b->data == NULL)
		return move_to_larger(b, n);
	if (n <= b->cap - b->off - b->len)
		return true;
	/* Moving fewer bytes than were consumed keeps the cost of a put constant on average. */
	if (n <= b->cap - b->len && (b->off >= b->len || b->cap == b->max)) {
		memmove(b->data, b->data + b->off, b->len);
		b->off = 0;
		return true;
	}
	return move_to_larger(b, n + b->len);
}

uint8_t *np_buf_reserve(struct np_buf *b, size_t n)
{
	if (!make_room(b, n))
		return NULL;
	return b->data + b->off + b->len;
}

void np_buf_commit(struct np_buf *b, size_t n)
{
	NP_ASSERT(n <= b->max - b->len && n <= b->cap - b->off - b->len);
	b->len += (uint32_t)n;
}

void np_buf_put(struct np_buf *b, const void *p, size_t n)
{
	uint8_t *to;

	if (n == 0)
		return;
	to = np_buf_reserve(b, n);
	if (to == NULL)
		return;
	memcpy(to, p, n);
	b->len += (uint32_t)n;
}

static void put_be(struct np_buf *b, uint64_t v, size_t n)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
	np_buf_put(b, bytes, n);
}

void np_buf_put_u8(struct np_buf *b, uint8_t v)
{
	put_be(b, v, 1);
}

void np_buf_put_u16(struct np_buf *b, uint16_t v)
{
	put_be(b, v, 2);
}

void np_buf_put_u32(struct np_buf *b, uint32_t v)
{
	put_be(b, v, 4);
}

void np_buf_put_u64(struct np_buf *b, uint64_t v)
{
	put_be(b, v, 8);
}

void np_buf_putf(struct np_buf *b, const char *fmt, ...)
{
	va_list ap, again;
	uint8_t *to;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 && b->err == NP_OK)
		b->err = NP_EINVAL;
	to = n >= 0 ? np_buf_reserve(b, (size_t)n) : NULL;
	if (to != NULL) {
		/* The NUL goes to the byte behind cap at the latest. */
		vsnprintf((char *)to, (size_t)n + 1, fmt, again);
		b->len += (uint32_t)n;
	}
	va_end(again);
}

void np_buf_put_str(struct np_buf *b, const char *s)
{
	np_buf_put(b, s, strlen(s));
}

void np_buf_consume(struct np_buf *b, size_t n)
{
	NP_ASSERT(n <= b->len);
	b->len -= (uint32_t)n;
	b->off = b->len == 0 ? 0 : b->off + (uint32_t)n;
}

const char *np_buf_cstr(struct np_buf *b)
{
	if (b->err != NP_OK)
		return NULL;
	if (b->data == NULL)
		return "";
	b->data[b->off + b->len] = '\0';
	return (const char *)b->data + b->off;
}

struct np_reader np_reader_of(const void *p, size_t n)
{
	return (struct np_reader){.p = p, .left = n};
}

const uint8_t *np_reader_bytes(struct np_reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->err != NP_OK)
		return NULL;
	if (n > r->left) {
		r->err = NP_ETRUNCATED;
		return NULL;
	}
	if (n > 0) {
		r->p += n;
		r->left -= n;
	}
	return p;
}

static uint64_t read_be(struct np_reader *r, size_t n)
{
	const uint8_t *p = np_reader_bytes(r, n);
	uint64_t v = 0;

	if (p == NULL)
		return 0;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

uint8_t np_reader_u8(struct np_reader *r)
{
	return (uint8_t)read_be(r, 1);
}

uint16_t np_reader_u16(struct np_reader *r)
{
	return (uint16_t)read_be(r, 2);
}

uint32_t np_reader_u32(struct np_reader *r)
{
	return (uint32_t)read_be(r, 4);
}

uint64_t np_reader_u64(struct np_reader *r)
{
	return read_be(r, 8);
}
