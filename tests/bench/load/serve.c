/*
 * serve.c - the target: echoes, or takes and gives what a stream's header asks for.
 *
 * A stream of "np-load tput" begins with HEADER_MAGIC, the direction and '1' if bytes are to be
 * compared. What begins otherwise is echoed. One thread, so that it takes the same share of the
 * machine whatever is measured. A session without waiting bytes has no buffer.
 */
#include "load.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG	     4096
#define ACCEPT_BATCH 64
#define TURNS	     8 /* sends or receives of one session in a row */

enum session_mode { MODE_NEW = 0, MODE_ECHO, MODE_STREAM };

struct session {
	int fd;
	enum session_mode mode;
	enum direction dir;
	bool verify;
	uint32_t events; /* what epoll knows */
	uint8_t head[HEADER_LEN];
	size_t head_len;
	uint64_t rx, tx, faults;
	uint8_t *wait; /* owned: echo that the socket did not take */
	size_t wait_off, wait_len;
};

static uint8_t scratch[CHUNK];

static void session_free(struct session *s)
{
	close(s->fd);
	free(s->wait);
	free(s);
}

/* The following return false when the session is over. */

static bool echo(struct session *s, const uint8_t *p, size_t len)
{
	ssize_t n = send(s->fd, p, len, MSG_NOSIGNAL);

	if (n == -1 && !would_block(n))
		return false;
	if (n == -1)
		n = 0;
	if ((size_t)n == len)
		return true;
	s->wait_len = len - (size_t)n;
	s->wait_off = 0;
	s->wait = malloc(s->wait_len);
	if (s->wait == NULL)
		return false;
	memcpy(s->wait, p + n, s->wait_len);
	return true;
}

static bool echo_rest(struct session *s)
{
	while (s->wait_len > 0) {
		ssize_t n = send(s->fd, s->wait + s->wait_off, s->wait_len, MSG_NOSIGNAL);

		if (n == -1)
			return would_block(n);
		s->wait_off += (size_t)n;
		s->wait_len -= (size_t)n;
	}
	free(s->wait);
	s->wait = NULL;
	return true;
}

static bool give(struct session *s)
{
	for (int i = 0; i < TURNS; i++) {
		ssize_t n = send(s->fd, pattern + s->tx % PATTERN_LEN, CHUNK, MSG_NOSIGNAL);

		if (n == -1)
			return would_block(n);
		s->tx += (uint64_t)n;
	}
	return true;
}

/* First bytes: all of a header, or the proof that there is none. Echoes what was held back. */
static bool begin(struct session *s, const uint8_t **p, size_t *len)
{
	size_t n = HEADER_LEN - s->head_len < *len ? HEADER_LEN - s->head_len : *len;
	size_t magic = strlen(HEADER_MAGIC);

	memcpy(s->head + s->head_len, *p, n);
	s->head_len += n;
	*p += n;
	*len -= n;
	if (memcmp(s->head, HEADER_MAGIC, s->head_len < magic ? s->head_len : magic) != 0) {
		s->mode = MODE_ECHO;
		return echo(s, s->head, s->head_len);
	}
	if (s->head_len < HEADER_LEN)
		return true;
	s->mode = MODE_STREAM;
	s->dir = (enum direction)s->head[magic];
	s->verify = s->head[magic + 1] == '1';
	return true;
}

static bool took(struct session *s, const uint8_t *p, size_t len)
{
	if (s->mode == MODE_NEW && !begin(s, &p, &len))
		return false;
	if (len == 0)
		return true;
	if (s->mode == MODE_STREAM) {
		if (s->verify)
			s->faults += pattern_faults(p, len, s->rx);
		s->rx += len;
		return true;
	}
	/* What begin() could not send goes first: eight bytes at the most, so the socket has room. */
	return s->wait == NULL && echo(s, p, len);
}

static bool receive(struct session *s)
{
	for (int i = 0; i < TURNS && s->wait == NULL; i++) {
		ssize_t n = recv(s->fd, scratch, sizeof(scratch), 0);

		if (n == -1)
			return would_block(n);
		if (n == 0) {
			uint64_t said[2] = {s->rx, s->faults};

			/* The load wants to know how much arrived; if it is gone, nobody does. */
			if (s->mode == MODE_STREAM && s->dir == DIR_UP)
				(void)!send(s->fd, said, sizeof(said), MSG_NOSIGNAL);
			return false;
		}
		if (!took(s, scratch, (size_t)n))
			return false;
		if ((size_t)n < sizeof(scratch))
			break;
	}
	return true;
}

static void on_session(int ep, struct session *s, uint32_t events)
{
	bool gives = s->mode == MODE_STREAM && s->dir != DIR_UP, live = true;
	uint32_t want;

	if ((events & EPOLLOUT) != 0)
		live = gives ? give(s) : echo_rest(s);
	if (live && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		live = receive(s);
	if (!live) {
		session_free(s);
		return;
	}
	gives = s->mode == MODE_STREAM && s->dir != DIR_UP;
	want = s->wait != NULL ? EPOLLOUT : EPOLLIN | (gives ? (uint32_t)EPOLLOUT : 0);
	if (want != s->events)
		watch(ep, EPOLL_CTL_MOD, s->fd, s->events = want, s);
}

static void on_listener(int ep, int listener)
{
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct session *s;

		if (fd == -1)
			return;
		socket_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		s = calloc(1, sizeof(*s));
		if (s == NULL)
			die("calloc");
		s->fd = fd;
		watch(ep, EPOLL_CTL_ADD, fd, s->events = EPOLLIN, s);
	}
}

int serve_run(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct epoll_event ev[EPOLL_BATCH];

	if (ep == -1 || listener == -1)
		die("socket");
	socket_flag(listener, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(listener, (const struct sockaddr *)&opt.to, sizeof(opt.to)) == -1 ||
	    listen(listener, BACKLOG) == -1)
		die("bind");
	watch(ep, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, ev, EPOLL_BATCH, -1);

		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == NULL)
				on_listener(ep, listener);
			else
				on_session(ep, ev[i].data.ptr, ev[i].events);
		}
	}
}
