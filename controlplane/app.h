/*
 * app.h - what the parts of the control plane share: made by main.c, handed to every handler.
 */
#ifndef CP_APP_H
#define CP_APP_H

#include "base/log.h"
#include "core/config.h"
#include "core/dirs.h"
#include "core/env.h"
#include "http.h"
#include "model.h"
#include "node.h"
#include "sse.h"
#include "store.h"
#include "supervise.h"

struct hostinfo;
struct statelock;
struct tcping;
struct metrics;
struct router;
struct openapi;

struct app {
	struct event_base *base;
	struct np_config cfg; /* of master:// */
	struct validate_defaults defaults;
	struct np_env env;
	struct np_log_options log;
	char run_dir[NP_DIR_MAX], state_dir[NP_DIR_MAX];
	char *root;			/* owned; prefix + "/v1" */
	char address[NP_HOST_MAX + 16]; /* host:port of the API */
	char name[NP_HOST_MAX + 1];	/* host part of the URL */
	const char *metrics_key;	/* NP_METRICS_KEY or NULL */
	int64_t start_ms;		/* monotonic */
	struct statelock *lock;
	struct store *store;
	struct model *model;
	struct http_server *http;
	struct sse *sse;
	struct node *node;
	struct supervise *supervise;
	struct hostinfo *hostinfo;
	struct tcping *tcping;
	struct metrics *metrics;
	struct router *router;	 /* made with the first request; router_free */
	struct openapi *openapi; /* made with the first request; openapi_free */
	struct event *timers[3];
	enum np_err node_err; /* why there is no node */
	bool fresh;	      /* there was no database */
	bool booted;	      /* a data plane has been seen since our start */
	bool synced;	      /* the data plane holds the desired state: /readyz */
	bool stopping, plane_gone, readers_gone;
};

/* A line of the control plane itself. */
#define APP_LOG(app, level, ...)                                    \
	do {                                                        \
		if (np_log_enabled((app)->cfg.log, NP_LOG_##level)) \
			np_log(NP_LOG_##level, NULL, __VA_ARGS__);  \
	} while (0)

/* app_dirs - run_dir and state_dir of @app from the environment. app_start - all parts, from
 * base, cfg, env, log and root that the caller has set. Errors: NP_EINVAL and NP_ESYS with @diag,
 * NP_ENOMEM. app_stop - begins the end; the loop is left when it is reached. app_free
 * - after the loop, also after a failed start. */
enum np_err app_dirs(struct app *app, struct np_diag *diag) NP_MUST_CHECK;
enum np_err app_start(struct app *app, struct np_diag *diag) NP_MUST_CHECK;
void app_stop(struct app *app);
void app_free(struct app *app);

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
