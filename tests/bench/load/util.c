/*
 * util.c - time, bytes and sockets of np-load.
 */
#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define UDP_RCVBUF (16 << 20)
#define UDP_SNDBUF (4 << 20)

struct load_options opt;
uint8_t *pattern;

noreturn void die(const char *what)
{
	fprintf(stderr, "np-load: %s: %s\n", what, strerror(errno));
	exit(EXIT_UNMEASURED);
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

double seconds_since(uint64_t ns)
{
	return (double)(now_ns() - ns) / 1e9;
}

void pattern_make(void)
{
	uint64_t x = UINT64_C(0x9e3779b97f4a7c15);

	pattern = malloc((size_t)2 * PATTERN_LEN);
	if (pattern == NULL)
		die("malloc");
	for (size_t i = 0; i < PATTERN_LEN; i++) { /* xorshift64: no two pieces alike */
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		pattern[i] = pattern[i + PATTERN_LEN] = (uint8_t)(x >> 32);
	}
}

uint64_t pattern_faults(const uint8_t *p, size_t len, uint64_t at)
{
	uint64_t faults = 0;

	while (len > 0) {
		size_t n = len < PATTERN_LEN ? len : PATTERN_LEN;

		faults += memcmp(p, pattern + at % PATTERN_LEN, n) != 0;
		p += n;
		at += n;
		len -= n;
	}
	return faults;
}

bool would_block(ssize_t n)
{
	return n == -1 && (errno == EAGAIN || errno == EINTR);
}

void socket_flag(int fd, int level, int name, int value)
{
	/* Without the flag it is slower, and the figures say so. */
	(void)!setsockopt(fd, level, name, &value, sizeof(value));
}

int tcp_dial(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), saved;

	if (fd == -1)
		return -1;
	socket_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (connect(fd, (const struct sockaddr *)&opt.to, sizeof(opt.to)) == 0 ||
	    errno == EINPROGRESS)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int udp_open(const struct sockaddr_in *local, const struct sockaddr_in *peer)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd == -1)
		die("socket");
	/* FORCE needs a privilege; without it the limits of the system count. */
	socket_flag(fd, SOL_SOCKET, SO_RCVBUF, UDP_RCVBUF);
	socket_flag(fd, SOL_SOCKET, SO_RCVBUFFORCE, UDP_RCVBUF);
	socket_flag(fd, SOL_SOCKET, SO_SNDBUF, UDP_SNDBUF);
	socket_flag(fd, SOL_SOCKET, SO_SNDBUFFORCE, UDP_SNDBUF);
	if (local != NULL && bind(fd, (const struct sockaddr *)local, sizeof(*local)) == -1)
		die("bind");
	if (peer != NULL && connect(fd, (const struct sockaddr *)peer, sizeof(*peer)) == -1)
		die("connect");
	return fd;
}

void watch(int ep, int op, int fd, uint32_t events, void *ptr)
{
	struct epoll_event ev = {.events = events, .data.ptr = ptr};

	if (epoll_ctl(ep, op, fd, &ev) == -1)
		die("epoll_ctl");
}

void say(const char *event)
{
	printf("{\"event\":\"%s\"}\n", event);
	fflush(stdout);
}
