/*
 * chop.c - preloaded into a program under test: its stream sockets say EAGAIN when they are ready, and
 * take or give less than they could, by a seeded random choice for every call.
 *
 * A program that waits for edge-triggered events has to believe both, so the socket's registration is
 * touched again: epoll reports it once more, as the kernel would when it becomes ready later. Sockets
 * that are not registered are left alone.
 *
 * CHOP_SEED: a number. CHOP_CHANCE: of 256 calls so many are chopped (default 96).
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define FDS 65536

static struct watch {
	_Atomic int epfd; /* 0 = not watched, or no stream socket */
	struct epoll_event ev;
} watched[FDS];

static int (*real_epoll_ctl)(int, int, int, struct epoll_event *);
static ssize_t (*real_recv)(int, void *, size_t, int);
static ssize_t (*real_send)(int, const void *, size_t, int);
static ssize_t (*real_splice)(int, off64_t *, int, off64_t *, size_t, unsigned);
static uint32_t seed = 1, chance = 96;
static _Atomic uint32_t threads;
static _Thread_local uint32_t state;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
	const char *text = getenv("CHOP_SEED");

	if (text != NULL)
		seed = (uint32_t)strtoul(text, NULL, 10);
	text = getenv("CHOP_CHANCE");
	if (text != NULL)
		chance = (uint32_t)strtoul(text, NULL, 10);
	real_epoll_ctl = dlsym(RTLD_NEXT, "epoll_ctl");
	real_recv = dlsym(RTLD_NEXT, "recv");
	real_send = dlsym(RTLD_NEXT, "send");
	real_splice = dlsym(RTLD_NEXT, "splice");
}

static uint32_t choice(void)
{
	if (state == 0)
		state = (seed * 2654435761u + ++threads * 40503u) | 1;
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state >> 8;
}

/* What this call may move: 0 = it says EAGAIN. */
static size_t portion(int fd, size_t len)
{
	uint32_t c;

	if (fd < 0 || fd >= FDS || watched[fd].epfd == 0 || len == 0)
		return len;
	c = choice();
	if (c % 256 >= chance)
		return len;
	switch (c / 256 % 4) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return len > 100 ? 1 + choice() % 100 : len;
	default:
		return 1 + choice() % len;
	}
}

/* Said once more when it is ready, as it really is. */
static void touch(int fd)
{
	struct epoll_event ev = watched[fd].ev;
	int saved = errno;

	(void)real_epoll_ctl(watched[fd].epfd, EPOLL_CTL_MOD, fd, &ev);
	errno = saved;
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	int type = 0, rc;
	socklen_t len = sizeof(type);

	pthread_once(&once, load);
	rc = real_epoll_ctl(epfd, op, fd, ev);
	if (rc != 0 || fd < 0 || fd >= FDS)
		return rc;
	if (op == EPOLL_CTL_DEL || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 ||
	    type != SOCK_STREAM) {
		watched[fd].epfd = 0;
		return rc;
	}
	watched[fd].ev = *ev;
	watched[fd].epfd = epfd;
	return rc;
}

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	size_t n;
	ssize_t r;

	pthread_once(&once, load);
	n = (flags & MSG_PEEK) != 0 ? len : portion(fd, len);
	if (n == 0 && len > 0) {
		touch(fd);
		errno = EAGAIN;
		return -1;
	}
	r = real_recv(fd, buf, n, flags);
	if (n < len)
		touch(fd);
	return r;
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	size_t n;
	ssize_t r;

	pthread_once(&once, load);
	n = portion(fd, len);
	if (n == 0 && len > 0) {
		touch(fd);
		errno = EAGAIN;
		return -1;
	}
	r = real_send(fd, buf, n, flags);
	if (n < len)
		touch(fd);
	return r;
}

ssize_t splice(int in, off64_t *off_in, int out, off64_t *off_out, size_t len, unsigned flags)
{
	int fd;
	size_t n;
	ssize_t r;

	pthread_once(&once, load);
	fd = in >= 0 && in < FDS && watched[in].epfd != 0 ? in : out;
	n = portion(fd, len);
	if (n == 0 && len > 0) {
		touch(fd);
		errno = EAGAIN;
		return -1;
	}
	r = real_splice(in, off_in, out, off_out, n, flags);
	if (n < len)
		touch(fd);
	return r;
}
