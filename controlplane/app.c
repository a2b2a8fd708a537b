/*
 * app.c - puts the control plane together, connects its parts, and takes it down in order.
 *
 * Up: lock, store, model, API address, data plane. Down: event streams, data plane, counters,
 * store. What each part does is in its own file; here is only who tells whom.
 */
#include "app.h"

#include "base/alloc.h"
#include "base/env.h"
#include "base/log_line.h"
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

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define SAVE_MS		  5000 /* counters are on disk at the latest after this */
#define STOP_EXTRA_MS	  1500 /* for the data plane's end after its drain */
#define INSTANCE_JSON_MAX (512 * 1024)

/* -- events of the model -- */

static void on_publish(void *arg, int sse_type, const struct model_instance *inst, const char *logs)
{
	struct app *app = arg;
	struct np_buf b;

	if (app->sse == NULL)
		return;
	np_buf_init(&b, INSTANCE_JSON_MAX);
	model_render(inst, &b);
	if (b.err == NP_OK)
		sse_publish(app->sse, (enum sse_type)sse_type, inst->id, np_buf_ptr(&b),
			    np_buf_len(&b), logs);
	else
		np_log(NP_LOG_ERROR, inst->id, "an event was lost: %s", np_err_text(b.err));
	np_buf_wipe(&b);
}

static void on_model_changed(void *arg, const char *id)
{
	struct app *app = arg;

	if (app->metrics != NULL && model_find(app->model, id) == NULL)
		metrics_forget(app->metrics, id);
	if (app->node != NULL)
		node_changed(app->node, id);
}

static void on_key_changed(void *arg)
{
	struct app *app = arg;

	APP_LOG(app, INFO, "the API key was changed, event streams end");
	sse_end_all(app->sse, NULL, NULL);
}

static void initial_events(void *arg, sse_emit_fn emit, void *emit_arg)
{
	struct app *app = arg;
	const struct model_instance *inst = NULL;
	struct np_buf b;

	np_buf_init(&b, INSTANCE_JSON_MAX);
	model_render_key(app->model, &b);
	emit(emit_arg, MODEL_KEY_ID, np_buf_ptr(&b), np_buf_len(&b));
	while ((inst = model_next(app->model, inst)) != NULL) {
		np_buf_consume(&b, np_buf_len(&b));
		model_render(inst, &b);
		if (b.err == NP_OK)
			emit(emit_arg, inst->id, np_buf_ptr(&b), np_buf_len(&b));
	}
	np_buf_wipe(&b);
}

/* -- events of the node -- */

static uint64_t desired_revision(void *arg)
{
	struct app *app = arg;

	return model_revision(app->model);
}

static bool next_spec(void *arg, const char *after, struct ctl_spec *out)
{
	struct app *app = arg;

	return model_next_spec(app->model, after, out);
}

static enum node_spec get_spec(void *arg, const char *id, struct ctl_spec *out)
{
	struct app *app = arg;

	return model_get_spec(app->model, id, out);
}

static void on_up(void *arg, const struct ctl_node_info *info, bool held)
{
	struct app *app = arg;

	APP_LOG(app, INFO, "data plane connected pid=%u instances=%u %s", info->pid,
		info->instances, held ? "holds the state" : "is told the state");
	/* Fresh after our start: what is to run is what shall start at boot. */
	if (!app->booted && info->applied_revision == 0 && info->instances == 0)
		model_boot_rule(app->model);
	app->booted = true;
}

static void on_synced(void *arg)
{
	struct app *app = arg;

	app->synced = true;
}

static void on_down(void *arg)
{
	struct app *app = arg;

	app->synced = false;
	model_observe_down(app->model);
	if (!app->stopping)
		APP_LOG(app, WARN, "data plane is not connected");
}

static void on_status(void *arg, const struct ctl_status *st)
{
	struct app *app = arg;

	model_observe_status(app->model, st);
}

static void on_stats(void *arg, const char *boot_id, const struct ctl_stats *st)
{
	struct app *app = arg;

	model_observe_stats(app->model, boot_id, st);
}

/* On our output as people know it, "… [<id>]", and as an event of the instance. */
static void on_line(void *arg, const struct ctl_line *line)
{
	struct app *app = arg;
	const struct model_instance *inst = model_find(app->model, line->id);
	char text[NP_LOG_LINE_MAX + STORE_ID_MAX + 8];
	size_t len;

	if (line->id[0] == '\0' || app->log.format != NP_LOG_TEXT)
		np_log(line->level, line->id, "%s", line->text);
	if (line->id[0] == '\0')
		return;
	if (app->log.format == NP_LOG_TEXT) {
		len = np_log_line_at(text, line->level, line->time_ms, app->log.color, line->text);
		len += (size_t)snprintf(text + len, sizeof(text) - len, " [%s]\n", line->id);
		np_log_write(text, len);
	}
	if (inst == NULL)
		return;
	np_log_line_at(text, line->level, line->time_ms, true, line->text);
	on_publish(app, SSE_LOG, inst, text);
}

/* As if the data plane had said it. */
static void on_say(void *arg, const char *id, enum np_log_level level, const char *text,
		   bool goes_on)
{
	char line_text[sizeof(((struct np_diag *)NULL)->text) + 64];
	struct ctl_line line = {.level = level, .text = line_text};
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	line.time_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	snprintf(line.id, sizeof(line.id), "%s", id);
	snprintf(line_text, sizeof(line_text), "%s%s", text,
		 goes_on ? ", the old certificate stays" : "");
	on_line(arg, &line);
}

static void on_lines_dropped(void *arg, uint64_t n)
{
	struct app *app = arg;

	APP_LOG(app, WARN, "log lines of instances were dropped count=%llu", (unsigned long long)n);
}

static void on_lease(void *arg, const struct ctl_lease *lease)
{
	struct app *app = arg;

	metrics_lease(app->metrics, lease);
}

static void on_metrics(void *arg, const struct ctl_instance_metrics *m)
{
	struct app *app = arg;

	metrics_observe(app->metrics, m);
}

static const struct node_callbacks node_callbacks = {
    .next_spec = next_spec,
    .get_spec = get_spec,
    .desired_revision = desired_revision,
    .on_up = on_up,
    .on_synced = on_synced,
    .on_down = on_down,
    .on_status = on_status,
    .on_stats = on_stats,
    .on_line = on_line,
    .on_lines_dropped = on_lines_dropped,
    .on_lease = on_lease,
    .on_metrics = on_metrics,
};

/* -- events of the supervisor -- */

static void on_ready(void *arg, int pid, bool adopted)
{
	struct app *app = arg;

	APP_LOG(app, INFO, "data plane %s pid=%d", adopted ? "found" : "started", pid);
	if (app->node != NULL) /* else it dials when it is made */
		node_kick(app->node);
}

static void on_plane_exit(void *arg, int pid, const char *words)
{
	struct app *app = arg;

	if (!app->stopping)
		np_log(NP_LOG_ERROR, NULL, "data plane ended pid=%d: %s", pid, words);
	if (app->node != NULL)
		node_ended(app->node, pid);
}

static void on_output(void *arg, const char *line)
{
	struct app *app = arg;

	if (np_log_enabled(app->cfg.log, NP_LOG_EVENT))
		np_log(NP_LOG_INFO, NULL, "data plane: %s", line);
}

static const struct supervise_callbacks supervise_callbacks = {
    .on_ready = on_ready,
    .on_exit = on_plane_exit,
    .on_output = on_output,
};

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
	const struct model_events ev = {.publish = on_publish,
					.changed = on_model_changed,
					.key_changed = on_key_changed,
					.say = on_say};
	enum np_err err = model_new(app->base, app->store, &app->defaults, &ev, app, &app->model);
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
		     (uint32_t)app->env.report_interval_ms, &node_callbacks, app, &app->node);
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
	enum np_err err = sse_new(app->base, initial_events, app, &app->sse);

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
		err = supervise_new(app->base, app->run_dir, external, &supervise_callbacks, app,
				    &app->supervise, diag);
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
