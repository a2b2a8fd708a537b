/*
 * shim.c - preloaded into a program under test: lets chosen calls fail, and its clocks jump.
 *
 * The file that FAULT_FILE names is mapped and shared with the test: one slot a call, filled in
 * with its name here and armed there. An armed slot lets "skip" calls pass and fails the next
 * "count" ones with "error" (getaddrinfo, pthread_create: what they return). Without the file all
 * calls pass. Thread-safe; a slot is armed by writing count last. What the program gives to TLS can
 * be changed in one byte, or sent twice: a peer that has the key and breaks the protocol.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* name, type of the result, parameters, arguments, result of a failure (it may use "err") */
#define CALLS(X)                                                                                   \
	X(socket, int, (int a, int b, int c), (a, b, c), -1)                                       \
	X(accept4, int, (int a, struct sockaddr *b, socklen_t *c, int d), (a, b, c, d), -1)        \
	X(connect, int, (int a, const struct sockaddr *b, socklen_t c), (a, b, c), -1)             \
	X(bind, int, (int a, const struct sockaddr *b, socklen_t c), (a, b, c), -1)                \
	X(listen, int, (int a, int b), (a, b), -1)                                                 \
	X(setsockopt, int, (int a, int b, int c, const void *d, socklen_t e), (a, b, c, d, e), -1) \
	X(getsockopt, int, (int a, int b, int c, void *d, socklen_t *e), (a, b, c, d, e), -1)      \
	X(getsockname, int, (int a, struct sockaddr *b, socklen_t *c), (a, b, c), -1)              \
	X(shutdown, int, (int a, int b), (a, b), -1)                                               \
	X(epoll_create1, int, (int a), (a), -1)                                                    \
	X(epoll_ctl, int, (int a, int b, int c, struct epoll_event *d), (a, b, c, d), -1)          \
	X(eventfd, int, (unsigned a, int b), (a, b), -1)                                           \
	X(signalfd, int, (int a, const sigset_t *b, int c), (a, b, c), -1)                         \
	X(recv, ssize_t, (int a, void *b, size_t c, int d), (a, b, c, d), -1)                      \
	X(send, ssize_t, (int a, const void *b, size_t c, int d), (a, b, c, d), -1)                \
	X(recvmsg, ssize_t, (int a, struct msghdr *b, int c), (a, b, c), -1)                       \
	X(sendmsg, ssize_t, (int a, const struct msghdr *b, int c), (a, b, c), -1)                 \
	X(fopen, FILE *, (const char *a, const char *b), (a, b), NULL)                             \
	X(getaddrinfo, int,                                                                        \
	  (const char *a, const char *b, const struct addrinfo *c, struct addrinfo **d),           \
	  (a, b, c, d), err)                                                                       \
	X(pthread_create, int,                                                                     \
	  (pthread_t * a, const pthread_attr_t *b, void *(*c)(void *), void *d), (a, b, c, d),     \
	  err)

enum call {
#define X(name, type, params, args, fail) CALL_##name,
	CALLS(X)
#undef X
	    CALL_open,
	CALL_memory,
	CALL_NR
};

struct slot {
	char name[24];
	_Atomic uint32_t calls, skip, count;
	int32_t error;
	_Atomic uint32_t failed;
	uint32_t spare;
};

struct shared {
	_Atomic int64_t realtime_ns, monotonic_ns; /* added to the clocks */
	_Atomic int64_t tls_bytes, tls_writes;	   /* given to TLS so far, by all connections */
	_Atomic int64_t flip_at; /* the byte of them that is changed, 0 = none; from 1 on */
	_Atomic int64_t flip_mask, repeat_at; /* the write that is made twice, 0 = none */
	struct slot slots[CALL_NR];
};

static struct shared *shared;

__attribute__((constructor)) static void shim_start(void)
{
	static const char *const names[CALL_NR] = {
#define X(name, type, params, args, fail) [CALL_##name] = #name,
	    CALLS(X)
#undef X
		[CALL_open] = "open",
	    [CALL_memory] = "memory",
	};
	const char *path = getenv("FAULT_FILE");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	struct shared *p;
	size_t i;

	if (fd < 0)
		return;
	p = ftruncate(fd, sizeof(*p)) == 0
		? mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
		: MAP_FAILED;
	close(fd);
	if (p == MAP_FAILED)
		return;
	for (i = 0; i < CALL_NR; i++)
		snprintf(p->slots[i].name, sizeof(p->slots[i].name), "%s", names[i]);
	shared = p;
}

/* Takes one of an armed slot; false: the call passes. */
static bool take(_Atomic uint32_t *left)
{
	uint32_t n = atomic_load(left);

	while (n > 0) {
		if (atomic_compare_exchange_weak(left, &n, n - 1))
			return true;
	}
	return false;
}

static bool must_fail(enum call c, int *err)
{
	struct slot *s;

	if (shared == NULL)
		return false;
	s = &shared->slots[c];
	atomic_fetch_add(&s->calls, 1);
	if (atomic_load(&s->count) == 0 || take(&s->skip) || !take(&s->count))
		return false;
	atomic_fetch_add(&s->failed, 1);
	*err = s->error;
	errno = s->error;
	return true;
}

#define X(name, type, params, args, fail)                               \
	type name params                                                \
	{                                                               \
		static _Atomic(type(*) params) next;                    \
		int err = 0;                                            \
                                                                        \
		if (must_fail(CALL_##name, &err))                       \
			return fail;                                    \
		if (next == NULL)                                       \
			next = (type(*) params)dlsym(RTLD_NEXT, #name); \
		return next args;                                       \
	}
CALLS(X)
#undef X

int open(const char *path, int flags, ...)
{
	static _Atomic(int (*)(const char *, int, ...)) next;
	int err = 0, mode = 0;
	va_list ap;

	va_start(ap, flags);
	if ((flags & (O_CREAT | O_TMPFILE)) != 0)
		mode = va_arg(ap, int);
	va_end(ap);
	if (must_fail(CALL_open, &err))
		return -1;
	if (next == NULL)
		next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
	return next(path, flags, mode);
}

/* --- memory: glibc has the functions under these names, too ---------------------------------- */

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
	int err = 0;

	return must_fail(CALL_memory, &err) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	int err = 0;

	return must_fail(CALL_memory, &err) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	int err = 0;

	return n != 0 && must_fail(CALL_memory, &err) ? NULL : __libc_realloc(p, n);
}

/* --- TLS ------------------------------------------------------------------------------------- */

int SSL_write_ex(void *ssl, const void *buf, size_t n, size_t *written)
{
	static _Atomic(int (*)(void *, const void *, size_t, size_t *)) next;
	static _Thread_local uint8_t changed[1 << 18];
	int64_t first, number, at;
	size_t ignored;
	int rc;

	if (next == NULL)
		next = (int (*)(void *, const void *, size_t, size_t *))dlsym(RTLD_NEXT,
									      "SSL_write_ex");
	if (shared == NULL)
		return next(ssl, buf, n, written);
	first = atomic_fetch_add(&shared->tls_bytes, (int64_t)n) + 1;
	number = atomic_fetch_add(&shared->tls_writes, 1) + 1;
	at = shared->flip_at;
	if (at >= first && at < first + (int64_t)n && n <= sizeof(changed)) {
		memcpy(changed, buf, n);
		changed[at - first] ^= (uint8_t)shared->flip_mask;
		buf = changed;
	}
	rc = next(ssl, buf, n, written);
	if (rc == 1 && number == shared->repeat_at)
		(void)next(ssl, buf, *written, &ignored);
	return rc;
}

/* --- clocks ---------------------------------------------------------------------------------- */

int clock_gettime(clockid_t id, struct timespec *t)
{
	static _Atomic(int (*)(clockid_t, struct timespec *)) next;
	int64_t add, ns;
	int rc;

	if (next == NULL)
		next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	rc = next(id, t);
	if (rc != 0 || shared == NULL)
		return rc;
	if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
		add = shared->realtime_ns;
	else if (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE || id == CLOCK_BOOTTIME)
		add = shared->monotonic_ns;
	else
		return rc;
	ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec + add;
	t->tv_sec = ns / 1000000000;
	t->tv_nsec = ns % 1000000000;
	return 0;
}

time_t time(time_t *out)
{
	struct timespec t = {0, 0};

	clock_gettime(CLOCK_REALTIME, &t);
	if (out != NULL)
		*out = t.tv_sec;
	return t.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec t = {0, 0};

	(void)tz;
	clock_gettime(CLOCK_REALTIME, &t);
	tv->tv_sec = t.tv_sec;
	tv->tv_usec = t.tv_nsec / 1000;
	return 0;
}
