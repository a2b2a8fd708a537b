/*
 * test_dial.c - dialling on loopback: targets in turn, silent and refusing ones, source addresses,
 * lack of descriptors and memory, cancellation.
 */
#include "dial.h"

#include "dial_socket.h"
#include "offload.h"
#include "on_worker.h"
#include "resolve.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"

/* -- names -- */

static sem_t hold;

static void add_literal(struct resolve_answer *out, const char *literal)
{
	assert_true(np_addr_from_literal(literal, 0, &out->addr[out->n++]));
}

static void fake_lookup(const char *host, struct resolve_answer *out)
{
	char text[32];

	if (strcmp(host, "two.test") == 0) {
		add_literal(out, "127.0.0.2");
		add_literal(out, "127.0.0.3");
	} else if (strcmp(host, "both.test") == 0) {
		add_literal(out, "::1");
		add_literal(out, "127.0.0.1");
	} else if (strcmp(host, "ten.test") == 0) {
		for (int i = 1; i <= 10; i++) {
			snprintf(text, sizeof(text), "127.0.1.%d", i);
			add_literal(out, text);
		}
	} else if (strcmp(host, "slow.test") == 0) {
		sem_wait(&hold);
		add_literal(out, "127.0.0.1");
	} else {
		snprintf(out->error, sizeof(out->error), "no such name");
	}
}

/* -- ends to dial to -- */

static struct np_addr addr_of(const char *literal, uint16_t port)
{
	struct np_addr a;

	assert_true(np_addr_from_literal(literal, port, &a));
	return a;
}

/* bind_at - a bound socket; @port 0 = any, then told. */
static int bind_at(const char *literal, uint16_t *port)
{
	struct np_addr a = addr_of(literal, *port);
	int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, &a.sa, a.len), 0);
	assert_int_equal(getsockname(fd, &a.sa, &a.len), 0);
	*port = np_addr_port(&a);
	return fd;
}

static int listen_at(const char *literal, uint16_t *port)
{
	int fd = bind_at(literal, port);

	assert_int_equal(listen(fd, 512), 0);
	return fd;
}

/* A listener whose queue is full: connections to it get no answer at all. */
struct silent {
	int fd, filler[8];
	size_t n;
};

static struct silent silent_at(const char *literal, uint16_t *port)
{
	struct silent s = {.fd = bind_at(literal, port)};
	struct np_addr a = addr_of(literal, *port);

	assert_int_equal(listen(s.fd, 0), 0);
	while (s.n < 8) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		int rc = connect(fd, &a.sa, a.len);

		s.filler[s.n++] = fd;
		if (rc == -1 && connect(fd, &a.sa, a.len) == -1 && errno == EALREADY)
			return s; /* not taken any more */
	}
	fail_msg("the queue does not fill");
	return s;
}

static void silent_close(struct silent *s)
{
	for (size_t i = 0; i < s->n; i++)
		close(s->filler[i]);
	close(s->fd);
}

static struct np_hostport at(const char *host, uint16_t port)
{
	struct np_hostport hp = {.port = port};

	snprintf(hp.host, sizeof(hp.host), "%s", host);
	return hp;
}

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

/* -- one dial -- */

struct call {
	struct dial_options o;
	struct dial *dial;
	enum np_err err;
	bool inside, called_inside;
	struct dial_result result;
	sem_t done;
};

static void call_on_done(void *arg, const struct dial_result *r)
{
	struct call *c = arg;

	c->called_inside = c->inside;
	c->result = *r;
	c->dial = NULL;
	sem_post(&c->done);
}

static void call_start(struct worker *w, void *arg)
{
	struct call *c = arg;

	c->inside = true;
	c->err = dial_start(w, &c->o, call_on_done, c, &c->dial);
	c->inside = false;
}

static void call_cancel(struct worker *w, void *arg)
{
	struct call *c = arg;

	(void)w;
	dial_cancel(c->dial);
}

static void call_init(struct call *c, const struct np_hostport *targets, size_t n)
{
	memset(c, 0, sizeof(*c));
	c->o = (struct dial_options){
	    .targets = targets, .ntargets = n, .dns_ms = 60000, .timeout_ms = 5000};
	sem_init(&c->done, 0, 0);
}

static void call_run(struct call *c)
{
	assert_true(on_worker(worker_at(0), call_start, c));
	assert_int_equal(c->err, NP_OK);
	assert_true(on_worker_wait(&c->done));
	assert_false(c->called_inside);
}

static void expect_connected(const struct call *c, size_t target)
{
	int on = 0;
	socklen_t len = sizeof(on);
	struct sockaddr_storage peer;

	assert_int_not_equal(c->result.fd, -1);
	assert_int_equal(c->result.target, target);
	assert_true(c->result.host_answered);
	assert_in_range(c->result.connect_us, 0, 20000000);
	len = sizeof(peer);
	assert_int_equal(getpeername(c->result.fd, (struct sockaddr *)&peer, &len), 0);
	len = sizeof(on);
	assert_int_equal(getsockopt(c->result.fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
	assert_int_equal(on, 1);
	assert_true(fcntl(c->result.fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(fcntl(c->result.fd, F_GETFD), FD_CLOEXEC);
	close(c->result.fd);
}

static NP_PRINTF(4, 5) void expect_failed(const struct call *c, enum np_reason reason, int err,
					  const char *fmt, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert_string_equal(c->result.text, text);
	assert_int_equal(c->result.reason, reason);
	assert_int_equal(c->result.sys_errno, err);
	assert_int_equal(c->result.fd, -1);
}

static int fds_before;

static int set_up(void **state)
{
	(void)state;
	sem_init(&hold, 0, 0);
	resolve_set_lookup(fake_lookup);
	fds_before = count_fds();
	return workers_start(1) != NP_OK;
}

static int tear_down(void **state)
{
	(void)state;
	offload_stop();
	workers_stop();
	offload_restart();
	return count_fds() != fds_before; /* a descriptor was lost */
}

/* -- tests -- */

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

static void dial_start__first_refuses__second_at_once_and_noted(void **state)
{
	uint16_t port[2] = {0, 0};
	int held = bind_at("127.0.0.1", &port[0]), l = listen_at("127.0.0.1", &port[1]);
	struct np_hostport t[2] = {at("127.0.0.1", port[0]), at("127.0.0.1", port[1])};
	struct np_balance balance;
	struct np_mono before = np_mono_now();
	struct call c;

	(void)state;
	np_balance_init(&balance, NP_BALANCE_PRIMARY, 2, 300000);
	call_init(&c, t, 2);
	c.o.balance = &balance;
	call_run(&c);
	expect_connected(&c, 1);
	assert_true(np_mono_diff_ms(np_mono_now(), before) < DIAL_NEXT_ADDR_MS);
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

static void dial_start__first_target_silent__second_after_a_second(void **state)
{
	uint16_t port[2] = {0, 0};
	struct silent s = silent_at("127.0.0.1", &port[0]);
	int l = listen_at("127.0.0.1", &port[1]);
	struct np_hostport t[2] = {at("127.0.0.1", port[0]), at("127.0.0.1", port[1])};
	struct np_mono before = np_mono_now();
	struct np_balance balance;
	struct call c;

	(void)state;
	np_balance_init(&balance, NP_BALANCE_PRIMARY, 2, 300000);
	call_init(&c, t, 2);
	c.o.balance = &balance;
	call_run(&c);
	assert_in_range(np_mono_diff_ms(np_mono_now(), before), DIAL_NEXT_TARGET_MS - 10, 3000);
	assert_true(c.result.connect_us < 500000);
	expect_connected(&c, 1);
	assert_int_equal(atomic_load(&balance.target[0].failures), 1);
	silent_close(&s);
	close(l);
}

static void dial_start__first_address_silent__second_after_250_ms(void **state)
{
	uint16_t port = 0;
	struct silent s = silent_at("127.0.0.2", &port);
	int l = listen_at("127.0.0.3", &port);
	struct np_hostport t = at("two.test", port);
	struct np_mono before = np_mono_now();
	struct np_addr expected = addr_of("127.0.0.3", port);
	struct call c;

	(void)state;
	call_init(&c, &t, 1);
	call_run(&c);
	assert_in_range(np_mono_diff_ms(np_mono_now(), before), DIAL_NEXT_ADDR_MS - 10, 900);
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
	struct np_mono before = np_mono_now();
	struct np_balance balance;
	struct call c;

	(void)state;
	np_balance_init(&balance, NP_BALANCE_TURN, 1, 300000);
	call_init(&c, &t, 1);
	c.o.balance = &balance;
	call_run(&c);
	assert_true(np_mono_diff_ms(np_mono_now(), before) < DIAL_NEXT_ADDR_MS);
	expect_connected(&c, 0);
	assert_int_equal(atomic_load(&balance.target[0].failures), 0);
	close(held);
	close(l);
}

static void dial_start__ten_silent_addresses__eight_attempts_at_most(void **state)
{
	struct silent s[10];
	struct np_hostport t;
	struct call c;
	struct timespec look_again;
	uint16_t port = 0;
	char literal[32];
	int before, most = 0;

	(void)state;
	for (int i = 0; i < 10; i++) {
		snprintf(literal, sizeof(literal), "127.0.1.%d", i + 1);
		s[i] = silent_at(literal, &port);
	}
	t = at("ten.test", port);
	call_init(&c, &t, 1);
	c.o.timeout_ms = 10 * DIAL_NEXT_ADDR_MS;
	before = count_fds();
	assert_true(on_worker(worker_at(0), call_start, &c));
	do {
		int n = count_fds() - before;

		most = n > most ? n : most;
		clock_gettime(CLOCK_REALTIME, &look_again);
		look_again.tv_nsec = (look_again.tv_nsec + 10000000) % 1000000000;
		look_again.tv_sec += look_again.tv_nsec < 10000000;
	} while (sem_timedwait(&c.done, &look_again) == -1);
	assert_int_equal(most, DIAL_ATTEMPTS_MAX);
	assert_int_equal(c.result.reason, NP_REASON_DIAL_TIMEOUT);
	for (int i = 0; i < 10; i++)
		silent_close(&s[i]);
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

static void call_start_and_cancel(struct worker *w, void *arg)
{
	struct call *c = arg;

	call_start(w, c);
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(dial_start__listening__connected),
	    TEST(dial_start__empty_host__loopback),
	    TEST(dial_start__nobody_listens__refused),
	    TEST(dial_start__first_refuses__second_at_once_and_noted),
	    TEST(dial_start__all_refuse__all_noted_once),
	    TEST(dial_start__silent__timeout),
	    TEST(dial_start__first_target_silent__second_after_a_second),
	    TEST(dial_start__first_address_silent__second_after_250_ms),
	    TEST(dial_start__first_address_refuses__second_at_once),
	    TEST(dial_start__ten_silent_addresses__eight_attempts_at_most),
	    TEST(dial_start__unknown_name__resolve_failed),
	    TEST(dial_start__unknown_name_and_refusal__refusal_reported),
	    TEST(dial_start__slow_name__next_target_and_cancelled),
	    TEST(dial_start__slow_name_alone__times_out),
	    TEST(dial_start__fixed__no_target_needed),
	    TEST(dial_start__source__seen_by_the_target),
	    TEST(dial_start__source_not_here__fails),
	    TEST(dial_start__source_of_other_family__fails),
	    TEST(dial_start__no_descriptors__said_and_not_blamed_on_the_target),
	    TEST(dial_start__no_memory__refused_or_reported),
	    TEST(dial_cancel__at_any_time__done_not_called),
	    TEST(dial_start__many_at_once__each_has_its_own),
	    TEST(dial_socket_result__connected_to_itself__refused),
	    TEST(dial_udp__addresses__connected_from_the_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
