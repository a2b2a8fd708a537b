/*
 * dial_order.c - dials in the order of arrival, over several workers. See dial_order.h.
 *
 * One who waits is a small object of its own: it is on the list until somebody takes it off, and who
 * does that (the one before it, by mail; its timer; its session's end) disposes of it.
 */
#include "dial_order.h"

#include "base/alloc.h"
#include "session.h"

#include <string.h>
#include <utlist.h>

struct order_wait {
	struct mail mail;
	struct order_wait *prev, *next; /* order->waiting */
	struct dial_order *order;
	struct session *session; /* NULL = it ended meanwhile */
	struct worker *worker;
	struct event timer;
	uint64_t n;
	bool listed; /* under the lock; false = the mail is on its way */
};

void dial_order_init(struct dial_order *o)
{
	pthread_mutex_init(&o->lock, NULL);
}

void dial_order_release(struct dial_order *o)
{
	pthread_mutex_destroy(&o->lock);
}

void dial_order_trace(const uint8_t base[ORDER_BASE_LEN], uint64_t n, uint8_t trace[NP_TRACE_LEN])
{
	memcpy(trace, base, ORDER_BASE_LEN);
	for (int i = 0; i < 8; i++)
		trace[ORDER_BASE_LEN + i] = (uint8_t)(n >> (56 - 8 * i));
}

static uint64_t number_of(const uint8_t trace[NP_TRACE_LEN])
{
	uint64_t n = 0;

	for (int i = 0; i < 8; i++)
		n = n << 8 | trace[ORDER_BASE_LEN + i];
	return n;
}

static void wait_done(struct order_wait *w)
{
	struct session *s = w->session;

	event_del(&w->timer);
	np_free(w);
	if (s != NULL)
		session_order_go(s);
}

static void on_turn(struct worker *worker, struct mail *m)
{
	(void)worker;
	wait_done((struct order_wait *)m);
}

/* true: it was on the list, and is the caller's now. */
static bool take_off(struct order_wait *w)
{
	bool was;

	pthread_mutex_lock(&w->order->lock);
	was = w->listed;
	if (was)
		DL_DELETE(w->order->waiting, w);
	w->listed = false;
	pthread_mutex_unlock(&w->order->lock);
	return was;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	if (take_off(arg))
		wait_done(arg);
}

/* Is @trace one of those that count up? The first one says under which base they do. */
static bool counts_up(struct dial_order *o, const uint8_t trace[NP_TRACE_LEN])
{
	static const uint8_t none[ORDER_BASE_LEN];

	if (memcmp(o->base, none, sizeof(none)) == 0)
		memcpy(o->base, trace, sizeof(o->base));
	return memcmp(o->base, trace, sizeof(o->base)) == 0;
}

static struct order_wait *wait_new(struct dial_order *o, struct worker *worker, struct session *s)
{
	const struct timeval tv = tv_of_ms(ORDER_WAIT_MS);
	struct order_wait *w = np_calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->order = o;
	w->session = s;
	w->worker = worker;
	w->n = number_of(s->trace);
	w->mail.deliver = on_turn;
	event_assign(&w->timer, worker->base, -1, 0, on_timer, w);
	if (evtimer_add(&w->timer, &tv) != 0) {
		np_free(w);
		return NULL;
	}
	return w;
}

bool dial_order_enter(struct dial_order *o, struct worker *worker, struct session *s)
{
	uint64_t n = number_of(s->trace);
	bool now;

	if (workers_count() == 1)
		return true; /* they come as they came */
	pthread_mutex_lock(&o->lock);
	now = np_storm_came(&o->storm, worker_pass_now(worker)) || !counts_up(o, s->trace) ||
	      n <= o->last + 1 || n - o->last > ORDER_AHEAD_MAX;
	if (!now) {
		s->order_wait = wait_new(o, worker, s);
		now = s->order_wait == NULL;
	}
	if (!now) {
		s->order_wait->listed = true;
		DL_APPEND(o->waiting, s->order_wait);
	}
	pthread_mutex_unlock(&o->lock);
	return now;
}

void dial_order_passed(struct dial_order *o, const uint8_t trace[NP_TRACE_LEN])
{
	struct order_wait *w, *next;
	uint64_t n = number_of(trace);

	if (workers_count() == 1)
		return;
	pthread_mutex_lock(&o->lock);
	if (counts_up(o, trace) && n > o->last)
		o->last = n;
	DL_FOREACH_SAFE (o->waiting, w, next) {
		if (w->n > o->last + 1)
			continue;
		DL_DELETE(o->waiting, w);
		w->listed = false;
		worker_post(w->worker, &w->mail);
	}
	pthread_mutex_unlock(&o->lock);
}

void dial_order_forget(struct session *s)
{
	struct order_wait *w = s->order_wait;
	struct dial_order *o;

	if (w == NULL)
		return;
	s->order_wait = NULL;
	o = w->order;
	w->session = NULL;
	if (!take_off(w)) {
		event_del(&w->timer); /* the mail frees it */
		return;
	}
	dial_order_passed(o, s->trace);
	wait_done(w);
}
