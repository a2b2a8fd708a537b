/*
 * test_balance.c - order of targets in the three modes, with targets that fail and come back.
 */
#include "core/balance.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct np_mono t0 = {5000000};

static struct np_mono at_ms(int64_t ms)
{
	return np_mono_add_ms(t0, ms);
}

/* One session's order as text, "201"; every index exactly once. */
static const char *order(struct np_balance *b, struct np_mono now)
{
	static char text[NP_TARGETS_MAX + 1];
	uint8_t list[NP_TARGETS_MAX];
	uint64_t seen = 0;
	size_t i;

	np_balance_order(b, now, list);
	for (i = 0; i < b->n; i++) {
		assert_true(list[i] < b->n);
		assert_int_equal(seen >> list[i] & 1, 0);
		seen |= (uint64_t)1 << list[i];
		text[i] = (char)('0' + list[i]);
	}
	text[b->n] = '\0';
	return text;
}

static void balance_lives__primary_that_was_down__all_go_to_it_again(void **state)
{
	struct np_balance b;

	(void)state;
	np_balance_init(&b, NP_BALANCE_PRIMARY, 2, 1000);
	np_balance_failed(&b, 0, at_ms(0));
	assert_string_equal(order(&b, at_ms(10)), "10");
	assert_string_equal(order(&b, at_ms(1000)), "01"); /* one tries it */
	assert_string_equal(order(&b, at_ms(1001)), "10");
	np_balance_lives(&b, 0);
	assert_string_equal(order(&b, at_ms(1002)), "01");
	assert_string_equal(order(&b, at_ms(1003)), "01");
	assert_int_equal(atomic_load(&b.target[0].rtt_us), 0); /* nothing was measured */
}

static void balance_order__turn_all_healthy__in_turn(void **state)
{
	struct np_balance b;

	(void)state;
	np_balance_init(&b, NP_BALANCE_TURN, 3, 0);
	assert_string_equal(order(&b, t0), "012");
	assert_string_equal(order(&b, t0), "120");
	assert_string_equal(order(&b, t0), "201");
	assert_string_equal(order(&b, t0), "012");
	np_balance_ok(&b, 1, 100); /* times do not matter */
	assert_string_equal(order(&b, t0), "120");
}

static void balance_order__one_target__always_it(void **state)
{
	struct np_balance b;
	unsigned i;

	(void)state;
	np_balance_init(&b, NP_BALANCE_FASTEST, 1, 0);
	for (i = 0; i < 200; i++) {
		assert_string_equal(order(&b, t0), "0");
		np_balance_failed(&b, 0, t0);
	}
}

static void balance_order__turn_one_failed__last_until_its_time_is_over(void **state)
{
	struct np_balance b;

	(void)state;
	np_balance_init(&b, NP_BALANCE_TURN, 3, 0);
	np_balance_failed(&b, 1, t0);
	assert_string_equal(order(&b, t0), "021");
	assert_string_equal(order(&b, at_ms(500)), "201");
	assert_string_equal(order(&b, at_ms(999)), "201");
	/* Over: one session tries it, the others still pass it over. */
	assert_string_equal(order(&b, at_ms(1000)),
			    "012"); /* not first in this turn: not the try */
	assert_string_equal(order(&b, at_ms(1000)), "120");
	assert_string_equal(order(&b, at_ms(1001)), "201");
	assert_string_equal(order(&b, at_ms(1001)), "021");
	assert_string_equal(order(&b, at_ms(1001)), "201");
	np_balance_ok(&b, 1, 100);
	assert_string_equal(order(&b, at_ms(1002)), "201");
	assert_string_equal(order(&b, at_ms(1002)), "012");
	assert_string_equal(order(&b, at_ms(1002)), "120");
}

static void balance_failed__again_and_again__doubles_to_30_s(void **state)
{
	static const int64_t down[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};
	struct np_balance b;
	int64_t now = 0;
	size_t i;

	(void)state;
	np_balance_init(&b, NP_BALANCE_TURN, 2, 0);
	for (i = 0; i < sizeof down / sizeof *down; i++) {
		unsigned k;

		for (k = 0; k < 1000; k++) /* all that were dialling */
			np_balance_failed(&b, 0, at_ms(now + (k > 500)));
		assert_true(b.target[0].down_until_us == at_ms(now + down[i]).us);
		now += down[i];
	}
	np_balance_ok(&b, 0, 1);
	np_balance_failed(&b, 0, at_ms(now));
	assert_true(b.target[0].down_until_us == at_ms(now + 1000).us);
}

static void balance_failed__probe_fails__passed_over_longer(void **state)
{
	struct np_balance b;

	(void)state;
	np_balance_init(&b, NP_BALANCE_TURN, 2, 0);
	np_balance_failed(&b, 0, t0);
	assert_string_equal(order(&b, at_ms(1000)), "01"); /* the probe */
	np_balance_failed(&b, 0, at_ms(1005));
	assert_true(b.target[0].down_until_us == at_ms(3005).us);
	(void)order(&b, at_ms(3004));
	assert_string_equal(order(&b, at_ms(3004)), "10");
}

static void balance_order__all_failed__all_there_soonest_first(void **state)
{
	struct np_balance b;

	(void)state;
	np_balance_init(&b, NP_BALANCE_TURN, 3, 0);
	np_balance_failed(&b, 2, at_ms(0));
	np_balance_failed(&b, 0, at_ms(10));
	np_balance_failed(&b, 1, at_ms(20));
	assert_string_equal(order(&b, at_ms(30)), "201");
	assert_string_equal(order(&b, at_ms(30)), "201");
}

static void balance_order__fastest__unmeasured_first_then_by_time(void **state)
{
	struct np_balance b;
	unsigned i;

	(void)state;
	np_balance_init(&b, NP_BALANCE_FASTEST, 3, 0);
	assert_string_equal(order(&b, t0), "012");
	assert_string_equal(order(&b, t0), "120");
	np_balance_ok(&b, 0, 3000);
	assert_string_equal(order(&b, t0), "210");
	np_balance_ok(&b, 1, 2000);
	np_balance_ok(&b, 2, 9000);
	for (i = 3; i < NP_BALANCE_EXPLORE - 1; i++)
		assert_string_equal(order(&b, t0), "102");
	for (i = 0; i < 20; i++) /* slower from now on */
		np_balance_ok(&b, 1, 50000);
	assert_true(b.target[1].rtt_us > 49000 && b.target[1].rtt_us <= 50000);
	(void)order(&b, t0);
	assert_string_equal(order(&b, t0), "021");
	np_balance_failed(&b, 0, t0);
	assert_string_equal(order(&b, t0), "210");
}

static void balance_order__fastest_over_long__every_target_measured_again(void **state)
{
	struct np_balance b;
	unsigned first[4] = {0}, i;

	(void)state;
	np_balance_init(&b, NP_BALANCE_FASTEST, 4, 0); /* 4 divides 64 */
	for (i = 0; i < 4; i++)
		np_balance_ok(&b, i, 1000 * (i + 1));
	for (i = 0; i < 64 * 16; i++)
		first[order(&b, t0)[0] - '0']++;
	assert_int_equal(first[0], 64 * 16 - 12);
	for (i = 1; i < 4; i++)
		assert_int_equal(first[i], 4);
}

static void balance_ok__zero_or_negative_time__still_measured(void **state)
{
	struct np_balance b;

	(void)state;
	np_balance_init(&b, NP_BALANCE_FASTEST, 2, 0);
	np_balance_ok(&b, 0, 0);
	np_balance_ok(&b, 1, -5);
	assert_true(b.target[0].rtt_us > 0 && b.target[1].rtt_us > 0);
	np_balance_ok(&b, 0, -5);
	assert_true(b.target[0].rtt_us > 0);
}

static void balance_order__primary__backups_only_while_it_is_down(void **state)
{
	struct np_balance b;
	unsigned i;

	(void)state;
	np_balance_init(&b, NP_BALANCE_PRIMARY, 3, 300000);
	for (i = 0; i < 5; i++)
		assert_string_equal(order(&b, t0), "012");
	np_balance_failed(&b, 0, t0);
	assert_string_equal(order(&b, at_ms(1)), "120");
	assert_string_equal(order(&b, at_ms(299999)), "120");
	np_balance_failed(&b, 1, at_ms(299999));
	assert_string_equal(order(&b, at_ms(299999)), "201");
	assert_string_equal(order(&b, at_ms(300000)), "021"); /* the return, one session */
	assert_string_equal(order(&b, at_ms(300000)), "201");
	np_balance_failed(&b, 0, at_ms(300001)); /* not yet back: the whole time again */
	assert_string_equal(order(&b, at_ms(600000)), "120"); /* backup 1 gets its try */
	np_balance_ok(&b, 1, 10);
	assert_string_equal(order(&b, at_ms(600001)), "012");
	np_balance_ok(&b, 0, 10);
	for (i = 0; i < 5; i++)
		assert_string_equal(order(&b, at_ms(600002)), "012");
}

static void balance_order__primary_all_failed__as_written(void **state)
{
	struct np_balance b;

	(void)state;
	np_balance_init(&b, NP_BALANCE_PRIMARY, 3, 1000);
	np_balance_failed(&b, 2, at_ms(0));
	np_balance_failed(&b, 1, at_ms(1));
	np_balance_failed(&b, 0, at_ms(2));
	assert_string_equal(order(&b, at_ms(3)), "012");
}

static void balance_order__a_turn_past_the_end_of_the_counter__goes_on(void **state)
{
	struct np_balance b;

	(void)state;
	np_balance_init(&b, NP_BALANCE_TURN, NP_TARGETS_MAX, 0);
	atomic_store(&b.next, UINT32_MAX);
	(void)order(&b, t0);
	assert_int_equal(order(&b, t0)[0], '0');
}

static void *sessions(void *arg)
{
	struct np_balance *b = arg;
	uint8_t list[NP_TARGETS_MAX];
	unsigned i;

	for (i = 0; i < 20000; i++) {
		struct np_mono now = at_ms(i);

		np_balance_order(b, now, list);
		if (list[0] == 2)
			np_balance_failed(b, list[0], now);
		else
			np_balance_ok(b, list[0], 100 + i % 7);
	}
	return NULL;
}

static void balance__two_threads__dead_target_tried_a_few_times_only(void **state)
{
	struct np_balance b;
	pthread_t t[2];
	unsigned i;

	(void)state;
	np_balance_init(&b, NP_BALANCE_TURN, 3, 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, sessions, &b), 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_true(b.next == 40000);
	assert_true(b.target[2].failures >= 1 && b.target[2].failures <= 8);
	assert_true(b.target[0].failures == 0 && b.target[0].rtt_us > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(balance_lives__primary_that_was_down__all_go_to_it_again),
	    cmocka_unit_test(balance_order__turn_all_healthy__in_turn),
	    cmocka_unit_test(balance_order__one_target__always_it),
	    cmocka_unit_test(balance_order__turn_one_failed__last_until_its_time_is_over),
	    cmocka_unit_test(balance_failed__again_and_again__doubles_to_30_s),
	    cmocka_unit_test(balance_failed__probe_fails__passed_over_longer),
	    cmocka_unit_test(balance_order__all_failed__all_there_soonest_first),
	    cmocka_unit_test(balance_order__fastest__unmeasured_first_then_by_time),
	    cmocka_unit_test(balance_order__fastest_over_long__every_target_measured_again),
	    cmocka_unit_test(balance_ok__zero_or_negative_time__still_measured),
	    cmocka_unit_test(balance_order__primary__backups_only_while_it_is_down),
	    cmocka_unit_test(balance_order__primary_all_failed__as_written),
	    cmocka_unit_test(balance_order__a_turn_past_the_end_of_the_counter__goes_on),
	    cmocka_unit_test(balance__two_threads__dead_target_tried_a_few_times_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
