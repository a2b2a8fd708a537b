/*
 * test_backoff.c - the sequence of waits, its caps and its jitter.
 */
#include "core/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void backoff_next__no_jitter__at_once_then_doubling_to_the_cap(void **state)
{
	static const int64_t want[] = {0, 100, 200, 400, 800, 1600, 3000, 3000, 3000};
	struct np_backoff b;
	unsigned i, round;

	(void)state;
	np_backoff_init(&b, 100, 3000);
	for (round = 0; round < 2; round++) {
		for (i = 0; i < sizeof want / sizeof *want; i++)
			assert_int_equal(np_backoff_next(&b, 0, 0), want[i]);
		np_backoff_reset(&b);
	}
}

static void backoff_next__cap_of_the_call__lowers_only(void **state)
{
	struct np_backoff b;
	unsigned i;

	(void)state;
	np_backoff_init(&b, 100, 3000);
	for (i = 0; i < 6; i++)
		(void)np_backoff_next(&b, 0, 0);
	assert_int_equal(np_backoff_next(&b, 0, 500), 500);
	assert_int_equal(np_backoff_next(&b, 0, 9000), 3000);
	assert_int_equal(np_backoff_next(&b, 0, 50), 50);
}

static void backoff_next__any_random__between_three_quarters_and_all(void **state)
{
	uint32_t x = 1;
	unsigned i, low = 0, high = 0;

	(void)state;
	for (i = 0; i < 10000; i++) {
		struct np_backoff b;
		int64_t w;

		x = x * 1664525u + 1013904223u;
		np_backoff_init(&b, 1000, 60000);
		assert_int_equal(np_backoff_next(&b, x, 0), 0);
		w = np_backoff_next(&b, x, 0);
		assert_true(w >= 750 && w <= 1000);
		low += w < 800;
		high += w > 950;
	}
	assert_true(low > 1500 && low < 2500); /* a fifth each, so it is spread */
	assert_true(high > 1500 && high < 2500);
}

static void backoff_next__largest_random__not_less_than_three_quarters(void **state)
{
	struct np_backoff b;

	(void)state;
	np_backoff_init(&b, 100, 3000);
	(void)np_backoff_next(&b, UINT32_MAX, 0);
	assert_int_equal(np_backoff_next(&b, UINT32_MAX, 0), 76); /* 100 - 24.99, cut */
}

static void backoff_next__endless_failures_and_odd_limits__never_zero_or_past_the_cap(void **state)
{
	struct np_backoff b;
	unsigned i;

	(void)state;
	np_backoff_init(&b, 0, 0);
	assert_int_equal(np_backoff_next(&b, 0, 0), 0);
	assert_int_equal(np_backoff_next(&b, UINT32_MAX, 0), 1);
	np_backoff_init(&b, 5000, 100); /* base above cap */
	(void)np_backoff_next(&b, 0, 0);
	assert_int_equal(np_backoff_next(&b, 0, 0), 100);
	np_backoff_init(&b, 100, 86400000);
	for (i = 0; i < 100000; i++) {
		int64_t w = np_backoff_next(&b, i * 2654435761u, 0);

		assert_true(w <= 86400000 && (w > 0 || i == 0));
	}
	b.failures = UINT32_MAX; /* the count stays at its end instead of starting over */
	assert_true(np_backoff_next(&b, 0, 0) == 86400000);
	assert_true(np_backoff_next(&b, 0, 0) == 86400000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(backoff_next__no_jitter__at_once_then_doubling_to_the_cap),
	    cmocka_unit_test(backoff_next__cap_of_the_call__lowers_only),
	    cmocka_unit_test(backoff_next__any_random__between_three_quarters_and_all),
	    cmocka_unit_test(backoff_next__largest_random__not_less_than_three_quarters),
	    cmocka_unit_test(
		backoff_next__endless_failures_and_odd_limits__never_zero_or_past_the_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
