/*
 * counters.h - totals of one instance on one worker. One writer (the worker), any reader: relaxed
 * atomics.
 */
#ifndef NP_COUNTERS_H
#define NP_COUNTERS_H

#include "moved.h"
#include "reason.h"

#include <stdatomic.h>
#include <stdint.h>

enum counter {
#define NP_COUNTER(id, name, help) COUNTER_##id,
#include "tbl/counters.def"
#undef NP_COUNTER
	COUNTER_COUNT
};

struct counters {
	_Atomic uint64_t total[COUNTER_COUNT];
	_Atomic uint64_t closes[NP_REASON_COUNT];
	_Atomic uint32_t tcps, udps; /* running now */
	uint32_t mark;		     /* of moved.h */
};

static inline void counter_add(struct counters *c, enum counter id, uint64_t n)
{
	atomic_store_explicit(&c->total[id],
			      atomic_load_explicit(&c->total[id], memory_order_relaxed) + n,
			      memory_order_relaxed);
	moved_mark(c->mark);
}
static inline void counter_closed(struct counters *c, enum np_reason reason)
{
	atomic_store_explicit(&c->closes[reason],
			      atomic_load_explicit(&c->closes[reason], memory_order_relaxed) + 1,
			      memory_order_relaxed);
	moved_mark(c->mark);
}
/* counter_begins, counter_ends - one more, one less of @running, which is tcps or udps of @c. */
static inline void counter_begins(struct counters *c, _Atomic uint32_t *running)
{
	atomic_fetch_add_explicit(running, 1, memory_order_relaxed);
	moved_mark(c->mark);
}
static inline void counter_ends(struct counters *c, _Atomic uint32_t *running)
{
	atomic_fetch_sub_explicit(running, 1, memory_order_relaxed);
	moved_mark(c->mark);
}
static inline uint64_t counter_get(const struct counters *c, enum counter id)
{
	return atomic_load_explicit(&c->total[id], memory_order_relaxed);
}

#endif
