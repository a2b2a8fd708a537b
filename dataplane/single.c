/*
 * single.c - the pool of target connections of a single-end client. See single.h.
 */
#include "single.h"

#include "base/alloc.h"
#include "core/pool_fill.h"
#include "dial.h"
#include "runtime.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

/* A connection that waits for a visitor, or is being made. */
struct ready {
	struct ready *prev, *next; /* single->idle, newest first; or single->dialing */
	struct single *single;
	int fd; /* owned */
	struct event ev;
	bool ev_added;
	struct dial *dial;
	struct np_addr addr;
	struct np_mono born;
};

struct single {
	struct instance *inst;
	struct ready *idle, *dialing;
	unsigned nidle, ndialing;
	struct np_pool_fill fill;
	struct event *timer;
	int64_t interval_ms;
	struct np_mono dial_after;
};

static void single_fill(struct single *s);
static void on_timer(evutil_socket_t fd, short what, void *arg);

static void ready_free(struct ready *r)
{
	if (r->ev_added)
		event_del(&r->ev);
	if (r->fd != -1)
		close(r->fd);
	np_free(r);
}

static void idle_remove(struct ready *r)
{
	DL_DELETE(r->single->idle, r);
	r->single->nidle--;
}

/* Closed by the target? Bytes that wait are a greeting, and the visitor's. */
static bool is_closed(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n == -1 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* Visitors dial for themselves and hear the reason; the pool tries again later. */
static void target_fails(struct single *s)
{
	np_pool_fill_dial_failed(&s->fill);
	s->dial_after = np_mono_add_ms(np_mono_now(), runtime.env.max_pool_interval_ms);
}

static void ready_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct ready *r = arg;
	struct single *s = r->single;

	(void)what;
	if (!is_closed(fd))
		return; /* edge-triggered: said once */
	if (np_mono_diff_ms(np_mono_now(), r->born) < 1000)
		target_fails(s); /* it accepts and closes: not to be hammered */
	idle_remove(r);
	ready_free(r);
	single_fill(s);
}

static void on_dialed(void *arg, const struct dial_result *res)
{
	struct ready *r = arg;
	struct single *s = r->single;

	DL_DELETE(s->dialing, r);
	s->ndialing--;
	r->dial = NULL;
	if (res->fd == -1) {
		target_fails(s);
		ready_free(r);
		return;
	}
	r->fd = res->fd;
	r->addr = res->addr;
	r->born = np_mono_now();
	instance_dialed(s->inst->shards[s->inst->home->index], res->connect_us);
	np_pool_fill_dial_ok(&s->fill, res->connect_us);
	if (event_assign(&r->ev, s->inst->home->base, r->fd, EV_READ | EV_ET | EV_PERSIST,
			 ready_on_event, r) != 0 ||
	    event_add(&r->ev, NULL) != 0) {
		ready_free(r);
		return;
	}
	r->ev_added = true;
	DL_PREPEND(s->idle, r);
	s->nidle++;
}

static void dial_one(struct single *s)
{
	struct instance *inst = s->inst;
	struct dial_options o =
	    dial_options_of(instance_settings(inst), runtime.env.tcp_dial_timeout_ms);
	struct ready *r = np_calloc(1, sizeof(*r));

	if (r == NULL)
		return;
	r->single = s;
	r->fd = -1;
	if (dial_start(inst->home, &o, on_dialed, r, &r->dial) != NP_OK) {
		np_free(r);
		return;
	}
	DL_APPEND(s->dialing, r);
	s->ndialing++;
}

static void drop_old(struct single *s, struct np_mono now)
{
	while (s->idle != NULL) {
		struct ready *oldest = s->idle->prev;

		if (np_mono_diff_ms(now, oldest->born) < SINGLE_AGE_MS - 1000)
			break;
		idle_remove(oldest);
		ready_free(oldest);
	}
}

/* Idle instances have no timer; without memory the next visitor tries again. */
static void wake_in(struct single *s, int64_t ms)
{
	const struct timeval tv = tv_of_ms(ms);

	if (s->timer == NULL)
		s->timer = evtimer_new(s->inst->home->base, on_timer, s);
	if (s->timer != NULL)
		evtimer_add(s->timer, &tv);
}

static void sleep_on(struct single *s)
{
	if (s->timer != NULL)
		event_free(s->timer);
	s->timer = NULL;
}

static void single_fill(struct single *s)
{
	struct np_mono now = np_mono_now();
	uint32_t busy = atomic_load_explicit(&s->inst->sessions, memory_order_relaxed), dials;
	bool quiet;

	drop_old(s, now);
	np_pool_fill_tick(&s->fill, now, busy);
	while (s->nidle > np_pool_fill_wanted(&s->fill) && s->idle != NULL &&
	       np_mono_diff_ms(now, s->idle->prev->born) > 2000) {
		struct ready *oldest = s->idle->prev;

		idle_remove(oldest);
		ready_free(oldest);
	}
	dials = np_mono_before(now, s->dial_after)
		    ? 0
		    : np_pool_fill_dials(&s->fill, now, s->nidle, s->ndialing);
	quiet = dials == 0 && s->ndialing == 0 && busy == 0;
	while (dials-- > 0)
		dial_one(s);
	s->interval_ms = quiet ? s->interval_ms * 2 : runtime.env.min_pool_interval_ms;
	if (s->interval_ms > runtime.env.max_pool_interval_ms)
		s->interval_ms = runtime.env.max_pool_interval_ms;
	if (quiet && s->interval_ms == runtime.env.max_pool_interval_ms && s->nidle == 0 &&
	    np_pool_fill_wanted(&s->fill) == 0) {
		sleep_on(s); /* nothing to keep, nothing to watch: the next visitor wakes it */
		return;
	}
	wake_in(s, s->interval_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	single_fill(arg);
}

static void limits_of(const struct np_config *cfg, struct np_pool_fill_limits *out)
{
	*out = (struct np_pool_fill_limits){
	    .min = cfg->notcp ? 0 : cfg->min,
	    .max = cfg->notcp ? 0 : cfg->min,
	    .adaptive_min = !cfg->given[NP_PARAM_MIN],
	    .single_use = true,
	    .dial_rate = SINGLE_DIAL_RATE,
	};
}

static void drop_all(struct single *s)
{
	struct ready *r, *next;

	DL_FOREACH_SAFE (s->idle, r, next) {
		idle_remove(r);
		ready_free(r);
	}
	DL_FOREACH_SAFE (s->dialing, r, next) {
		dial_cancel(r->dial);
		DL_DELETE(s->dialing, r);
		s->ndialing--;
		ready_free(r);
	}
}

void single_configure(struct single *s, bool drop)
{
	struct np_pool_fill_limits l;

	limits_of(instance_cfg(s->inst), &l);
	np_pool_fill_set_limits(&s->fill, &l);
	if (drop || l.max == 0)
		drop_all(s);
	s->dial_after = (struct np_mono){0};
	s->interval_ms = runtime.env.min_pool_interval_ms;
	if (l.max > 0)
		single_fill(s);
	else
		sleep_on(s);
}

void single_rest(struct single *s)
{
	sleep_on(s);
	drop_all(s);
}

enum np_err single_new(struct instance *inst, struct single **out)
{
	struct np_pool_fill_limits l;
	struct single *s = np_calloc(1, sizeof(*s));

	if (s == NULL)
		return NP_ENOMEM;
	limits_of(instance_cfg(inst), &l);
	s->inst = inst;
	s->interval_ms = runtime.env.min_pool_interval_ms;
	np_pool_fill_init(&s->fill, &l, np_mono_now());
	*out = s;
	if (l.max > 0) /* min=0: every visitor dials */
		single_fill(s);
	return NP_OK;
}

void single_take(struct instance *inst, struct visitor *v)
{
	struct single *s = inst->single;
	struct np_mono now = np_mono_now();

	if (s == NULL || s->fill.limits.max == 0)
		return;
	np_pool_fill_opened(&s->fill);
	drop_old(s, now);
	while (s->idle != NULL && v->target_fd == -1) {
		/* The oldest: the target has accepted them in this order, and visitors come in it. */
		struct ready *r = s->idle->prev;

		idle_remove(r);
		if (!is_closed(r->fd)) {
			event_del(&r->ev);
			r->ev_added = false;
			v->target_fd = r->fd;
			v->target_addr = r->addr;
			r->fd = -1;
		}
		ready_free(r);
	}
	if (s->interval_ms > runtime.env.min_pool_interval_ms || s->timer == NULL ||
	    !evtimer_pending(s->timer, NULL)) {
		s->interval_ms = runtime.env.min_pool_interval_ms;
		single_fill(s);
	}
}

unsigned single_idle(const struct single *s)
{
	return s->nidle;
}

void single_free(struct single *s)
{
	if (s == NULL)
		return;
	sleep_on(s);
	drop_all(s);
	np_free(s);
}
