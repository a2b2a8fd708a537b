/*
 * ctl_json.c - a JSON object to a generated message, by its descriptor. Hostile until read.
 *
 * cJSON makes the tree, but is lenient (NUL escapes cut a text, "01" is a number) and does not
 * bound its memory, so the text is looked through first: depth, texts, numbers, how many values.
 */
#include "wire/ctl_json.h"

#include "base/alloc.h"
#include "base/base64.h"
#include "base/num.h"
#include "core/proof.h"
#include "wire/tunnel_check.h"

#include <string.h>

#include <cjson/cJSON.h>

#define WHOLE_MAX 9007199254740992.0 /* 2^53: beyond, doubles leave whole numbers out */
#define NODE_COST (sizeof(cJSON) + 16)

struct reader {
	struct ctl_mem *mem;
	struct np_diag *diag;
};

/* cJSON does not say why it gave nothing. */
static _Thread_local bool tree_no_memory;

static void *tree_malloc(size_t n)
{
	void *p = np_malloc(n);

	if (p == NULL)
		tree_no_memory = true;
	return p;
}

/* ------------------------------------------------------------- before cJSON */

static size_t digits(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && p[i] >= '0' && p[i] <= '9')
		i++;
	return i;
}

/* Length of the number at @p by JSON's grammar; 0 = none. */
static size_t number_len(const uint8_t *p, size_t n)
{
	size_t i = n > 0 && p[0] == '-', k = digits(p + i, n - i);

	if (k == 0 || (k > 1 && p[i] == '0'))
		return 0;
	i += k;
	if (i < n && p[i] == '.') {
		k = digits(p + i + 1, n - i - 1);
		if (k == 0)
			return 0;
		i += 1 + k;
	}
	if (i < n && (p[i] == 'e' || p[i] == 'E')) {
		i++;
		if (i < n && (p[i] == '+' || p[i] == '-'))
			i++;
		k = digits(p + i, n - i);
		if (k == 0)
			return 0;
		i += k;
	}
	return i;
}

/* Length of the text at @p with its quotes; 0 = without end, a control byte or an escaped NUL. */
static size_t text_len(const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 1; i < n && p[i] != '"'; i++) {
		if (p[i] < 0x20)
			return 0;
		if (p[i] != '\\')
			continue;
		if (n - i > 5 && memcmp(p + i, "\\u0000", 6) == 0)
			return 0;
		i++;
	}
	return i < n ? i + 1 : 0;
}

static enum np_err look_through(const uint8_t *p, size_t n, size_t most, struct np_diag *diag)
{
	size_t i = 0, depth = 0, nodes = 1;

	if (!np_utf8_is_valid(p, n))
		return ctl_refuse(diag, NP_EINVAL, NULL, "text has to be UTF-8 without NUL");
	while (i < n) {
		size_t k = 1;

		if (p[i] == '"')
			k = text_len(p + i, n - i);
		else if (p[i] == '-' || (p[i] >= '0' && p[i] <= '9'))
			k = number_len(p + i, n - i);
		else if (p[i] == '{' || p[i] == '[')
			depth++;
		else if ((p[i] == '}' || p[i] == ']') && depth > 0)
			depth--;
		nodes += p[i] == ',' || p[i] == '{' || p[i] == '[';
		if (k == 0)
			return ctl_refuse(diag, NP_EINVAL, NULL, "no valid JSON at byte %zu", i);
		if (depth > CTL_JSON_DEPTH_MAX)
			return ctl_refuse(diag, NP_EINVAL, NULL, "more than %d levels deep",
					  CTL_JSON_DEPTH_MAX);
		i += k;
	}
	if (nodes > most / NODE_COST)
		return ctl_refuse(diag, NP_ELIMIT, NULL, "takes too much memory");
	return NP_OK;
}

/* The tree of @in, which the caller deletes. */
static enum np_err parse_tree(const uint8_t *in, size_t len, cJSON **out, struct np_diag *diag)
{
	static bool hooked; /* main thread only; np_malloc is malloc for everybody else's trees */
	const char *end = NULL, *text = (const char *)in;
	size_t at;

	if (!hooked)
		cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = tree_malloc, .free_fn = np_free});
	hooked = true;
	tree_no_memory = false;
	*out = cJSON_ParseWithLengthOpts(text, len, &end, false);
	if (*out == NULL && tree_no_memory)
		return NP_ENOMEM;
	at = end == NULL ? 0 : (size_t)(end - text);
	if (*out == NULL)
		return ctl_refuse(diag, NP_EINVAL, NULL, "no valid JSON at byte %zu", at);
	while (at < len && in[at] != '\0' && strchr(" \t\r\n", in[at]) != NULL)
		at++;
	if (at < len)
		return ctl_refuse(diag, NP_EINVAL, NULL, "text after the end at byte %zu", at);
	return NP_OK;
}

/* Texts of a request may be secrets (url, keys): they go wiped. */
static void wipe_tree(cJSON *v)
{
	cJSON *i;

	if (v->valuestring != NULL)
		np_wipe(v->valuestring, strlen(v->valuestring));
	for (i = v->child; i != NULL; i = i->next) /* depth is bounded by look_through */
		wipe_tree(i);
}

/* ------------------------------------------------------------- values */

static enum np_err no_room(const struct reader *r, const struct ctl_path *path)
{
	enum np_err err = ctl_mem_error(r->mem, NP_ENOMEM);

	return err == NP_ELIMIT ? ctl_refuse(r->diag, err, path, "takes too much memory") : err;
}

/* A whole number, as one or as a text; *negative and the absolute value. */
static bool whole(const cJSON *v, bool *negative, uint64_t *out)
{
	const char *s = v->valuestring;
	double d = v->valuedouble;

	if (cJSON_IsString(v)) {
		*negative = s[0] == '-';
		s += *negative;
		return np_parse_u64(s, strlen(s), 0, UINT64_MAX, out) == NP_OK;
	}
	if (!cJSON_IsNumber(v) || !(d >= -WHOLE_MAX && d <= WHOLE_MAX))
		return false;
	if ((double)(int64_t)d != d)
		return false;
	*negative = d < 0;
	*out = (uint64_t)(*negative ? -d : d);
	return true;
}

static enum np_err read_whole(const struct reader *r, const ProtobufCFieldDescriptor *f,
			      const cJSON *v, void *to, const struct ctl_path *path)
{
	bool is_signed = f->type == PROTOBUF_C_TYPE_INT32 || f->type == PROTOBUF_C_TYPE_INT64 ||
			 f->type == PROTOBUF_C_TYPE_ENUM;
	unsigned bits = ctl_json_size(f) == 8 ? 64 : 32;
	uint64_t n, most;
	uint32_t low;
	bool negative;

	if (!whole(v, &negative, &n))
		return ctl_refuse(r->diag, NP_EINVAL, path, "a whole number is needed");
	most = UINT64_MAX >> (64 - bits + is_signed);
	if (negative && n > 0)
		most = is_signed ? most + 1 : 0;
	if (n > most)
		return ctl_refuse(r->diag, NP_EINVAL, path, "out of range");
	if (negative)
		n = 0 - n;
	low = (uint32_t)n;
	if (bits == 64)
		memcpy(to, &n, 8);
	else
		memcpy(to, &low, 4);
	return NP_OK;
}

static enum np_err read_enum(const struct reader *r, const ProtobufCFieldDescriptor *f,
			     const cJSON *v, void *to, const struct ctl_path *path)
{
	const ProtobufCEnumValue *e;

	if (cJSON_IsNumber(v))
		return read_whole(r, f, v, to, path);
	if (!cJSON_IsString(v))
		return ctl_refuse(r->diag, NP_EINVAL, path, "a name or a number is needed");
	e = protobuf_c_enum_descriptor_get_value_by_name(f->descriptor, v->valuestring);
	if (e == NULL)
		return ctl_refuse(r->diag, NP_EINVAL, path, "unknown name");
	memcpy(to, &e->value, sizeof e->value);
	return NP_OK;
}

static int base64_value(char c)
{
	int v = np_base64_value(np_base64, c);

	return v != -1 ? v : np_base64_value(np_base64url, c);
}

/* Both alphabets, with or without its padding. */
static bool base64_read(const char *s, uint8_t *to, size_t *len)
{
	size_t n = strlen(s), i;
	uint32_t bits = 0;

	if (n % 4 == 0 && n > 0 && s[n - 1] == '=')
		n -= s[n - 2] == '=' ? 2 : 1;
	if (n % 4 == 1)
		return false;
	*len = 0;
	for (i = 0; i < n; i++) {
		int v = base64_value(s[i]);

		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
		if (i % 4 != 0)
			to[(*len)++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	return true;
}

static enum np_err read_bytes(const struct reader *r, const cJSON *v, ProtobufCBinaryData *to,
			      const struct ctl_path *path)
{
	uint8_t *data;
	size_t len;

	if (!cJSON_IsString(v))
		return ctl_refuse(r->diag, NP_EINVAL, path, "base64 is needed");
	data = ctl_mem_get(r->mem, strlen(v->valuestring) + 1);
	if (data == NULL)
		return no_room(r, path);
	if (!base64_read(v->valuestring, data, &len))
		return ctl_refuse(r->diag, NP_EINVAL, path, "base64 is needed");
	*to = (ProtobufCBinaryData){.len = len, .data = data};
	return NP_OK;
}

static enum np_err read_text(const struct reader *r, const cJSON *v, char **to,
			     const struct ctl_path *path)
{
	char *s;

	if (!cJSON_IsString(v))
		return ctl_refuse(r->diag, NP_EINVAL, path, "a text is needed");
	s = ctl_mem_get(r->mem, strlen(v->valuestring) + 1);
	if (s == NULL)
		return no_room(r, path);
	memcpy(s, v->valuestring, strlen(v->valuestring));
	*to = s;
	return NP_OK;
}

static enum np_err read_message(const struct reader *r, const ProtobufCMessageDescriptor *d,
				const cJSON *v, void **out, const struct ctl_path *path);

static enum np_err read_value(const struct reader *r, const ProtobufCFieldDescriptor *f,
			      const cJSON *v, void *to, const struct ctl_path *path)
{
	if (f->type == PROTOBUF_C_TYPE_STRING)
		return read_text(r, v, to, path);
	if (f->type == PROTOBUF_C_TYPE_BYTES)
		return read_bytes(r, v, to, path);
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return read_message(r, f->descriptor, v, to, path);
	if (f->type == PROTOBUF_C_TYPE_ENUM)
		return read_enum(r, f, v, to, path);
	if (f->type != PROTOBUF_C_TYPE_BOOL)
		return read_whole(r, f, v, to, path);
	if (!cJSON_IsBool(v))
		return ctl_refuse(r->diag, NP_EINVAL, path, "true or false is needed");
	*(protobuf_c_boolean *)to = cJSON_IsTrue(v);
	return NP_OK;
}

static enum np_err read_list(const struct reader *r, const ProtobufCFieldDescriptor *f,
			     const cJSON *v, char *m, const struct ctl_path *path)
{
	size_t size = ctl_json_size(f), n = 0;
	const cJSON *i;
	char *list;

	if (!cJSON_IsArray(v))
		return ctl_refuse(r->diag, NP_EINVAL, path, "a list is needed");
	for (i = v->child; i != NULL; i = i->next)
		n++;
	if (n == 0)
		return NP_OK;
	list = ctl_mem_get(r->mem, n * size);
	if (list == NULL)
		return no_room(r, path);
	n = 0;
	for (i = v->child; i != NULL; i = i->next, n++) {
		struct ctl_path at = {.up = path, .index = n};
		enum np_err err = read_value(r, f, i, list + n * size, &at);

		if (err != NP_OK)
			return err;
	}
	/* Only whole lists are set: what looks at a refused message finds no holes. */
	memcpy(m + f->offset, &list, sizeof list);
	memcpy(m + f->quantifier_offset, &n, sizeof n);
	return NP_OK;
}

/* ------------------------------------------------------------- members */

/* @name is the field's, as in the .proto file or in lowerCamelCase. */
static bool same_name(const char *field, const char *name)
{
	if (strcmp(field, name) == 0)
		return true;
	for (; *field != '\0'; field++, name++) {
		char c = *field;

		if (c == '_' && field[1] != '\0') {
			c = *++field;
			if (c >= 'a' && c <= 'z')
				c = (char)(c - 'a' + 'A');
		}
		if (c != *name)
			return false;
	}
	return *name == '\0';
}

static enum np_err read_member(const struct reader *r, const ProtobufCMessageDescriptor *d,
			       const cJSON *v, char *m, uint64_t *seen, const struct ctl_path *up)
{
	struct ctl_path path = {.up = up, .name = v->string};
	const ProtobufCFieldDescriptor *f;
	uint32_t oneof = 0;
	unsigned i = 0;
	enum np_err err;

	while (i < d->n_fields && !same_name(d->fields[i].name, v->string))
		i++;
	if (i == d->n_fields || i >= 64)
		return ctl_refuse(r->diag, NP_EINVAL, &path, "unknown name");
	if (*seen >> i & 1)
		return ctl_refuse(r->diag, NP_EINVAL, &path, "given twice");
	*seen |= UINT64_C(1) << i;
	if (cJSON_IsNull(v))
		return NP_OK;
	f = &d->fields[i];
	path.name = f->name;
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return read_list(r, f, v, m, &path);
	if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
		return read_value(r, f, v, m + f->offset, &path);
	memcpy(&oneof, m + f->quantifier_offset, sizeof oneof);
	if (oneof != 0)
		return ctl_refuse(r->diag, NP_EINVAL, &path, "excludes another that is given, too");
	err = read_value(r, f, v, m + f->offset, &path);
	if (err == NP_OK)
		memcpy(m + f->quantifier_offset, &f->id, sizeof f->id);
	return err;
}

/*
 * After the first refusal only texts are still read: the request's id may come behind what is
 * wrong with it, and the answer should carry it.
 */
static enum np_err read_message(const struct reader *r, const ProtobufCMessageDescriptor *d,
				const cJSON *v, void **out, const struct ctl_path *path)
{
	const struct reader quiet = {.mem = r->mem};
	enum np_err first = NP_OK;
	uint64_t seen = 0;
	const cJSON *i;
	void *m;

	if (!cJSON_IsObject(v))
		return ctl_refuse(r->diag, NP_EINVAL, path, "an object is needed");
	m = ctl_new(r->mem, d);
	if (m == NULL)
		return no_room(r, path);
	for (i = v->child; i != NULL; i = i->next) {
		enum np_err err;

		if (first != NP_OK && !cJSON_IsString(i))
			continue;
		err = read_member(first == NP_OK ? r : &quiet, d, i, m, &seen, path);
		if (first == NP_OK)
			first = err;
	}
	if (first == NP_OK || path == NULL)
		*out = m;
	return first;
}

enum np_err ctl_json_read(const ProtobufCMessageDescriptor *d, const void *in, size_t len,
			  struct ctl_mem *mem, void **out, struct np_diag *diag)
{
	struct reader r = {.mem = mem, .diag = diag};
	cJSON *tree = NULL;
	enum np_err err = look_through(in, len, mem->left, diag);

	*out = NULL;
	if (err != NP_OK)
		return err;
	err = parse_tree(in, len, &tree, diag);
	if (err == NP_OK)
		err = read_message(&r, d, tree, out, NULL);
	if (tree != NULL)
		wipe_tree(tree);
	cJSON_Delete(tree);
	return err;
}
