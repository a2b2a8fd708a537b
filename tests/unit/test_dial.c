/*
 * test_dial.c - dialling one target: listening, refusing and silent ones, names, source addresses,
 * cancellation; UDP.
 */
#include "dial_bed.h"

#include "dial_socket.h"

#include <stdatomic.h>

static void dial_start__listening__connected(void **state)
{
	uint16_t port = 0;
	int l = listen_at("127.0.0.1", &port);
	struct np_hostport t = at("127.0.0.1", port);
	struct np_addr expected = addr_of("127.0.0.1", port);
	struct call c;

	(void)state;
	call_init(&c, &t, 1);
	call_run(&c);
	assert_true(np_addr_equal(&c.result.addr, &expected));
	expect_connected(&c, 0);
	close(l);
}

static void dial_start__empty_host__loopback(void **state)
{
	uint16_t port = 0;
	int l = listen_at("127.0.0.1", &port);
	struct np_hostport t = at("", port);
	struct call c;

	(void)state;
	call_init(&c, &t, 1);
	call_run(&c);
	expect_connected(&c, 0);
	close(l);
}

static void dial_start__nobody_listens__refused(void **state)
{
	uint16_t port = 0;
	int held = bind_at("127.0.0.1", &port);
	struct np_hostport t = at("127.0.0.1", port);
	struct call c;

	(void)state;
	call_init(&c, &t, 1);
	call_run(&c);
	expect_failed(&c, NP_REASON_DIAL_REFUSED, ECONNREFUSED,
		      "connect 127.0.0.1:%u: Connection refused", port);
	assert_true(c.result.host_answered);
	close(held);
}

static void dial_start__silent__timeout(void **state)
{
	uint16_t port = 0;
	struct silent s = silent_at("127.0.0.1", &port);
	struct np_hostport t = at("127.0.0.1", port);
	struct np_mono before = np_mono_now();
	struct call c;

	(void)state;
	call_init(&c, &t, 1);
	c.o.timeout_ms = 300;
	call_run(&c);
	expect_failed(&c, NP_REASON_DIAL_TIMEOUT, ETIMEDOUT,
		      "connect 127.0.0.1:%u: no answer in time", port);
	assert_in_range(np_mono_diff_ms(np_mono_now(), before), 290, 2000);
	assert_false(c.result.host_answered);
	silent_close(&s);
}

static void dial_start__unknown_name__resolve_failed(void **state)
{
	struct np_hostport t = at("none.test", 80);
	struct np_balance balance;
	struct call c;

	(void)state;
	for (int i = 0; i < 2; i++) { /* the second one from the cache, inside dial_start */
		np_balance_init(&balance, NP_BALANCE_TURN, 1, 300000);
		call_init(&c, &t, 1);
		c.o.balance = &balance;
		call_run(&c);
		expect_failed(&c, NP_REASON_RESOLVE_FAILED, 0, "resolve none.test: no such name");
		assert_false(c.result.host_answered);
		assert_int_equal(atomic_load(&balance.target[0].failures), 1);
	}
}

static void dial_start__slow_name_alone__times_out(void **state)
{
	struct np_hostport t = at("slow.test", 80);
	struct call c;

	(void)state;
	call_init(&c, &t, 1);
	c.o.timeout_ms = 200;
	call_run(&c);
	expect_failed(&c, NP_REASON_RESOLVE_FAILED, 0, "resolve slow.test: no answer in time");
	sem_post(&hold);
}

static void dial_start__fixed__no_target_needed(void **state)
{
	uint16_t port = 0;
	int l = listen_at("127.0.0.1", &port);
	struct np_addr fixed = addr_of("127.0.0.1", port);
	struct call c;

	(void)state;
	call_init(&c, NULL, 0);
	c.o.fixed = &fixed;
	call_run(&c);
	expect_connected(&c, 0);
	close(l);
}

/* -- source addresses -- */

static void dial_start__source__seen_by_the_target(void **state)
{
	uint16_t port = 0;
	int l = listen_at("127.0.0.1", &port), fd;
	struct np_hostport t = at("both.test", port); /* the IPv6 address is skipped */
	struct np_addr source = addr_of("127.0.0.5", 0), peer = {.len = sizeof(peer.in6)};
	struct call c;

	(void)state;
	call_init(&c, &t, 1);
	c.o.source = &source;
	call_run(&c);
	fd = accept4(l, &peer.sa, &peer.len, SOCK_CLOEXEC);
	assert_int_not_equal(fd, -1);
	assert_true(np_addr_same_host(&peer, &source));
	close(fd);
	expect_connected(&c, 0);
	close(l);
}

static void dial_start__source_not_here__fails(void **state)
{
	uint16_t port = 0;
	int l = listen_at("127.0.0.1", &port);
	struct np_hostport t = at("127.0.0.1", port);
	struct np_addr source = addr_of("192.0.2.1", 0);
	struct call c;

	(void)state;
	call_init(&c, &t, 1);
	c.o.source = &source;
	call_run(&c);
	expect_failed(&c, NP_REASON_DIAL_FAILED, EADDRNOTAVAIL,
		      "bind 192.0.2.1: Cannot assign requested address");
	close(l);
}

static void dial_start__source_of_other_family__fails(void **state)
{
	struct np_hostport t = at("::1", 80);
	struct np_addr source = addr_of("127.0.0.1", 0), fixed = addr_of("::1", 80);
	struct call c;

	(void)state;
	for (int i = 0; i < 2; i++) {
		call_init(&c, &t, 1);
		c.o.source = &source;
		c.o.fixed = i == 1 ? &fixed : NULL;
		call_run(&c);
		expect_failed(&c, NP_REASON_DIAL_FAILED, EAFNOSUPPORT,
			      "dial ::1: no address of the family of 127.0.0.1");
	}
}

/* -- cancelled; many -- */

static void call_start_and_cancel(struct worker *w, void *arg)
{
	struct call *c = arg;

	call_start(w, c);
	dial_cancel(c->dial);
}

static void call_cancel(struct worker *w, void *arg)
{
	struct call *c = arg;

	(void)w;
	dial_cancel(c->dial);
}

static void nothing(struct worker *w, void *arg)
{
	(void)w;
	(void)arg;
}

static void dial_cancel__at_any_time__done_not_called(void **state)
{
	uint16_t port = 0, port_silent = 0;
	int l = listen_at("127.0.0.1", &port);
	struct silent s = silent_at("127.0.0.1", &port_silent);
	struct np_hostport t[3] = {at("127.0.0.1", port), at("127.0.0.1", port_silent),
				   at("slow.test", port)};
	struct call c;

	(void)state;
	for (int i = 0; i < 3; i++) { /* connected already; connecting; resolving */
		call_init(&c, &t[i], 1);
		assert_true(on_worker(worker_at(0), call_start_and_cancel, &c));
		assert_int_equal(c.err, NP_OK);
		assert_true(on_worker(worker_at(0), nothing, NULL));
		assert_int_equal(sem_trywait(&c.done), -1);
		if (i == 0)
			continue;
		call_init(&c, &t[i], 1);
		assert_true(on_worker(worker_at(0), call_start, &c));
		assert_true(on_worker(worker_at(0), call_cancel, &c));
		assert_true(on_worker(worker_at(0), nothing, NULL));
		assert_int_equal(sem_trywait(&c.done), -1);
	}
	sem_post(&hold);
	silent_close(&s);
	close(l);
}

static void start_many(struct worker *w, void *arg)
{
	struct call *c = arg;

	for (int i = 0; i < 200; i++)
		call_start(w, &c[i]);
}

static void dial_start__many_at_once__each_has_its_own(void **state)
{
	static struct call c[200];
	uint16_t port = 0;
	int l = listen_at("127.0.0.1", &port);
	struct np_hostport t = at("127.0.0.1", port);

	(void)state;
	for (int i = 0; i < 200; i++)
		call_init(&c[i], &t, 1);
	assert_true(on_worker(worker_at(0), start_many, c));
	for (int i = 0; i < 200; i++) {
		assert_true(on_worker_wait(&c[i].done));
		expect_connected(&c[i], 0);
	}
	close(l);
}

/* -- sockets -- */

static void dial_socket_result__connected_to_itself__refused(void **state)
{
	uint16_t port = 0;
	int fd = bind_at("127.0.0.1", &port);
	struct np_addr self = addr_of("127.0.0.1", port);

	(void)state;
	assert_int_equal(connect(fd, &self.sa, self.len), 0);
	assert_int_equal(dial_socket_result(fd, &self), ECONNREFUSED);
	close(fd);
}

static void dial_udp__addresses__connected_from_the_source(void **state)
{
	struct np_addr to = addr_of("127.0.0.1", 9), source = addr_of("127.0.0.7", 0);
	struct np_addr six = addr_of("::1", 0), elsewhere = addr_of("192.0.2.1", 0);
	struct np_addr a = {.len = sizeof(a.in6)};
	int fd = dial_udp(&to, NULL);

	(void)state;
	assert_int_not_equal(fd, -1);
	assert_int_equal(getpeername(fd, &a.sa, &a.len), 0);
	assert_true(np_addr_equal(&a, &to));
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	fd = dial_udp(&to, &source);
	a.len = sizeof(a.in6);
	assert_int_equal(getsockname(fd, &a.sa, &a.len), 0);
	assert_true(np_addr_same_host(&a, &source));
	assert_int_not_equal(np_addr_port(&a), 0);
	close(fd);
	assert_int_equal(dial_udp(&to, &six), -1);
	assert_int_equal(errno, EAFNOSUPPORT);
	assert_int_equal(dial_udp(&to, &elsewhere), -1);
	assert_int_equal(errno, EADDRNOTAVAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(dial_start__listening__connected),
	    TEST(dial_start__empty_host__loopback),
	    TEST(dial_start__nobody_listens__refused),
	    TEST(dial_start__silent__timeout),
	    TEST(dial_start__unknown_name__resolve_failed),
	    TEST(dial_start__slow_name_alone__times_out),
	    TEST(dial_start__fixed__no_target_needed),
	    TEST(dial_start__source__seen_by_the_target),
	    TEST(dial_start__source_not_here__fails),
	    TEST(dial_start__source_of_other_family__fails),
	    TEST(dial_cancel__at_any_time__done_not_called),
	    TEST(dial_start__many_at_once__each_has_its_own),
	    TEST(dial_socket_result__connected_to_itself__refused),
	    TEST(dial_udp__addresses__connected_from_the_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
