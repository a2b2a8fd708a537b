/*
 * fuzz_json_read.c - texts as JSON values: what parses is written again and parses to the same.
 */
#include "json_read.h"

#include "base/assert.h"
#include "json_write.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_value(struct np_buf *b, const char *name, const struct json *v)
{
	enum json_kind kind = json_kind(v);
	uint64_t n;

	switch (kind) {
	case JSON_NULL:
		json_put_null(b, name);
		break;
	case JSON_BOOL:
		json_put_bool(b, name, json_bool(v));
		break;
	case JSON_NUMBER:
		json_put_u64(b, name, json_u64(v, &n) ? n : 1);
		break;
	case JSON_STRING:
		json_put_str(b, name, json_string(v));
		break;
	case JSON_ARRAY:
	case JSON_OBJECT:
		json_put_begin(b, name, kind == JSON_ARRAY ? '[' : '{');
		for (const struct json *m = json_next(v, NULL); m != NULL; m = json_next(v, m))
			write_value(b, kind == JSON_OBJECT ? json_name(m) : NULL, m);
		json_put_end(b, kind == JSON_ARRAY ? ']' : '}');
		break;
	}
}

static void check_same(const struct json *a, const struct json *b)
{
	const struct json *x = NULL, *y = NULL;

	NP_ASSERT(json_kind(a) == json_kind(b));
	if (json_kind(a) == JSON_STRING)
		NP_ASSERT(strcmp(json_string(a), json_string(b)) == 0);
	while ((x = json_next(a, x)) != NULL) {
		y = json_next(b, y);
		NP_ASSERT(y != NULL);
		if (json_kind(a) == JSON_OBJECT) {
			NP_ASSERT(strcmp(json_name(x), json_name(y)) == 0);
			(void)json_member(a, json_name(x));
		}
		check_same(x, y);
	}
	NP_ASSERT(y == NULL || json_next(b, y) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_doc *doc, *again;
	struct np_buf b;

	if (json_parse((const char *)data, size, &doc) != NP_OK)
		return 0;
	np_buf_init(&b, size * 8 + 64);
	write_value(&b, NULL, json_root(doc));
	NP_ASSERT(b.err == NP_OK);
	NP_ASSERT(json_parse((const char *)np_buf_ptr(&b), np_buf_len(&b), &again) == NP_OK);
	check_same(json_root(doc), json_root(again));
	json_doc_free(again);
	json_doc_free(doc);
	np_buf_release(&b);
	return 0;
}
