/*
 * on_worker.h - for tests: runs a function on a worker's thread and waits for it, and for what it
 * started.
 */
#ifndef NP_TEST_ON_WORKER_H
#define NP_TEST_ON_WORKER_H

#include "worker.h"

#include <errno.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct on_worker {
	struct mail mail;
	void (*fn)(struct worker *w, void *arg);
	void *arg;
	sem_t done;
};

static inline void on_worker_deliver(struct worker *w, struct mail *m)
{
	struct on_worker *c = (struct on_worker *)m;

	c->fn(w, c->arg);
	sem_post(&c->done);
}

/* on_worker_wait - false when @s was not posted within 20 s. */
static inline bool on_worker_wait(sem_t *s)
{
	struct timespec until;
	int rc;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	do {
		rc = sem_timedwait(s, &until);
	} while (rc == -1 && errno == EINTR);
	return rc == 0;
}

static inline bool on_worker(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg)
{
	struct on_worker c = {.mail.deliver = on_worker_deliver, .fn = fn, .arg = arg};
	bool ok;

	sem_init(&c.done, 0, 0);
	worker_post(w, &c.mail);
	ok = on_worker_wait(&c.done);
	sem_destroy(&c.done);
	return ok;
}

#endif
