/*
 * api_openapi.c - GET /openapi.json: the document made from openapi.def and the router's table,
 * once per start. An operation that the router does not have is left out, so the document never
 * promises more than there is.
 */
#include "openapi.h"

#include "app.h"
#include "base/alloc.h"
#include "json_write.h"
#include "router.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define DOCUMENT_MAX (256 * 1024)

struct openapi {
	struct np_buf json;
};

struct op {
	enum http_method method;
	const char *path, *id, *summary, *body;
	int status;
	const char *schema, *kinds, *more;
};

struct field {
	const char *schema, *name, *type, *rules, *text;
};

struct error {
	int status;
	const char *kind, *text;
};

#define OA_ERROR(status, kind, text) {status, kind, text},
static const struct error errors[] = {
#include "openapi.def"
};
#define OA_FIELD(schema, name, type, rules, text) {schema, name, type, rules, text},
static const struct field fields[] = {
#include "openapi.def"
};
#define OA_OP(method, path, id, summary, body, status, schema, kinds, more) \
	{method, path, id, summary, body, status, schema, kinds, more},
static const struct op ops[] = {
#include "openapi.def"
};
#define OA_BODY(name, json) {name, json},
static const char *const bodies[][2] = {
#include "openapi.def"
};
static const char *const methods[HTTP_OTHER] = {"get",	 "head",   "post",   "put",
						"patch", "delete", "options"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void put_raw_str(struct np_buf *b, const char *name, const char *json)
{
	json_put_raw(b, name, json, strlen(json));
}

static void put_ref(struct np_buf *b, const char *name, const char *schema)
{
	char ref[96];

	snprintf(ref, sizeof(ref), "#/components/schemas/%s", schema);
	json_put_begin(b, name, '{');
	json_put_str(b, "$ref", ref);
	json_put_end(b, '}');
}

/* --- answers ----------------------------------------------------------------------------------- */

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)) != NULL; at += len) {
		if ((at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
			return true;
	}
	return false;
}

static void put_text_content(struct np_buf *b, const char *type)
{
	json_put_begin(b, type, '{');
	put_raw_str(b, "schema", "{\"type\":\"string\"}");
	json_put_end(b, '}');
}

/* "type", or "type Schema". */
static void put_stream_content(struct np_buf *b, const char *type)
{
	const char *schema = strchr(type, ' ');
	char name[64];

	if (schema == NULL) {
		put_text_content(b, type);
		return;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(schema - type), type);
	json_put_begin(b, name, '{');
	put_ref(b, "schema", schema + 1);
	json_put_end(b, '}');
}

/* One answer with the error body; its texts are examples. */
static void put_error(struct np_buf *b, const struct op *o, int status)
{
	char name[16], example[16];
	const char *first = NULL;
	int n = 0;

	snprintf(name, sizeof(name), "%d", status);
	for (size_t i = 0; i < COUNT(errors) && first == NULL; i++) {
		if (errors[i].status == status)
			first = errors[i].text;
	}
	json_put_begin(b, name, '{');
	json_put_str(b, "description", status == 400 ? "Cannot be understood" : first);
	json_put_begin(b, "content", '{');
	json_put_begin(b, "application/json", '{');
	put_ref(b, "schema", "Error");
	json_put_begin(b, "examples", '{');
	for (size_t i = 0; i < COUNT(errors); i++) {
		const struct error *e = &errors[i];

		if (e->status != status || (status == 400 && strcmp(e->kind, "Framing") != 0 &&
					    !has_word(o->kinds, e->kind)))
			continue;
		snprintf(example, sizeof(example), "%d", ++n);
		json_put_begin(b, example, '{');
		json_put_begin(b, "value", '{');
		json_put_str(b, "error", e->text);
		json_put_end(b, '}');
		json_put_end(b, '}');
	}
	json_put_end(b, '}');
	json_put_end(b, '}');
	/* What is no HTTP, or far too much of it, is answered before the API sees it; an id that is
	 * a dot segment leads to another path. */
	if (status == 400 || status == 413)
		put_text_content(b, "text/html");
	if (status == 404)
		put_text_content(b, "text/plain; charset=utf-8");
	json_put_end(b, '}');
	json_put_end(b, '}');
}

static void put_success(struct np_buf *b, const struct op *o)
{
	const char *schema = o->schema;
	char name[16];

	snprintf(name, sizeof(name), "%d", o->status);
	json_put_begin(b, name, '{');
	json_put_str(b, "description", "Done");
	if (schema != NULL) {
		json_put_begin(b, "content", '{');
		if (schema[0] == '/') {
			put_stream_content(b, schema + 1);
		} else {
			json_put_begin(b, "application/json", '{');
			if (schema[0] == '[') {
				json_put_begin(b, "schema", '{');
				json_put_str(b, "type", "array");
				put_ref(b, "items", schema + 1);
				json_put_end(b, '}');
			} else {
				put_ref(b, "schema", schema);
			}
			json_put_end(b, '}');
		}
		json_put_end(b, '}');
	}
	json_put_end(b, '}');
}

static void put_moved(struct np_buf *b)
{
	put_raw_str(
	    b, "301",
	    "{\"description\":\"The path has empty or dot segments\","
	    "\"content\":{\"text/html; charset=utf-8\":{\"schema\":{\"type\":\"string\"}}}}");
}

static void put_answers(struct np_buf *b, const struct op *o, const struct route *t)
{
	static const int statuses[] = {400, 401, 403, 404, 405, 409, 413, 431, 500, 503};

	json_put_begin(b, "responses", '{');
	put_success(b, o);
	if (t->rest)
		put_moved(b);
	for (size_t i = 0; i < COUNT(statuses); i++) {
		char word[16];
		int s = statuses[i];

		snprintf(word, sizeof(word), "%d", s);
		if (s == 400 || s == 405 || s == 413 || s == 431 || s == 503 ||
		    (s == 401 && t->key != ROUTE_OPEN) || has_word(o->more, word))
			put_error(b, o, s);
	}
	json_put_end(b, '}');
}

/* --- operations -------------------------------------------------------------------------------- */

static const struct route *route_of(const struct op *o)
{
	size_t n;
	const struct route *t = router_table(&n);

	for (size_t i = 0; i < n; i++) {
		if (!t[i].rooted && strcmp(t[i].path, o->path) == 0 && t[i].on[o->method] != NULL)
			return &t[i];
	}
	return NULL;
}

static void put_op(struct np_buf *b, const struct op *o, const struct route *t)
{
	json_put_begin(b, methods[o->method], '{');
	json_put_str(b, "operationId", o->id);
	json_put_str(b, "summary", o->summary);
	put_raw_str(b, "security", t->key == ROUTE_OPEN ? "[]" : "[{\"ApiKey\":[]}]");
	if (strcmp(o->path, "/tcping") == 0)
		put_raw_str(b, "parameters",
			    "[{\"name\":\"target\",\"in\":\"query\",\"required\":true,"
			    "\"schema\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":512},"
			    "\"examples\":{\"local\":{\"value\":\"127.0.0.1:80\"}}}]");
	if (o->body != NULL) {
		json_put_begin(b, "requestBody", '{');
		json_put_bool(b, "required", true);
		json_put_begin(b, "content", '{');
		json_put_begin(b, "application/json", '{');
		put_ref(b, "schema", o->body);
		json_put_end(b, '}');
		json_put_end(b, '}');
		json_put_end(b, '}');
	}
	put_answers(b, o, t);
	json_put_end(b, '}');
}

static void put_paths(struct np_buf *b)
{
	const char *open = NULL;

	json_put_begin(b, "paths", '{');
	for (size_t i = 0; i < COUNT(ops); i++) {
		const struct route *t = route_of(&ops[i]);
		bool rest;

		if (t == NULL)
			continue;
		rest = t->rest;
		if (open == NULL || strcmp(open, ops[i].path) != 0) {
			if (open != NULL)
				json_put_end(b, '}');
			open = ops[i].path;
			json_put_begin(b, rest ? "/instances/{id}" : open, '{');
			if (rest)
				put_raw_str(b, "parameters",
					    "[{\"name\":\"id\",\"in\":\"path\",\"required\":true,"
					    "\"schema\":{\"type\":\"string\",\"minLength\":1,"
					    "\"pattern\":\"^([0-9a-f]{8}|[*]{8})$\"}}]");
		}
		put_op(b, &ops[i], t);
	}
	if (open != NULL)
		json_put_end(b, '}');
	json_put_end(b, '}');
}

/* --- schemas ----------------------------------------------------------------------------------- */

static void put_field(struct np_buf *b, const struct field *f)
{
	if (f->type[0] == '#') {
		put_ref(b, f->name, f->type + 1);
		return;
	}
	json_put_begin(b, f->name, '{');
	if (strcmp(f->type, "count") == 0) {
		put_raw_str(b, "type", "\"integer\"");
		json_put_str(b, "format", "int64");
		json_put_u64(b, "minimum", 0);
	} else if (strcmp(f->type, "tags") == 0) {
		json_put_str(b, "type", "object");
		put_raw_str(b, "additionalProperties", "{\"type\":\"string\"}");
	} else if (strcmp(f->type, "nullable") == 0) {
		put_raw_str(b, "type", "[\"string\",\"null\"]");
	} else {
		json_put_str(b, "type", f->type);
	}
	if (f->rules[0] != '\0')
		put_raw_str(b, NULL, f->rules);
	if (f->text[0] != '\0')
		json_put_str(b, "description", f->text);
	json_put_end(b, '}');
}

/* The rows of one object stand together. */
static void put_schemas(struct np_buf *b)
{
	json_put_begin(b, "schemas", '{');
	for (size_t i = 0, end; i < COUNT(fields); i = end) {
		json_put_begin(b, fields[i].schema, '{');
		json_put_str(b, "type", "object");
		json_put_begin(b, "properties", '{');
		for (end = i;
		     end < COUNT(fields) && strcmp(fields[end].schema, fields[i].schema) == 0;
		     end++)
			put_field(b, &fields[end]);
		json_put_end(b, '}');
		json_put_begin(b, "required", '[');
		for (size_t k = i; k < end; k++)
			json_put_str(b, NULL, fields[k].name);
		json_put_end(b, ']');
		json_put_end(b, '}');
	}
	for (size_t i = 0; i < COUNT(bodies); i++)
		put_raw_str(b, bodies[i][0], bodies[i][1]);
	put_raw_str(b, "Any", "{\"type\":\"object\"}");
	json_put_end(b, '}');
}

void openapi_put_url(const char *path, struct np_buf *out)
{
	for (; *path != '\0'; path++) {
		unsigned char c = (unsigned char)*path;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || strchr("/-._~", c) != NULL;

		if (plain)
			np_buf_put_u8(out, c);
		else
			np_buf_putf(out, "%%%02X", c);
	}
}

void openapi_render(const char *root, struct np_buf *b)
{
	struct np_buf url;

	np_buf_init(&url, 4096);
	openapi_put_url(root, &url);
	json_put_begin(b, NULL, '{');
	json_put_str(b, "openapi", "3.1.1");
	json_put_begin(b, "info", '{');
	json_put_str(b, "title", "NodePass");
	json_put_str(b, "version", "v1");
	json_put_str(
	    b, "description",
	    "Instances of a master: made, changed, watched. The master's key goes into the "
	    "header X-API-Key. Beside this API, at the root of the server: /healthz and "
	    "/readyz without a key, /metrics with it.");
	json_put_end(b, '}');
	json_put_begin(b, "servers", '[');
	json_put_begin(b, NULL, '{');
	json_put_str(b, "url", np_buf_cstr(&url) != NULL ? np_buf_cstr(&url) : root);
	json_put_end(b, '}');
	json_put_end(b, ']');
	put_paths(b);
	json_put_begin(b, "components", '{');
	put_raw_str(b, "securitySchemes",
		    "{\"ApiKey\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"X-API-Key\"}}");
	put_schemas(b);
	json_put_end(b, '}');
	json_put_end(b, '}');
	np_buf_release(&url);
}

void api_openapi(struct app *app, struct http_req *r, const char *id)
{
	struct openapi *o = app->openapi;

	(void)id;
	if (o == NULL) {
		o = np_calloc(1, sizeof(*o));
		if (o == NULL) {
			http_reply_error(r, 503, "Out of memory");
			return;
		}
		np_buf_init(&o->json, DOCUMENT_MAX);
		openapi_render(app->root, &o->json);
		if (o->json.err != NP_OK) {
			openapi_free(o);
			http_reply_error(r, 503, "Out of memory");
			return;
		}
		app->openapi = o;
	}
	http_reply_json(r, 200, &o->json);
}

void openapi_free(struct openapi *o)
{
	if (o == NULL)
		return;
	np_buf_release(&o->json);
	np_free(o);
}
