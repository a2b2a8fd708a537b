/*
 * test_pool_sim.c - the pool's size: whole pools simulated event by event, with the latency of a link
 * between the dialling client and the ingress that has the visitors.
 */
#include "pool_fill_bed.h"

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
	    cmocka_unit_test(pool__burst_of_100_over_60_ms__all_served_within_2_s),
	    cmocka_unit_test(pool__bursts_every_five_seconds__no_dials_after_the_first),
	    cmocka_unit_test(pool__ten_thousand_sessions_one_by_one__min_and_a_handful_of_dials),
	    cmocka_unit_test(pool__sixteen_visitors_at_once_over_and_over__few_dials),
	    cmocka_unit_test(pool__load_over__back_to_min),
	    cmocka_unit_test(pool__min_zero__visitors_served_and_pool_empty_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
