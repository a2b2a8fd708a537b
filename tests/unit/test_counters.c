/*
 * test_counters.c - what is counted of an instance: marks of what moved, ends, durations.
 */
#include "counters.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static uint32_t taken[8];
static size_t ntaken;

static void on_taken(void *arg, uint32_t number)
{
	(void)arg;
	assert_true(ntaken < 8);
	taken[ntaken++] = number;
}

static void take(void)
{
	ntaken = 0;
	moved_take(on_taken, NULL);
}

static void moved_take__marked_twice__said_once_in_order(void **state)
{
	(void)state;
	take();
	moved_mark(MOVED_MAX);
	moved_mark(64);
	moved_mark(63);
	moved_mark(64);
	take();
	assert_int_equal(ntaken, 3);
	assert_int_equal(taken[0], 63);
	assert_int_equal(taken[1], 64);
	assert_int_equal(taken[2], MOVED_MAX);
	take();
	assert_int_equal(ntaken, 0);
}

static void moved_take__nobodys_number__left_out(void **state)
{
	(void)state;
	take();
	moved_mark(MOVED_NONE);
	take();
	assert_int_equal(ntaken, 0);
}

static void counter__any_change__marks(void **state)
{
	struct counters c = {.mark = 7};

	(void)state;
	take();
	counter_add(&c, COUNTER_TCP_RX, 5);
	take();
	assert_int_equal(ntaken, 1);
	assert_int_equal(taken[0], 7);
	counter_begins(&c, &c.tcps);
	take();
	assert_int_equal(ntaken, 1);
	counter_ends(&c, &c.tcps);
	take();
	assert_int_equal(ntaken, 1);
	counter_closed(&c, NP_REASON_DONE);
	take();
	assert_int_equal(ntaken, 1);
	counter_took(&c, HISTOGRAM_DIAL, 1);
	take();
	assert_int_equal(ntaken, 1);
	assert_int_equal(counter_get(&c, COUNTER_TCP_RX), 5);
	assert_int_equal(atomic_load(&c.tcps), 0);
	counters_release(&c);
}

static void counter_took__bounds__belong_to_their_bucket(void **state)
{
	struct counters c = {.mark = MOVED_NONE};
	struct counted_ends *e;

	(void)state;
	assert_null(atomic_load(&c.ends));
	counter_took(&c, HISTOGRAM_DIAL, -1); /* a clock that went back */
	counter_took(&c, HISTOGRAM_DIAL, 0);
	counter_took(&c, HISTOGRAM_DIAL, (int64_t)histogram_bounds[0]);
	counter_took(&c, HISTOGRAM_DIAL, (int64_t)histogram_bounds[0] + 1);
	counter_took(&c, HISTOGRAM_DIAL, (int64_t)histogram_bounds[HISTOGRAM_BOUNDS - 1]);
	counter_took(&c, HISTOGRAM_DIAL, (int64_t)histogram_bounds[HISTOGRAM_BOUNDS - 1] + 1);
	e = atomic_load(&c.ends);
	assert_non_null(e);
	assert_int_equal(atomic_load(&e->took[HISTOGRAM_DIAL].count[0]), 2);
	assert_int_equal(atomic_load(&e->took[HISTOGRAM_DIAL].count[1]), 1);
	assert_int_equal(atomic_load(&e->took[HISTOGRAM_DIAL].count[HISTOGRAM_BOUNDS - 1]), 1);
	assert_int_equal(atomic_load(&e->took[HISTOGRAM_DIAL].count[HISTOGRAM_BOUNDS]), 1);
	assert_int_equal(atomic_load(&e->took[HISTOGRAM_DIAL].sum_us),
			 2 * histogram_bounds[0] + 1 + 2 * histogram_bounds[HISTOGRAM_BOUNDS - 1] +
			     1);
	assert_int_equal(atomic_load(&e->took[HISTOGRAM_HANDSHAKE].sum_us), 0);
	for (unsigned i = 1; i < HISTOGRAM_BOUNDS; i++)
		assert_true(histogram_bounds[i] > histogram_bounds[i - 1]);
	counters_release(&c);
	assert_null(atomic_load(&c.ends));
}

static void counter_closed__no_memory__the_next_one_is_counted(void **state)
{
	struct counters c = {.mark = MOVED_NONE};

	(void)state;
	np_alloc_fail_after(0);
	counter_closed(&c, NP_REASON_DONE);
	assert_null(atomic_load(&c.ends));
	counter_closed(&c, NP_REASON_DONE);
	assert_int_equal(atomic_load(&atomic_load(&c.ends)->closes[NP_REASON_DONE]), 1);
	counters_release(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(moved_take__marked_twice__said_once_in_order),
	    cmocka_unit_test(moved_take__nobodys_number__left_out),
	    cmocka_unit_test(counter__any_change__marks),
	    cmocka_unit_test(counter_took__bounds__belong_to_their_bucket),
	    cmocka_unit_test(counter_closed__no_memory__the_next_one_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
