/*
 * pool.c - visitors meet idle channels. See pool.h. Everything here runs on the instance's home
 * worker.
 */
#include "pool.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "channel.h"
#include "client.h"
#include "control.h"
#include "runtime.h"
#include "session.h"
#include "udp.h"
#include "visitor.h"

#include <string.h>
#include <utlist.h>

/* A channel is surplus only after it was idle this long: bursts come in series. */
#define RETIRE_IDLE_MS	 2000
#define PENALTY_FIRST_MS 1000
#define POOL_LOOK_AT	 8 /* idle channels from which one is chosen */
#define PENALTY_MAX_MS	 30000

static void pool_on_timer(evutil_socket_t fd, short what, void *arg);
static void pool_demand(struct worker *w, struct task *t);
static void pool_on_demand_timer(evutil_socket_t fd, short what, void *arg);

enum np_err pool_init(struct instance *inst)
{
	inst->pool.demand_task.run = pool_demand;
	inst->pool.timer = evtimer_new(inst->home->base, pool_on_timer, inst);
	inst->pool.demand_timer = evtimer_new(inst->home->base, pool_on_demand_timer, inst);
	return inst->pool.timer != NULL && inst->pool.demand_timer != NULL ? NP_OK : NP_ENOMEM;
}

void pool_release(struct instance *inst)
{
	struct pool *pool = &inst->pool;
	struct peer *p, *next;

	worker_undefer(inst->home, &pool->demand_task);
	if (pool->timer != NULL)
		event_free(pool->timer);
	if (pool->demand_timer != NULL)
		event_free(pool->demand_timer);
	pool->timer = pool->demand_timer = NULL;
	DL_FOREACH_SAFE (pool->peers, p, next) {
		p->state = NP_PEER_ENDED;
		peer_maybe_free(p);
	}
}

/* -- choice -- */

static bool peer_serves(const struct peer *p, const struct visitor *v)
{
	/* A second attempt does not go to a session whose idle channels may be closing just now. */
	if (v->attempt > 1 && p->state != NP_PEER_LIVE)
		return false;
	return p->state != NP_PEER_ENDED && !p->draining && p->idle != NULL &&
	       (!v->same_boot || memcmp(p->origin, v->origin, PEER_ORIGIN_LEN) == 0);
}

/* Fewest sessions, ties in turn; one that failed lately only when there is no other. */
static struct peer *pool_choose(struct pool *pool, const struct visitor *v, struct np_mono now)
{
	struct peer *p, *best = NULL;
	bool best_passed = true;
	uint32_t i = 0, n = 0, best_rank = 0;

	DL_FOREACH (pool->peers, p)
		n++;
	DL_FOREACH (pool->peers, p) {
		bool passed = np_mono_before(now, p->passed_until);
		uint32_t rank = n > 0 ? (i + n - pool->rotor % n) % n : 0;

		i++;
		if (!peer_serves(p, v))
			continue;
		if (best == NULL || (best_passed && !passed) ||
		    (best_passed == passed &&
		     (p->assigned < best->assigned ||
		      (p->assigned == best->assigned && rank < best_rank)))) {
			best = p;
			best_passed = passed;
			best_rank = rank;
		}
	}
	pool->rotor++;
	return best;
}

static void on_handover(struct worker *w, struct mail *m)
{
	struct visitor *v = (struct visitor *)((char *)m - offsetof(struct visitor, mail));

	(void)w;
	NP_CHECK_MAGIC(v, VISITOR_MAGIC);
	session_start_ingress(v->channel, v);
}

/* One after the other within a session with the other end, which dials in this order. */
static void visitor_name(struct peer *p, struct visitor *v)
{
	uint8_t base[ORDER_BASE_LEN];

	if (v->has_trace)
		return;
	for (size_t i = 0; i < sizeof(base); i++)
		base[i] = p->inst->trace_base[i] ^ p->session_id[i];
	dial_order_trace(base, ++p->visitors, v->trace);
	v->has_trace = true;
}

/*
 * The channel used last; but one of this worker, if there is one among the next few and the worker is
 * no busier: that saves the way through the mailbox.
 */
static struct channel *pool_channel(struct peer *p)
{
	struct worker *home = p->inst->home;
	struct channel *ch = p->idle;
	uint32_t here = atomic_load_explicit(&home->load, memory_order_relaxed);

	if (ch->shard->worker == home ||
	    here > atomic_load_explicit(&ch->shard->worker->load, memory_order_relaxed))
		return ch;
	for (unsigned i = 0; ch != NULL && i < POOL_LOOK_AT; i++, ch = ch->hnext)
		if (ch->shard->worker == home)
			return ch;
	return p->idle;
}

static void pool_assign(struct peer *p, struct visitor *v)
{
	struct channel *ch = pool_channel(p);

	visitor_name(p, v);
	DL_DELETE2(p->idle, ch, hprev, hnext);
	p->nidle--;
	ch->h_idle = false;
	ch->h_assigned = true;
	p->assigned++;
	p->inst->pool.served++;
	v->state = VISITOR_HANDED;
	v->channel = ch;
	if (p->inst->client != NULL)
		client_opened(p->inst->client);
	if (ch->shard->worker == p->inst->home) {
		session_start_ingress(ch, v);
		return;
	}
	v->mail.deliver = on_handover;
	worker_post(ch->shard->worker, &v->mail);
}

/* -- who waits -- */

/* The next deadline. The line is in order of arrival, but for those that came back to its front. */
static void pool_arm(struct instance *inst)
{
	struct pool *pool = &inst->pool;
	struct np_mono first = {INT64_MAX};
	struct visitor *v;
	struct timeval tv;
	int64_t us;

	DL_FOREACH (pool->waiting, v) {
		if (np_mono_before(v->deadline, first))
			first = v->deadline;
		if (v->attempt == 1)
			break; /* those behind came later */
	}
	evtimer_del(pool->timer);
	if (pool->waiting == NULL)
		return;
	us = np_mono_diff_us(first, worker_now(inst->home));
	tv = tv_of_us(us > 0 ? us : 0);
	evtimer_add(pool->timer, &tv);
}

static void pool_dequeue(struct instance *inst, struct visitor *v)
{
	DL_DELETE(inst->pool.waiting, v);
	inst->pool.nwaiting--;
	v->state = VISITOR_HANDED;
}

static void pool_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct instance *inst = arg;
	struct np_mono now = worker_now(inst->home);
	struct visitor *v, *next;

	(void)fd;
	(void)what;
	DL_FOREACH_SAFE (inst->pool.waiting, v, next) {
		if (np_mono_before(now, v->deadline))
			continue;
		pool_dequeue(inst, v);
		visitor_refuse(v, v->same_boot ? NP_REASON_CHANNEL_LOST : NP_REASON_POOL_TIMEOUT);
	}
	pool_arm(inst);
}

/*
 * Tells the dialling side at once how many wait, then again every POOL_DEMAND_MS while they do.
 * Several clients share the demand.
 */
static void pool_demand(struct worker *w, struct task *t)
{
	struct pool *pool = (struct pool *)((char *)t - offsetof(struct pool, demand_task));
	struct instance *inst = (struct instance *)((char *)pool - offsetof(struct instance, pool));
	const struct timeval tv = {.tv_usec = POOL_DEMAND_MS * 1000};
	struct np_msg m = {.kind = NP_MSG_POOL_DEMAND};
	struct np_mono now = worker_now(w);
	struct peer *p;
	unsigned n = 0;

	if (pool->nwaiting == 0 || evtimer_pending(pool->demand_timer, NULL))
		return;
	evtimer_add(pool->demand_timer, &tv);
	if (pool->nwaiting + pool->served <= pool->told &&
	    np_mono_diff_ms(now, pool->told_at) < POOL_REMIND_MS)
		return; /* a number told twice would be served twice */
	pool->told = pool->nwaiting;
	pool->served = 0;
	pool->told_at = now;
	if (inst->client != NULL) {
		client_demand(inst->client, pool->nwaiting);
		return;
	}
	DL_FOREACH (pool->peers, p)
		n += p->control != NULL && !p->draining;
	if (n == 0)
		return;
	m.count.n = (pool->nwaiting + n - 1) / n;
	DL_FOREACH (pool->peers, p)
		if (p->control != NULL && !p->draining)
			control_send(p->control, &m);
}

static void pool_on_demand_timer(evutil_socket_t fd, short what, void *arg)
{
	struct instance *inst = arg;

	(void)fd;
	(void)what;
	pool_demand(inst->home, &inst->pool.demand_task);
}

void pool_visitor(struct instance *inst, struct visitor *v, bool front)
{
	struct pool *pool = &inst->pool;
	struct np_mono now = worker_now(inst->home);
	struct peer *p = NULL;

	v->shard = instance_shard(inst, inst->home);
	NP_ASSERT(v->shard != NULL);
	if (inst->retiring) {
		inst->on_visitor(inst, v);
		return;
	}
	if (inst->state == INSTANCE_STOPPED || atomic_load(&inst->draining)) {
		visitor_refuse(v, (enum np_reason)atomic_load(&inst->end_reason));
		return;
	}
	if (pool->waiting == NULL || front)
		p = pool_choose(pool, v, now);
	if (p != NULL) {
		pool_assign(p, v);
		return;
	}
	if (pool->nwaiting >= (unsigned)runtime.env.semaphore_limit) {
		visitor_refuse(v, NP_REASON_QUEUE_FULL);
		return;
	}
	v->state = VISITOR_WAITING;
	v->channel = NULL;
	v->deadline = np_mono_add_ms(now, runtime.env.pool_get_timeout_ms);
	if (front)
		DL_PREPEND(pool->waiting, v);
	else
		DL_APPEND(pool->waiting, v);
	pool->nwaiting++;
	worker_defer(inst->home, &pool->demand_task);
	if (front || pool->nwaiting == 1)
		pool_arm(inst);
}

void pool_refuse_all(struct instance *inst, enum np_reason reason)
{
	while (inst->pool.waiting != NULL) {
		struct visitor *v = inst->pool.waiting;

		pool_dequeue(inst, v);
		visitor_refuse(v, reason);
	}
}

void pool_hand_on(struct instance *inst)
{
	while (inst->pool.waiting != NULL) {
		struct visitor *v = inst->pool.waiting;

		pool_dequeue(inst, v);
		inst->on_visitor(inst, v);
	}
}

static void retire_surplus(struct peer *p, struct np_mono now)
{
	while (p->nidle > p->idle_target) {
		struct channel *oldest = p->idle->hprev; /* the tail: used longest ago */

		if (np_mono_diff_ms(now, oldest->h_idle_since) < RETIRE_IDLE_MS)
			break;
		DL_DELETE2(p->idle, oldest, hprev, hnext);
		p->nidle--;
		oldest->h_idle = false;
		channel_command_close(oldest);
	}
}

/* The first who can be served; those that wait for a certain client do not hold up the others. */
static bool serve_one(struct instance *inst, struct np_mono now)
{
	struct visitor *v;

	DL_FOREACH (inst->pool.waiting, v) {
		struct peer *p = pool_choose(&inst->pool, v, now);

		if (p != NULL) {
			pool_dequeue(inst, v);
			pool_assign(p, v);
			return true;
		}
		if (!v->same_boot)
			return false;
	}
	return false;
}

void pool_kick(struct instance *inst)
{
	struct pool *pool = &inst->pool;
	struct np_mono now = worker_now(inst->home);
	struct peer *p;

	while (pool->waiting != NULL && serve_one(inst, now))
		;
	if (pool->waiting != NULL) {
		worker_defer(inst->home, &pool->demand_task);
		return;
	}
	evtimer_del(pool->timer);
	DL_FOREACH (pool->peers, p)
		retire_surplus(p, now);
}

/* -- channels -- */

static void datagram_up(struct peer *p, struct channel *ch)
{
	if (p->ndatagram == PEER_DATAGRAM_CHANNELS) {
		channel_command_close(ch);
		return;
	}
	p->datagram[p->ndatagram++] = ch;
	ch->h_idle = false;
	udp_channel_up(p->inst);
}

void pool_idle(struct channel *ch)
{
	struct peer *p = ch->peer;

	NP_CHECK_MAGIC(p, PEER_MAGIC);
	if (ch->kind == NP_CHANNEL_DATAGRAM) {
		datagram_up(p, ch);
		return;
	}
	if (ch->h_assigned)
		p->assigned--;
	ch->h_assigned = false;
	if (p->state == NP_PEER_ENDED) {
		channel_command_close(ch);
		return;
	}
	ch->h_idle = true;
	ch->h_idle_since = worker_now(p->inst->home);
	DL_PREPEND2(p->idle, ch, hprev, hnext);
	p->nidle++;
	pool_kick(p->inst);
}

void pool_gone(struct channel *ch)
{
	struct peer *p = ch->peer;

	NP_CHECK_MAGIC(p, PEER_MAGIC);
	if (ch->h_idle) {
		DL_DELETE2(p->idle, ch, hprev, hnext);
		p->nidle--;
		ch->h_idle = false;
	}
	if (ch->h_assigned)
		p->assigned--;
	ch->h_assigned = false;
	DL_DELETE2(p->channels, ch, aprev, anext);
	if (ch->kind == NP_CHANNEL_STREAM)
		p->nchannels--;
	for (unsigned i = 0; i < p->ndatagram; i++) {
		if (p->datagram[i] == ch) {
			p->datagram[i] = p->datagram[--p->ndatagram];
			break;
		}
	}
	if (p->inst->client != NULL)
		client_channel_gone(p->inst->client, p);
	peer_maybe_free(p);
}

void pool_outcome(struct peer *p, bool ok)
{
	if (ok) {
		p->failures = 0;
		p->penalty_ms = 0;
		p->passed_until = (struct np_mono){0};
		return;
	}
	if (++p->failures < PEER_FAILURES_MAX)
		return;
	p->penalty_ms = p->penalty_ms == 0 ? PENALTY_FIRST_MS : p->penalty_ms * 2;
	if (p->penalty_ms > PENALTY_MAX_MS)
		p->penalty_ms = PENALTY_MAX_MS;
	p->passed_until = np_mono_add_ms(worker_now(p->inst->home), p->penalty_ms);
}

unsigned pool_idle_count(const struct instance *inst)
{
	const struct peer *p;
	unsigned n = 0;

	DL_FOREACH (inst->pool.peers, p) {
		uint32_t busy = atomic_load_explicit(&p->busy, memory_order_relaxed);

		if (instance_is_ingress(inst))
			n += p->nidle;
		else if (p->nchannels > busy)
			n += p->nchannels - busy;
	}
	return n;
}

struct channel *pool_datagram_channel(struct instance *inst)
{
	struct channel *best = NULL;
	struct peer *p;

	DL_FOREACH (inst->pool.peers, p) {
		if (p->state == NP_PEER_ENDED || p->draining)
			continue;
		for (unsigned i = 0; i < p->ndatagram; i++) {
			struct channel *ch = p->datagram[i];

			if (ch->state != CHANNEL_CLOSED &&
			    (best == NULL ||
			     udp_flows_count(ch->flows) < udp_flows_count(best->flows)))
				best = ch;
		}
	}
	return best;
}
