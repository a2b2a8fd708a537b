/*
 * test_hist.c - percentiles of the load generator's histogram.
 */
#include "load/hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct hist h;

static int clear(void **state)
{
	(void)state;
	memset(&h, 0, sizeof(h));
	return 0;
}

static void near(double value, double want)
{
	assert_true(value > want * 0.98 && value < want * 1.02);
}

static void hist_us__empty__zero(void **state)
{
	(void)state;
	assert_true(hist_us(&h, 0.99) == 0);
}

static void hist_us__one_value__is_all_percentiles(void **state)
{
	(void)state;
	hist_add(&h, 5000);
	near(hist_us(&h, 0), 5);
	near(hist_us(&h, 0.5), 5);
	near(hist_us(&h, 1), 5);
}

static void hist_us__even_spread__within_a_step(void **state)
{
	(void)state;
	for (uint64_t us = 1; us <= 10000; us++)
		hist_add(&h, us * 1000);
	near(hist_us(&h, 0.5), 5000);
	near(hist_us(&h, 0.99), 9900);
	near(hist_us(&h, 0.01), 100);
}

static void hist_us__one_of_a_hundred__is_beyond_p99(void **state)
{
	(void)state;
	for (int i = 0; i < 99; i++)
		hist_add(&h, 10000);
	hist_add(&h, 1000000000);
	near(hist_us(&h, 0.99), 10);
	near(hist_us(&h, 0.995), 1000000);
}

static void hist_add__extremes__are_counted(void **state)
{
	(void)state;
	hist_add(&h, 0);
	hist_add(&h, UINT64_MAX);
	assert_int_equal(h.count, 2);
	assert_true(h.max_ns == UINT64_MAX);
	assert_true(hist_us(&h, 0.1) == 0);
	near(hist_us(&h, 1), 18.4e15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(hist_us__empty__zero, clear),
	    cmocka_unit_test_setup(hist_us__one_value__is_all_percentiles, clear),
	    cmocka_unit_test_setup(hist_us__even_spread__within_a_step, clear),
	    cmocka_unit_test_setup(hist_us__one_of_a_hundred__is_beyond_p99, clear),
	    cmocka_unit_test_setup(hist_add__extremes__are_counted, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
