/*
 * nng_end.h - closes sockets of nng for tests.
 *
 * nng_close of a raw rep socket of nng 1.5.2 can wait for ever: its reaper waits for a task of the pipe that nobody runs any
 * more. Seen once in some hundred ends of test_node. Such a socket is left behind.
 */
#ifndef NP_TEST_NNG_END_H
#define NP_TEST_NNG_END_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define NNG_END_S 5

/* Of a connection that ended in its handshake, too, not all is freed before the process ends. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:libnng.so\n";
}

static inline void *nng_end_run(void *arg)
{
	nng_close((nng_socket){.id = (uint32_t)(uintptr_t)arg});
	return NULL;
}

static inline void nng_end(nng_socket s)
{
	struct timespec until;
	pthread_t thread;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += NNG_END_S;
	if (pthread_create(&thread, NULL, nng_end_run, (void *)(uintptr_t)s.id) != 0)
		return;
	if (pthread_timedjoin_np(thread, NULL, &until) != 0)
		pthread_detach(thread);
}

#endif
