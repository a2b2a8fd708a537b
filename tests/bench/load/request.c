/*
 * request.c - requests that are echoed: on a connection each ("crr"), on connections that stay ("rr"),
 * on many that idle meanwhile ("hold"), and the first one through a relay that just starts ("first").
 *
 * Sockets are registered once, edge-triggered: no epoll_ctl per request on the side of the load.
 */
#include "hist.h"
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS	    100
#define REFUSED_NS  1000000 /* pause after a connect that failed at once */
#define SILENCE_NS  UINT64_C(10000000000)
#define FIRST_NS    200000
#define FIRST_TRY_S 1

struct request {
	int fd; /* -1 = closed */
	int sent, got;
	uint64_t start_ns;
};

struct tally {
	uint64_t done, refused, broken, damaged;
	struct hist latency;
};

enum step { STEP_WAIT, STEP_DONE, STEP_FAILED };

static struct tally tally;
static uint8_t *reply;

static void pause_ns(long ns)
{
	struct timespec ts = {.tv_nsec = ns};

	nanosleep(&ts, NULL);
}

static enum step request_step(struct request *r)
{
	while (r->sent < opt.size) {
		ssize_t n =
		    send(r->fd, pattern + r->sent, (size_t)(opt.size - r->sent), MSG_NOSIGNAL);

		if (would_block(n))
			break;
		if (n == -1) {
			if (r->sent == 0)
				tally.refused++;
			else
				tally.broken++;
			return STEP_FAILED;
		}
		r->sent += (int)n;
	}
	while (r->got < opt.size) {
		ssize_t n = recv(r->fd, reply, (size_t)(opt.size - r->got), 0);

		if (would_block(n) || (n == -1 && errno == ENOTCONN))
			return STEP_WAIT;
		if (n <= 0) {
			tally.broken++;
			return STEP_FAILED;
		}
		if (pattern_faults(reply, (size_t)n, (uint64_t)r->got) > 0) {
			tally.damaged++;
			return STEP_FAILED;
		}
		r->got += (int)n;
	}
	return STEP_DONE;
}

static bool request_open(struct request *r, int ep)
{
	*r = (struct request){.start_ns = now_ns(), .fd = tcp_dial()};
	if (r->fd == -1) {
		tally.refused++;
		return false;
	}
	watch(ep, EPOLL_CTL_ADD, r->fd, EPOLLIN | EPOLLOUT | EPOLLET, r);
	return true;
}

static void request_close(struct request *r)
{
	if (r->fd != -1)
		close(r->fd);
	r->fd = -1;
}

static void request_again(struct request *r)
{
	r->sent = r->got = 0;
	r->start_ns = now_ns();
}

static void count(const struct request *r)
{
	tally.done++;
	hist_add(&tally.latency, now_ns() - r->start_ns);
}

static struct request *requests_new(int n)
{
	struct request *all = calloc((size_t)n, sizeof(*all));

	reply = malloc((size_t)opt.size);
	if (all == NULL || reply == NULL)
		die("requests");
	for (int i = 0; i < n; i++)
		all[i].fd = -1;
	return all;
}

/* Moves one connection on; false when it is closed and not replaced. */
static bool on_request(int ep, struct request *r, bool persistent)
{
	enum step step = request_step(r);

	while (step == STEP_DONE && persistent) {
		count(r);
		request_again(r);
		step = request_step(r);
	}
	if (step == STEP_WAIT)
		return true;
	if (step == STEP_DONE)
		count(r);
	request_close(r);
	if (persistent)
		return false;
	if (request_open(r, ep))
		return true;
	pause_ns(REFUSED_NS); /* no port or refused: no spinning */
	return request_open(r, ep);
}

int request_run(bool persistent)
{
	struct request *all = requests_new(opt.conns);
	uint64_t start = now_ns(), warm_until = start + (uint64_t)(opt.warm_s * 1e9), now = start;
	uint64_t end = UINT64_MAX;
	int ep = epoll_create1(EPOLL_CLOEXEC), alive = 0, stuck = 0;
	bool warm = false;
	double span;

	if (ep == -1)
		die("epoll_create1");
	for (int i = 0; i < opt.conns; i++)
		alive += request_open(&all[i], ep);
	while (now < end && alive > 0) {
		struct epoll_event ev[EPOLL_BATCH];
		int n = epoll_wait(ep, ev, EPOLL_BATCH, TICK_MS);

		now = now_ns();
		if (!warm && now >= warm_until) {
			warm = true;
			tally.done = 0;
			memset(&tally.latency, 0, sizeof(tally.latency));
			say("warm");
			start = now = now_ns();
			/* However late that is on a busy machine: the time that counts is whole. */
			end = start + (uint64_t)(opt.seconds * 1e9);
		}
		for (int i = 0; i < n; i++)
			alive -= !on_request(ep, ev[i].data.ptr, persistent);
	}
	span = seconds_since(start);
	say("over");
	for (int i = 0; i < opt.conns; i++) {
		stuck += all[i].fd != -1 && seconds_since(all[i].start_ns) > 1;
		request_close(&all[i]);
	}
	printf("{\"conns\":%d,\"size\":%d,\"seconds\":%.4f,\"done\":%llu,"
	       "\"rate\":%.1f,\"refused\":%llu,\"broken\":%llu,\"damaged\":%llu,\"stuck\":%d,",
	       opt.conns, opt.size, span, (unsigned long long)tally.done, (double)tally.done / span,
	       (unsigned long long)tally.refused, (unsigned long long)tally.broken,
	       (unsigned long long)tally.damaged, stuck);
	hist_print(&tally.latency);
	puts("}");
	return tally.done > 0 ? 0 : EXIT_UNMEASURED;
}

/* -- hold -- */

/* One request on each session, opt.conns of them at a time. Returns how many were answered. */
static int hold_round(int ep, struct request *all, bool open)
{
	int next = 0, flying = 0, answered = 0;
	uint64_t last = now_ns();

	while ((next < opt.sessions || flying > 0) && now_ns() - last < SILENCE_NS) {
		struct epoll_event ev[EPOLL_BATCH];
		int n;

		for (; next < opt.sessions && flying < opt.conns; next++) {
			struct request *r = &all[next];

			if (open) {
				flying += request_open(r, ep);
			} else if (r->fd != -1) {
				request_again(r);
				flying++;
				/* Registers it anew, so that its edge comes. */
				watch(ep, EPOLL_CTL_MOD, r->fd, EPOLLIN | EPOLLOUT | EPOLLET, r);
			}
		}
		n = epoll_wait(ep, ev, EPOLL_BATCH, TICK_MS);
		for (int i = 0; i < n; i++) {
			struct request *r = ev[i].data.ptr;
			enum step step;

			if (r->got == opt.size) { /* answered: an end that comes now is a loss */
				if ((ev[i].events & (EPOLLHUP | EPOLLERR)) != 0)
					request_close(r);
				continue;
			}
			step = request_step(r);
			if (step == STEP_WAIT)
				continue;
			last = now_ns();
			flying--;
			if (step == STEP_DONE) {
				count(r);
				answered++;
			} else {
				request_close(r);
			}
		}
	}
	return answered;
}

int hold_run(void)
{
	struct request *all = requests_new(opt.sessions);
	uint64_t start = now_ns();
	int ep = epoll_create1(EPOLL_CLOEXEC), opened, alive;
	double took;
	char line[16];

	if (ep == -1)
		die("epoll_create1");
	opened = hold_round(ep, all, true);
	took = seconds_since(start);
	printf("{\"held\":%d}\n", opened);
	fflush(stdout);
	/* Whoever measures the memory says when that is done: a line, or the end of the input. */
	(void)!fgets(line, sizeof(line), stdin);
	memset(&tally.latency, 0, sizeof(tally.latency));
	alive = hold_round(ep, all, false);
	printf("{\"sessions\":%d,\"opened\":%d,\"alive\":%d,\"open_seconds\":%.4f,"
	       "\"refused\":%llu,\"broken\":%llu,",
	       opt.sessions, opened, alive, took, (unsigned long long)tally.refused,
	       (unsigned long long)tally.broken);
	hist_print(&tally.latency);
	puts("}");
	return opened > 0 ? 0 : EXIT_UNMEASURED;
}

/* -- first -- */

static bool first_try(void)
{
	struct timeval tv = {.tv_sec = FIRST_TRY_S};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char c = '?';
	bool ok;

	if (fd == -1)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	/* Echo takes eight bytes or the first that is not of the header. */
	ok = connect(fd, (const struct sockaddr *)&opt.to, sizeof(opt.to)) == 0 &&
	     send(fd, "!", 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1 && c == '!';
	close(fd);
	return ok;
}

int first_run(void)
{
	uint64_t start = now_ns();

	for (int tries = 1; seconds_since(start) < opt.seconds; tries++) {
		if (first_try()) {
			/* By the clock that whoever started the relay has, too. */
			printf("{\"tries\":%d,\"at_ns\":%llu}\n", tries,
			       (unsigned long long)now_ns());
			return 0;
		}
		pause_ns(FIRST_NS);
	}
	return EXIT_UNMEASURED;
}
