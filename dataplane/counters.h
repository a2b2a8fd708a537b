/*
 * counters.h - totals of one instance on one worker. One writer (the worker), any reader: relaxed
 * atomics.
 */
#ifndef NP_COUNTERS_H
#define NP_COUNTERS_H

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
};

static inline void counter_add(struct counters *c, enum counter id, uint64_t n)
{
	atomic_store_explicit(&c->total[id],
			      atomic_load_explicit(&c->total[id], memory_order_relaxed) + n,
			      memory_order_relaxed);
}
static inline uint64_t counter_get(const struct counters *c, enum counter id)
{
	return atomic_load_explicit(&c->total[id], memory_order_relaxed);
}

#endif
