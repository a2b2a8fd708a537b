/*
 * http_guard.c - checks of requests after evhttp has parsed them.
 *
 * evhttp takes the first of two Content-Length, "+5" as a length, any Transfer-Encoding that ends
 * in "chunked", requests without Host and fields with a blank before the colon. A proxy in front
 * may read such a request differently, and then two requests become one, or one two. All are 400.
 */
#include "http_guard.h"

#include "base/num.h"
#include "http.h"

#include <string.h>
#include <strings.h>

#include "base/banned.h"

#define ESCAPED 1 /* stands for an escaped slash or NUL */

static bool is_token(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++) {
		if (*s <= ' ' || *s == 0x7f || strchr("()<>@,;:\\\"/[]?={}", *s) != NULL)
			return false;
	}
	return true;
}

static bool is_digits(const char *s)
{
	size_t n = strspn(s, "0123456789");

	return n > 0 && n < 19 && s[n] == '\0';
}

void http_guard_field(struct http_facts *f, const char *name, const char *value)
{
	f->header_len += strlen(name) + strlen(value) + 4; /* ": " and the end of line */
	if (!is_token(name))
		f->bad_name = true;
	if (strcasecmp(name, "Host") == 0) {
		f->hosts++;
	} else if (strcasecmp(name, "Content-Length") == 0) {
		f->lengths++;
		f->bad_length |= !is_digits(value);
	} else if (strcasecmp(name, "Transfer-Encoding") == 0) {
		f->encodings++;
		f->bad_encoding |= strcasecmp(value, "chunked") != 0;
	}
}

struct http_verdict http_guard_verdict(const struct http_facts *f, const char *target)
{
	if (f->header_len + strlen(target) > HTTP_HEADER_MAX)
		return (struct http_verdict){431, "Request header fields too large"};
	if (f->minor >= 1 && f->hosts == 0)
		return (struct http_verdict){400, "Missing Host header"};
	if (f->hosts > 1)
		return (struct http_verdict){400, "Too many Host headers"};
	if (f->lengths > 1 || f->bad_length)
		return (struct http_verdict){400, "Invalid Content-Length"};
	if (f->encodings > 1 || f->bad_encoding)
		return (struct http_verdict){400, "Unsupported Transfer-Encoding"};
	if (f->encodings > 0 && (f->lengths > 0 || f->minor == 0))
		return (struct http_verdict){400, "Ambiguous length of the body"};
	if (f->bad_name)
		return (struct http_verdict){400, "Invalid header name"};
	if (f->body_len > HTTP_BODY_MAX)
		return (struct http_verdict){413, "Request body too large"};
	return (struct http_verdict){0, NULL};
}

/* One escape at @s of @len bytes; -1 when it is none. */
static int escape_value(const char *s, size_t len)
{
	int high, low;

	if (len < 3)
		return -1;
	high = np_hex_digit(s[1]);
	low = np_hex_digit(s[2]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static void drop_last_segment(struct np_buf *out)
{
	const uint8_t *p = np_buf_ptr(out);

	while (out->len > 0 && p[out->len - 1] != '/')
		out->len--;
	if (out->len > 0)
		out->len--;
}

bool http_path_clean(const char *path, size_t len, struct np_buf *out)
{
	bool clean = true, slash = false;

	for (size_t i = 0; i < len;) {
		const char *seg = path + i + 1; /* path[i] is a slash */
		const char *end = memchr(seg, '/', len - i - 1);
		size_t n = end != NULL ? (size_t)(end - seg) : len - i - 1;

		slash = false;
		if (n == 0 || (n == 1 && seg[0] == '.')) {
			slash = true;
			clean &= n == 0 && end == NULL;
		} else if (n == 2 && seg[0] == '.' && seg[1] == '.') {
			drop_last_segment(out);
			slash = true;
			clean = false;
		} else {
			np_buf_put_u8(out, '/');
			np_buf_put(out, seg, n);
		}
		i += n + 1;
	}
	if (slash || np_buf_len(out) == 0)
		np_buf_put_u8(out, '/');
	return clean;
}

bool http_path_decode(const char *path, size_t len, struct np_buf *out)
{
	for (size_t i = 0; i < len; i++) {
		int c = (unsigned char)path[i];

		if (c == '%') {
			c = escape_value(path + i, len - i);
			if (c < 0)
				return false;
			if (c == '/' || c == '\0')
				c = ESCAPED;
			i += 2;
		}
		np_buf_put_u8(out, (uint8_t)c);
	}
	return true;
}

static bool query_decode(const char *s, size_t len, char *out, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int c = s[i] == '+' ? ' ' : (unsigned char)s[i];

		if (c == '%') {
			c = escape_value(s + i, len - i);
			i += 2;
		}
		if (c <= 0 || n + 1 >= max)
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return true;
}

bool http_query_find(const char *query, const char *name, char *out, size_t max)
{
	char found[64];

	while (query != NULL && *query != '\0') {
		size_t len = strcspn(query, "&");
		const char *eq = memchr(query, '=', len);
		size_t name_len = eq != NULL ? (size_t)(eq - query) : len;

		if (query_decode(query, name_len, found, sizeof(found)) && strcmp(found, name) == 0)
			return query_decode(query + name_len + (eq != NULL),
					    len - name_len - (eq != NULL), out, max);
		query += len;
		if (*query == '&')
			query++;
	}
	return false;
}
