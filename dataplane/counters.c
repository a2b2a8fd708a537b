/*
 * counters.c - what an instance counts only when it serves somebody: ends by reason, durations. See
 * counters.h.
 */
#include "counters.h"

#include "base/alloc.h"

const uint64_t histogram_bounds[HISTOGRAM_BOUNDS] = {
#define NP_BUCKET(us) us,
#include "tbl/buckets.def"
#undef NP_BUCKET
};

static void add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static struct counted_ends *ends_of(struct counters *c)
{
	struct counted_ends *e = atomic_load_explicit(&c->ends, memory_order_relaxed);

	if (e != NULL)
		return e;
	e = np_calloc(1, sizeof(*e));
	if (e != NULL)
		atomic_store_explicit(&c->ends, e, memory_order_release);
	return e;
}

void counter_closed(struct counters *c, enum np_reason reason)
{
	struct counted_ends *e = ends_of(c);

	if (e != NULL)
		add(&e->closes[reason], 1);
	moved_mark(c->mark);
}

void counter_took(struct counters *c, enum histogram id, int64_t us)
{
	struct counted_ends *e = ends_of(c);
	unsigned i = 0;

	if (e == NULL || us < 0)
		return;
	while (i < HISTOGRAM_BOUNDS && (uint64_t)us > histogram_bounds[i])
		i++;
	add(&e->took[id].count[i], 1);
	add(&e->took[id].sum_us, (uint64_t)us);
	moved_mark(c->mark);
}

void counters_release(struct counters *c)
{
	np_free(atomic_load(&c->ends));
	atomic_store(&c->ends, NULL);
}
