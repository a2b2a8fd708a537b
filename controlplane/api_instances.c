/*
 * api_instances.c - /instances and /instances/{id}: bodies in, changes to the model, objects out.
 *
 * A change is answered when the store has it; a client that left meanwhile changes nothing about
 * that.
 */
#include "app.h"

#include "base/alloc.h"
#include "json_read.h"
#include "json_write.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define LIST_MAX (256 * 1024 * 1024) /* bytes of GET /instances: 10 000 of the largest */
#define ONE_MAX	 (512 * 1024)

#define USUAL_BYTES \
	768 /* of one instance: room from the start saves the copies of a growing buffer */

/* A request that waits for its change. */
struct waiting {
	struct app *app;
	struct http_req *r; /* NULL: the client left */
};

static void on_gone(struct http_req *r, void *arg)
{
	struct waiting *w = arg;

	(void)r;
	w->r = NULL;
}

static struct waiting *wait_begin(struct app *app, struct http_req *r)
{
	struct waiting *w = np_calloc(1, sizeof(*w));

	if (w == NULL) {
		http_reply_error(r, 503, "out of memory");
		return NULL;
	}
	w->app = app;
	w->r = r;
	http_req_on_gone(r, on_gone, w);
	return w;
}

static void reply_buf(struct http_req *r, int status, struct np_buf *b)
{
	if (b->err != NP_OK) {
		http_reply_error(r, 503, "%s", np_err_text(b->err));
	} else {
		http_cors(r);
		http_reply_json_take(r, status, b);
	}
	np_buf_wipe(b);
}

static void reply_instance(struct http_req *r, int status, const struct model_instance *inst)
{
	struct np_buf b;

	np_buf_init(&b, ONE_MAX);
	model_render(inst, &b);
	reply_buf(r, status, &b);
}

static void reply_key(struct app *app, struct http_req *r)
{
	struct np_buf b;

	np_buf_init(&b, ONE_MAX);
	model_render_key(app->model, &b);
	reply_buf(r, 200, &b);
}

static void on_changed(void *arg, int status, const char *text, const struct model_instance *inst)
{
	struct waiting *w = arg;

	if (w->r == NULL) {
		np_free(w);
		return;
	}
	if (status >= 400)
		http_reply_error(w->r, status, "%s", text);
	else if (inst != NULL)
		reply_instance(w->r, status, inst);
	else {
		http_cors(w->r);
		http_reply(w->r, status, NULL, NULL, 0);
	}
	np_free(w);
}

static void on_key_changed(void *arg, int status, const char *text,
			   const struct model_instance *inst)
{
	struct waiting *w = arg;

	(void)inst;
	if (w->r != NULL && status >= 400)
		http_reply_error(w->r, status, "%s", text);
	else if (w->r != NULL)
		reply_key(w->app, w->r);
	np_free(w);
}

static bool is_key(const char *id)
{
	return strcmp(id, MODEL_KEY_ID) == 0;
}

/* -- bodies -- */

/* A member of one kind, or absent. false: of another kind, so the whole body is not understood. */
static bool member(const struct json *obj, const char *name, enum json_kind kind,
		   const struct json **out)
{
	*out = json_member(obj, name);
	return *out == NULL || json_kind(*out) == kind;
}

/* The text of a member; NULL: absent. */
static bool text_member(const struct json *obj, const char *name, const char **out)
{
	const struct json *v;

	if (!member(obj, name, JSON_STRING, &v))
		return false;
	*out = v == NULL ? NULL : json_string(v);
	return true;
}

/* An object, or null, which has no members. */
static struct json_doc *body_doc(struct http_req *r)
{
	struct json_doc *doc;
	size_t len;
	const char *body = http_req_body(r, &len);

	if (body == NULL || json_parse(body, len, &doc) != NP_OK)
		return NULL;
	switch (json_kind(json_root(doc))) {
	case JSON_OBJECT:
	case JSON_NULL:
		return doc;
	case JSON_BOOL:
	case JSON_NUMBER:
	case JSON_STRING:
	case JSON_ARRAY:
		break;
	}
	json_doc_free(doc);
	return NULL;
}

static bool is_too_long(const char *text)
{
	return text != NULL && strlen(text) > MODEL_TEXT_MAX;
}

/* -- /instances -- */

void api_instances_list(struct app *app, struct http_req *r, const char *id)
{
	const struct model_instance *inst = NULL;
	struct np_buf b;

	(void)id;
	np_buf_init(&b, LIST_MAX);
	np_buf_reserve(&b, (model_count(app->model) + 1) * USUAL_BYTES);
	json_put_begin(&b, NULL, '[');
	model_render_key(app->model, &b);
	while ((inst = model_next(app->model, inst)) != NULL)
		model_render(inst, &b);
	json_put_end(&b, ']');
	reply_buf(r, 200, &b);
}

void api_instances_create(struct app *app, struct http_req *r, const char *id)
{
	struct json_doc *doc = body_doc(r);
	const char *url = NULL, *alias = NULL;
	struct waiting *w;

	(void)id;
	if (doc == NULL || !text_member(json_root(doc), "url", &url) ||
	    !text_member(json_root(doc), "alias", &alias) || url == NULL || url[0] == '\0') {
		http_reply_error(r, 400, "Invalid request body");
	} else if (is_too_long(alias)) {
		http_reply_error(r, 400, "Instance alias exceeds maximum length %d",
				 MODEL_TEXT_MAX);
	} else if ((w = wait_begin(app, r)) != NULL) {
		model_create(app->model, url, alias, on_changed, w);
	}
	json_doc_free(doc);
}

/* -- /instances/{id} -- */

void api_instance_get(struct app *app, struct http_req *r, const char *id)
{
	const struct model_instance *inst = model_find(app->model, id);

	if (is_key(id))
		reply_key(app, r);
	else if (inst == NULL)
		http_reply_error(r, 404, "Instance not found");
	else
		reply_instance(r, 200, inst);
}

void api_instance_put(struct app *app, struct http_req *r, const char *id)
{
	struct json_doc *doc;
	const char *url = NULL;
	struct waiting *w;

	if (is_key(id)) {
		http_reply_error(r, 403, "Forbidden: API Key");
		return;
	}
	if (model_find(app->model, id) == NULL) {
		http_reply_error(r, 404, "Instance not found");
		return;
	}
	doc = body_doc(r);
	if (doc == NULL || !text_member(json_root(doc), "url", &url) || url == NULL ||
	    url[0] == '\0')
		http_reply_error(r, 400, "Invalid request body");
	else if ((w = wait_begin(app, r)) != NULL)
		model_put(app->model, id, url, on_changed, w);
	json_doc_free(doc);
}

void api_instance_delete(struct app *app, struct http_req *r, const char *id)
{
	struct waiting *w;

	if (is_key(id))
		http_reply_error(r, 403, "Forbidden: API Key");
	else if (model_find(app->model, id) == NULL)
		http_reply_error(r, 404, "Instance not found");
	else if ((w = wait_begin(app, r)) != NULL)
		model_delete(app->model, id, on_changed, w);
}

/* -- PATCH -- */

/* What a body asks for; texts are borrowed from its document. */
struct patch {
	struct model_patch p;
	const char *action; /* as written, NULL = none */
	struct model_meta meta;
	char bad[256]; /* why it is refused; "" = it is not */
};

static bool take_peer(struct patch *to, const struct json *peer)
{
	static char empty[] = "";
	const char *sid = NULL, *type = NULL, *alias = NULL;
	const char *names[] = {"sid", "type", "alias"};
	const char *values[3];

	if (!text_member(peer, "sid", &sid) || !text_member(peer, "type", &type) ||
	    !text_member(peer, "alias", &alias))
		return false;
	values[0] = sid;
	values[1] = type;
	values[2] = alias;
	for (int i = 0; i < 3; i++)
		if (is_too_long(values[i]))
			snprintf(to->bad, sizeof(to->bad), "Meta peer.%s exceeds maximum length %d",
				 names[i], MODEL_TEXT_MAX);
	to->meta.sid = sid == NULL ? empty : (char *)(uintptr_t)sid;
	to->meta.type = type == NULL ? empty : (char *)(uintptr_t)type;
	to->meta.alias = alias == NULL ? empty : (char *)(uintptr_t)alias;
	to->p.peer = &to->meta;
	return true;
}

/* The last of several equal names wins. */
static void put_tag(struct model_meta *meta, const char *name, const char *value)
{
	size_t i = 0;

	while (i < meta->ntags && strcmp(meta->tags[i].name, name) != 0)
		i++;
	meta->tags[i].name = (char *)(uintptr_t)name;
	meta->tags[i].value = (char *)(uintptr_t)value;
	if (i == meta->ntags)
		meta->ntags++;
}

static bool take_tags(struct patch *to, const struct json *tags)
{
	size_t n = 0;

	for (const struct json *t = json_next(tags, NULL); t != NULL; t = json_next(tags, t)) {
		/* More could not be stored, and are not compared with each other either. */
		if (++n > MODEL_META_MAX / 6) {
			snprintf(to->bad, sizeof(to->bad), "Meta exceeds maximum length %d bytes",
				 MODEL_META_MAX);
			return true;
		}
		if (json_kind(t) != JSON_STRING && json_kind(t) != JSON_NULL)
			return false;
	}
	to->meta.tags = np_calloc(n > 0 ? n : 1, sizeof(*to->meta.tags));
	if (to->meta.tags == NULL) {
		snprintf(to->bad, sizeof(to->bad), "out of memory");
		return true;
	}
	for (const struct json *t = json_next(tags, NULL); t != NULL; t = json_next(tags, t)) {
		const char *value = json_string(t) == NULL ? "" : json_string(t);

		if (is_too_long(json_name(t)))
			snprintf(to->bad, sizeof(to->bad), "Meta tag key exceeds maximum length %d",
				 MODEL_TEXT_MAX);
		else if (is_too_long(value))
			snprintf(to->bad, sizeof(to->bad),
				 "Meta tag value exceeds maximum length %d", MODEL_TEXT_MAX);
		put_tag(&to->meta, json_name(t), value);
	}
	to->p.tags = &to->meta;
	return true;
}

static bool take_meta(struct patch *to, const struct json *body)
{
	const struct json *meta, *peer, *tags;

	if (!member(body, "meta", JSON_OBJECT, &meta))
		return false;
	if (meta == NULL)
		return true;
	to->p.has_meta = true;
	if (!member(meta, "peer", JSON_OBJECT, &peer) || !member(meta, "tags", JSON_OBJECT, &tags))
		return false;
	if (peer != NULL && !take_peer(to, peer))
		return false;
	return tags == NULL || take_tags(to, tags);
}

static enum ctl_verb verb_of(const char *action)
{
	static const char *const names[] = {"", "start", "stop", "restart", "reset"};

	for (int i = 1; i < 5; i++)
		if (strcmp(action, names[i]) == 0)
			return (enum ctl_verb)i;
	return CTL_VERB_UNSPECIFIED;
}

/* false: not understood, which changes nothing. */
static bool take_patch(struct patch *to, const struct json *body)
{
	const struct json *restart;

	if (!text_member(body, "alias", &to->p.alias) ||
	    !text_member(body, "action", &to->action) ||
	    !member(body, "restart", JSON_BOOL, &restart) || !take_meta(to, body))
		return false;
	to->p.has_restart = restart != NULL;
	to->p.restart = restart != NULL && json_bool(restart);
	if (is_too_long(to->p.alias))
		snprintf(to->bad, sizeof(to->bad), "Instance alias exceeds maximum length %d",
			 MODEL_TEXT_MAX);
	if (to->action == NULL || to->action[0] == '\0')
		return true;
	to->p.action = verb_of(to->action);
	if (to->p.action == CTL_VERB_UNSPECIFIED)
		snprintf(to->bad, sizeof(to->bad), "Invalid action: %.64s", to->action);
	return true;
}

/* For the key only a restart means something: a new one. */
static void patch_key(struct app *app, struct http_req *r, const struct patch *p, bool understood)
{
	struct waiting *w;

	if (!understood || p->p.action != CTL_RESTART)
		reply_key(app, r);
	else if ((w = wait_begin(app, r)) != NULL)
		model_rotate_key(app->model, on_key_changed, w);
}

static bool asks_for_something(const struct model_patch *p)
{
	return (p->alias != NULL && p->alias[0] != '\0') || p->action != CTL_VERB_UNSPECIFIED ||
	       p->has_restart || p->has_meta;
}

void api_instance_patch(struct app *app, struct http_req *r, const char *id)
{
	struct json_doc *doc = body_doc(r);
	struct patch p = {.action = NULL};
	bool understood = doc != NULL && take_patch(&p, json_root(doc));
	const struct model_instance *inst = model_find(app->model, id);
	struct waiting *w;

	if (is_key(id))
		patch_key(app, r, &p, understood);
	else if (inst == NULL)
		http_reply_error(r, 404, "Instance not found");
	else if (!understood) {
		np_log(NP_LOG_DEBUG, inst->id, "PATCH body not understood, nothing is changed");
		reply_instance(r, 200, inst);
	} else if (p.bad[0] != '\0')
		http_reply_error(r, 400, "%s", p.bad);
	else if (!asks_for_something(&p.p))
		reply_instance(r, 200, inst);
	else if ((w = wait_begin(app, r)) != NULL)
		model_patch(app->model, id, &p.p, on_changed, w);
	np_free(p.meta.tags);
	json_doc_free(doc);
}
