/*
 * json_write.c - compact JSON. Whether a comma is due is seen from the last byte that was written,
 * so there is no state beside the buffer.
 */
#include "json_write.h"

#include "json_utf8.h"

#include <string.h>

#include "base/banned.h"

/* Bytes that are written as they are. */
static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
}

/* One character that is not plain. Returns how many bytes of @s it takes. */
static size_t put_special(struct np_buf *b, const char *s, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	uint32_t c;
	size_t n = json_utf8_take(s, len, &c);
	const char *two = c < 0x20 && c != 0 ? strchr("\bb\ff\nn\rr\tt", (int)c) : NULL;

	if (c == '"' || c == '\\') {
		np_buf_put_u8(b, '\\');
		np_buf_put_u8(b, (uint8_t)c);
	} else if (two != NULL) {
		np_buf_put_u8(b, '\\');
		np_buf_put_u8(b, (uint8_t)two[1]);
	} else if (c < 0x80 || c == 0x2028 || c == 0x2029) {
		np_buf_put_str(b, "\\u");
		for (int shift = 12; shift >= 0; shift -= 4)
			np_buf_put_u8(b, (uint8_t)hex[(c >> shift) & 15]);
	} else if (c == JSON_UTF8_BAD) {
		np_buf_put_str(b, JSON_UTF8_REPLACEMENT);
	} else {
		np_buf_put(b, s, n);
	}
	return n;
}

static void put_text(struct np_buf *b, const char *s)
{
	size_t len = strlen(s), n;

	np_buf_put(b, "\"", 1);
	while (len > 0) {
		for (n = 0; n < len && is_plain((unsigned char)s[n]); n++)
			continue;
		np_buf_put(b, s, n);
		if (n < len)
			n += put_special(b, s + n, len - n);
		s += n;
		len -= n;
	}
	np_buf_put(b, "\"", 1);
}

static void put_digits(struct np_buf *b, uint64_t v, bool negative)
{
	char text[21], *p = text + sizeof(text);

	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	if (negative)
		*--p = '-';
	np_buf_put(b, p, (size_t)(text + sizeof(text) - p));
}

static void put_head(struct np_buf *b, const char *name)
{
	size_t len = np_buf_len(b);
	uint8_t last = len > 0 ? np_buf_ptr(b)[len - 1] : '[';

	/* A blank or an end of line is of the text before the JSON. */
	if (strchr("{[,: \n", last) == NULL)
		np_buf_put_u8(b, ',');
	if (name != NULL) {
		put_text(b, name);
		np_buf_put_u8(b, ':');
	}
}

void json_put_begin(struct np_buf *b, const char *name, char open)
{
	put_head(b, name);
	np_buf_put_u8(b, (uint8_t)open);
}

void json_put_end(struct np_buf *b, char close)
{
	np_buf_put_u8(b, (uint8_t)close);
}

void json_put_str(struct np_buf *b, const char *name, const char *value)
{
	put_head(b, name);
	put_text(b, value);
}

void json_put_u64(struct np_buf *b, const char *name, uint64_t value)
{
	put_head(b, name);
	put_digits(b, value, false);
}

void json_put_i64(struct np_buf *b, const char *name, int64_t value)
{
	put_head(b, name);
	put_digits(b, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, value < 0);
}

void json_put_bool(struct np_buf *b, const char *name, bool value)
{
	put_head(b, name);
	np_buf_put_str(b, value ? "true" : "false");
}

void json_put_null(struct np_buf *b, const char *name)
{
	put_head(b, name);
	np_buf_put_str(b, "null");
}

void json_put_raw(struct np_buf *b, const char *name, const void *json, size_t len)
{
	put_head(b, name);
	np_buf_put(b, json, len);
}
