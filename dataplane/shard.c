/*
 * shard.c - an instance's part on one worker. See shard.h.
 *
 * The tick runs only while there is something with a deadline, so that thousands of idle instances
 * cost nothing.
 */
#include "shard.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "channel.h"
#include "maker.h"
#include "relay.h"
#include "session.h"
#include "trace.h"
#include "udp.h"
#include "visitor.h"

#include <utlist.h>

static void shard_on_tick(evutil_socket_t fd, short what, void *arg);
static void shard_on_throttle(evutil_socket_t fd, short what, void *arg);

struct shard *shard_new(struct instance *inst, struct worker *w)
{
	struct shard *sh = np_calloc(1, sizeof(*sh));

	if (sh == NULL)
		return NULL;
	sh->magic = SHARD_MAGIC;
	sh->inst = inst;
	sh->worker = w;
	sh->counters.mark = inst->mark;
	return sh;
}

static void tick_udp(struct shard *sh, struct np_mono now)
{
	if (sh->worker != sh->inst->home)
		return;
	for (int i = 0; i < INSTANCE_LISTENERS_MAX; i++)
		if (sh->inst->udp[i] != NULL)
			udp_ingress_tick(sh->inst->udp[i], now);
}

static bool is_empty(const struct shard *sh)
{
	return sh->sessions == NULL && sh->channels == NULL && sh->makers == NULL &&
	       sh->visitors == NULL && sh->traces == NULL &&
	       atomic_load_explicit(&sh->counters.udps, memory_order_relaxed) == 0;
}

static void shard_on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct shard *sh = arg;
	struct np_mono now = worker_now(sh->worker);
	struct session *s, *snext;
	struct channel *ch, *cnext;
	struct maker *m, *mnext;
	struct visitor *v, *vnext;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(sh, SHARD_MAGIC);
	DL_FOREACH_SAFE (sh->visitors, v, vnext)
		visitor_tick(v, now);
	DL_FOREACH_SAFE (sh->makers, m, mnext)
		maker_tick(m, now);
	DL_FOREACH_SAFE (sh->sessions, s, snext)
		session_tick(s, now);
	DL_FOREACH_SAFE (sh->channels, ch, cnext)
		channel_tick(ch, now);
	tick_udp(sh, now);
	trace_tick(sh, now);
	if (sh->throttle_timer == NULL && (sh->throttled[0] != NULL || sh->throttled[1] != NULL))
		relay_throttle_run(sh); /* there was no memory for its timer */
	if (!is_empty(sh))
		shard_wake(sh);
}

void shard_wake(struct shard *sh)
{
	const struct timeval tv = {.tv_usec = SHARD_TICK_MS * 1000};

	/* Idle instances have no timers; without memory the next one who wakes it tries again. */
	if (sh->tick == NULL)
		sh->tick = evtimer_new(sh->worker->base, shard_on_tick, sh);
	if (sh->tick != NULL && !evtimer_pending(sh->tick, NULL))
		evtimer_add(sh->tick, &tv);
}

void shard_throttle_after(struct shard *sh, int64_t us)
{
	const struct timeval tv = tv_of_us(us);

	if (sh->throttle_timer == NULL)
		sh->throttle_timer = evtimer_new(sh->worker->base, shard_on_throttle, sh);
	if (sh->throttle_timer == NULL)
		return;
	if (!evtimer_pending(sh->throttle_timer, NULL))
		evtimer_add(sh->throttle_timer, &tv);
}

static void shard_on_throttle(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	relay_throttle_run(arg);
}

/* -- end -- */

static void on_stopped(struct worker *w, struct mail *m)
{
	struct shard *sh = (struct shard *)((char *)m - offsetof(struct shard, mail));

	(void)w;
	instance_shard_stopped(sh->inst);
}

static void timers_free(struct shard *sh)
{
	if (sh->tick != NULL)
		event_free(sh->tick);
	if (sh->throttle_timer != NULL)
		event_free(sh->throttle_timer);
	sh->tick = sh->throttle_timer = NULL;
}

/* Second round: what home sent while the shard ended (FREE of channels) has been delivered before
 * this. */
static void on_flush(struct worker *w, struct mail *m)
{
	struct shard *sh = (struct shard *)((char *)m - offsetof(struct shard, mail));

	if (atomic_load(&sh->inst->trace_queries) > 0) { /* they visit every shard */
		worker_post(w, m);
		return;
	}
	timers_free(sh);
	trace_release(sh);
	m->deliver = on_stopped;
	worker_post(sh->inst->home, m);
}

static void on_emptied(struct worker *w, struct mail *m)
{
	struct shard *sh = (struct shard *)((char *)m - offsetof(struct shard, mail));

	(void)w;
	m->deliver = on_flush;
	worker_post(sh->worker, m);
}

static void on_stop(struct worker *w, struct mail *m)
{
	struct shard *sh = (struct shard *)((char *)m - offsetof(struct shard, mail));
	enum np_reason reason = (enum np_reason)atomic_load(&sh->inst->end_reason);

	(void)w;
	sh->stopping = true;
	while (sh->visitors != NULL)
		visitor_refuse(sh->visitors, reason);
	while (sh->makers != NULL)
		maker_fail(sh->makers, "the instance stops");
	while (sh->sessions != NULL)
		session_abort(sh->sessions, reason);
	while (sh->channels != NULL)
		channel_close(sh->channels, "the instance stops");
	m->deliver = on_emptied;
	worker_post(sh->inst->home, m);
}

void shard_stop(struct shard *sh)
{
	sh->mail.deliver = on_stop;
	worker_post(sh->worker, &sh->mail);
}

void shard_free(struct shard *sh)
{
	if (sh == NULL)
		return;
	timers_free(sh);
	counters_release(&sh->counters);
	sh->magic = 0;
	np_free(sh);
}
