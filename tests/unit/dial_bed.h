/*
 * dial_bed.h - for tests: one worker that dials on loopback, names that resolve as the test wants, ends
 * that listen, refuse or are silent. A test that loses a descriptor fails.
 */
#ifndef NP_TEST_DIAL_BED_H
#define NP_TEST_DIAL_BED_H

#include "dial.h"

#include "offload.h"
#include "on_worker.h"
#include "resolve.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* -- names -- */

static sem_t hold;

static inline void add_literal(struct resolve_answer *out, const char *literal)
{
	assert_true(np_addr_from_literal(literal, 0, &out->addr[out->n++]));
}

static inline void fake_lookup(const char *host, struct resolve_answer *out)
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

static inline struct np_addr addr_of(const char *literal, uint16_t port)
{
	struct np_addr a;

	assert_true(np_addr_from_literal(literal, port, &a));
	return a;
}

/* bind_at - a bound socket; @port 0 = any, then told. */
static inline int bind_at(const char *literal, uint16_t *port)
{
	struct np_addr a = addr_of(literal, *port);
	int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, &a.sa, a.len), 0);
	assert_int_equal(getsockname(fd, &a.sa, &a.len), 0);
	*port = np_addr_port(&a);
	return fd;
}

static inline int listen_at(const char *literal, uint16_t *port)
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

static inline struct silent silent_at(const char *literal, uint16_t *port)
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

static inline void silent_close(struct silent *s)
{
	for (size_t i = 0; i < s->n; i++)
		close(s->filler[i]);
	close(s->fd);
}

static inline struct np_hostport at(const char *host, uint16_t port)
{
	struct np_hostport hp = {.port = port};

	snprintf(hp.host, sizeof(hp.host), "%s", host);
	return hp;
}

static inline int count_fds(void)
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
	int64_t us;    /* from its start to its end */
	unsigned rank; /* among the dials that ended: 1 = the first */
	struct np_mono started;
	sem_t done;
};

static unsigned dials_ended; /* in this test; the worker's */

static inline void call_on_done(void *arg, const struct dial_result *r)
{
	struct call *c = arg;

	c->called_inside = c->inside;
	c->result = *r;
	c->us = np_mono_diff_us(np_mono_now(), c->started);
	c->rank = ++dials_ended;
	c->dial = NULL;
	sem_post(&c->done);
}

static inline void call_start(struct worker *w, void *arg)
{
	struct call *c = arg;

	c->inside = true;
	c->started = np_mono_now();
	c->err = dial_start(w, &c->o, call_on_done, c, &c->dial);
	c->inside = false;
}

static inline void call_init(struct call *c, const struct np_hostport *targets, size_t n)
{
	memset(c, 0, sizeof(*c));
	c->o = (struct dial_options){
	    .targets = targets, .ntargets = n, .dns_ms = 60000, .timeout_ms = 5000};
	sem_init(&c->done, 0, 0);
}

static inline void call_run(struct call *c)
{
	assert_true(on_worker(worker_at(0), call_start, c));
	assert_int_equal(c->err, NP_OK);
	assert_true(on_worker_wait(&c->done));
	assert_false(c->called_inside);
}

static inline void expect_connected(const struct call *c, size_t target)
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

static inline NP_PRINTF(4, 5) void expect_failed(const struct call *c, enum np_reason reason,
						 int err, const char *fmt, ...)
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

static inline int set_up(void **state)
{
	(void)state;
	sem_init(&hold, 0, 0);
	dials_ended = 0;
	resolve_set_lookup(fake_lookup);
	fds_before = count_fds();
	return workers_start(1) != NP_OK;
}

static inline int tear_down(void **state)
{
	(void)state;
	offload_stop();
	workers_stop();
	offload_restart();
	return count_fds() != fds_before; /* a descriptor was lost */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
