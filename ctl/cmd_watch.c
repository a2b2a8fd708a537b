/*
 * cmd_watch.c - logs and events: the stream of the API, from what the master still has of the past.
 *
 * The past is asked for as a reader would who comes back: with the position before the first event
 * of this master. Its name is known only from an event, so a first short visit fetches one.
 */
#include "ctl.h"

#include "base/alloc.h"
#include "pick.h"
#include "sse.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

#define IDLE_MS	     700 /* the past has come when nothing comes for this long */
#define PAUSE_MIN_MS 500
#define PAUSE_MAX_MS 5000

struct watch {
	struct ctl *ctl;
	bool logs;	       /* log lines only */
	bool visit;	       /* a position is all that is wanted */
	bool seen;	       /* an event came on this connection */
	struct inst_list list; /* what the words named; n = 0 and !filter: everything */
	bool filter;
	uint64_t end; /* the newest event when we came */
	struct sse sse;
	int status;
};

static uint64_t seq_of(const char *id)
{
	const char *dash = strrchr(id, '-');

	return dash != NULL ? strtoull(dash + 1, NULL, 10) : 0;
}

static bool is_wanted(const struct watch *w, const struct event *e)
{
	if (strcmp(e->type, "initial") == 0 || strcmp(e->inst.id, JSON_KEY_ID) == 0)
		return false;
	if (w->logs && strcmp(e->type, "log") != 0)
		return false;
	for (size_t i = 0; w->filter && i < w->list.n; i++) {
		if (strcmp(w->list.v[i].id, e->inst.id) == 0)
			return true;
	}
	return !w->filter;
}

static void put_event(const struct watch *w, const struct event *e, struct np_buf *out)
{
	char line[256];

	if (w->logs) {
		text_clean(e->logs, w->ctl->colours, out);
		np_buf_put_str(out, " [");
		text_clean(e->inst.id, false, out);
		np_buf_put_str(out, "]\n");
		return;
	}
	snprintf(line, sizeof(line), "%.23s  %-8.16s  %-8.16s  %-7.16s  %.64s", e->time, e->type,
		 e->inst.id, e->inst.status, e->inst.alias);
	text_clean(line, false, out);
	if (strcmp(e->type, "log") == 0) {
		np_buf_put_str(out, "  ");
		text_clean(e->logs, w->ctl->colours, out);
	}
	np_buf_put_str(out, "\n");
}

static bool on_event(void *arg, const char *data, size_t len)
{
	struct watch *w = arg;
	struct np_buf line;
	struct event e;

	w->seen = true;
	if (w->visit)
		return w->sse.id[0] == '\0'; /* only the last event of the opening has one */
	if (json_event(data, len, &e) != NP_OK)
		return true;
	if (is_wanted(w, &e)) {
		np_buf_init(&line, 2 * SSE_BLOCK_MAX);
		if (w->ctl->json)
			np_buf_putf(&line, "%s\n", data);
		else
			put_event(w, &e, &line);
		w->status = ctl_put(np_buf_ptr(&line), np_buf_len(&line));
		np_buf_wipe(&line);
	}
	if (!w->ctl->follow && strcmp(e.type, "initial") != 0 && seq_of(w->sse.id) >= w->end)
		len = 0;
	json_event_release(&e);
	return len > 0 && w->status == CTL_OK;
}

static bool on_data(void *arg, const char *p, size_t len)
{
	return sse_feed(&((struct watch *)arg)->sse, p, len);
}

static bool on_tick(void *arg, int64_t idle_ms)
{
	struct watch *w = arg;

	return (w->ctl->follow && !w->visit) || !w->seen || idle_ms < IDLE_MS;
}

/* stream - one connection; from the event behind @w->sse.id when there is one. */
static void stream(struct watch *w, struct api_call *call)
{
	const struct api_stream_fns fns = {.data = on_data, .tick = on_tick, .arg = w};
	struct np_buf id;

	np_buf_init(&id, 4 * SSE_ID_MAX);
	api_escape(w->sse.id, &id);
	api_call_init(call, "GET", NULL, "/events%s%s",
		      w->sse.id[0] != '\0' ? "?last_event_id=" : "",
		      np_buf_cstr(&id) != NULL ? np_buf_cstr(&id) : "");
	np_buf_release(&id);
	sse_restart(&w->sse);
	w->seen = false;
	api_stream(w->ctl->api, call, &fns);
}

/* rewind_to_start - a short visit for the master's name in positions. */
static int rewind_to_start(struct watch *w)
{
	struct api_call call;
	char *dash;
	int status = CTL_OK;

	w->visit = true;
	stream(w, &call);
	w->visit = false;
	if (call.error[0] != '\0')
		status = ctl_fail("%s: %s", w->ctl->where.url, call.error);
	api_call_release(&call);
	dash = strrchr(w->sse.id, '-');
	if (dash == NULL) {
		w->sse.id[0] = '\0'; /* it keeps no past */
		return status;
	}
	w->end = seq_of(w->sse.id);
	snprintf(dash, SSE_ID_MAX - (size_t)(dash - w->sse.id), "-0");
	return status;
}

/* reconnect - with the key as it is now: it may have been changed meanwhile. */
static int reconnect(struct ctl *c)
{
	api_free(c->api);
	c->api = NULL;
	return ctl_connect(c);
}

static int follow(struct watch *w)
{
	int64_t pause_ms = PAUSE_MIN_MS;
	struct api_call call;
	bool told = false;

	for (;;) {
		struct timespec t = {0, 0};
		bool refused;

		stream(w, &call);
		refused = call.status >= 400 && call.status != 401 && call.status < 500;
		if (w->status != CTL_OK || !w->ctl->follow || refused)
			break;
		if (w->seen) {
			pause_ms = PAUSE_MIN_MS;
			told = false;
		}
		if (!told)
			ctl_fail("the stream has ended (%s); trying again",
				 call.error[0] != '\0' ? call.error : "by the master");
		told = true;
		t.tv_sec = pause_ms / 1000;
		t.tv_nsec = pause_ms % 1000 * 1000000;
		nanosleep(&t, NULL);
		pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
		if (call.status == 401 && reconnect(w->ctl) != CTL_OK) {
			w->status = CTL_FAILED;
			break;
		}
		api_call_release(&call);
	}
	if (w->status == CTL_OK && call.error[0] != '\0')
		w->status = ctl_fail("%s: %s", w->ctl->where.url, call.error);
	api_call_release(&call);
	return w->status;
}

/* name - the instances that the words name, in w->list. */
static int name(struct watch *w, char **words, size_t n)
{
	struct np_diag diag = {.text = ""};
	bool *chosen;
	size_t kept = 0;
	int status = ctl_list(w->ctl, &w->list);

	if (status != CTL_OK)
		return status;
	chosen = np_calloc(w->list.n + 1, sizeof(*chosen));
	if (chosen == NULL || pick(&w->list, words, n, chosen, &diag) != NP_OK)
		status = ctl_fail("%s", chosen == NULL ? np_err_text(NP_ENOMEM) : diag.text);
	for (size_t i = 0; status == CTL_OK && i < w->list.n; i++) {
		if (chosen[i])
			w->list.v[kept++] = w->list.v[i];
	}
	w->list.n = kept;
	w->filter = true;
	np_free(chosen);
	return status;
}

static int watch(struct ctl *c, char **words, size_t n, bool logs)
{
	struct watch w = {.ctl = c, .logs = logs};
	int status = n > 0 ? name(&w, words, n) : ctl_connect(c);

	sse_init(&w.sse, on_event, &w);
	if (status == CTL_OK)
		status = rewind_to_start(&w);
	if (status == CTL_OK && (c->follow || w.end > 0))
		status = follow(&w);
	sse_release(&w.sse);
	json_list_release(&w.list);
	return status;
}

int cmd_logs(struct ctl *c, char **words, size_t n)
{
	return watch(c, words, n, true);
}

int cmd_events(struct ctl *c, char **words, size_t n)
{
	return watch(c, words, n, false);
}
