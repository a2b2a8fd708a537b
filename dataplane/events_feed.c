/*
 * events_feed.c - log lines and session ends of all threads, queued for main and sent in batches.
 *
 * The hooks run on workers, for every session and every line: without a subscriber they cost one
 * atomic load. With one they copy under a lock that is held for a copy's time. What finds the queue
 * full is counted, and the count travels with the next event.
 */
#include "events_priv.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/wake_fd.h"
#include "report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Events of one pass; the rest after what else the loop has to do. */
#define EVENTS_PER_PASS 8

/* -- from any thread -- */

static bool on_line(void *arg, enum np_log_level level, const char *instance, const char *text,
		    int64_t time_ms)
{
	struct events *e = arg;
	struct feed *f = &e->feed;
	struct ctl_line line = {.level = level, .time_ms = time_ms};
	bool first = false;

	if (!atomic_load_explicit(&f->logs, memory_order_relaxed) ||
	    event_edge_listeners(e->edge) == 0)
		return false;
	if (!np_log_enabled(
		(enum np_log_level)atomic_load_explicit(&f->level, memory_order_relaxed), level))
		return true;
	snprintf(line.id, sizeof(line.id), "%s", instance != NULL ? instance : "");
	line.text = np_strndup(text, CTL_LINE_MAX);
	pthread_mutex_lock(&f->lock);
	if (line.text == NULL || f->lines == NULL || f->nlines == EVENTS_LINES_QUEUE_MAX) {
		f->lost_lines++;
	} else {
		first = f->nlines == 0;
		f->lines[(f->first_line + f->nlines++) % EVENTS_LINES_QUEUE_MAX] = line;
		line.text = NULL;
	}
	pthread_mutex_unlock(&f->lock);
	np_free(line.text);
	if (first)
		np_wake_fd_set(f->wake_fd);
	return true;
}

static int64_t wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void on_session_end(void *arg, const char *id, const struct session_record *r)
{
	struct events *e = arg;
	struct feed *f = &e->feed;
	struct ctl_session_end end = {.udp = r->udp, .rx = r->rx, .tx = r->tx};
	unsigned sample = atomic_load_explicit(&f->sample, memory_order_relaxed);
	char target[NP_ADDR_TEXT_MAX];
	bool first = false;

	if (!atomic_load_explicit(&f->sessions, memory_order_relaxed) || sample == 0 ||
	    atomic_fetch_add_explicit(&f->sample_next, 1, memory_order_relaxed) % sample != 0)
		return;
	snprintf(end.id, sizeof(end.id), "%s", id);
	np_addr_format(r->visitor, end.peer);
	/* A name may be longer than there is room: its end with the port matters less here. */
	snprintf(end.target, sizeof(end.target), "%.*s", (int)sizeof(end.target) - 1,
		 session_record_target(r, target));
	snprintf(end.reason, sizeof(end.reason), "%s", np_reason_name(r->reason));
	end.duration_ms = r->ms > UINT32_MAX ? UINT32_MAX : (uint32_t)r->ms;
	end.start_ms = wall_ms() - r->ms;
	pthread_mutex_lock(&f->lock);
	if (f->ends == NULL || f->nends == EVENTS_SESSIONS_QUEUE_MAX) {
		f->lost_ends++;
	} else {
		first = f->nends == 0;
		f->ends[(f->first_end + f->nends++) % EVENTS_SESSIONS_QUEUE_MAX] = end;
	}
	pthread_mutex_unlock(&f->lock);
	if (first)
		np_wake_fd_set(f->wake_fd);
}

/* -- on main -- */

/* True: there may be more. */
static bool send_lines(struct events *e)
{
	struct feed *f = &e->feed;
	struct ctl_line lines[CTL_LINES_MAX];
	struct ctl_event ev = {.kind = CTL_EVENT_LOGS, .lines = lines};
	size_t taken = 0;

	pthread_mutex_lock(&f->lock);
	for (; taken < CTL_LINES_MAX && f->nlines > 0; taken++) {
		lines[ev.n] = f->lines[f->first_line];
		f->first_line = (f->first_line + 1) % EVENTS_LINES_QUEUE_MAX;
		f->nlines--;
		if (events_is_wanted(e, lines[ev.n].id))
			ev.n++;
		else
			np_free(lines[ev.n].text);
	}
	ev.dropped = f->lost_lines;
	f->lost_lines = 0;
	pthread_mutex_unlock(&f->lock);
	if (ev.n > 0 || ev.dropped > 0)
		events_send(e, &ev);
	for (size_t i = 0; i < ev.n; i++)
		np_free(lines[i].text);
	return taken == CTL_LINES_MAX;
}

static bool send_ends(struct events *e)
{
	struct feed *f = &e->feed;
	struct ctl_session_end ends[CTL_LINES_MAX];
	struct ctl_event ev = {.kind = CTL_EVENT_SESSIONS, .sessions = ends};
	size_t taken = 0;

	pthread_mutex_lock(&f->lock);
	for (; taken < CTL_LINES_MAX && f->nends > 0; taken++) {
		ends[ev.n] = f->ends[f->first_end];
		f->first_end = (f->first_end + 1) % EVENTS_SESSIONS_QUEUE_MAX;
		f->nends--;
		if (events_is_wanted(e, ends[ev.n].id))
			ev.n++;
	}
	ev.dropped = f->lost_ends;
	f->lost_ends = 0;
	pthread_mutex_unlock(&f->lock);
	if (ev.n > 0 || ev.dropped > 0)
		events_send(e, &ev);
	return taken == CTL_LINES_MAX;
}

static void on_batch(evutil_socket_t fd, short what, void *arg)
{
	struct events *e = arg;
	const struct timeval soon = tv_of_ms(EVENTS_BATCH_MS);
	bool more = true;

	(void)fd;
	(void)what;
	for (int i = 0; i < EVENTS_PER_PASS && more; i++) {
		more = send_lines(e);
		more = send_ends(e) || more;
	}
	if (more)
		evtimer_add(e->feed_timer, &soon);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct events *e = arg;
	const struct timeval soon = tv_of_ms(EVENTS_BATCH_MS);

	(void)what;
	np_wake_fd_clear(fd);
	if (!evtimer_pending(e->feed_timer, NULL))
		evtimer_add(e->feed_timer, &soon);
}

void feed_subscribe(struct events *e, const struct ctl_request *r)
{
	struct feed *f = &e->feed;
	bool logs = r->subscribe.has_log_level && r->subscribe.log_level != NP_LOG_NONE;
	bool ends = r->subscribe.has_session_sample && r->subscribe.session_sample > 0;

	/* The rings are made when they are first asked for, and stay. */
	pthread_mutex_lock(&f->lock);
	if (logs && f->lines == NULL)
		f->lines = np_calloc(EVENTS_LINES_QUEUE_MAX, sizeof(*f->lines));
	if (ends && f->ends == NULL)
		f->ends = np_calloc(EVENTS_SESSIONS_QUEUE_MAX, sizeof(*f->ends));
	logs = logs && f->lines != NULL;
	ends = ends && f->ends != NULL;
	pthread_mutex_unlock(&f->lock);
	if (r->subscribe.has_log_level) {
		atomic_store(&f->level, (int)r->subscribe.log_level);
		atomic_store(&f->logs, logs);
	}
	if (r->subscribe.has_session_sample) {
		atomic_store(&f->sample, r->subscribe.session_sample);
		atomic_store(&f->sessions, ends);
	}
}

enum np_err feed_start(struct events *e)
{
	struct feed *f = &e->feed;

	pthread_mutex_init(&f->lock, NULL);
	f->wake_fd = np_wake_fd_open();
	if (f->wake_fd != -1)
		e->feed_wake = event_new(e->base, f->wake_fd, EV_READ | EV_PERSIST, on_wake, e);
	e->feed_timer = evtimer_new(e->base, on_batch, e);
	if (e->feed_wake == NULL || e->feed_timer == NULL || event_add(e->feed_wake, NULL) != 0) {
		feed_stop(e);
		return NP_ENOMEM;
	}
	report_set_session_sink(on_session_end, e);
	np_log_set_sink(on_line, e);
	return NP_OK;
}

void feed_stop(struct events *e)
{
	struct feed *f = &e->feed;

	np_log_set_sink(NULL, NULL);
	report_set_session_sink(NULL, NULL);
	while (send_lines(e) || send_ends(e))
		continue;
	if (e->feed_wake != NULL)
		event_free(e->feed_wake);
	if (e->feed_timer != NULL)
		event_free(e->feed_timer);
	if (f->wake_fd != -1)
		close(f->wake_fd);
	np_free(f->lines);
	np_free(f->ends);
	pthread_mutex_destroy(&f->lock);
}
