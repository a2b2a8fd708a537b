/*
 * json_read.h - request bodies and stored rows as JSON values, with the rules clients rely on.
 *
 * Only the first value of a text counts, trailing bytes are ignored. Member names match whatever
 * their case, the last of several wins, null is as if absent. Invalid UTF-8 and lone surrogates
 * become U+FFFD. Depth and size are bounded.
 */
#ifndef CP_JSON_READ_H
#define CP_JSON_READ_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct json_doc; /* owns all values */
struct json;	 /* a value, borrowed from its document */

enum json_kind { JSON_NULL = 0, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* json_parse - Errors: NP_EINVAL (no value), NP_ENOMEM. */
enum np_err json_parse(const char *text, size_t len, struct json_doc **out) NP_MUST_CHECK;
void json_doc_free(struct json_doc *d);
const struct json *json_root(const struct json_doc *d);
enum json_kind json_kind(const struct json *v);
/* json_member - NULL: @obj is no object, absent, or null. */
const struct json *json_member(const struct json *obj, const char *name);
const char *json_string(const struct json *v); /* NULL: not a string */
bool json_bool(const struct json *v);	       /* false unless true */
/* json_u64 - whole numbers, also written as strings (64 bit exactly); false: neither. */
bool json_u64(const struct json *v, uint64_t *out);
/* json_next - iteration over members or items: NULL begins and ends. json_name - of a member. */
const struct json *json_next(const struct json *parent, const struct json *prev);
const char *json_name(const struct json *member);

#endif
