/*
 * arrivals.c - visitors of a single-end client go to the workers. See arrivals.h.
 */
#include "arrivals.h"

#include "instance.h"
#include "visitor.h"

#include <stdatomic.h>
#include <utlist.h>

static void arrivals_run(struct instance *inst);

static unsigned run_length(const struct worker *w)
{
	uint32_t load = atomic_load_explicit(&w->load, memory_order_relaxed);

	return load / 4 < ARRIVALS_RUN_MAX ? 1 + load / 4 : ARRIVALS_RUN_MAX;
}

struct worker *arrivals_turn(struct arrivals *a, struct np_mono now)
{
	(void)np_storm_came(&a->storm, now);
	if (a->left == 0) {
		a->turn = worker_after(a->turn);
		a->left = run_length(a->turn);
	}
	a->left--;
	return a->turn;
}

/* On the visitor's worker: from here on its session counts instead. */
static void begin(struct visitor *v)
{
	atomic_fetch_sub_explicit(&v->shard->worker->load, 1, memory_order_relaxed);
	visitor_begin(v);
}

static void on_call(struct worker *w, struct mail *m)
{
	struct instance *inst =
	    (struct instance *)((char *)m - offsetof(struct instance, arrivals.mail));

	(void)w;
	atomic_store(&inst->arrivals.call, CALL_NONE);
	arrivals_run(inst);
}

/* On the visitor's worker. The last one of those on their way calls home, if that is wanted. */
static void on_begin(struct worker *w, struct mail *m)
{
	struct visitor *v = (struct visitor *)((char *)m - offsetof(struct visitor, mail));
	struct instance *inst = v->inst;
	struct arrivals *a = &inst->arrivals;
	int wanted = CALL_WANTED;

	(void)w;
	begin(v);
	if (atomic_fetch_sub(&a->on_way, 1) != 1 ||
	    !atomic_compare_exchange_strong(&a->call, &wanted, CALL_SENT))
		return;
	a->mail.deliver = on_call;
	worker_post(inst->home, &a->mail);
}

/* Is nobody on the way any more? If somebody is, the call comes when that has changed. */
static bool way_is_clear(struct arrivals *a)
{
	int none = CALL_NONE, wanted = CALL_WANTED;

	if (atomic_load(&a->on_way) == 0)
		return true;
	atomic_compare_exchange_strong(&a->call, &none, CALL_WANTED);
	if (atomic_load(&a->on_way) != 0)
		return false;
	/* They were begun meanwhile. The call may have been sent: then it finds an empty line. */
	atomic_compare_exchange_strong(&a->call, &wanted, CALL_NONE);
	return true;
}

static void arrivals_run(struct instance *inst)
{
	struct arrivals *a = &inst->arrivals;
	struct visitor *v;

	while ((v = a->line) != NULL) {
		struct worker *w = v->shard->worker;

		if (w != a->way && !a->storm.on && !way_is_clear(a))
			return;
		DL_DELETE(a->line, v);
		if (w == inst->home) {
			begin(v);
			continue;
		}
		a->way = w;
		atomic_fetch_add(&a->on_way, 1);
		v->mail.deliver = on_begin;
		worker_post(w, &v->mail);
	}
}

void arrivals_add(struct instance *inst, struct visitor *v)
{
	/* Whoever is dealt next goes by what is on its way, too. */
	atomic_fetch_add_explicit(&v->shard->worker->load, 1, memory_order_relaxed);
	DL_APPEND(inst->arrivals.line, v);
	arrivals_run(inst);
}

void arrivals_refuse_all(struct instance *inst, enum np_reason reason)
{
	struct visitor *v;

	while ((v = inst->arrivals.line) != NULL) {
		DL_DELETE(inst->arrivals.line, v);
		atomic_fetch_sub_explicit(&v->shard->worker->load, 1, memory_order_relaxed);
		v->shard = inst->shards[inst->home->index]; /* it never left */
		visitor_refuse(v, reason);
	}
}
