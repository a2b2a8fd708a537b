/*
 * offload.c - a small pool of helper threads for what would block a loop.
 *
 * Two queues, one lock. Threads start when there is more to run than idle threads, and end after
 * IDLE_MS without work. They handle no signals: those belong to the main thread.
 */
#include "offload.h"

#include "base/assert.h"
#include "core/digest.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#define IDLE_MS	   30000
#define STACK_SIZE (512 * 1024) /* name service modules want more than the minimum */

struct job_queue {
	struct offload_job *first, **last;
	size_t n;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_cond_t work;  /* a job may be taken, or stopping */
static pthread_cond_t ended; /* a thread is gone, with stopping set */
static struct job_queue queues[2];
static unsigned nthreads, nidle, heavy_running;
static bool stopping;
static bool abandoned; /* offload_stop gave up waiting: workers may be gone, nothing is posted */

static void offload_init(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&work, &attr);
	pthread_cond_init(&ended, &attr);
	pthread_condattr_destroy(&attr);
	for (unsigned i = 0; i < 2; i++)
		queues[i].last = &queues[i].first;
}

static struct timespec deadline_in(int64_t ms)
{
	struct np_mono t = np_mono_add_ms(np_mono_now(), ms);

	return (struct timespec){.tv_sec = t.us / 1000000, .tv_nsec = t.us % 1000000 * 1000};
}

static void queue_put(struct job_queue *q, struct offload_job *job)
{
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
	q->n++;
}

static struct offload_job *queue_take(struct job_queue *q)
{
	struct offload_job *job = q->first;

	NP_ASSERT(job != NULL);
	q->first = job->next;
	if (q->first == NULL)
		q->last = &q->first;
	q->n--;
	return job;
}

static size_t heavy_allowed(void)
{
	size_t room = OFFLOAD_HEAVY_MAX - heavy_running;

	return queues[OFFLOAD_HEAVY].n < room ? queues[OFFLOAD_HEAVY].n : room;
}

/* job_next - heavy ones first: they cannot take all threads, so the light ones are not kept
 * waiting. */
static struct offload_job *job_next(void)
{
	if (heavy_allowed() > 0) {
		heavy_running++;
		return queue_take(&queues[OFFLOAD_HEAVY]);
	}
	return queues[OFFLOAD_LIGHT].n > 0 ? queue_take(&queues[OFFLOAD_LIGHT]) : NULL;
}

/* Without the lock held on entry to run; the lock orders what run wrote before what deliver reads.
 */
static void job_run(struct offload_job *job)
{
	enum offload_class class = job->class;

	pthread_mutex_unlock(&lock);
	job->run(job);
	pthread_mutex_lock(&lock);
	if (class == OFFLOAD_HEAVY)
		heavy_running--;
	/* Under the lock: offload_stop must not return, and workers end, between test and post. */
	if (!abandoned)
		worker_post(job->reply_to, &job->done);
	else if (job->lose != NULL)
		job->lose(job);
}

static bool has_work(void)
{
	return heavy_allowed() > 0 || queues[OFFLOAD_LIGHT].n > 0;
}

/* With the lock held: jobs, until there was none for a while. */
static void work_until_idle(void)
{
	while (!stopping) {
		struct offload_job *job = job_next();
		struct timespec until;
		int rc;

		if (job != NULL) {
			job_run(job);
			continue;
		}
		until = deadline_in(IDLE_MS);
		nidle++;
		rc = pthread_cond_timedwait(&work, &lock, &until);
		nidle--;
		/* A job may have come between the timeout and the lock. */
		if (rc == ETIMEDOUT && !has_work())
			return;
	}
}

static void *offload_main(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	do {
		work_until_idle();
		pthread_mutex_unlock(&lock);
		np_crypto_thread_end();
		pthread_mutex_lock(&lock);
	} while (!stopping && has_work()); /* who submitted it counted on this thread */
	nthreads--;
	pthread_cond_signal(&ended);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static bool thread_start(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int rc;

	if (pthread_attr_init(&attr) != 0)
		return false;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	rc = pthread_create(&thread, &attr, offload_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		return false;
	nthreads++;
	return true;
}

/* With the lock held. */
static enum np_err submit(struct offload_job *job)
{
	size_t runnable = heavy_allowed() + queues[OFFLOAD_LIGHT].n;

	if (stopping)
		return NP_ESTATE;
	if (queues[OFFLOAD_LIGHT].n + queues[OFFLOAD_HEAVY].n >= OFFLOAD_QUEUE_MAX)
		return NP_ELIMIT;
	if (job->class == OFFLOAD_LIGHT ||
	    heavy_running + queues[OFFLOAD_HEAVY].n < OFFLOAD_HEAVY_MAX)
		runnable++;
	/* Threads that were woken and did not run yet count as idle: as do the jobs they will take.
	 */
	if (runnable > nidle && nthreads < OFFLOAD_THREADS_MAX && !thread_start() && nthreads == 0)
		return NP_ESYS;
	queue_put(&queues[job->class], job);
	pthread_cond_signal(&work);
	return NP_OK;
}

enum np_err offload_submit(struct offload_job *job)
{
	enum np_err err;

	pthread_once(&once, offload_init);
	pthread_mutex_lock(&lock);
	err = submit(job);
	pthread_mutex_unlock(&lock);
	return err;
}

static void drop_all(struct offload_job *job)
{
	struct offload_job *next;

	for (; job != NULL; job = next) {
		next = job->next;
		if (job->drop != NULL)
			job->drop(job);
	}
}

void offload_stop(void)
{
	struct timespec until = deadline_in(OFFLOAD_STOP_MS);
	struct offload_job *waiting[2];
	int rc = 0;

	pthread_once(&once, offload_init);
	pthread_mutex_lock(&lock);
	stopping = true;
	for (unsigned i = 0; i < 2; i++) {
		waiting[i] = queues[i].first;
		queues[i] = (struct job_queue){.last = &queues[i].first};
	}
	pthread_cond_broadcast(&work);
	pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i < 2; i++)
		drop_all(waiting[i]);
	pthread_mutex_lock(&lock);
	while (nthreads > 0 && rc == 0)
		rc = pthread_cond_timedwait(&ended, &lock, &until);
	abandoned = nthreads > 0;
	pthread_mutex_unlock(&lock);
}

void offload_restart(void)
{
	pthread_once(&once, offload_init);
	pthread_mutex_lock(&lock);
	while (stopping && nthreads > 0)
		pthread_cond_wait(&ended, &lock);
	stopping = false;
	abandoned = false;
	pthread_mutex_unlock(&lock);
}
