/*
 * test_fair.c - shares of datagram flows: half of the rate for all, equal parts, whoever floods.
 */
#include "core/fair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RATE 1000000u /* bytes a second */
#define MS   1000000  /* ns */

/* Bytes that @n flows got in @seconds; each offers @size bytes every @every ns of its own. */
struct offer {
	size_t size;
	int64_t every;
	struct np_fair_flow flow;
	uint64_t got;
};

static void run(struct offer *o, unsigned n, int64_t seconds)
{
	struct np_fair f = {0};

	for (unsigned i = 0; i < n; i++)
		o[i].got = 0;
	for (int64_t now = 0; now < seconds * 1000 * MS; now += 100000)
		for (unsigned i = 0; i < n; i++)
			if (now % o[i].every == 0 &&
			    np_fair_take(&f, &o[i].flow, now, RATE, o[i].size))
				o[i].got += o[i].size;
}

static void fair_take__one_flood__half_of_the_rate(void **state)
{
	struct offer o = {.size = 1000, .every = 100000}; /* ten times the rate */

	(void)state;
	run(&o, 1, 10);
	assert_in_range(o.got, RATE / 2 * 10 * 98 / 100, RATE / 2 * 10 * 103 / 100);
}

static void fair_take__flood_and_a_modest_one__the_modest_one_loses_nothing(void **state)
{
	struct offer o[2] = {{.size = 1000, .every = 100000}, {.size = 500, .every = 5 * MS}};

	(void)state;
	run(o, 2, 10); /* the second offers 100 000 bytes a second, its share is 250 000 */
	assert_in_range(o[1].got, 995000, 1000000);
	assert_in_range(o[0].got, RATE / 4 * 10 * 95 / 100, RATE / 4 * 10 * 105 / 100);
}

static void fair_take__a_hundred_floods__equal_parts(void **state)
{
	static struct offer o[100];
	uint64_t low = UINT64_MAX, high = 0, all = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		o[i] = (struct offer){.size = 1000, .every = MS};
	run(o, 100, 20);
	for (int i = 0; i < 100; i++) {
		low = o[i].got < low ? o[i].got : low;
		high = o[i].got > high ? o[i].got : high;
		all += o[i].got;
	}
	assert_true(low * 10 >= high * 8);
	assert_in_range(all, RATE / 2 * 20 * 95 / 100, RATE / 2 * 20 * 110 / 100);
}

static void fair_take__a_flow_that_fell_silent__its_part_goes_to_the_others(void **state)
{
	struct np_fair f = {0};
	struct np_fair_flow a = {0}, b = {0};
	uint64_t got = 0;

	(void)state;
	assert_true(np_fair_take(&f, &b, 0, RATE, 100));
	for (int64_t now = 0; now < 4000 * (int64_t)MS; now += MS)
		if (np_fair_take(&f, &a, now, RATE, 2000) && now >= 2000 * (int64_t)MS)
			got += 2000;
	assert_in_range(got, RATE / 2 * 2 * 95 / 100, RATE / 2 * 2 * 105 / 100);
}

static void fair_take__larger_than_its_share__passes_and_is_paid_for(void **state)
{
	struct np_fair f = {0};
	struct np_fair_flow a = {0};

	(void)state;
	assert_true(np_fair_take(&f, &a, 0, 1000, 60000)); /* two minutes of its share */
	assert_false(np_fair_take(&f, &a, 100 * 1000 * (int64_t)MS, 1000, 1));
	assert_true(np_fair_take(&f, &a, 121 * 1000 * (int64_t)MS, 1000, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fair_take__one_flood__half_of_the_rate),
	    cmocka_unit_test(fair_take__flood_and_a_modest_one__the_modest_one_loses_nothing),
	    cmocka_unit_test(fair_take__a_hundred_floods__equal_parts),
	    cmocka_unit_test(fair_take__a_flow_that_fell_silent__its_part_goes_to_the_others),
	    cmocka_unit_test(fair_take__larger_than_its_share__passes_and_is_paid_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
