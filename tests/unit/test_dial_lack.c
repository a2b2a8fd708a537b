/*
 * test_dial_lack.c - dialling when descriptors or memory are short: said, and not blamed on the target.
 */
#include "dial_bed.h"

#include "base/alloc.h"

#include <stdatomic.h>
#include <sys/resource.h>

static void dial_start__no_descriptors__said_and_not_blamed_on_the_target(void **state)
{
	uint16_t port = 0;
	int l = listen_at("127.0.0.1", &port), lowest = dup(l);
	struct np_hostport t[2] = {at("127.0.0.1", port), at("127.0.0.1", port)};
	struct np_balance balance;
	struct rlimit old, few;
	struct call c;

	(void)state;
	close(lowest);
	np_balance_init(&balance, NP_BALANCE_TURN, 2, 300000);
	call_init(&c, t, 2);
	c.o.balance = &balance;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	call_run(&c);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	expect_failed(&c, NP_REASON_NO_DESCRIPTORS, EMFILE,
		      "socket 127.0.0.1:%u: Too many open files", port);
	assert_int_equal(atomic_load(&balance.target[0].failures), 0);
	assert_int_equal(atomic_load(&balance.target[1].failures), 0);
	close(l);
}

struct starved {
	struct call c;
	long n;
};

static void starved_start(struct worker *w, void *arg)
{
	struct starved *s = arg;

	np_alloc_fail_after(s->n);
	call_start(w, &s->c);
	np_alloc_fail_after(-1);
}

static void dial_start__no_memory__refused_or_reported(void **state)
{
	uint16_t port = 0;
	int l = listen_at("127.0.0.1", &port);
	struct np_hostport t = at("127.0.0.1", port);
	struct starved s;
	bool connected = false;

	(void)state;
	for (s.n = 0; s.n < 10 && !connected; s.n++) {
		call_init(&s.c, &t, 1);
		assert_true(on_worker(worker_at(0), starved_start, &s));
		if (s.c.err == NP_ENOMEM)
			continue;
		assert_true(on_worker_wait(&s.c.done));
		connected = s.c.result.fd != -1;
		if (connected)
			expect_connected(&s.c, 0);
		else
			expect_failed(&s.c, NP_REASON_NO_MEMORY, ENOMEM, "dial: out of memory");
	}
	assert_true(connected);
	assert_true(s.n >= 3);
	close(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(dial_start__no_descriptors__said_and_not_blamed_on_the_target),
	    TEST(dial_start__no_memory__refused_or_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
