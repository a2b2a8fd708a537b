/*
 * registry_bed.h - for tests of the registry: one with real workers, main's loop, two targets on loopback
 * that greet with a letter, visitors.
 */
#ifndef NP_TEST_REGISTRY_BED_H
#define NP_TEST_REGISTRY_BED_H

#include "registry.h"

#include "offload.h"
#include "runtime.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 20000

struct runtime runtime;

/* -- targets: greet with one letter, then echo -- */

#define TARGET_FDS 64

struct target {
	pthread_t thread;
	int fd, quit[2];
	uint16_t port;
	char letter;
};

static inline void *target_main(void *arg)
{
	struct target *t = arg;
	struct pollfd fds[TARGET_FDS] = {{.fd = t->quit[0], .events = POLLIN},
					 {.fd = t->fd, .events = POLLIN}};
	nfds_t n = 2;
	char buf[4096];

	for (;;) {
		if (poll(fds, n, -1) == -1)
			continue;
		if (fds[0].revents != 0)
			break;
		for (nfds_t i = 2; i < n; i++) {
			ssize_t got;

			if (fds[i].revents == 0)
				continue;
			got = read(fds[i].fd, buf, sizeof(buf));
			if (got > 0 && write(fds[i].fd, buf, (size_t)got) == got)
				continue;
			close(fds[i].fd);
			fds[i--] = fds[--n];
		}
		if ((fds[1].revents & POLLIN) != 0 && n < TARGET_FDS) {
			int c = accept(t->fd, NULL, NULL);

			if (c != -1 && write(c, &t->letter, 1) == 1)
				fds[n++] = (struct pollfd){.fd = c, .events = POLLIN};
		}
	}
	while (n > 2)
		close(fds[--n].fd);
	return NULL;
}

static inline int listen_any(uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_not_equal(fd, -1);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static inline void target_start(struct target *t, char letter)
{
	t->letter = letter;
	t->fd = listen_any(&t->port);
	assert_int_equal(pipe(t->quit), 0);
	assert_int_equal(pthread_create(&t->thread, NULL, target_main, t), 0);
}

static inline void target_stop(struct target *t)
{
	assert_int_equal(write(t->quit[1], "", 1), 1);
	pthread_join(t->thread, NULL);
	close(t->quit[0]);
	close(t->quit[1]);
	close(t->fd);
}

static inline uint16_t free_port(void)
{
	uint16_t port;

	close(listen_any(&port));
	return port;
}

/* -- visitors -- */

static inline int visitor_open(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct timeval tv = {.tv_sec = 20};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_not_equal(fd, -1);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The letter of the target that a new visitor reaches; 0 = none. */
static inline char greeting(int fd)
{
	char c = 0;

	return recv(fd, &c, 1, 0) == 1 ? c : 0;
}

static inline bool echoes(int fd, const char *text)
{
	char back[64];
	size_t n = strlen(text), have = 0;

	if (send(fd, text, n, MSG_NOSIGNAL) != (ssize_t)n)
		return false;
	while (have < n) {
		ssize_t got = recv(fd, back + have, n - have, 0);

		if (got <= 0)
			return false;
		have += (size_t)got;
	}
	return memcmp(text, back, n) == 0;
}

/* -- fixture -- */

struct fixture {
	struct event_base *base;
	struct registry *r;
	struct target a, b;
	unsigned changes, removed;
	char removed_id[INSTANCE_ID_MAX + 1];
};

static inline void on_change(void *arg, const char *id)
{
	struct fixture *f = arg;
	struct ctl_status st;

	f->changes++;
	if (f->r == NULL || !registry_status(f->r, id, &st) || !st.removed)
		return;
	f->removed++;
	snprintf(f->removed_id, sizeof(f->removed_id), "%s", id);
}

static inline const char *no_variable(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	return NULL;
}

static inline void no_warning(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	signal(SIGPIPE, SIG_IGN); /* a target may greet who has left */
	np_env_load(&runtime.env, no_variable, no_warning, NULL);
	offload_restart();
	assert_int_equal(workers_start(2), NP_OK);
	f->base = event_base_new();
	f->r = registry_new(f->base, on_change, f);
	assert_non_null(f->r);
	target_start(&f->a, 'A');
	target_start(&f->b, 'B');
	*state = f;
	return 0;
}

static inline void pass(struct fixture *f)
{
	const struct timeval tv = {.tv_usec = 2000};

	event_base_loopexit(f->base, &tv);
	event_base_dispatch(f->base);
}

static inline bool all_gone(struct fixture *f)
{
	struct registry_counts c;

	registry_counts(f->r, &c);
	return c.stopped == c.all && c.ending == 0;
}

#define UNTIL(f, condition)                                                   \
	do {                                                                  \
		struct np_mono end_ = np_mono_add_ms(np_mono_now(), WAIT_MS); \
		while (!(condition) && np_mono_before(np_mono_now(), end_))   \
			pass(f);                                              \
		assert_true(condition);                                       \
	} while (0)

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	registry_stop(f->r);
	UNTIL(f, all_gone(f));
	for (int i = 0; i < 5; i++)
		pass(f);
	offload_stop();
	workers_stop();
	registry_free(f->r);
	event_base_free(f->base);
	target_stop(&f->a);
	target_stop(&f->b);
	free(f);
	return 0;
}

static inline enum ctl_code apply(struct fixture *f, const char *id, uint64_t revision,
				  enum ctl_desired desired, const char *fmt, ...) NP_PRINTF(5, 6);
static inline enum ctl_code apply(struct fixture *f, const char *id, uint64_t revision,
				  enum ctl_desired desired, const char *fmt, ...)
{
	struct ctl_spec spec = {.revision = revision, .desired = desired};
	struct np_diag diag = {.text = ""};
	char url[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(url, sizeof(url), fmt, ap);
	va_end(ap);
	snprintf(spec.id, sizeof(spec.id), "%s", id);
	spec.url = url;
	return registry_apply(f->r, &spec, false, &diag);
}

static inline struct ctl_status status(struct fixture *f, const char *id)
{
	struct ctl_status st = {.id = ""};

	(void)registry_status(f->r, id, &st);
	return st;
}

static inline unsigned ending(struct fixture *f)
{
	struct registry_counts c;

	registry_counts(f->r, &c);
	return c.ending;
}

static inline unsigned running(struct fixture *f)
{
	struct registry_counts c;

	registry_counts(f->r, &c);
	return c.running;
}

#define SINGLE "client://127.0.0.1:%u/127.0.0.1:%u?mode=1&noudp=1&min=0&log=error"

static inline void start_one(struct fixture *f, uint16_t port)
{
	assert_int_equal(apply(f, "a", 1, CTL_DESIRED_RUNNING, SINGLE, port, f->a.port),
			 CTL_ACCEPTED);
	UNTIL(f, status(f, "a").state == CTL_RUNNING);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
