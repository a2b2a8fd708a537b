/*
 * json.c - what the API says, as values: see json.h.
 */
#include "json.h"

#include "base/alloc.h"
#include "core/proof.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static const char *text_of(const cJSON *o, const char *name)
{
	const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));

	return s != NULL ? s : "";
}

static double number_of(const cJSON *o, const char *name)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
	double limit = 18446744073709551615.0;

	if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0)) /* NaN, too */
		return 0;
	return v->valuedouble < limit ? v->valuedouble : limit;
}

static int64_t small_of(const cJSON *o, const char *name)
{
	double d = number_of(o, name);

	return d < 1e15 ? (int64_t)d : (int64_t)1e15;
}

static struct inst inst_of(const cJSON *o)
{
	return (struct inst){
	    .id = text_of(o, "id"),
	    .alias = text_of(o, "alias"),
	    .type = text_of(o, "type"),
	    .status = text_of(o, "status"),
	    .url = text_of(o, "url"),
	    .config = text_of(o, "config"),
	    .restart = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "restart")),
	    .mode = small_of(o, "mode"),
	    .ping = small_of(o, "ping"),
	    .pool = small_of(o, "pool"),
	    .tcps = small_of(o, "tcps"),
	    .udps = small_of(o, "udps"),
	    .tcprx = number_of(o, "tcprx"),
	    .tcptx = number_of(o, "tcptx"),
	    .udprx = number_of(o, "udprx"),
	    .udptx = number_of(o, "udptx"),
	};
}

/* drop - frees a document whose strings may be secrets. */
static void drop(cJSON *doc)
{
	for (cJSON *o = doc; o != NULL; o = o->next) {
		if (o->valuestring != NULL && !cJSON_IsRaw(o))
			np_wipe(o->valuestring, strlen(o->valuestring));
		if (o->child != NULL) {
			drop(o->child);
			o->child = NULL;
		}
	}
	cJSON_Delete(doc);
}

enum np_err json_list(const char *text, size_t len, struct inst_list *out)
{
	cJSON *doc = cJSON_ParseWithLength(text, len), *array, *o;
	struct inst_list l = {NULL, 0, NULL};
	size_t max;

	if (!cJSON_IsArray(doc) && !cJSON_IsObject(doc)) {
		drop(doc);
		return NP_EPROTO;
	}
	array = doc;
	if (cJSON_IsObject(doc)) {
		array = cJSON_CreateArray();
		if (array == NULL || !cJSON_AddItemToArray(array, doc)) {
			drop(doc);
			cJSON_Delete(array);
			return NP_ENOMEM;
		}
	}
	l.doc = array;
	max = (size_t)cJSON_GetArraySize(array);
	l.v = np_calloc(max + 1, sizeof(*l.v));
	if (l.v == NULL) {
		drop(array);
		return NP_ENOMEM;
	}
	cJSON_ArrayForEach(o, array)
	{
		struct inst i = inst_of(o);

		if (i.id[0] != '\0' && strcmp(i.id, JSON_KEY_ID) != 0)
			l.v[l.n++] = i;
	}
	*out = l;
	return NP_OK;
}

void json_list_release(struct inst_list *l)
{
	drop(l->doc);
	np_free(l->v);
	*l = (struct inst_list){NULL, 0, NULL};
}

static enum np_err put_printed(cJSON *o, struct np_buf *out)
{
	char *text = cJSON_PrintUnformatted(o);

	if (text == NULL)
		return NP_ENOMEM;
	np_buf_put_str(out, text);
	np_wipe(text, strlen(text));
	cJSON_free(text);
	return out->err;
}

enum np_err json_list_print(const struct inst_list *l, struct np_buf *out)
{
	bool first = true;
	cJSON *o;

	np_buf_put_str(out, "[");
	cJSON_ArrayForEach(o, (cJSON *)l->doc)
	{
		enum np_err err;

		if (strcmp(text_of(o, "id"), JSON_KEY_ID) == 0)
			continue;
		np_buf_put_str(out, first ? "" : ",");
		first = false;
		err = put_printed(o, out);
		if (err != NP_OK)
			return err;
	}
	np_buf_put_str(out, "]\n");
	return out->err;
}

enum np_err json_event(const char *text, size_t len, struct event *out)
{
	cJSON *doc = cJSON_ParseWithLength(text, len);

	if (!cJSON_IsObject(doc)) {
		drop(doc);
		return NP_EPROTO;
	}
	*out = (struct event){
	    .type = text_of(doc, "type"),
	    .time = text_of(doc, "time"),
	    .logs = text_of(doc, "logs"),
	    .inst = inst_of(cJSON_GetObjectItemCaseSensitive(doc, "instance")),
	    .doc = doc,
	};
	return NP_OK;
}

void json_event_release(struct event *e)
{
	drop(e->doc);
	*e = (struct event){.type = ""};
}

/* value_text - @v as text in @out; false for null, arrays and objects. */
static bool value_text(const cJSON *v, char *out, size_t max)
{
	if (cJSON_IsString(v))
		snprintf(out, max, "%s", v->valuestring);
	else if (cJSON_IsNumber(v))
		snprintf(out, max, "%.15g", v->valuedouble);
	else if (cJSON_IsBool(v))
		snprintf(out, max, "%s", cJSON_IsTrue(v) ? "true" : "false");
	else
		return false;
	return true;
}

bool json_member(const char *text, size_t len, const char *name, char *out, size_t max)
{
	cJSON *doc = cJSON_ParseWithLength(text, len);
	bool found = value_text(cJSON_GetObjectItemCaseSensitive(doc, name), out, max);

	drop(doc);
	return found;
}

enum np_err json_each(const char *text, size_t len,
		      void (*fn)(void *arg, const char *name, const char *value), void *arg)
{
	cJSON *doc = cJSON_ParseWithLength(text, len), *o;
	char value[1024];

	if (!cJSON_IsObject(doc)) {
		drop(doc);
		return NP_EPROTO;
	}
	cJSON_ArrayForEach(o, doc)
	{
		if (value_text(o, value, sizeof(value)))
			fn(arg, o->string, value);
	}
	drop(doc);
	return NP_OK;
}

enum np_err json_string(const char *s, struct np_buf *out)
{
	cJSON *o = cJSON_CreateString(s);
	enum np_err err = o != NULL ? put_printed(o, out) : NP_ENOMEM;

	drop(o);
	return err;
}

enum np_err json_object(const struct json_pair *pairs, size_t n, struct np_buf *out)
{
	for (size_t i = 0; i < n; i++) {
		enum np_err err;

		np_buf_put_str(out, i == 0 ? "{" : ",");
		err = json_string(pairs[i].name, out);
		np_buf_put_str(out, ":");
		if (err == NP_OK)
			err = json_string(pairs[i].value, out);
		if (err != NP_OK)
			return err;
	}
	np_buf_put_str(out, "}");
	return out->err;
}
