/*
 * buf.h - growable byte buffer with a maximum and a sticky error, and a bounded reader.
 *
 * A buffer is born with its maximum; a put that would pass it sets the sticky error and leaves the
 * content untouched. Encoders put without testing and look at the error once, at the end.
 * Thousands are held: sizes have 32 bits.
 */
#ifndef NP_BASE_BUF_H
#define NP_BASE_BUF_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct np_buf {
	uint8_t *data; /* owned */
	uint32_t off;  /* first unread byte */
	uint32_t len;  /* unread bytes */
	uint32_t cap;
	uint32_t max; /* len never passes it */
	enum np_err err;
};

/* np_buf_init - @max is below 4 GiB. */
void np_buf_init(struct np_buf *b, size_t max);
/* np_buf_release - frees the memory; the buffer is empty and usable again (same maximum). */
void np_buf_release(struct np_buf *b);
/* np_buf_wipe - np_buf_release for secrets: zeroes first (in a way the compiler keeps). */
void np_buf_wipe(struct np_buf *b);

static inline const uint8_t *np_buf_ptr(const struct np_buf *b)
{
	return b->data == NULL ? NULL : b->data + b->off; /* NULL + 0 is undefined in C */
}
static inline size_t np_buf_len(const struct np_buf *b)
{
	return b->len;
}
static inline size_t np_buf_space(const struct np_buf *b)
{
	return b->max - b->len;
}

/*
 * np_buf_reserve - room for @n more bytes; NULL and sticky error past the maximum (ELIMIT) or
 * without memory (ENOMEM). Valid until the next call on @b. np_buf_commit makes @n of them content.
 */
uint8_t *np_buf_reserve(struct np_buf *b, size_t n);
void np_buf_commit(struct np_buf *b, size_t n);

void np_buf_put(struct np_buf *b, const void *p, size_t n);
void np_buf_put_u8(struct np_buf *b, uint8_t v);
void np_buf_put_u16(struct np_buf *b, uint16_t v); /* big-endian, as all on the wire */
void np_buf_put_u32(struct np_buf *b, uint32_t v);
void np_buf_put_u64(struct np_buf *b, uint64_t v);
void np_buf_putf(struct np_buf *b, const char *fmt, ...) NP_PRINTF(2, 3);
void np_buf_put_str(struct np_buf *b, const char *s);

/* np_buf_consume - drop the first @n bytes (n <= len). An empty buffer starts at offset 0 again. */
void np_buf_consume(struct np_buf *b, size_t n);
/* np_buf_cstr - the content as a NUL-terminated string; NULL on sticky error. */
const char *np_buf_cstr(struct np_buf *b);

/* Reads big-endian values; after the first read past the end all give 0 and err is ETRUNCATED. */
struct np_reader {
	const uint8_t *p;
	size_t left;
	enum np_err err;
};
struct np_reader np_reader_of(const void *p, size_t n);
uint8_t np_reader_u8(struct np_reader *r);
uint16_t np_reader_u16(struct np_reader *r);
uint32_t np_reader_u32(struct np_reader *r);
uint64_t np_reader_u64(struct np_reader *r);
/* np_reader_bytes - @n bytes in place, NULL past the end. */
const uint8_t *np_reader_bytes(struct np_reader *r, size_t n);

#endif
