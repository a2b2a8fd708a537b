/*
 * test_bucket.c - accuracy of the token bucket over simulated time: rates from 1 to 1 000 000
 * Mbit/s, one taker and a thousand, several threads.
 */
#include "core/bucket.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND 1000000000
#define MBIT   125000u
#define START  ((int64_t)77 * SECOND + 13)

static const uint64_t rates_mbit[] = {1, 2, 10, 100, 1000, 10000, 100000, 1000000};

static uint64_t drain(struct np_bucket *b, int64_t now)
{
	uint64_t all = 0;
	int64_t wait;
	size_t n;

	while ((n = np_bucket_take(b, now, 1 << 20, 1, &wait)) > 0)
		all += n;
	return all;
}

static void bucket_take__no_limit__all_at_once(void **state)
{
	struct np_bucket b;
	int64_t wait = 5;

	(void)state;
	np_bucket_init(&b, 0);
	assert_int_equal(np_bucket_take(&b, START, SIZE_MAX, SIZE_MAX, &wait), SIZE_MAX);
	assert_int_equal(wait, 0);
	np_bucket_refund(&b, 1000);
	np_bucket_set_rate(&b, MBIT);
	assert_int_equal(np_bucket_take(&b, START, 0, 0, &wait), 0);
	assert_int_equal(wait, 0);
}

static void bucket_take__full_bucket__grants_100_ms_of_bytes(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rates_mbit / sizeof *rates_mbit; i++) {
		uint64_t burst = rates_mbit[i] * MBIT / 10, got;
		struct np_bucket b;

		np_bucket_init(&b, rates_mbit[i] * MBIT);
		got = drain(&b, START);
		assert_true(got >= burst - 1 && got <= burst + burst / 1000 + 1);
		/* Idle for an hour: no more than that again. */
		got = drain(&b, START + (int64_t)3600 * SECOND);
		assert_true(got >= burst - 1 && got <= burst + burst / 1000 + 1);
	}
}

/* Takers with different habits, each asking again when it was told to. Bytes granted in @span. */
static uint64_t simulate(struct np_bucket *b, unsigned takers, size_t want, size_t least,
			 int64_t span, uint64_t *poorest)
{
	int64_t *due = test_calloc(takers, sizeof *due), now = START;
	uint64_t *got = test_calloc(takers, sizeof *got), sum = 0;
	unsigned i, first = 0;

	(void)drain(b, START);
	while (now < START + span) {
		int64_t next = INT64_MAX;

		for (i = 0; i < takers; i++) {
			unsigned t = first + i < takers ? first + i : first + i - takers;

			if (due[t] <= now) {
				int64_t wait;
				size_t n = np_bucket_take(b, now, want, least, &wait);

				got[t] += n;
				sum += n;
				due[t] = n > 0 ? now : now + wait;
				if (n > 0)
					assert_int_equal(wait, 0);
				else
					assert_true(wait > 0 && wait <= SECOND / 5);
			}
			if (due[t] < next)
				next = due[t];
		}
		if (next > now) {
			now = next;
			/* Another one is first at each time, as with events of a loop. */
			first = first + 1 < takers ? first + 1 : 0;
		}
	}
	*poorest = got[0];
	for (i = 1; i < takers; i++)
		*poorest = got[i] < *poorest ? got[i] : *poorest;
	test_free(due);
	test_free(got);
	return sum;
}

static void assert_within(uint64_t got, uint64_t want, unsigned percent)
{
	if (got * 100 < want * (100 - percent) || got * 100 > want * (100 + percent))
		fail_msg("%llu bytes, %llu wanted", (unsigned long long)got,
			 (unsigned long long)want);
}

static void bucket_take__one_taker__rate_within_two_percent(void **state)
{
	static const size_t sizes[] = {1460, 16384, 1 << 20};
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof rates_mbit / sizeof *rates_mbit; i++) {
		for (k = 0; k < sizeof sizes / sizeof *sizes; k++) {
			uint64_t rate = rates_mbit[i] * MBIT, poorest;
			/* So many takes at most: at 1 Tbit/s a packet lasts 12 ns. */
			uint64_t span = sizes[k] * 300000u * (uint64_t)SECOND / rate;
			struct np_bucket b;

			if (span > 10 * (uint64_t)SECOND)
				span = 10 * (uint64_t)SECOND; /* 100 bursts */
			np_bucket_init(&b, rate);
			assert_within(
			    simulate(&b, 1, sizes[k], sizes[k] / 2, (int64_t)span, &poorest),
			    (uint64_t)((double)rate * (double)span / 1e9), 2);
		}
	}
}

static void bucket_take__thousand_takers__rate_kept_and_nobody_starved(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rates_mbit / sizeof *rates_mbit; i++) {
		uint64_t rate = rates_mbit[i] * MBIT, poorest, sum;
		uint64_t span = (uint64_t)16384 * 6000u * SECOND / rate;
		struct np_bucket b;

		if (span > 4 * (uint64_t)SECOND)
			span = 4 * (uint64_t)SECOND;
		np_bucket_init(&b, rate);
		sum = simulate(&b, 1000, 16384, rates_mbit[i] < 10 ? 256 : 4096, (int64_t)span,
			       &poorest);
		assert_within(sum, (uint64_t)((double)rate * (double)span / 1e9), 2);
		assert_true(poorest > 0);
	}
}

static void bucket_take__least_above_the_burst__cut_to_it(void **state)
{
	struct np_bucket b;
	int64_t wait;

	(void)state;
	np_bucket_init(&b, MBIT); /* burst 12 500 */
	assert_int_equal(np_bucket_take(&b, START, 1 << 20, 1 << 20, &wait), 12500);
	assert_int_equal(np_bucket_take(&b, START, 1 << 20, 1 << 20, &wait), 0);
	assert_true(wait >= SECOND / 10 - 1000 && wait <= SECOND / 10 + 1000);
	assert_int_equal(np_bucket_take(&b, START + wait, 1 << 20, SIZE_MAX, &wait), 12500);
}

static void bucket_take__told_wait__least_is_there_then_and_not_before(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rates_mbit / sizeof *rates_mbit; i++) {
		struct np_bucket b;
		int64_t wait, again;

		np_bucket_init(&b, rates_mbit[i] * MBIT);
		(void)drain(&b, START);
		assert_int_equal(np_bucket_take(&b, START, 8000, 8000, &wait), 0);
		if (wait > 4)
			assert_int_equal(np_bucket_take(&b, START + wait - 4, 8000, 8000, &again),
					 0);
		assert_int_equal(np_bucket_take(&b, START + wait, 8000, 8000, &again), 8000);
	}
}

static void bucket_take__clock_of_another_thread_behind__no_extra_bytes(void **state)
{
	struct np_bucket b;
	int64_t wait;

	(void)state;
	np_bucket_init(&b, 8 * MBIT);
	(void)drain(&b, START);
	assert_int_equal(np_bucket_take(&b, START - SECOND, 1000, 1, &wait), 0);
	assert_true(wait >= SECOND);
	assert_int_equal(np_bucket_take(&b, START, 1000, 1000, &wait), 0);
	assert_true(wait <= 1000 * 1000 + 2); /* 1 us per byte */
}

static void bucket_refund__unused__can_be_taken_again(void **state)
{
	struct np_bucket b;
	int64_t wait;
	unsigned i;

	(void)state;
	np_bucket_init(&b, NP_BUCKET_RATE_MAX);
	for (i = 0; i < 1000; i++) {
		size_t n = np_bucket_take(&b, START, 1001, 1001, &wait);

		assert_int_equal(n, 1001);
		np_bucket_refund(&b, n);
	}
	assert_true(b.tat_ns <= START + 1 && b.tat_ns >= START - 1);
	/* What is given back twice is not there twice. */
	np_bucket_refund(&b, SIZE_MAX);
	assert_true(drain(&b, START) <= NP_BUCKET_RATE_MAX / 10 + 125);
}

static void bucket_charge__more_than_a_burst__paid_for_by_what_comes_later(void **state)
{
	struct np_bucket b;
	int64_t wait;

	(void)state;
	np_bucket_init(&b, MBIT); /* 125 000 bytes a second, bursts of 12 500 */
	assert_int_equal(np_bucket_take(&b, START, 12500, 12500, &wait), 12500);
	np_bucket_charge(&b, 47500);
	assert_int_equal(np_bucket_take(&b, START + 379 * 1000000, 1, 1, &wait), 0);
	assert_true(np_bucket_take(&b, START + 381 * 1000000, 1, 1, &wait) > 0);
}

static void bucket_charge_at__idle_bucket__pays_from_now_on(void **state)
{
	const int64_t s = 1000000000;
	struct np_bucket b;
	int64_t wait;

	(void)state;
	np_bucket_init(&b, 1000000);
	assert_int_equal(np_bucket_ahead_ns(&b, 50 * s), 0);
	np_bucket_charge_at(&b, 50 * s, 110000); /* 110 ms */
	assert_int_equal(np_bucket_ahead_ns(&b, 50 * s), 110000000);
	assert_int_equal(np_bucket_take(&b, 50 * s, 1000, 1000, &wait), 0);
	assert_in_range(wait, 11000000, 11000010);
	assert_int_equal(np_bucket_take(&b, 50 * s + wait, 1000, 1000, &wait), 1000);
}

static void bucket_set_rate__while_in_use__new_rate_from_then_on(void **state)
{
	struct np_bucket b;
	uint64_t poorest;

	(void)state;
	np_bucket_init(&b, 10 * MBIT);
	(void)drain(&b, START);
	np_bucket_set_rate(&b, 100 * MBIT);
	assert_within(simulate(&b, 3, 4096, 1, SECOND, &poorest), 100 * MBIT, 2);
	np_bucket_set_rate(&b, UINT64_MAX);
	assert_true(b.rate_bytes_s == NP_BUCKET_RATE_MAX);
	np_bucket_set_rate(&b, 0);
	assert_int_equal(np_bucket_take(&b, START, 99, 99, &(int64_t){0}), 99);
}

static void bucket_take__a_few_bytes_a_second__still_moves(void **state)
{
	uint64_t rate;

	(void)state;
	for (rate = 1; rate <= 20; rate++) {
		struct np_bucket b;
		int64_t now = START, wait;
		unsigned got = 0;

		np_bucket_init(&b, rate);
		while (now < START + (int64_t)10 * SECOND) {
			size_t n = np_bucket_take(&b, now, 100, 50, &wait);

			got += (unsigned)n;
			assert_true(n > 0 || wait > 0);
			now += wait;
		}
		assert_true(got >= rate * 10 && got <= rate * 10 + 4);
	}
}

struct shared {
	struct np_bucket bucket;
	_Atomic int64_t now; /* simulated, moved on by all */
	_Atomic uint64_t granted;
};

static void *taker(void *arg)
{
	struct shared *s = arg;
	int64_t now;

	while ((now = atomic_fetch_add(&s->now, 500)) < START + SECOND / 2) {
		int64_t wait;
		size_t n = np_bucket_take(&s->bucket, now, 1460, 700, &wait);

		if (n > 1000) {
			np_bucket_refund(&s->bucket, n - 1000);
			n = 1000;
		}
		atomic_fetch_add(&s->granted, n);
	}
	return NULL;
}

static void bucket_take__four_threads__rate_kept(void **state)
{
	static const uint64_t rates[] = {100 * MBIT, 10000 * MBIT};
	struct shared s;
	pthread_t t[4];
	unsigned i, k;

	(void)state;
	for (k = 0; k < 2; k++) {
		uint64_t burst;

		np_bucket_init(&s.bucket, rates[k]);
		burst = drain(&s.bucket, START);
		assert_true(burst > 0);
		atomic_init(&s.now, START);
		atomic_init(&s.granted, 0);
		for (i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&t[i], NULL, taker, &s), 0);
		for (i = 0; i < 4; i++)
			assert_int_equal(pthread_join(t[i], NULL), 0);
		assert_within(s.granted, rates[k] / 2, 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bucket_take__no_limit__all_at_once),
	    cmocka_unit_test(bucket_take__full_bucket__grants_100_ms_of_bytes),
	    cmocka_unit_test(bucket_take__one_taker__rate_within_two_percent),
	    cmocka_unit_test(bucket_take__thousand_takers__rate_kept_and_nobody_starved),
	    cmocka_unit_test(bucket_take__least_above_the_burst__cut_to_it),
	    cmocka_unit_test(bucket_take__told_wait__least_is_there_then_and_not_before),
	    cmocka_unit_test(bucket_take__clock_of_another_thread_behind__no_extra_bytes),
	    cmocka_unit_test(bucket_refund__unused__can_be_taken_again),
	    cmocka_unit_test(bucket_charge__more_than_a_burst__paid_for_by_what_comes_later),
	    cmocka_unit_test(bucket_charge_at__idle_bucket__pays_from_now_on),
	    cmocka_unit_test(bucket_set_rate__while_in_use__new_rate_from_then_on),
	    cmocka_unit_test(bucket_take__a_few_bytes_a_second__still_moves),
	    cmocka_unit_test(bucket_take__four_threads__rate_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
