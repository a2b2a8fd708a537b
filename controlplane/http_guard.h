/*
 * http_guard.h - what evhttp lets through and this server does not: sloppy framing, too much of it,
 * paths and queries that could be read in two ways. Pure; called for every request.
 */
#ifndef CP_HTTP_GUARD_H
#define CP_HTTP_GUARD_H

#include "base/buf.h"

#include <stdbool.h>

/* The header fields of a request as far as they say where it ends and for whom it is. */
struct http_facts {
	unsigned minor;	   /* of HTTP/1.x */
	size_t header_len; /* request line and fields, as on the wire */
	size_t body_len;
	unsigned hosts, lengths, encodings; /* how often the field was there */
	bool bad_length, bad_encoding, bad_name;
};

struct http_verdict {
	int status; /* 0 = fine */
	const char *text;
};

/* http_guard_field - takes note of one header field. */
void http_guard_field(struct http_facts *f, const char *name, const char *value);
/* http_guard_verdict - 400, 413 or 431, and why. @target: of the request line. */
struct http_verdict http_guard_verdict(const struct http_facts *f, const char *target);

/*
 * http_path_clean - false when @path (not decoded) has empty, "." or ".." segments; @out is then the
 * path without them, a final slash kept. Errors: sticky in @out.
 */
bool http_path_clean(const char *path, size_t len, struct np_buf *out);
/*
 * http_path_decode - @path with its escapes decoded segment by segment. A slash or NUL that was
 * escaped becomes the byte 1, so that it neither ends a segment nor the text. False: bad escapes.
 */
bool http_path_decode(const char *path, size_t len, struct np_buf *out);
/* http_query_find - decoded value of the first @name in "a=b&c=d"; '+' is a blank. False: absent,
 * bad escapes, a NUL, or longer than @max - 1. */
bool http_query_find(const char *query, const char *name, char *out, size_t max);

#endif
