/*
 * test_pool_fill.c - the pool's size: single rules, then whole pools simulated event by event, with
 * the latency of a link between the dialling client and the ingress that has the visitors.
 */
#include "core/pool_fill.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct np_mono t0 = {7000000};

static struct np_mono at_ms(int64_t ms)
{
	return np_mono_add_ms(t0, ms);
}

static struct np_pool_fill fill_of(uint32_t min, uint32_t max)
{
	struct np_pool_fill_limits l = {.min = min, .max = max};
	struct np_pool_fill f;

	np_pool_fill_init(&f, &l, t0);
	return f;
}

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

/*
 * A whole pool. The server is the ingress: it has the visitors, takes idle channels, retires what
 * is above the PoolTarget it was told. The client makes channels and decides only by what has
 * reached it.
 */
enum what {
	MADE_AT_SERVER,
	MADE_AT_CLIENT,
	OPEN_AT_CLIENT,
	DONE_AT_CLIENT,
	DONE_AT_SERVER,
	CLOSED_AT_CLIENT,
	DEMAND_AT_CLIENT,
	TARGET_AT_SERVER,
	TICK,
	VISITOR
};

struct event {
	int64_t us;
	enum what what;
	uint32_t n;
};

#define EVENTS_MAX 4096

struct sim {
	struct np_pool_fill fill;
	int64_t now, half;  /* half a round trip */
	int64_t make, hold; /* to make a channel; an OPEN holds one, seen from the server */
	int64_t tick;
	struct event events[EVENTS_MAX];
	unsigned nevents;
	uint32_t idle, dialing, busy;		     /* as the client sees it */
	uint32_t server_idle, waiting, target, told; /* as the server sees it */
	unsigned dials, served, retired,
	    closed_loop; /* closed_loop: visitors still to come, each after the last */
	bool often;	 /* the client ticks at every event, not by time alone */
	int64_t last_served;
};

static void later(struct sim *s, int64_t delay, enum what what, uint32_t n)
{
	assert_true(s->nevents < EVENTS_MAX);
	s->events[s->nevents++] = (struct event){s->now + delay, what, n};
}

static struct event next_event(struct sim *s)
{
	unsigned i, best = 0;
	struct event e;

	for (i = 1; i < s->nevents; i++) {
		if (s->events[i].us < s->events[best].us)
			best = i;
	}
	e = s->events[best];
	/* Events of one time keep their order: a channel's bytes do. */
	memmove(&s->events[best], &s->events[best + 1], (s->nevents - best - 1) * sizeof e);
	s->nevents--;
	return e;
}

static void server_step(struct sim *s)
{
	while (s->waiting > 0 && s->server_idle > 0) {
		s->waiting--;
		s->server_idle--;
		later(s, s->half, OPEN_AT_CLIENT, 0);
		later(s, s->hold - s->half, DONE_AT_CLIENT, 0);
		later(s, s->hold, DONE_AT_SERVER, 0);
	}
	while (s->server_idle > s->target) {
		s->server_idle--;
		s->retired++;
		later(s, s->half, CLOSED_AT_CLIENT, 0);
	}
}

static void client_step(struct sim *s, bool tick)
{
	struct np_mono now = {t0.us + s->now};
	uint32_t n;

	if (tick || s->often)
		np_pool_fill_tick(&s->fill, now, s->busy);
	n = np_pool_fill_dials(&s->fill, now, s->idle, s->dialing);
	s->dials += n;
	s->dialing += n;
	for (; n > 0; n--) {
		later(s, s->make - s->half, MADE_AT_SERVER, 0);
		later(s, s->make, MADE_AT_CLIENT, 0);
	}
	if (np_pool_fill_wanted(&s->fill) != s->told) {
		s->told = np_pool_fill_wanted(&s->fill);
		later(s, s->half, TARGET_AT_SERVER, s->told);
	}
}

static void visitors(struct sim *s, uint32_t n)
{
	s->waiting += n;
	server_step(s);
	if (s->waiting > 0)
		later(s, s->half, DEMAND_AT_CLIENT, s->waiting);
}

static void session_over(struct sim *s)
{
	s->served++;
	s->last_served = s->now;
	s->server_idle++;
	if (s->closed_loop > 0) {
		s->closed_loop--;
		visitors(s, 1);
	}
}

static void handle(struct sim *s, const struct event *e)
{
	switch (e->what) {
	case MADE_AT_SERVER:
		s->server_idle++;
		break;
	case MADE_AT_CLIENT:
		s->dialing--;
		s->idle++;
		np_pool_fill_dial_ok(&s->fill, s->make);
		break;
	case OPEN_AT_CLIENT:
		assert_true(s->idle > 0);
		s->idle--;
		s->busy++;
		np_pool_fill_opened(&s->fill);
		break;
	case DONE_AT_CLIENT:
		s->busy--;
		s->idle++;
		break;
	case DONE_AT_SERVER:
		session_over(s);
		break;
	case CLOSED_AT_CLIENT:
		s->idle--;
		break;
	case DEMAND_AT_CLIENT:
		np_pool_fill_demand(&s->fill, e->n);
		break;
	case TARGET_AT_SERVER:
		s->target = e->n;
		break;
	case TICK:
		later(s, s->tick, TICK, 0);
		break;
	case VISITOR:
		visitors(s, e->n);
		break;
	}
	server_step(s);
	if (e->what != MADE_AT_SERVER && e->what != DONE_AT_SERVER && e->what != TARGET_AT_SERVER &&
	    e->what != VISITOR)
		client_step(s, e->what == TICK);
}

/* Until @until_us, or until @served sessions are over. */
static void run(struct sim *s, int64_t until_us, unsigned served)
{
	while (s->served < served) {
		struct event e = next_event(s);

		if (e.us > until_us) {
			later(s, e.us - s->now, e.what, e.n);
			break;
		}
		s->now = e.us;
		handle(s, &e);
	}
}

/* A pool that has been up for 5 s without visitors. */
static struct sim *pool_up(uint32_t min, int64_t rtt_us, int64_t tick_us, bool often)
{
	struct sim *s = test_calloc(1, sizeof *s);

	s->fill = fill_of(min, 1024);
	s->half = rtt_us / 2;
	s->make = 3 * rtt_us;
	s->hold = 3 * rtt_us;
	s->tick = tick_us;
	s->often = often;
	s->target = s->told = min;
	later(s, 0, TICK, 0);
	run(s, 5000000, UINT32_MAX);
	assert_int_equal(s->idle, min);
	assert_int_equal(s->server_idle, min);
	assert_int_equal(s->dials, min);
	return s;
}

static void pool__burst_of_100_over_60_ms__all_served_within_2_s(void **state)
{
	static const int64_t ticks[] = {100000, 1000000};
	unsigned i, often;

	(void)state;
	for (i = 0; i < 2; i++) {
		for (often = 0; often < 2; often++) {
			struct sim *s = pool_up(4, 60000, ticks[i], often != 0);
			int64_t begin = s->now;

			later(s, 0, VISITOR, 100);
			run(s, begin + 10000000, 100);
			assert_int_equal(s->served, 100);
			assert_true(s->last_served - begin <= 2000000);
			assert_true(s->dials <= 4 + 150);
			test_free(s);
		}
	}
}

/* The second burst finds the channels of the first. */
static void pool__bursts_every_five_seconds__no_dials_after_the_first(void **state)
{
	struct sim *s = pool_up(4, 60000, 100000, true);
	unsigned i, dials = 0;

	(void)state;
	for (i = 0; i < 10; i++) {
		int64_t begin = s->now;

		later(s, 0, VISITOR, 100);
		run(s, begin + 5000000, UINT32_MAX);
		assert_int_equal(s->served, 100 * (i + 1));
		if (i == 1)
			dials = s->dials;
	}
	assert_true(s->dials - dials <= 20);
	test_free(s);
}

static void pool__ten_thousand_sessions_one_by_one__min_and_a_handful_of_dials(void **state)
{
	static const uint32_t mins[] = {0, 1, 4, 64};
	static const int64_t rtts[] = {200, 60000};
	unsigned i, k, often;

	(void)state;
	for (i = 0; i < 4; i++) {
		for (k = 0; k < 2; k++) {
			for (often = 0; often < 2; often++) {
				struct sim *s = pool_up(mins[i], rtts[k], 100000, often != 0);

				s->closed_loop = 9999;
				later(s, 0, VISITOR, 1);
				run(s, INT64_MAX, 10000);
				assert_int_equal(s->served, 10000);
				if (s->dials > mins[i] + 6)
					fail_msg("min %u, rtt %d us: %u dials, %u retired", mins[i],
						 (int)rtts[k], s->dials, s->retired);
				test_free(s);
			}
		}
	}
}

static void pool__sixteen_visitors_at_once_over_and_over__few_dials(void **state)
{
	struct sim *s = pool_up(4, 20000, 100000, true);

	(void)state;
	s->closed_loop = 20000 - 16;
	later(s, 0, VISITOR, 16);
	run(s, INT64_MAX, 20000);
	assert_true(s->dials <= 4 + 16 + 40);
	test_free(s);
}

static void pool__load_over__back_to_min(void **state)
{
	struct sim *s = pool_up(4, 60000, 1000000, true);

	(void)state;
	later(s, 0, VISITOR, 200);
	run(s, s->now + 5000000, UINT32_MAX);
	assert_int_equal(s->served, 200);
	run(s, s->now + 90000000, UINT32_MAX);
	assert_int_equal(s->idle, 4);
	assert_int_equal(s->server_idle, 4);
	assert_int_equal(s->dialing, 0);
	test_free(s);
}

static void pool__min_zero__visitors_served_and_pool_empty_again(void **state)
{
	struct sim *s = pool_up(0, 60000, 1000000, false);
	int64_t begin = s->now;

	(void)state;
	later(s, 0, VISITOR, 3);
	run(s, begin + 10000000, 3);
	assert_int_equal(s->served, 3);
	assert_true(s->last_served - begin <= 600000);
	run(s, s->now + 60000000, UINT32_MAX);
	assert_int_equal(s->idle, 0);
	test_free(s);
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
	    cmocka_unit_test(pool__burst_of_100_over_60_ms__all_served_within_2_s),
	    cmocka_unit_test(pool__bursts_every_five_seconds__no_dials_after_the_first),
	    cmocka_unit_test(pool__ten_thousand_sessions_one_by_one__min_and_a_handful_of_dials),
	    cmocka_unit_test(pool__sixteen_visitors_at_once_over_and_over__few_dials),
	    cmocka_unit_test(pool__load_over__back_to_min),
	    cmocka_unit_test(pool__min_zero__visitors_served_and_pool_empty_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
