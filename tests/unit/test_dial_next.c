/*
 * test_dial_next.c - dialling several: when the next address or target has its turn, how many are tried
 * at once, what is noted of those that were passed over.
 */
#include "dial_bed.h"

#include <stdatomic.h>
#include <time.h>

/*
 * How soon is judged by what comes first, so that a slow machine changes nothing: another dial of the
 * same worker, begun just before, whose first address is silent and whose second one answers.
 */
struct rival {
	struct silent s;
	int l;
	struct np_hostport t[2];
	struct call c;
	int64_t next_ms;
};

static void rival_init(struct rival *r, struct silent s, int l, int64_t next_ms)
{
	r->s = s;
	r->l = l;
	r->next_ms = next_ms;
	call_init(&r->c, r->t, next_ms == DIAL_NEXT_TARGET_MS ? 2 : 1);
	r->c.o.timeout_ms = 20000;
}

/* Of one name: its second address comes after DIAL_NEXT_ADDR_MS. */
static void rival_address(struct rival *r)
{
	uint16_t port = 0;
	struct silent s = silent_at("127.0.0.2", &port);

	r->t[0] = at("two.test", port);
	rival_init(r, s, listen_at("127.0.0.3", &port), DIAL_NEXT_ADDR_MS);
}

/* Two targets: the second one comes after DIAL_NEXT_TARGET_MS. */
static void rival_target(struct rival *r)
{
	uint16_t port[2] = {0, 0};
	struct silent s = silent_at("127.0.0.1", &port[0]);
	int l = listen_at("127.0.0.1", &port[1]);

	for (int i = 0; i < 2; i++)
		r->t[i] = at("127.0.0.1", port[i]);
	rival_init(r, s, l, DIAL_NEXT_TARGET_MS);
}

static void rival_close(struct rival *r)
{
	silent_close(&r->s);
	close(r->l);
}

static void start_both(struct worker *w, void *arg)
{
	struct call **c = arg;

	call_start(w, c[0]);
	call_start(w, c[1]);
}

/* @c, which has to wait for @wait_ms, connects before @r. */
static void run_before(struct call *c, int64_t wait_ms, struct rival *r)
{
	struct call *both[] = {&r->c, c};
	int64_t later;

	c->o.timeout_ms = 20000;
	assert_true(on_worker(worker_at(0), start_both, both));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(both[i]->err, NP_OK);
		assert_true(on_worker_wait(&both[i]->done));
	}
	expect_connected(&r->c, r->next_ms == DIAL_NEXT_TARGET_MS);
	/* The worker may have lost its processor between the two. */
	later = np_mono_diff_ms(c->started, r->c.started);
	assert_true(c->rank < r->c.rank || later >= r->next_ms - wait_ms);
	rival_close(r);
}

static void dial_start__first_refuses__second_at_once_and_noted(void **state)
{
	uint16_t port[2] = {0, 0};
	int held = bind_at("127.0.0.1", &port[0]), l = listen_at("127.0.0.1", &port[1]);
	struct np_hostport t[2] = {at("127.0.0.1", port[0]), at("127.0.0.1", port[1])};
	struct np_balance balance;
	struct rival r;
	struct call c;

	(void)state;
	rival_address(&r);
	np_balance_init(&balance, NP_BALANCE_PRIMARY, 2, 300000);
	call_init(&c, t, 2);
	c.o.balance = &balance;
	run_before(&c, 0, &r);
	expect_connected(&c, 1);
	assert_int_equal(atomic_load(&balance.target[0].failures), 1);
	assert_int_equal(atomic_load(&balance.target[1].failures), 0);
	close(held);
	close(l);
}

static void dial_start__all_refuse__all_noted_once(void **state)
{
	uint16_t port[3] = {0, 0, 0};
	struct np_hostport t[3];
	struct np_balance balance;
	struct call c;
	int held[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		held[i] = bind_at("127.0.0.1", &port[i]);
		t[i] = at("127.0.0.1", port[i]);
	}
	np_balance_init(&balance, NP_BALANCE_TURN, 3, 300000);
	call_init(&c, t, 3);
	c.o.balance = &balance;
	call_run(&c);
	assert_int_equal(c.result.reason, NP_REASON_DIAL_REFUSED);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(atomic_load(&balance.target[i].failures), 1);
		close(held[i]);
	}
}

static void dial_start__first_target_silent__second_after_a_second(void **state)
{
	struct np_balance balance;
	struct rival r;

	(void)state;
	rival_target(&r);
	np_balance_init(&balance, NP_BALANCE_PRIMARY, 2, 300000);
	r.c.o.balance = &balance;
	call_run(&r.c);
	assert_true(r.c.us - r.c.result.connect_us >= (DIAL_NEXT_TARGET_MS - 10) * 1000);
	expect_connected(&r.c, 1);
	assert_int_equal(atomic_load(&balance.target[0].failures), 1);
	rival_close(&r);
}

static void dial_start__first_address_silent__second_after_250_ms(void **state)
{
	uint16_t port = 0, known_port = 0;
	struct silent s = silent_at("127.0.0.2", &port);
	int l = listen_at("127.0.0.3", &port), known_l = listen_at("127.0.0.2", &known_port);
	struct np_hostport t = at("two.test", port), known = at("two.test", known_port);
	struct np_addr expected = addr_of("127.0.0.3", port);
	struct rival r;
	struct call c;

	(void)state;
	/* Its addresses are known: no helper is waited for. */
	call_init(&c, &known, 1);
	call_run(&c);
	expect_connected(&c, 0);
	close(known_l);
	rival_target(&r);
	call_init(&c, &t, 1);
	run_before(&c, DIAL_NEXT_ADDR_MS, &r);
	assert_true(c.us >= (DIAL_NEXT_ADDR_MS - 10) * 1000);
	assert_true(np_addr_equal(&c.result.addr, &expected));
	expect_connected(&c, 0);
	silent_close(&s);
	close(l);
}

static void dial_start__first_address_refuses__second_at_once(void **state)
{
	uint16_t port = 0;
	int held = bind_at("127.0.0.2", &port), l = listen_at("127.0.0.3", &port);
	struct np_hostport t = at("two.test", port);
	struct np_balance balance;
	struct rival r;
	struct call c;

	(void)state;
	rival_address(&r);
	np_balance_init(&balance, NP_BALANCE_TURN, 1, 300000);
	call_init(&c, &t, 1);
	c.o.balance = &balance;
	run_before(&c, 0, &r);
	expect_connected(&c, 0);
	assert_int_equal(atomic_load(&balance.target[0].failures), 0);
	close(held);
	close(l);
}

/* The most attempts that a dial to @t, where nobody answers, has under way at once in its time. */
static int most_attempts(struct call *c, const struct np_hostport *t, int64_t timeout_ms)
{
	struct timespec look_again;
	int before = count_fds(), most = 0;

	call_init(c, t, 1);
	c->o.timeout_ms = timeout_ms;
	assert_true(on_worker(worker_at(0), call_start, c));
	do {
		int n = count_fds() - before;

		most = n > most ? n : most;
		clock_gettime(CLOCK_REALTIME, &look_again);
		look_again.tv_nsec = (look_again.tv_nsec + 10000000) % 1000000000;
		look_again.tv_sec += look_again.tv_nsec < 10000000;
	} while (sem_timedwait(&c->done, &look_again) == -1);
	return most;
}

static void dial_start__ten_silent_addresses__eight_attempts_at_most(void **state)
{
	struct silent s[10];
	struct np_hostport t;
	struct call c;
	uint16_t port = 0;
	char literal[32];
	int most = 0;

	(void)state;
	for (int i = 0; i < 10; i++) {
		snprintf(literal, sizeof(literal), "127.0.1.%d", i + 1);
		s[i] = silent_at(literal, &port);
	}
	t = at("ten.test", port);
	/* A busy machine comes to fewer in the time of ten: then it gets more time. */
	for (int n = 10; n <= 80 && most < DIAL_ATTEMPTS_MAX; n *= 2)
		most = most_attempts(&c, &t, (int64_t)n * DIAL_NEXT_ADDR_MS);
	assert_int_equal(most, DIAL_ATTEMPTS_MAX);
	assert_int_equal(c.result.reason, NP_REASON_DIAL_TIMEOUT);
	for (int i = 0; i < 10; i++)
		silent_close(&s[i]);
}

static void dial_start__unknown_name_and_refusal__refusal_reported(void **state)
{
	uint16_t port = 0;
	int held = bind_at("127.0.0.1", &port);
	struct np_hostport t[2] = {at("127.0.0.1", port), at("none.test", 80)};
	struct call c;

	(void)state;
	call_init(&c, t, 2);
	call_run(&c);
	expect_failed(&c, NP_REASON_DIAL_REFUSED, ECONNREFUSED,
		      "connect 127.0.0.1:%u: Connection refused", port);
	close(held);
}

static void dial_start__slow_name__next_target_and_cancelled(void **state)
{
	uint16_t port = 0;
	int l = listen_at("127.0.0.1", &port);
	struct np_hostport t[2] = {at("slow.test", port), at("127.0.0.1", port)};
	struct call c;

	(void)state;
	call_init(&c, t, 2);
	call_run(&c);
	expect_connected(&c, 1);
	sem_post(&hold);
	close(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(dial_start__first_refuses__second_at_once_and_noted),
	    TEST(dial_start__all_refuse__all_noted_once),
	    TEST(dial_start__first_target_silent__second_after_a_second),
	    TEST(dial_start__first_address_silent__second_after_250_ms),
	    TEST(dial_start__first_address_refuses__second_at_once),
	    TEST(dial_start__ten_silent_addresses__eight_attempts_at_most),
	    TEST(dial_start__unknown_name_and_refusal__refusal_reported),
	    TEST(dial_start__slow_name__next_target_and_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
