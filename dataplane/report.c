/*
 * report.c - checkpoint lines, session-end lines within their limit, sums over shards. See
 * report.h.
 */
#include "report.h"

#include "runtime.h"

#include <stdio.h>
#include <utlist.h>

/* The instances of a worker, and its one timer for all of them. Touched by that worker alone. */
static struct seconds {
	struct instance *list;
	struct event *timer; /* owned; while there is an instance */
} seconds[WORKERS_MAX];

static void add_ends(struct counter_sum *sum, const struct counted_ends *e)
{
	if (e == NULL)
		return;
	for (int i = 0; i < NP_REASON_COUNT; i++)
		sum->closes[i] += atomic_load_explicit(&e->closes[i], memory_order_relaxed);
	for (int h = 0; h < HISTOGRAM_COUNT; h++) {
		for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
			sum->took[h].count[i] +=
			    atomic_load_explicit(&e->took[h].count[i], memory_order_relaxed);
		sum->took[h].sum_us +=
		    atomic_load_explicit(&e->took[h].sum_us, memory_order_relaxed);
	}
}

void instance_sum(const struct instance *inst, struct counter_sum *sum)
{
	*sum = (struct counter_sum){0};
	for (unsigned w = 0; w < workers_count(); w++) {
		const struct shard *sh = inst->shards[w];

		if (sh == NULL)
			continue;
		for (int i = 0; i < COUNTER_COUNT; i++)
			sum->total[i] += counter_get(&sh->counters, (enum counter)i);
		add_ends(sum, atomic_load_explicit(&sh->counters.ends, memory_order_acquire));
		sum->tcps += atomic_load_explicit(&sh->counters.tcps, memory_order_relaxed);
		sum->udps += atomic_load_explicit(&sh->counters.udps, memory_order_relaxed);
	}
}

void instance_dialed(struct shard *sh, int64_t us)
{
	instance_measured(sh->inst, &sh->inst->dial_us, us);
	counter_took(&sh->counters, HISTOGRAM_DIAL, us);
}

uint32_t instance_mode_number(enum instance_mode mode)
{
	switch (mode) {
	case MODE_SINGLE:
	case MODE_SERVER_REVERSE:
		return 1;
	case MODE_SERVER_FORWARD:
	case MODE_CLIENT:
		return 2;
	case MODE_UNDECIDED:
		break;
	}
	return 0;
}

static void report_checkpoint(struct instance *inst)
{
	int64_t us = atomic_load_explicit(
	    inst->mode == MODE_SINGLE ? &inst->dial_us : &inst->ping_us, memory_order_relaxed);
	struct counter_sum s;

	instance_sum(inst, &s);
	INSTANCE_LOG(
	    inst, EVENT,
	    "CHECK_POINT|MODE=%u|PING=%lldms|POOL=%u|TCPS=%u|UDPS=%u|TCPRX=%llu|TCPTX=%llu|"
	    "UDPRX=%llu|UDPTX=%llu",
	    instance_mode_number(inst->mode), us < 0 ? 0LL : (long long)((us + 500) / 1000),
	    instance_pool_idle(inst), s.tcps, s.udps, (unsigned long long)s.total[COUNTER_TCP_RX],
	    (unsigned long long)s.total[COUNTER_TCP_TX],
	    (unsigned long long)s.total[COUNTER_UDP_RX],
	    (unsigned long long)s.total[COUNTER_UDP_TX]);
}

static void report_on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	report_checkpoint(arg);
}

static void see_pool(struct instance *inst)
{
	uint32_t idle = instance_pool_idle(inst);

	if (atomic_load_explicit(&inst->pool_seen, memory_order_relaxed) == idle)
		return;
	atomic_store_explicit(&inst->pool_seen, idle, memory_order_relaxed);
	moved_mark(inst->mark);
}

static void report_second(struct instance *inst)
{
	uint32_t more = 0;

	/* Most instances are idle most of the time: looked at, not written to. */
	if (atomic_load_explicit(&inst->lines, memory_order_relaxed) > 0) {
		atomic_store(&inst->lines, 0);
		more = atomic_exchange(&inst->lines_suppressed, 0);
	}
	if (inst->mode != MODE_UNDECIDED)
		see_pool(inst);
	if (inst->strangers_more > 0)
		INSTANCE_LOG(inst, WARN, "clients refused: %u more in the last second",
			     inst->strangers_more);
	if (inst->strangers_said > 0)
		inst->strangers_said = inst->strangers_more = 0;
	if (more > 0)
		INSTANCE_LOG(inst, INFO, "session ends not shown: %u more in the last second",
			     more);
	if (inst->pool.peers != NULL)
		pool_kick(inst);
}

static struct {
	report_session_fn fn;
	void *arg;
} session_sink;

void report_set_session_sink(report_session_fn fn, void *arg)
{
	session_sink.fn = fn;
	session_sink.arg = arg;
}

static void report_on_second(evutil_socket_t fd, short what, void *arg)
{
	const struct seconds *s = arg;
	struct instance *inst;

	(void)fd;
	(void)what;
	DL_FOREACH2(s->list, inst, report_next)
	report_second(inst);
}

const char *session_record_target(const struct session_record *r, char out[NP_ADDR_TEXT_MAX])
{
	if (r->target != NULL)
		return r->target;
	np_addr_format(r->target_addr, out);
	return out;
}

void shard_record(struct shard *sh, const struct session_record *r)
{
	struct instance *inst = sh->inst;
	char visitor[NP_ADDR_TEXT_MAX], target[NP_ADDR_TEXT_MAX];

	counter_closed(&sh->counters, r->reason);
	if (session_sink.fn != NULL)
		session_sink.fn(session_sink.arg, inst->id, r);
	if (!np_log_enabled(instance_cfg(inst)->log, NP_LOG_INFO))
		return;
	if (atomic_fetch_add_explicit(&inst->lines, 1, memory_order_relaxed) >=
	    SESSION_LINES_PER_S) {
		atomic_fetch_add_explicit(&inst->lines_suppressed, 1, memory_order_relaxed);
		return;
	}
	np_addr_format(r->visitor, visitor);
	INSTANCE_LOG(inst, INFO,
		     "session end proto=%s reason=%s rx=%llu tx=%llu ms=%lld visitor=%s target=%s",
		     r->udp ? "udp" : "tcp", np_reason_name(r->reason), (unsigned long long)r->rx,
		     (unsigned long long)r->tx, (long long)r->ms, visitor,
		     session_record_target(r, target));
}

enum np_err report_start(struct instance *inst)
{
	struct timeval tv = tv_of_ms(runtime.env.report_interval_ms);
	const struct timeval second = {.tv_sec = 1};
	struct seconds *s = &seconds[inst->home->index];

	if (s->timer == NULL)
		s->timer = event_new(inst->home->base, -1, EV_PERSIST, report_on_second, s);
	if (s->timer == NULL)
		return NP_ENOMEM;
	if (!evtimer_pending(s->timer, NULL) && event_add(s->timer, &second) != 0) {
		event_free(s->timer);
		s->timer = NULL;
		return NP_ENOMEM;
	}
	DL_APPEND2(s->list, inst, report_prev, report_next);
	inst->reported = true;
	if (inst->controlled) /* its statistics travel as messages */
		return NP_OK;
	inst->report_timer = event_new(inst->home->base, -1, EV_PERSIST, report_on_timer, inst);
	if (inst->report_timer == NULL || event_add(inst->report_timer, &tv) != 0)
		return NP_ENOMEM;
	return NP_OK;
}

void report_stop(struct instance *inst)
{
	struct seconds *s = &seconds[inst->home->index];

	if (inst->report_timer != NULL)
		event_free(inst->report_timer);
	inst->report_timer = NULL;
	if (!inst->reported)
		return;
	inst->reported = false;
	DL_DELETE2(s->list, inst, report_prev, report_next);
	if (s->list != NULL)
		return;
	event_free(s->timer);
	s->timer = NULL;
}
