/*
 * app.h - what the parts of the control plane share: made by main.c, handed to every handler.
 */
#ifndef CP_APP_H
#define CP_APP_H

#include "core/config.h"
#include "core/env.h"
#include "http.h"
#include "model.h"
#include "node.h"
#include "sse.h"
#include "store.h"
#include "supervise.h"

struct hostinfo;
struct tcping;
struct metrics;

struct app {
	struct event_base *base;
	struct np_config cfg; /* of master:// */
	struct np_env env;
	char *root;	 /* owned; prefix + "/v1" */
	char name[256];	 /* host part of the URL */
	const char *metrics_key; /* NP_METRICS_KEY or NULL */
	int64_t start_ms;	 /* monotonic */
	struct store *store;
	struct model *model;
	struct http_server *http;
	struct sse *sse;
	struct node *node;
	struct supervise *supervise;
	struct hostinfo *hostinfo;
	struct tcping *tcping;
	struct metrics *metrics;
	bool synced;   /* the data plane holds the desired state: /readyz */
	bool stopping;
};

/* Handlers, one file per resource (api_<resource>.c). @id: decoded rest of the path, or NULL. */
typedef void (*api_fn)(struct app *app, struct http_req *r, const char *id);
void api_instances_list(struct app *app, struct http_req *r, const char *id);
void api_instances_create(struct app *app, struct http_req *r, const char *id);
void api_instance_get(struct app *app, struct http_req *r, const char *id);
void api_instance_patch(struct app *app, struct http_req *r, const char *id);
void api_instance_put(struct app *app, struct http_req *r, const char *id);
void api_instance_delete(struct app *app, struct http_req *r, const char *id);
void api_events(struct app *app, struct http_req *r, const char *id);
void api_info_get(struct app *app, struct http_req *r, const char *id);
void api_info_post(struct app *app, struct http_req *r, const char *id);
void api_tcping(struct app *app, struct http_req *r, const char *id);
void api_openapi(struct app *app, struct http_req *r, const char *id);
void api_docs(struct app *app, struct http_req *r, const char *id);
void api_healthz(struct app *app, struct http_req *r, const char *id);
void api_readyz(struct app *app, struct http_req *r, const char *id);
void api_metrics(struct app *app, struct http_req *r, const char *id);

/* app_route - on_request of the server: path, CORS, key, method, handler (router.c, auth.c). */
void app_route(struct http_req *r, void *app);

#endif
