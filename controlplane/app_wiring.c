/*
 * app_wiring.c - who tells whom: what the model, the node and the supervisor call, handed on to those
 * that it concerns. They are put together in app.c.
 */
#include "app_wiring.h"

#include "base/log_line.h"
#include "metrics.h"

#include <stdio.h>
#include <time.h>

#include "base/banned.h"

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

void app_initial_events(void *arg, sse_emit_fn emit, void *emit_arg)
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

static bool all_heard(void *arg)
{
	struct app *app = arg;

	return model_all_observed(app->model);
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

const struct model_events app_model_events = {
    .publish = on_publish,
    .changed = on_model_changed,
    .key_changed = on_key_changed,
    .say = on_say,
};

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

const struct node_callbacks app_node_callbacks = {
    .next_spec = next_spec,
    .get_spec = get_spec,
    .desired_revision = desired_revision,
    .on_up = on_up,
    .on_synced = on_synced,
    .on_down = on_down,
    .on_status = on_status,
    .all_heard = all_heard,
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

/* A line of its log has our time instead of its own; what else it writes (a library, a sanitizer)
 * stays whole. */
static void on_output(void *arg, const char *line)
{
	struct app *app = arg;
	enum np_log_level level = NP_LOG_INFO;
	const char *text = np_log_line_parse(line, &level);

	if (np_log_enabled(app->cfg.log, text != NULL ? level : NP_LOG_EVENT))
		np_log(level, NULL, "data plane: %s", text != NULL ? text : line);
}

const struct supervise_callbacks app_supervise_callbacks = {
    .on_ready = on_ready,
    .on_exit = on_plane_exit,
    .on_output = on_output,
};
