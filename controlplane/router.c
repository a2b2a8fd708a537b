/*
 * router.c - from a request to its handler: path, CORS, key, id, method, in this order.
 *
 * Clients see the order: without a key nobody learns which ids or methods there are, and a browser's
 * preflight comes without one.
 */
#include "router.h"

#include "auth.h"
#include "base/alloc.h"
#include "http_guard.h"

#include <string.h>

#include "base/banned.h"

struct router {
	struct auth *auth;
};

static const struct route routes[] = {
    {.path = "/instances",
     .key = ROUTE_API_KEY,
     .on = {[HTTP_GET] = api_instances_list, [HTTP_POST] = api_instances_create}},
    {.path = "/instances/",
     .rest = true,
     .key = ROUTE_API_KEY,
     .on = {[HTTP_GET] = api_instance_get,
	    [HTTP_PATCH] = api_instance_patch,
	    [HTTP_PUT] = api_instance_put,
	    [HTTP_DELETE] = api_instance_delete}},
    {.path = "/events", .key = ROUTE_API_KEY, .on = {[HTTP_GET] = api_events}},
    {.path = "/info",
     .key = ROUTE_API_KEY,
     .on = {[HTTP_GET] = api_info_get, [HTTP_POST] = api_info_post}},
    {.path = "/tcping", .key = ROUTE_API_KEY, .on = {[HTTP_GET] = api_tcping}},
    {.path = "/openapi.json", .any = true, .on = {[HTTP_GET] = api_openapi}},
    {.path = "/docs", .any = true, .on = {[HTTP_GET] = api_docs}},
    {.path = "/docs/swagger-ui.css", .rest = true, .any = true, .on = {[HTTP_GET] = api_docs}},
    {.path = "/docs/swagger-ui-bundle.js",
     .rest = true,
     .any = true,
     .on = {[HTTP_GET] = api_docs}},
    {.path = "/docs/start.js", .rest = true, .any = true, .on = {[HTTP_GET] = api_docs}},
    {.path = "/healthz",
     .rooted = true,
     .on = {[HTTP_GET] = api_healthz, [HTTP_HEAD] = api_healthz}},
    {.path = "/readyz", .rooted = true, .on = {[HTTP_GET] = api_readyz, [HTTP_HEAD] = api_readyz}},
    {.path = "/metrics",
     .rooted = true,
     .key = ROUTE_METRICS_KEY,
     .on = {[HTTP_GET] = api_metrics, [HTTP_HEAD] = api_metrics}},
};

const struct route *router_table(size_t *n)
{
	*n = sizeof(routes) / sizeof(routes[0]);
	return routes;
}

const struct route *router_match(const char *root, const char *path, const char **id)
{
	size_t root_len = strlen(root);
	bool below = strncmp(path, root, root_len) == 0;

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		const struct route *t = &routes[i];
		const char *p = t->rooted ? path : path + root_len;
		size_t len = strlen(t->path);

		*id = NULL;
		if ((!t->rooted && !below) || strncmp(p, t->path, len) != 0)
			continue;
		if (t->rest && t->path[len - 1] == '/') {
			*id = p + len;
			return t;
		}
		if (p[len] != '\0')
			continue;
		if (t->rest) /* one of several documents: its name is the id */
			*id = strrchr(t->path, '/') + 1;
		return t;
	}
	return NULL;
}

bool router_prefix_ok(const char *prefix)
{
	static const char *const taken[] = {"/healthz", "/readyz", "/metrics"};

	if (prefix[0] != '/' || strlen(prefix) > ROUTER_PREFIX_MAX || strstr(prefix, "//") != NULL)
		return false;
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		size_t len = strlen(taken[i]);

		if (strncmp(prefix, taken[i], len) == 0 &&
		    (prefix[len] == '\0' || prefix[len] == '/'))
			return false;
	}
	for (const char *p = prefix; *p != '\0'; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return false;
	}
	return true;
}

/* --- a request --------------------------------------------------------------------------------- */

static void reply_not_found(struct http_req *r)
{
	static const char text[] = "404 page not found\n";

	http_header(r, "X-Content-Type-Options", "nosniff");
	http_reply(r, 404, "text/plain; charset=utf-8", text, sizeof(text) - 1);
}

/* To the same path without empty and dot segments. It begins with one slash, so it cannot lead to
 * another host. */
static void reply_moved(struct http_req *r, struct np_buf *path)
{
	const char *query = http_req_query(r);
	enum http_method method = http_req_method(r);
	struct np_buf html;

	if (query != NULL) {
		np_buf_put_u8(path, '?');
		np_buf_put_str(path, query);
	}
	if (np_buf_cstr(path) == NULL) {
		http_reply_error(r, 503, "Out of memory");
		return;
	}
	http_header(r, "Location", np_buf_cstr(path));
	if (method != HTTP_GET && method != HTTP_HEAD) {
		http_reply(r, 301, NULL, NULL, 0);
		return;
	}
	np_buf_init(&html, 256);
	np_buf_put_str(&html, "<!doctype html><title>Moved</title>Moved Permanently\n");
	http_reply(r, 301, "text/html; charset=utf-8", np_buf_ptr(&html), np_buf_len(&html));
	np_buf_release(&html);
}

static struct router *router_of(struct app *app)
{
	struct router *r = app->router;

	if (r != NULL)
		return r;
	r = np_calloc(1, sizeof(*r));
	if (r == NULL || auth_new(app->base, &r->auth) != NP_OK) {
		np_free(r);
		return NULL;
	}
	app->router = r;
	return r;
}

void router_free(struct router *r)
{
	if (r == NULL)
		return;
	auth_free(r->auth);
	np_free(r);
}

static bool has_key(struct app *app, const struct route *t, struct http_req *r)
{
	struct router *router;

	if (t->key == ROUTE_OPEN)
		return true;
	router = router_of(app);
	if (router == NULL) {
		http_reply_error(r, 503, "Out of memory");
		return false;
	}
	return auth_check(router->auth, r, model_key(app->model),
			  t->key == ROUTE_METRICS_KEY ? app->metrics_key : NULL);
}

static void reply_bad_method(struct http_req *r, const struct route *t)
{
	static const char *const names[HTTP_OTHER] = {"GET",   "HEAD",	 "POST",   "PUT",
						      "PATCH", "DELETE", "OPTIONS"};
	struct np_buf allow;

	np_buf_init(&allow, 64);
	for (size_t i = 0; i < HTTP_OTHER; i++) {
		if (t->on[i] != NULL)
			np_buf_putf(&allow, "%s, ", names[i]);
	}
	np_buf_put_str(&allow, "OPTIONS");
	if (np_buf_cstr(&allow) != NULL)
		http_header(r, "Allow", np_buf_cstr(&allow));
	np_buf_release(&allow);
	http_reply_error(r, 405, "Method not allowed");
}

static void dispatch(struct app *app, const struct route *t, struct http_req *r, const char *id)
{
	enum http_method method = http_req_method(r);
	api_fn fn;

	http_cors(r);
	if (method == HTTP_OPTIONS) {
		http_reply(r, 200, NULL, NULL, 0);
		return;
	}
	if (!has_key(app, t, r))
		return;
	if (id != NULL && id[0] == '\0') {
		http_reply_error(r, 400, "Instance ID is required");
		return;
	}
	fn = t->any ? t->on[HTTP_GET] : method < HTTP_OTHER ? t->on[method] : NULL;
	if (fn == NULL)
		reply_bad_method(r, t);
	else
		fn(app, r, id);
}

void app_route(struct http_req *r, void *arg)
{
	struct app *app = arg;
	const char *raw = http_req_path(r), *id;
	const struct route *t;
	struct np_buf path;

	if (strcmp(raw, "*") == 0 && http_req_method(r) == HTTP_OPTIONS) {
		http_reply(r, 200, NULL, NULL, 0);
		return;
	}
	if (raw[0] != '/') {
		http_reply_error(r, 400, "Invalid request target");
		return;
	}
	np_buf_init(&path, HTTP_HEADER_MAX * 2);
	if (!http_path_clean(raw, strlen(raw), &path)) {
		reply_moved(r, &path);
		goto out;
	}
	np_buf_release(&path);
	if (!http_path_decode(raw, strlen(raw), &path)) {
		http_reply_error(r, 400, "Invalid escape in the path");
		goto out;
	}
	if (np_buf_cstr(&path) == NULL) {
		http_reply_error(r, 503, "Out of memory");
		goto out;
	}
	t = router_match(app->root, np_buf_cstr(&path), &id);
	if (t == NULL)
		reply_not_found(r);
	else
		dispatch(app, t, r, id);
out:
	np_buf_release(&path);
}
