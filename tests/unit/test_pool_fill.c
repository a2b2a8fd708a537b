/*
 * test_pool_fill.c - the pool's size: single rules.
 */
#include "pool_fill_bed.h"

static void pool_fill_wanted__no_load__min(void **state)
{
	static const uint32_t mins[] = {0, 1, 4, 64, 65535};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof mins / sizeof *mins; i++) {
		struct np_pool_fill f = fill_of(mins[i], 65535);
		int64_t ms;

		for (ms = 0; ms < 100000; ms += 100) {
			assert_int_equal(np_pool_fill_wanted(&f), mins[i]);
			np_pool_fill_tick(&f, at_ms(ms), 0);
		}
	}
}

static void pool_fill_dials__window__four_then_doubling_to_32(void **state)
{
	struct np_pool_fill f = fill_of(1000, 1000);
	struct np_mono late = at_ms(2000); /* past the first second, that spreads */

	(void)state;
	assert_int_equal(np_pool_fill_dials(&f, late, 0, 0), 4);
	assert_int_equal(np_pool_fill_dials(&f, late, 0, 4), 0);
	np_pool_fill_dial_ok(&f, 1000);
	assert_int_equal(np_pool_fill_dials(&f, late, 1, 3), 5);
	np_pool_fill_dial_ok(&f, 1000);
	assert_int_equal(np_pool_fill_dials(&f, late, 2, 7), 9);
	np_pool_fill_dial_ok(&f, 1000);
	np_pool_fill_dial_ok(&f, 1000);
	assert_int_equal(np_pool_fill_dials(&f, late, 4, 14), 18);
	np_pool_fill_dial_failed(&f);
	assert_int_equal(np_pool_fill_dials(&f, late, 4, 31),
			 0); /* more in flight than allowed now */
	assert_int_equal(np_pool_fill_dials(&f, late, 4, 0), 4);
}

static void pool_fill_dials__enough__none(void **state)
{
	struct np_pool_fill f = fill_of(4, 10);

	(void)state;
	assert_int_equal(np_pool_fill_dials(&f, t0, 4, 0), 0);
	assert_int_equal(np_pool_fill_dials(&f, t0, 2, 2), 0);
	assert_int_equal(np_pool_fill_dials(&f, t0, 9, 0), 0);
	assert_int_equal(np_pool_fill_dials(&f, t0, UINT32_MAX, UINT32_MAX), 0);
	assert_int_equal(np_pool_fill_dials(&f, t0, 3, 0), 1);
}

static void pool_fill_dials__demand__past_wanted_up_to_max(void **state)
{
	struct np_pool_fill f = fill_of(2, 5);

	(void)state;
	f.window = NP_POOL_DIALS_MAX;
	np_pool_fill_demand(&f, 100);
	assert_int_equal(np_pool_fill_dials(&f, t0, 0, 0), 5);
	assert_int_equal(np_pool_fill_dials(&f, t0, 0, 5), 0);
	np_pool_fill_demand(&f, UINT32_MAX);
	assert_int_equal(np_pool_fill_dials(&f, t0, 3, 1), 1);
	f = fill_of(0, 0); /* a pool that is off stays off */
	np_pool_fill_demand(&f, 3);
	assert_int_equal(np_pool_fill_dials(&f, t0, 0, 0), 0);
}

static void pool_fill_demand__served_or_gone__forgotten(void **state)
{
	struct np_pool_fill f = fill_of(0, 100);
	unsigned i;

	(void)state;
	np_pool_fill_demand(&f, 3);
	np_pool_fill_demand(&f, 3); /* the number waiting, not more of them */
	for (i = 0; i < 2; i++)
		np_pool_fill_opened(&f);
	assert_int_equal(f.demand, 1);
	/* An idle one in the tick of the news may be taken already; in the next whole one it is
	 * not. */
	(void)np_pool_fill_dials(&f, at_ms(10), 1, 0);
	np_pool_fill_tick(&f, at_ms(100), 0);
	assert_int_equal(f.demand, 1);
	(void)np_pool_fill_dials(&f, at_ms(110), 1, 0);
	(void)np_pool_fill_dials(&f, at_ms(120), 0, 0);
	np_pool_fill_tick(&f, at_ms(200), 0);
	assert_int_equal(f.demand, 1); /* it was gone for a moment */
	(void)np_pool_fill_dials(&f, at_ms(210), 1, 0);
	np_pool_fill_tick(&f, at_ms(220), 0);
	np_pool_fill_tick(&f, at_ms(240), 0);
	assert_int_equal(f.demand, 1); /* no whole tick yet */
	np_pool_fill_tick(&f, at_ms(300), 0);
	assert_int_equal(f.demand, 0);
	/* While nothing is made and nothing opened they are believed to wait. */
	np_pool_fill_demand(&f, 7);
	for (i = 4; i < 500; i++) {
		np_pool_fill_tick(&f, at_ms(i * 100), 0);
		(void)np_pool_fill_dials(&f, at_ms(i * 100), 0, 4);
	}
	assert_int_equal(f.demand, 7);
	for (; i < 700; i++)
		np_pool_fill_tick(&f, at_ms(i * 100), 0);
	assert_int_equal(f.demand, 0);
}

static void pool_fill_dials__dial_rate__kept_over_time(void **state)
{
	static const uint32_t rates[] = {1, 3, 10, 256};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rates / sizeof *rates; i++) {
		struct np_pool_fill_limits l = {.min = 60000, .max = 60000, .dial_rate = rates[i]};
		struct np_pool_fill f;
		uint32_t all = 0;
		int64_t ms;

		np_pool_fill_init(&f, &l, t0);
		f.window = NP_POOL_DIALS_MAX;
		for (ms = 0; ms <= 20000; ms += 5)
			all += np_pool_fill_dials(&f, at_ms(ms), 0, 0);
		assert_true(all >= 20 * rates[i] - rates[i]);
		assert_true(all <= 20 * rates[i] + rates[i] / 4 + 1);
	}
}

static void pool_fill_dials__after_init__eight_at_once_and_the_rest_over_a_second(void **state)
{
	struct np_pool_fill f = fill_of(64, 1024);
	uint32_t all, now_ms;

	(void)state;
	f.window = NP_POOL_DIALS_MAX;
	all = np_pool_fill_dials(&f, t0, 0, 0);
	assert_int_equal(all, NP_POOL_START_DIALS);
	for (now_ms = 10; now_ms <= 500; now_ms += 10)
		all += np_pool_fill_dials(&f, at_ms(now_ms), all, 0);
	assert_in_range(all, 36, 40);
	for (; now_ms <= 1000; now_ms += 10)
		all += np_pool_fill_dials(&f, at_ms(now_ms), all, 0);
	assert_int_equal(all, 64);
	/* Visitors who wait are no reason to wait. */
	f = fill_of(64, 1024);
	f.window = NP_POOL_DIALS_MAX;
	np_pool_fill_demand(&f, 20);
	assert_int_equal(np_pool_fill_dials(&f, t0, 0, 0), NP_POOL_START_DIALS + 20);
}

static void pool_fill_wanted__load_gone__back_to_min_in_about_30_s(void **state)
{
	struct np_pool_fill f = fill_of(4, 1024);
	uint32_t top, i, last;

	(void)state;
	for (i = 1; i <= 20; i++) {
		unsigned k;

		for (k = 0; k < 20; k++)
			np_pool_fill_opened(&f);
		np_pool_fill_tick(&f, at_ms(i * 100), 100);
	}
	top = last = np_pool_fill_wanted(&f);
	assert_in_range(top, 105, 140); /* the peak and a part of it */
	for (; i < 20 + 50; i++)
		np_pool_fill_tick(&f, at_ms(i * 100), 0);
	assert_true(np_pool_fill_wanted(&f) > top / 2); /* 5 s: most is kept */
	for (; i < 20 + 350; i++) {
		np_pool_fill_tick(&f, at_ms(i * 100), 0);
		assert_true(np_pool_fill_wanted(&f) <= last);
		last = np_pool_fill_wanted(&f);
	}
	assert_in_range(last, 4, 8);
	for (; i < 20 + 600; i++)
		np_pool_fill_tick(&f, at_ms(i * 100), 0);
	assert_int_equal(np_pool_fill_wanted(&f), 4);
}

static void pool_fill_wanted__limits__never_passed(void **state)
{
	struct np_pool_fill f = fill_of(3, 20);
	struct np_pool_fill_limits l = {.min = 5, .max = 7};
	unsigned i;

	(void)state;
	np_pool_fill_dial_ok(&f, 5000000);
	for (i = 1; i < 50; i++) {
		f.opens = 100000;
		np_pool_fill_tick(&f, at_ms(i * 100), 5000);
	}
	assert_int_equal(np_pool_fill_wanted(&f), 20);
	assert_int_equal(np_pool_fill_dials(&f, at_ms(9000), 19, 0), 1);
	np_pool_fill_set_limits(&f, &l);
	assert_int_equal(np_pool_fill_wanted(&f), 7);
	assert_int_equal(np_pool_fill_dials(&f, at_ms(9000), 7, 0), 0);
	l = (struct np_pool_fill_limits){.min = 20, .max = 20, .dial_rate = 10};
	np_pool_fill_set_limits(&f, &l); /* dials made without a limit are no debt under one */
	assert_int_equal(np_pool_fill_dials(&f, at_ms(9500), 10, 0), 2);
}

static void pool_fill_wanted__adaptive__from_zero_to_min_with_the_arrivals(void **state)
{
	struct np_pool_fill_limits l = {.min = 64, .max = 1024, .adaptive_min = true};
	struct np_pool_fill f;
	unsigned i, k;

	(void)state;
	np_pool_fill_init(&f, &l, t0);
	assert_int_equal(np_pool_fill_wanted(&f), 0);
	assert_int_equal(np_pool_fill_dials(&f, t0, 0, 0), 0);
	np_pool_fill_dial_ok(&f, 60000);
	np_pool_fill_opened(&f); /* a single visitor is no rate */
	np_pool_fill_tick(&f, at_ms(100), 1);
	assert_int_equal(np_pool_fill_wanted(&f), 0);
	for (i = 2; i < 60; i++) { /* 100 a second, 60 ms each to make */
		for (k = 0; k < 10; k++)
			np_pool_fill_opened(&f);
		np_pool_fill_tick(&f, at_ms(i * 100), 3);
	}
	assert_in_range(np_pool_fill_wanted(&f), 11, 13);
	for (; i < 120; i++) { /* 5 000 a second */
		for (k = 0; k < 500; k++)
			np_pool_fill_opened(&f);
		np_pool_fill_tick(&f, at_ms(i * 100), 3);
	}
	assert_int_equal(np_pool_fill_wanted(&f), 64);
	for (; i < 1200; i++)
		np_pool_fill_tick(&f, at_ms(i * 100), 3);
	assert_int_equal(np_pool_fill_wanted(&f), 0);
}

static void pool_fill__single_use__busy_ones_are_not_expected_back(void **state)
{
	struct np_pool_fill_limits l = {.min = 4, .max = 4, .single_use = true};
	struct np_pool_fill f;
	unsigned i;

	(void)state;
	np_pool_fill_init(&f, &l, t0);
	for (i = 1; i < 100; i++) {
		assert_int_equal(np_pool_fill_dials(&f, at_ms(2000 + i * 10), 4, 0), 0);
		np_pool_fill_opened(&f);
		assert_int_equal(np_pool_fill_dials(&f, at_ms(2000 + i * 10), 3, 0), 1);
		np_pool_fill_tick(&f, at_ms(2000 + i * 10), i);
		assert_int_equal(np_pool_fill_wanted(&f), 4);
	}
}

static void pool_fill__idle_ones_break__not_taken_for_load(void **state)
{
	struct np_pool_fill f = fill_of(64, 1024);
	unsigned i;

	(void)state;
	for (i = 1; i < 20; i++) {
		(void)np_pool_fill_dials(&f, at_ms(i * 100), 64, 0);
		np_pool_fill_tick(&f, at_ms(i * 100), 0);
	}
	(void)np_pool_fill_dials(&f, at_ms(2000), 64, 0);
	np_pool_fill_dial_failed(&f);
	assert_int_equal(np_pool_fill_dials(&f, at_ms(2010), 0, 0), 4);
	assert_int_equal(np_pool_fill_wanted(&f), 64);
}

static void pool_fill_tick__odd_clocks__no_nonsense(void **state)
{
	struct np_pool_fill f = fill_of(4, 64);

	(void)state;
	np_pool_fill_dial_ok(&f, -5);
	np_pool_fill_opened(&f);
	np_pool_fill_tick(&f, at_ms(-1000), 1); /* backwards */
	np_pool_fill_tick(&f, at_ms(0), 1);
	assert_true(f.opens == 1 && f.opens_per_s == 0);
	np_pool_fill_tick(&f, at_ms(86400000), 0); /* stopped for a day */
	assert_true(f.opens_per_s >= 0 && f.opens_per_s < 1);
	assert_in_range(np_pool_fill_wanted(&f), 4, 6);
	assert_int_equal(np_pool_fill_dials(&f, at_ms(-5000), 6, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pool_fill_wanted__no_load__min),
	    cmocka_unit_test(pool_fill_dials__window__four_then_doubling_to_32),
	    cmocka_unit_test(pool_fill_dials__enough__none),
	    cmocka_unit_test(pool_fill_dials__demand__past_wanted_up_to_max),
	    cmocka_unit_test(pool_fill_demand__served_or_gone__forgotten),
	    cmocka_unit_test(pool_fill_dials__dial_rate__kept_over_time),
	    cmocka_unit_test(pool_fill_dials__after_init__eight_at_once_and_the_rest_over_a_second),
	    cmocka_unit_test(pool_fill_wanted__load_gone__back_to_min_in_about_30_s),
	    cmocka_unit_test(pool_fill_wanted__limits__never_passed),
	    cmocka_unit_test(pool_fill_wanted__adaptive__from_zero_to_min_with_the_arrivals),
	    cmocka_unit_test(pool_fill__single_use__busy_ones_are_not_expected_back),
	    cmocka_unit_test(pool_fill__idle_ones_break__not_taken_for_load),
	    cmocka_unit_test(pool_fill_tick__odd_clocks__no_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
