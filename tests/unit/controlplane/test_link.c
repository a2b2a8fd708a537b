/*
 * test_link.c - link.c against a data plane whose sockets are there, away, or behave badly.
 */
#include "link.h"

#include "nng_end.h"

#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/reqrep0/rep.h>

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_S 30

static struct event_base *base;
static char dir[64], paths[2][96];
static unsigned ups, downs;
static atomic_uint churn_ups; /* the same, for the thread of the other side */

static void on_up(void *arg, int pid)
{
	(void)arg;
	assert_int_equal(pid, getpid());
	ups++;
	atomic_fetch_add(&churn_ups, 1);
	event_base_loopbreak(base);
}

static void on_down(void *arg)
{
	(void)arg;
	downs++;
	event_base_loopbreak(base);
}

static void on_event(void *arg, const struct ctl_event *ev)
{
	(void)arg;
	(void)ev;
}

static const struct link_callbacks callbacks = {
    .on_up = on_up, .on_down = on_down, .on_event = on_event};

static int setup(void **state)
{
	sigset_t all;

	(void)state;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	snprintf(dir, sizeof(dir), "/tmp/np-test-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(paths[0], sizeof(paths[0]), "%s/ctl.sock", dir);
	snprintf(paths[1], sizeof(paths[1]), "%s/events.sock", dir);
	base = event_base_new();
	ups = downs = 0;
	return base == NULL ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	event_base_free(base);
	unlink(paths[0]);
	unlink(paths[1]);
	return rmdir(dir);
}

static void loop_s(int seconds)
{
	event_base_loopexit(base, &(struct timeval){.tv_sec = seconds});
	event_base_dispatch(base);
}

/* -- the other side -- */

struct plane {
	nng_socket sockets[2];
};

static struct plane plane_open(void)
{
	struct plane p;
	char url[128];

	assert_int_equal(nng_rep0_open_raw(&p.sockets[0]), 0);
	assert_int_equal(nng_pub0_open(&p.sockets[1]), 0);
	for (int i = 0; i < 2; i++) {
		snprintf(url, sizeof(url), "ipc://%.90s", paths[i]);
		assert_int_equal(nng_listen(p.sockets[i], url, NULL, 0), 0);
	}
	return p;
}

/* Takes its names away: the next one comes after it. */
static void plane_end(struct plane p)
{
	for (int i = 0; i < 2; i++)
		nng_end(p.sockets[i]);
}

/* Lets everybody in and goes at once: as one that is killed in the middle of the handshake. */
struct rude {
	pthread_t thread;
	int fds[2];
	atomic_bool end;
	unsigned came;
};

static void *rude_run(void *arg)
{
	struct rude *r = arg;
	struct pollfd fds[2] = {{.fd = r->fds[0], .events = POLLIN},
				{.fd = r->fds[1], .events = POLLIN}};

	while (!atomic_load(&r->end)) {
		poll(fds, 2, 20);
		for (int i = 0; i < 2; i++) {
			int fd = accept4(r->fds[i], NULL, NULL, SOCK_CLOEXEC);

			if (fd == -1)
				continue;
			r->came++;
			close(fd);
		}
	}
	return NULL;
}

static void listen_on(int fds[2])
{
	for (int i = 0; i < 2; i++) {
		struct sockaddr_un a = {.sun_family = AF_UNIX};

		snprintf(a.sun_path, sizeof(a.sun_path), "%.90s", paths[i]);
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		assert_int_equal(bind(fds[i], (struct sockaddr *)&a, sizeof(a)), 0);
		assert_int_equal(listen(fds[i], 16), 0);
	}
}

static void rude_start(struct rude *r)
{
	listen_on(r->fds);
	assert_int_equal(pthread_create(&r->thread, NULL, rude_run, r), 0);
}

static void rude_stop(struct rude *r)
{
	atomic_store(&r->end, true);
	pthread_join(r->thread, NULL);
	for (int i = 0; i < 2; i++) {
		close(r->fds[i]);
		unlink(paths[i]);
	}
}

/*
 * Lets everybody in, says its greeting SLOW_MS later and then nothing more. Who is not there any more
 * by then would leave nng's listener without an accept.
 */
#define SLOW_MS	 700
#define SLOW_MAX 64

struct slow {
	pthread_t thread;
	int fds[2];
	atomic_bool end;
	unsigned greeted, left;
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void *slow_run(void *arg)
{
	static const unsigned char protocols[2] = {0x31, 0x20}; /* rep, pub */
	struct slow *s = arg;
	struct {
		int fd, which;
		int64_t at;
	} guests[SLOW_MAX];
	struct pollfd fds[2] = {{.fd = s->fds[0], .events = POLLIN},
				{.fd = s->fds[1], .events = POLLIN}};
	unsigned n = 0, next = 0;

	while (!atomic_load(&s->end)) {
		poll(fds, 2, 20);
		for (int i = 0; i < 2 && n < SLOW_MAX; i++) {
			int fd = accept4(s->fds[i], NULL, NULL, SOCK_CLOEXEC);

			if (fd == -1)
				continue;
			guests[n].fd = fd;
			guests[n].which = i;
			guests[n++].at = now_ms() + SLOW_MS;
		}
		for (; next < n && guests[next].at <= now_ms(); next++) {
			const unsigned char hello[8] = {
			    0, 'S', 'P', 0, 0, protocols[guests[next].which], 0, 0};

			if (send(guests[next].fd, hello, 8, MSG_NOSIGNAL) == 8)
				s->greeted++;
			else
				s->left++;
		}
	}
	while (n > 0)
		close(guests[--n].fd);
	return NULL;
}

static void slow_start(struct slow *s)
{
	listen_on(s->fds);
	assert_int_equal(pthread_create(&s->thread, NULL, slow_run, s), 0);
}

static void slow_stop(struct slow *s)
{
	atomic_store(&s->end, true);
	pthread_join(s->thread, NULL);
	for (int i = 0; i < 2; i++)
		close(s->fds[i]);
}

/*
 * CHURN_LIVES planes, one after the other, each listening before the one before it closes all it has:
 * a caller that dials anew by itself finds the next one at once. Each greets as late as CHURN_MS and
 * lives until the link is up, and as long again.
 */
#define CHURN_LIVES 300
#define CHURN_MS    12

struct churn {
	pthread_t thread;
	unsigned greeted, left, seed;
	atomic_bool over;
};

static void churn_pause(struct churn *c)
{
	poll(NULL, 0, (int)(rand_r(&c->seed) % CHURN_MS));
}

/* One life: false as soon as it has had its time. */
static void churn_live(struct churn *c, const int fds[2])
{
	static const unsigned char protocols[2] = {0x31, 0x20};
	struct pollfd polled[2] = {{.fd = fds[0], .events = POLLIN},
				   {.fd = fds[1], .events = POLLIN}};
	unsigned before = atomic_load(&churn_ups), n = 0;
	int64_t end = now_ms() + 1000;
	int guests[SLOW_MAX];

	while (now_ms() < end && atomic_load(&churn_ups) == before) {
		poll(polled, 2, 5);
		for (int i = 0; i < 2 && n < SLOW_MAX; i++) {
			const unsigned char hello[8] = {0, 'S', 'P', 0, 0, protocols[i], 0, 0};
			int fd = accept4(fds[i], NULL, NULL, SOCK_CLOEXEC);

			if (fd == -1)
				continue;
			guests[n++] = fd;
			churn_pause(c);
			if (send(fd, hello, 8, MSG_NOSIGNAL) == 8)
				c->greeted++;
			else
				c->left++;
		}
	}
	churn_pause(c);
	while (n > 0)
		close(guests[--n]);
}

static void *churn_run(void *arg)
{
	struct churn *c = arg;
	int now[2], next[2];

	listen_on(now);
	for (int life = 0; life < CHURN_LIVES; life++) {
		churn_live(c, now);
		for (int i = 0; i < 2; i++)
			unlink(paths[i]);
		listen_on(next);
		for (int i = 0; i < 2; i++)
			close(now[i]);
		memcpy(now, next, sizeof(now));
	}
	for (int i = 0; i < 2; i++)
		close(now[i]);
	atomic_store(&c->over, true);
	return NULL;
}

static void link__no_plane_yet__connected_when_it_comes(void **state)
{
	struct plane p;
	struct link *l;

	(void)state;
	assert_int_equal(link_new(base, paths[0], paths[1], &callbacks, NULL, &l), NP_OK);
	loop_s(1);
	assert_int_equal(ups, 0);
	p = plane_open();
	loop_s(PATIENCE_S);
	assert_int_equal(ups, 1);
	plane_end(p);
	loop_s(PATIENCE_S); /* down */
	p = plane_open();
	loop_s(PATIENCE_S);
	assert_int_equal(ups, 2);
	link_free(l);
	plane_end(p);
}

/* The library may give up dialling for good when its peer is gone in the middle of the handshake. */
static void link__planes_that_die_in_the_handshake__next_one_found(void **state)
{
	struct rude r = {.came = 0};
	struct plane p;
	struct link *l;

	(void)state;
	rude_start(&r);
	assert_int_equal(link_new(base, paths[0], paths[1], &callbacks, NULL, &l), NP_OK);
	loop_s(4);
	rude_stop(&r);
	assert_true(r.came > 1);
	p = plane_open();
	loop_s(PATIENCE_S);
	assert_true(ups >= 1);
	link_free(l);
	plane_end(p);
}

/* Nobody may leave in the middle of the handshake, however slow the next plane is. */
static void link__next_plane_is_slow__nobody_leaves_in_the_handshake(void **state)
{
	struct slow s = {.greeted = 0};
	struct plane p;
	struct link *l;

	(void)state;
	p = plane_open();
	assert_int_equal(link_new(base, paths[0], paths[1], &callbacks, NULL, &l), NP_OK);
	loop_s(PATIENCE_S);
	assert_int_equal(ups, 1);
	plane_end(p);
	slow_start(&s);
	loop_s(PATIENCE_S);
	assert_int_equal(downs, 1);
	link_kick(l);
	loop_s(PATIENCE_S);
	assert_int_equal(ups, 2);
	link_free(l); /* those that were given up end before */
	slow_stop(&s);
	assert_true(s.greeted >= 2);
	assert_int_equal(s.left, 0);
}

/* Of hundreds of planes none is left by a caller that it has not greeted yet. */
static void link__planes_come_and_go__nobody_leaves_in_the_handshake(void **state)
{
	struct churn c = {.seed = 7};
	struct link *l;

	(void)state;
	assert_int_equal(pthread_create(&c.thread, NULL, churn_run, &c), 0);
	assert_int_equal(link_new(base, paths[0], paths[1], &callbacks, NULL, &l), NP_OK);
	while (!atomic_load(&c.over))
		loop_s(1);
	pthread_join(c.thread, NULL);
	link_free(l);
	print_message("lives=%d ups=%u downs=%u greeted=%u left=%u\n", CHURN_LIVES, ups, downs,
		      c.greeted, c.left);
	assert_true(ups > CHURN_LIVES / 2);
	assert_int_equal(c.left, 0);
}

/* The sockets of the one that is gone look as if they were there. */
static void link_peer_ended__sockets_still_there__dialled_anew(void **state)
{
	struct plane p;
	struct link *l;

	(void)state;
	p = plane_open();
	assert_int_equal(link_new(base, paths[0], paths[1], &callbacks, NULL, &l), NP_OK);
	loop_s(PATIENCE_S);
	assert_int_equal(ups, 1);
	link_peer_ended(l, getpid() + 1); /* another one */
	loop_s(1);
	assert_int_equal(downs, 0);
	link_peer_ended(l, getpid());
	loop_s(PATIENCE_S);
	assert_int_equal(downs, 1);
	loop_s(PATIENCE_S);
	assert_int_equal(ups, 2);
	link_free(l);
	plane_end(p);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(link__no_plane_yet__connected_when_it_comes),
	    TEST(link__planes_that_die_in_the_handshake__next_one_found),
	    TEST(link__next_plane_is_slow__nobody_leaves_in_the_handshake),
	    TEST(link__planes_come_and_go__nobody_leaves_in_the_handshake),
	    TEST(link_peer_ended__sockets_still_there__dialled_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
