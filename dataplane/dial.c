/*
 * dial.c - one TCP connection to the first of several targets that answers.
 *
 * A dial is on one worker; its attempts, its lookups and its one timer are all it has there. It
 * ends through dial_end, once, from whichever of them is last; inside dial_start the end is
 * deferred. The order of the targets is in dial_target.c.
 */
#include "dial.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "dial_priv.h"
#include "dial_socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* -- life -- */

static void dial_release(struct grave *g)
{
	struct dial *d = (struct dial *)((char *)g - offsetof(struct dial, grave));

	settings_release(d->settings);
	np_free(d);
}

static void attempt_end(struct dial_attempt *a)
{
	struct dial_attempt **slot = a->dial->attempt;

	while (*slot != a)
		slot++;
	*slot = NULL;
	event_del(&a->event);
	if (a->fd != -1)
		close(a->fd);
	a->target->in_flight--;
	a->dial->in_flight--;
	np_free(a);
}

/* Everything that could still call back; the result stays. */
static void dial_stop(struct dial *d)
{
	for (size_t i = 0; i < DIAL_ATTEMPTS_MAX; i++)
		if (d->attempt[i] != NULL)
			attempt_end(d->attempt[i]);
	for (size_t i = 0; i < d->ntargets; i++) {
		resolve_cancel(&d->target[i].request);
		np_free(d->target[i].addr);
		d->target[i].addr = NULL;
	}
	event_del(&d->timer);
}

static void dial_call_done(struct dial *d)
{
	d->magic = 0;
	worker_bury(d->worker, &d->grave);
	d->done(d->arg, &d->result);
}

static void dial_end_run(struct worker *w, struct task *t)
{
	struct dial *d = (struct dial *)((char *)t - offsetof(struct dial, end_task));

	(void)w;
	NP_CHECK_MAGIC(d, DIAL_MAGIC);
	dial_call_done(d);
}

static void dial_end(struct dial *d)
{
	NP_ASSERT(!d->ended);
	d->ended = true;
	dial_stop(d);
	if (d->starting)
		worker_defer(d->worker, &d->end_task);
	else
		dial_call_done(d);
}

void dial_cancel(struct dial *d)
{
	if (d == NULL)
		return;
	NP_CHECK_MAGIC(d, DIAL_MAGIC);
	worker_undefer(d->worker, &d->end_task);
	if (!d->ended)
		dial_stop(d);
	else if (d->result.fd != -1)
		close(d->result.fd);
	d->magic = 0;
	worker_bury(d->worker, &d->grave);
}

/* -- attempts -- */

/*
 * A target that was passed over without an answer counts as failed when another one won: otherwise
 * a dead one would cost every session its second.
 */
static void attempt_won(struct dial_attempt *a)
{
	struct dial *d = a->dial;
	struct dial_target *won = a->target;
	struct np_mono now = worker_now(d->worker);

	d->result = (struct dial_result){
	    .fd = a->fd,
	    .reason = NP_REASON_DONE,
	    .host_answered = true,
	    .target = won->index,
	    .addr = a->addr,
	    .connect_us = np_mono_diff_us(np_mono_now(), a->started),
	};
	a->fd = -1;
	if (d->balance != NULL)
		np_balance_ok(d->balance, won->index, d->result.connect_us);
	for (size_t i = 0; i < d->ntargets; i++) {
		struct dial_target *t = &d->target[i];

		if (t != won && np_mono_is_set(t->started) &&
		    np_mono_diff_ms(now, t->started) >= DIAL_NEXT_TARGET_MS)
			dial_target_note(d, t);
	}
	dial_end(d);
}

static void attempt_lost(struct dial_attempt *a, int err)
{
	struct dial *d = a->dial;
	struct dial_target *t = a->target;

	dial_note_errno(d, "connect", &a->addr, err);
	attempt_end(a);
	if (dial_target_is_over(t))
		dial_target_note(d, t);
}

static void attempt_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct dial_attempt *a = arg;
	struct dial *d = a->dial;
	int err = dial_socket_result(fd, &a->addr);

	(void)what;
	NP_CHECK_MAGIC(d, DIAL_MAGIC);
	if (err == 0) {
		attempt_won(a);
		return;
	}
	attempt_lost(a, err);
	dial_step(d);
}

/* attempt_start - false: this address failed at once, the caller goes on with the next. */
static bool attempt_start(struct dial *d, struct dial_target *t, const struct np_addr *addr)
{
	struct dial_attempt **slot = d->attempt, *a = np_malloc(sizeof(*a));
	const char *call = "connect";
	int err;

	if (a == NULL) {
		dial_note_no_memory(d);
		return false;
	}
	*a = (struct dial_attempt){.dial = d, .target = t, .addr = *addr, .started = np_mono_now()};
	a->fd = dial_socket_connect(addr, d->source.len > 0 ? &d->source : NULL, &call, &err);
	if (a->fd == -1) {
		np_free(a);
		dial_note_errno(d, call, call[0] == 'b' ? &d->source : addr, err);
		return false;
	}
	while (*slot != NULL)
		slot++;
	*slot = a;
	d->in_flight++;
	t->in_flight++;
	event_assign(&a->event, d->worker->base, a->fd, EV_WRITE, attempt_on_writable, a);
	if (err == 0 && dial_socket_is_self(a->fd, &a->addr))
		err = ECONNREFUSED;
	if (err == 0) {
		attempt_won(a);
		return true;
	}
	if (err == EINPROGRESS && event_add(&a->event, NULL) == 0)
		return true;
	attempt_lost(a, err == EINPROGRESS ? ENOMEM : err);
	return false;
}

/* -- what is next -- */

static void timer_arm(struct dial *d, struct np_mono now)
{
	struct np_mono next_at = d->deadline,
		       window_end =
			   np_mono_add_ms(d->target[d->current].started, DIAL_NEXT_TARGET_MS);
	bool can_start = !d->exhausted && d->in_flight < DIAL_ATTEMPTS_MAX;
	int64_t us;
	struct timeval tv;

	if (can_start && dial_addresses_left(d))
		next_at = np_mono_add_ms(now, DIAL_NEXT_ADDR_MS);
	if (can_start && d->current + 1 < d->ntargets && np_mono_before(window_end, next_at))
		next_at = window_end;
	if (np_mono_before(d->deadline, next_at))
		next_at = d->deadline;
	us = np_mono_diff_us(next_at, now);
	us = us > 1000 ? us : 1000;
	tv = tv_of_us(us);
	evtimer_add(&d->timer, &tv);
}

/*
 * dial_step - one more attempt is due: something failed, was resolved, or the timer says so. Starts
 * attempts until one is under way, then waits; ends the dial when nothing is left.
 */
void dial_step(struct dial *d)
{
	struct np_mono now = worker_now(d->worker);

	while (!d->exhausted && d->in_flight < DIAL_ATTEMPTS_MAX) {
		struct dial_target *t = dial_target_due(d, now);
		bool under_way;

		if (t == NULL)
			break;
		if (t->next == t->n) { /* just started: it is being resolved, or has failed */
			if (t->resolving)
				break;
			continue;
		}
		under_way = attempt_start(d, t, &t->addr[t->next++]);
		if (d->ended)
			return;
		if (under_way)
			break;
		if (dial_target_is_over(t))
			dial_target_note(d, t);
	}
	if (d->in_flight == 0 && (d->exhausted || !dial_resolving(d))) {
		dial_end(d);
		return;
	}
	timer_arm(d, now);
}

static void dial_timed_out(struct dial *d)
{
	char addr[NP_ADDR_TEXT_MAX];

	for (size_t i = 0; i < DIAL_ATTEMPTS_MAX; i++) {
		if (d->attempt[i] == NULL)
			continue;
		np_addr_format(&d->attempt[i]->addr, addr);
		dial_note_failure(d, NP_REASON_DIAL_TIMEOUT, ETIMEDOUT,
				  "connect %s: no answer in time", addr);
	}
	for (size_t i = 0; i < d->ntargets; i++) {
		struct dial_target *t = &d->target[i];

		if (t->resolving)
			dial_note_failure(d, NP_REASON_RESOLVE_FAILED, 0,
					  "resolve %.100s: no answer in time",
					  d->hostports[t->index].host);
		if (np_mono_is_set(t->started))
			dial_target_note(d, t);
	}
	dial_end(d);
}

static void dial_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct dial *d = arg;

	(void)fd, (void)what;
	NP_CHECK_MAGIC(d, DIAL_MAGIC);
	if (np_mono_before(worker_now(d->worker), d->deadline))
		dial_step(d);
	else
		dial_timed_out(d);
}

static void dial_set_targets(struct dial *d, const struct dial_options *o)
{
	uint8_t order[NP_TARGETS_MAX];

	for (size_t i = 0; i < d->ntargets; i++)
		order[i] = (uint8_t)i;
	if (d->balance != NULL)
		np_balance_order(d->balance, worker_now(d->worker), order);
	for (size_t i = 0; i < d->ntargets; i++) {
		d->target[i].dial = d;
		d->target[i].index = order[i];
		if (o->fixed == NULL)
			d->target[i].port = o->targets[order[i]].port;
	}
	if (o->fixed != NULL) {
		d->target[0].port = np_addr_port(o->fixed);
		dial_target_take(&d->target[0], o->fixed, 1);
	}
}

void dial_targets(const struct dial *d, char *out, size_t max)
{
	char text[NP_HOST_MAX + 16] = "";

	if (d->hostports != NULL)
		np_hostport_format(&d->hostports[0], text, sizeof(text));
	snprintf(out, max, "%.70s%s", text, d->ntargets > 1 ? ",..." : "");
}

struct dial_options dial_options_of(struct settings *st, int64_t timeout_ms)
{
	return (struct dial_options){
	    .targets = st->cfg.targets,
	    .ntargets = st->cfg.ntargets,
	    .balance = &st->balance,
	    .settings = st,
	    .source = st->cfg.dial_auto ? NULL : &st->cfg.dial,
	    .dns_ms = st->cfg.dns_ms,
	    .timeout_ms = timeout_ms,
	};
}

enum np_err dial_start(struct worker *w, const struct dial_options *o, dial_done_fn done, void *arg,
		       struct dial **out)
{
	size_t n = o->fixed != NULL ? 1 : o->ntargets;
	struct dial *d;

	NP_ASSERT(n >= 1 && n <= NP_TARGETS_MAX);
	NP_ASSERT(o->fixed != NULL || o->balance == NULL || o->balance->n == n);
	d = np_calloc(1, sizeof(*d) + n * sizeof(d->target[0]));
	if (d == NULL)
		return NP_ENOMEM;
	d->magic = DIAL_MAGIC;
	d->grave.release = dial_release;
	d->worker = w;
	d->done = done;
	d->arg = arg;
	d->balance = o->fixed == NULL ? o->balance : NULL;
	d->hostports = o->fixed == NULL ? o->targets : NULL;
	d->settings = o->settings != NULL ? settings_hold(o->settings) : NULL;
	if (o->source != NULL)
		d->source = *o->source;
	d->dns_ms = o->dns_ms;
	d->deadline = np_mono_add_ms(worker_now(w), o->timeout_ms);
	d->end_task.run = dial_end_run;
	d->result = (struct dial_result){.fd = -1, .reason = NP_REASON_DIAL_FAILED};
	d->current = d->ntargets = n;
	event_assign(&d->timer, w->base, -1, 0, dial_on_timer, d);
	dial_set_targets(d, o);
	*out = d;
	d->starting = true;
	dial_step(d);
	d->starting = false;
	return NP_OK;
}
