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

enum histogram {
#define NP_HISTOGRAM(id, name, help) HISTOGRAM_##id,
#include "tbl/histograms.def"
#undef NP_HISTOGRAM
	HISTOGRAM_COUNT
};
enum {
#define NP_BUCKET(us) HISTOGRAM_BOUND_##us,
#include "tbl/buckets.def"
#undef NP_BUCKET
	HISTOGRAM_BOUNDS
};
#define HISTOGRAM_BUCKETS (HISTOGRAM_BOUNDS + 1) /* the last one has no bound */

extern const uint64_t histogram_bounds[HISTOGRAM_BOUNDS]; /* microseconds */

/* Of those who were served or refused; an idle instance has none of it. */
struct counted_ends {
	_Atomic uint64_t closes[NP_REASON_COUNT];
	struct {
		_Atomic uint64_t count[HISTOGRAM_BUCKETS], sum_us;
	} took[HISTOGRAM_COUNT];
};

struct counters {
	_Atomic uint64_t total[COUNTER_COUNT];
	_Atomic uint32_t tcps, udps;	   /* running now */
	uint32_t mark;			   /* of moved.h */
	struct counted_ends *_Atomic ends; /* owned; NULL = none yet */
};

/* counter_closed, counter_took - one more end, one more duration. Without memory for the first of
 * them it is not counted. Thread: the writer. */
void counter_closed(struct counters *c, enum np_reason reason);
void counter_took(struct counters *c, enum histogram id, int64_t us);
/* counters_release - when nobody writes or reads any more. */
void counters_release(struct counters *c);

static inline void counter_add(struct counters *c, enum counter id, uint64_t n)
{
	atomic_store_explicit(&c->total[id],
			      atomic_load_explicit(&c->total[id], memory_order_relaxed) + n,
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
