/*
 * stream.c - "np-load tput": bytes a second over some streams, one way or both.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURNS	  8 /* sends or receives of one stream in a row */
#define ANSWER_NS UINT64_C(5000000000)
#define TICK_MS	  100

struct stream {
	int fd; /* -1 = closed */
	uint32_t events;
	size_t head; /* bytes of the header that were sent */
	uint64_t tx, rx;
};

struct totals {
	uint64_t tx, rx, faults;
};

static struct totals total;
static uint8_t header[HEADER_LEN] = HEADER_MAGIC;

static bool stream_send(struct stream *s)
{
	while (s->head < HEADER_LEN) {
		ssize_t n = send(s->fd, header + s->head, HEADER_LEN - s->head, MSG_NOSIGNAL);

		if (n == -1)
			return would_block(n);
		s->head += (size_t)n;
	}
	for (int i = 0; i < TURNS && opt.dir != DIR_DOWN; i++) {
		ssize_t n = send(s->fd, pattern + s->tx % PATTERN_LEN, CHUNK, MSG_NOSIGNAL);

		if (n == -1)
			return would_block(n);
		s->tx += (uint64_t)n;
		total.tx += (uint64_t)n;
	}
	return true;
}

static bool stream_receive(struct stream *s)
{
	static uint8_t buf[CHUNK];

	for (int i = 0; i < TURNS; i++) {
		ssize_t n = recv(s->fd, buf, sizeof(buf), 0);

		if (n <= 0)
			return would_block(n);
		if (opt.verify)
			total.faults += pattern_faults(buf, (size_t)n, s->rx);
		s->rx += (uint64_t)n;
		total.rx += (uint64_t)n;
		if ((size_t)n < sizeof(buf))
			break;
	}
	return true;
}

static void stream_close(struct stream *s)
{
	close(s->fd);
	s->fd = -1;
}

static bool on_stream(int ep, struct stream *s, uint32_t events)
{
	if ((events & EPOLLOUT) != 0 && !stream_send(s))
		return false;
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !stream_receive(s))
		return false;
	if (opt.dir == DIR_DOWN && s->head == HEADER_LEN && s->events != EPOLLIN)
		watch(ep, EPOLL_CTL_MOD, s->fd, s->events = EPOLLIN, s);
	return true;
}

/* Ends the streams and asks the target what it got. Returns for how many it was all that was sent. */
static int finish_up(int ep, struct stream *streams, uint64_t *faults)
{
	uint64_t end = now_ns() + ANSWER_NS;
	int open = 0, whole = 0;

	for (int i = 0; i < opt.streams; i++) {
		if (streams[i].fd == -1)
			continue;
		shutdown(streams[i].fd, SHUT_WR);
		watch(ep, EPOLL_CTL_MOD, streams[i].fd, EPOLLIN, &streams[i]);
		open++;
	}
	while (open > 0 && now_ns() < end) {
		struct epoll_event ev[EPOLL_BATCH];
		int n = epoll_wait(ep, ev, EPOLL_BATCH, TICK_MS);

		for (int i = 0; i < n; i++) {
			struct stream *s = ev[i].data.ptr;
			uint64_t said[2] = {0, 0};
			ssize_t got = recv(s->fd, said, sizeof(said), MSG_WAITALL);

			if (would_block(got))
				continue;
			if (got == (ssize_t)sizeof(said)) {
				whole += said[0] == s->tx;
				*faults += said[1];
			}
			stream_close(s);
			open--;
		}
	}
	return whole;
}

int stream_run(void)
{
	struct stream *streams = calloc((size_t)opt.streams, sizeof(*streams));
	struct totals warm = {0};
	struct epoll_event ev[EPOLL_BATCH];
	uint64_t begin = now_ns(), counted = 0, now = begin;
	uint64_t warm_until = begin + (uint64_t)(opt.warm_s * 1e9);
	uint64_t end = UINT64_MAX;
	int ep = epoll_create1(EPOLL_CLOEXEC), alive = 0, whole = 0;
	double span;

	if (streams == NULL || ep == -1)
		die("streams");
	header[4] = (uint8_t)opt.dir;
	header[5] = opt.verify ? '1' : '0';
	for (int i = 0; i < opt.streams; i++) {
		streams[i].fd = tcp_dial();
		if (streams[i].fd == -1)
			continue;
		streams[i].events = EPOLLIN | EPOLLOUT;
		watch(ep, EPOLL_CTL_ADD, streams[i].fd, streams[i].events, &streams[i]);
		alive++;
	}
	while (now < end && alive > 0) {
		int n = epoll_wait(ep, ev, EPOLL_BATCH, TICK_MS);

		for (int i = 0; i < n; i++) {
			if (!on_stream(ep, ev[i].data.ptr, ev[i].events)) {
				stream_close(ev[i].data.ptr);
				alive--;
			}
		}
		now = now_ns();
		if (counted == 0 && now >= warm_until) {
			say("warm");
			counted = now = now_ns();
			warm = total;
			/* However late that is on a busy machine: the time that counts is whole. */
			end = counted + (uint64_t)(opt.seconds * 1e9);
		}
	}
	/* What is still on its way was not carried in that time. */
	say("over");
	span = counted == 0 ? 0 : (double)(now - counted) / 1e9;
	if (opt.dir == DIR_UP)
		whole = finish_up(ep, streams, &total.faults);
	printf("{\"streams\":%d,\"broken\":%d,\"whole\":%d,\"faults\":%llu,\"bytes\":%llu,"
	       "\"seconds\":%.4f,\"gbps\":%.4f}\n",
	       opt.streams, opt.streams - alive, whole, (unsigned long long)total.faults,
	       (unsigned long long)(total.tx - warm.tx + total.rx - warm.rx), span,
	       span > 0 ? (double)(total.tx - warm.tx + total.rx - warm.rx) * 8 / span / 1e9 : 0);
	return alive > 0 && total.tx + total.rx > 0 ? 0 : EXIT_UNMEASURED;
}
