/*
 * json_read.c - cJSON behind the rules of json_read.h.
 *
 * cJSON takes bytes that are no UTF-8 as they are, control characters inside strings, and an escaped
 * NUL that cuts a string; lone surrogates are an error to it. So texts are gone over once before:
 * what clients rely on is replaced, what no decoder should take is refused.
 */
#include "json_read.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/num.h"
#include "json_utf8.h"

#include <cjson/cJSON.h>

#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

#define EXACT_MAX 9007199254740992.0 /* 2^53: a double is whole and exact up to here */

/* Values are cJSON's own. */
struct json {
	cJSON c;
};

struct json_doc {
	cJSON *root; /* owned */
};

static _Thread_local bool no_memory;

static void *hook_malloc(size_t n)
{
	void *p = np_malloc(n);

	if (p == NULL)
		no_memory = true;
	return p;
}

static void hook_free(void *p)
{
	np_free(p);
}

static void hooks_install(void)
{
	cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = hook_malloc, .free_fn = hook_free});
}

static int escaped_unit(const char *s, size_t len)
{
	uint8_t two[2];

	if (len < 6 || s[0] != '\\' || s[1] != 'u' || np_parse_hex(s + 2, 4, two, 2) != NP_OK)
		return -1;
	return two[0] << 8 | two[1];
}

/* An escape inside a string; returns the bytes taken. */
static size_t put_escape(struct np_buf *out, const char *s, size_t len)
{
	int unit = escaped_unit(s, len);
	int next;

	if (unit < 0) {
		size_t n = len < 2 ? len : 2;

		np_buf_put(out, s, n);
		return n;
	}
	if (unit >= 0xd800 && unit < 0xdc00) {
		next = escaped_unit(s + 6, len - 6);
		if (next >= 0xdc00 && next < 0xe000) {
			np_buf_put(out, s, 12);
			return 12;
		}
	}
	if (unit == 0 || (unit >= 0xd800 && unit < 0xe000))
		np_buf_put_str(out, JSON_UTF8_REPLACEMENT);
	else
		np_buf_put(out, s, 6);
	return 6;
}

/* Ends at a byte that no JSON text has: inside a string the parser then finds no end and refuses,
 * behind the first value nothing is missed. */
static void tidy(const char *s, size_t len, struct np_buf *out)
{
	bool inside = false;

	while (len > 0) {
		uint32_t c;
		size_t n = json_utf8_take(s, len, &c);

		if (c == 0 || (inside && c < 0x20))
			return;
		if (inside && c == '\\') {
			n = put_escape(out, s, len);
		} else if (c == JSON_UTF8_BAD) {
			np_buf_put_str(out, JSON_UTF8_REPLACEMENT);
		} else {
			if (c == '"')
				inside = !inside;
			np_buf_put(out, s, n);
		}
		s += n;
		len -= n;
	}
}

enum np_err json_parse(const char *text, size_t len, struct json_doc **out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct json_doc *d = np_calloc(1, sizeof(*d));
	const char *end = NULL;
	struct np_buf clean;
	enum np_err err = NP_EINVAL;

	if (d == NULL)
		return NP_ENOMEM;
	pthread_once(&once, hooks_install);
	np_buf_init(&clean, len < UINT32_MAX / 4 ? len * 3 + 1 : 0);
	no_memory = false;
	tidy(text, len, &clean);
	if (np_buf_cstr(&clean) != NULL && np_buf_len(&clean) > 0)
		d->root = cJSON_ParseWithLengthOpts((const char *)np_buf_ptr(&clean),
						    np_buf_len(&clean), &end, 0);
	if (d->root != NULL) {
		*out = d;
		err = NP_OK;
	} else {
		if (no_memory || clean.err == NP_ENOMEM)
			err = NP_ENOMEM;
		np_free(d);
	}
	np_buf_wipe(&clean);
	return err;
}

/* Strings may be tunnel keys. */
static void wipe(cJSON *v)
{
	for (; v != NULL; v = v->next) {
		if (v->valuestring != NULL)
			explicit_bzero(v->valuestring, strlen(v->valuestring));
		if (v->child != NULL)
			wipe(v->child);
	}
}

void json_doc_free(struct json_doc *d)
{
	if (d == NULL)
		return;
	wipe(d->root);
	cJSON_Delete(d->root);
	np_free(d);
}

static const struct json *from(const cJSON *c)
{
	return (const struct json *)(const void *)c;
}

const struct json *json_root(const struct json_doc *d)
{
	return from(d->root);
}

enum json_kind json_kind(const struct json *v)
{
	if (v == NULL || cJSON_IsNull(&v->c))
		return JSON_NULL;
	if (cJSON_IsBool(&v->c))
		return JSON_BOOL;
	if (cJSON_IsNumber(&v->c))
		return JSON_NUMBER;
	if (cJSON_IsString(&v->c))
		return JSON_STRING;
	return cJSON_IsArray(&v->c) ? JSON_ARRAY : JSON_OBJECT;
}

const struct json *json_member(const struct json *obj, const char *name)
{
	const cJSON *found = NULL;

	if (json_kind(obj) != JSON_OBJECT)
		return NULL;
	for (const cJSON *m = obj->c.child; m != NULL; m = m->next) {
		if (!cJSON_IsNull(m) && strcasecmp(m->string, name) == 0)
			found = m;
	}
	return from(found);
}

const char *json_string(const struct json *v)
{
	return json_kind(v) == JSON_STRING ? v->c.valuestring : NULL;
}

bool json_bool(const struct json *v)
{
	return v != NULL && cJSON_IsTrue(&v->c);
}

bool json_u64(const struct json *v, uint64_t *out)
{
	const char *s = json_string(v);
	double d;

	if (s != NULL)
		return np_parse_u64(s, strlen(s), 0, UINT64_MAX, out) == NP_OK;
	if (json_kind(v) != JSON_NUMBER)
		return false;
	d = v->c.valuedouble;
	if (!(d >= 0 && d <= EXACT_MAX) || (double)(uint64_t)d != d)
		return false;
	*out = (uint64_t)d;
	return true;
}

const struct json *json_next(const struct json *parent, const struct json *prev)
{
	if (json_kind(parent) != JSON_OBJECT && json_kind(parent) != JSON_ARRAY)
		return NULL;
	return from(prev == NULL ? parent->c.child : prev->c.next);
}

const char *json_name(const struct json *member)
{
	return member->c.string;
}
