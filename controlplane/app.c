/*
 * app.c - puts the control plane together and takes it down in order.
 *
 * Up: lock, store, model, API address, data plane. Down: event streams, data plane, counters,
 * store. What each part does is in its own file; who tells whom in app_wiring.c.
 */
#include "app.h"

#include "app_wiring.h"
#include "base/alloc.h"
#include "base/env.h"
#include "base/mono.h"
#include "core/dirs.h"
#include "hostinfo.h"
#include "import.h"
#include "master_json.h"
#include "metrics.h"
#include "openapi.h"
#include "router.h"
#include "statelock.h"
#include "tcping.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define SAVE_MS	      5000 /* counters are on disk at the latest after this */
#define STOP_EXTRA_MS 1500 /* for the data plane's end after its drain */

/* -- timers -- */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct app *app = arg;

	(void)fd;
	(void)what;
	/* Who comes later gets all instances as they are then: nothing to render for nobody. */
	if (sse_has_readers(app->sse))
		model_tick(app->model);
}

static void on_save(evutil_socket_t fd, short what, void *arg)
{
	struct app *app = arg;

	(void)fd;
	(void)what;
	model_save_counters(app->model);
}

static void on_copy(evutil_socket_t fd, short what, void *arg)
{
	struct app *app = arg;

	(void)fd;
	(void)what;
	store_copy(app->store);
}

static struct event *every(struct app *app, int64_t ms, event_callback_fn fn)
{
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	struct event *ev = event_new(app->base, -1, EV_PERSIST, fn, app);

	if (ev != NULL && event_add(ev, &tv) != 0) {
		event_free(ev);
		ev = NULL;
	}
	return ev;
}

/* -- up -- */

enum np_err app_dirs(struct app *app, struct np_diag *diag)
{
	if (np_run_dir(np_env_get, NULL, geteuid(), app->run_dir) != NP_OK)
		return np_diag_set(diag, NP_EINVAL, "NP_RUN_DIR", "NP_RUN_DIR is too long");
	if (np_state_dir(np_env_get, NULL, geteuid(), app->state_dir) != NP_OK)
		return np_diag_set(diag, NP_EINVAL, "NP_STATE_DIR",
				   "NP_STATE_DIR is too long, or there is no HOME to put it into");
	return NP_OK;
}

static enum np_err open_state(struct app *app, struct np_diag *diag)
{
	struct np_diag note = {.text = ""};
	enum np_err err =
	    statelock_take(app->state_dir, app->run_dir, app->address, &app->lock, diag);

	if (err == NP_OK)
		err = store_open(app->base, app->cfg.store, app->state_dir, &app->store,
				 &app->fresh, &note, diag);
	if (err == NP_OK && note.text[0] != '\0')
		np_log(NP_LOG_ERROR, NULL, "%s", note.text);
	return err;
}

static enum np_err load_model(struct app *app, struct np_diag *diag)
{
	enum np_err err =
	    model_new(app->base, app->store, &app->defaults, &app_model_events, app, &app->model);
	bool created = false;

	if (err == NP_OK)
		err = model_load(app->model, diag);
	if (err == NP_OK && app->fresh)
		err = import_run(app->model, np_env_get, NULL, diag);
	if (err == NP_OK)
		err = model_flush(app->model, diag);
	if (err == NP_OK)
		err = model_ensure_key(app->model, &created, diag);
	if (err != NP_OK)
		return err;
	APP_LOG(app, INFO, "Loaded %zu instances from %s", model_count(app->model), app->state_dir);
	/* Scripts read the new key here: at every level. */
	if (created)
		np_log(NP_LOG_INFO, NULL, "API Key created: %s", model_key(app->model));
	return NP_OK;
}

static void tell_ctl(struct app *app)
{
	char pin[HTTP_PIN_SIZE];

	if (http_pin(app->http, pin) != NP_OK)
		np_log(NP_LOG_WARN, NULL, "no pin of the API's certificate for nodepass ctl");
	master_json_write(app->run_dir, &app->cfg, app->root, pin);
}

static void on_certificate(void *arg)
{
	tell_ctl(arg);
}

static enum np_err start_api(struct app *app, struct np_diag *diag)
{
	const struct http_options o = {.host = app->cfg.tunnel.host,
				       .port = app->cfg.tunnel.port,
				       .tls = app->cfg.tls,
				       .crt = app->cfg.crt,
				       .key = app->cfg.keyfile,
				       .reload_ms = app->env.reload_interval_ms,
				       .on_request = app_route,
				       .on_certificate = on_certificate,
				       .arg = app};

	return http_new(app->base, &o, &app->http, diag);
}

/* The files of instances were read: what the data plane is told now is complete. */
static void on_settled(void *arg)
{
	struct app *app = arg;

	if (app->stopping)
		return;
	app->node_err =
	    node_new(app->base, app->run_dir, model_mid(app->model), store_epoch(app->store),
		     (uint32_t)app->env.report_interval_ms, &app_node_callbacks, app, &app->node);
	if (app->node_err == NP_OK)
		return;
	np_log(NP_LOG_ERROR, NULL, "the data plane cannot be told anything: %s",
	       np_err_text(app->node_err));
	event_base_loopbreak(app->base);
}

static enum np_err start_parts(struct app *app, struct np_diag *diag)
{
	const char *plane = getenv("NP_DATAPLANE");
	bool external = plane != NULL && strcmp(plane, "external") == 0;
	enum np_err err = sse_new(app->base, app_initial_events, app, &app->sse);

	if (plane != NULL && plane[0] != '\0' && !external && strcmp(plane, "supervised") != 0)
		np_log(NP_LOG_WARN, NULL,
		       "NP_DATAPLANE=%.64s: not supervised or external, using supervised", plane);
	if (err == NP_OK)
		err = hostinfo_new(app->base, &app->hostinfo);
	if (err == NP_OK)
		err = tcping_new(app->base, app->env.report_interval_ms, &app->tcping);
	if (err == NP_OK)
		err = metrics_new(&app->metrics);
	if (err == NP_OK)
		err = supervise_new(app->base, app->run_dir, external, &app_supervise_callbacks,
				    app, &app->supervise, diag);
	if (err == NP_OK) {
		app->timers[0] = every(app, app->env.report_interval_ms, on_tick);
		app->timers[1] = every(app, SAVE_MS, on_save);
		app->timers[2] = every(app, app->env.reload_interval_ms, on_copy);
		if (app->timers[0] == NULL || app->timers[1] == NULL || app->timers[2] == NULL)
			err = NP_ENOMEM;
	}
	if (err == NP_OK)
		supervise_start(app->supervise);
	if (err == NP_OK)
		err = model_watch(app->model, app->env.reload_interval_ms, on_settled);
	return err == NP_OK ? app->node_err : err;
}

enum np_err app_start(struct app *app, struct np_diag *diag)
{
	static const char *const tls_texts[] = {"unencrypted", "self-signed certificate",
						"custom certificate"};
	enum np_err err = app_dirs(app, diag);

	np_hostport_format(&app->cfg.tunnel, app->address, sizeof(app->address));
	app->start_ms = np_mono_now().us / 1000;
	if (err == NP_OK)
		err = open_state(app, diag);
	/* The address before anything else is started: one that is taken starts nothing. */
	if (err == NP_OK)
		err = start_api(app, diag);
	if (err == NP_OK)
		err = load_model(app, diag);
	if (err == NP_OK)
		err = start_parts(app, diag);
	if (err != NP_OK)
		return err;
	http_open(app->http); /* the loop was turned before: the model writes what it imports */
	tell_ctl(app);
	APP_LOG(app, INFO, "TLS code-%d: %s", app->cfg.tls, tls_texts[app->cfg.tls]);
	APP_LOG(app, INFO, "Master started: %s%s", app->address, app->root);
	return NP_OK;
}

/* -- down -- */

static void leave_when_over(struct app *app)
{
	if (app->plane_gone && app->readers_gone)
		event_base_loopbreak(app->base);
}

static void on_plane_gone(void *arg)
{
	struct app *app = arg;

	app->plane_gone = true;
	leave_when_over(app);
}

/* They have the shutdown event and a clean end, or had the time for it. */
static void on_readers_gone(void *arg)
{
	struct app *app = arg;

	app->readers_gone = true;
	leave_when_over(app);
}

void app_stop(struct app *app)
{
	int64_t grace = app->env.shutdown_timeout_ms - 1000;

	if (app->stopping)
		return;
	app->stopping = true;
	APP_LOG(app, INFO, "Master shutting down");
	http_close_listener(app->http);
	sse_end_all(app->sse, on_readers_gone, app);
	if (grace < 0)
		grace = 0;
	if (!supervise_is_external(app->supervise) && app->node != NULL)
		node_shutdown(app->node, (uint32_t)grace, NULL, NULL);
	supervise_stop(app->supervise, (int)grace + STOP_EXTRA_MS, on_plane_gone, app);
}

void app_free(struct app *app)
{
	struct np_diag diag;

	for (size_t i = 0; i < sizeof(app->timers) / sizeof(*app->timers); i++)
		if (app->timers[i] != NULL)
			event_free(app->timers[i]);
	node_free(app->node);
	supervise_free(app->supervise);
	app->node = NULL;
	if (app->model != NULL && app->store != NULL && app->plane_gone) {
		model_save_counters(app->model);
		if (model_flush(app->model, &diag) != NP_OK)
			np_log(NP_LOG_ERROR, NULL, "%s", diag.text);
	}
	store_close(app->store);
	tcping_free(app->tcping);
	hostinfo_free(app->hostinfo);
	sse_free(app->sse);
	http_free(app->http);
	router_free(app->router);
	openapi_free(app->openapi);
	metrics_free(app->metrics);
	model_free(app->model);
	statelock_release(app->lock);
	np_free(app->root);
	app->root = NULL;
}
