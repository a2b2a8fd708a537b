/*
 * pool_probe.h - for tests of helper threads: a job that says what happened to it.
 */
#ifndef NP_TEST_POOL_PROBE_H
#define NP_TEST_POOL_PROBE_H

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

struct pool_probe {
	sem_t *hold; /* run waits for it */
	sem_t started, done;
	bool dropped, lost, signals_blocked;
	pthread_t thread;
};

static _Atomic int running, running_max; /* of all probes */

static inline void pool_probe_init(struct pool_probe *p, sem_t *hold)
{
	memset(p, 0, sizeof(*p));
	p->hold = hold;
	sem_init(&p->done, 0, 0);
	sem_init(&p->started, 0, 0);
}

static inline void pool_probe_run(struct pool_probe *p)
{
	int now = atomic_fetch_add(&running, 1) + 1, max = atomic_load(&running_max);
	sigset_t set;

	while (now > max && !atomic_compare_exchange_weak(&running_max, &max, now))
		;
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	p->signals_blocked = sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGINT) == 1;
	p->thread = pthread_self();
	sem_post(&p->started);
	if (p->hold != NULL)
		sem_wait(p->hold);
	atomic_fetch_sub(&running, 1);
}

static inline void pool_probe_drop(struct pool_probe *p)
{
	p->dropped = true;
	if (p->hold != NULL) /* lets those that run go on: the end waits for them */
		sem_post(p->hold);
}

#endif
