/*
 * json_write.h - compact JSON onto a buffer, in the order it is called.
 *
 * Commas are put by the writer. Escapes as clients expect them: \" \\ \b \f \n \r \t, other
 * controls, < > & and U+2028/9 as \uXXXX in lower case; invalid UTF-8 becomes U+FFFD.
 */
#ifndef CP_JSON_WRITE_H
#define CP_JSON_WRITE_H

#include "base/buf.h"

/* @name NULL: an item of an array, or the whole. */
void json_put_begin(struct np_buf *b, const char *name, char open); /* '{' or '[' */
void json_put_end(struct np_buf *b, char close);
void json_put_str(struct np_buf *b, const char *name, const char *value);
void json_put_u64(struct np_buf *b, const char *name, uint64_t value);
void json_put_i64(struct np_buf *b, const char *name, int64_t value);
void json_put_bool(struct np_buf *b, const char *name, bool value);
void json_put_null(struct np_buf *b, const char *name);
/* json_put_raw - @json as it is. */
void json_put_raw(struct np_buf *b, const char *name, const void *json, size_t len);

#endif
