/*
 * thread_pool.c - see thread_pool.h. Three queues, one lock, which is never held while a job runs.
 */
#include "base/thread_pool.h"

#include "base/assert.h"
#include "base/mono.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "base/banned.h"

#define STACK_SIZE (512 * 1024) /* name service modules want more than the minimum */

void np_job_list_init(struct np_job_list *l)
{
	*l = (struct np_job_list){.last = &l->first};
}

void np_job_list_put(struct np_job_list *l, struct np_pool_job *job)
{
	job->next = NULL;
	*l->last = job;
	l->last = &job->next;
	l->n++;
}

struct np_pool_job *np_job_list_take(struct np_job_list *l)
{
	struct np_pool_job *job = l->first;

	if (job == NULL)
		return NULL;
	l->first = job->next;
	if (l->first == NULL)
		l->last = &l->first;
	l->n--;
	return job;
}

void np_thread_pool_init(struct np_thread_pool *p, const struct np_thread_pool_ops *ops, void *arg)
{
	pthread_condattr_t attr;

	NP_ASSERT(ops->heavy_max < ops->threads_max);
	*p = (struct np_thread_pool){.ops = ops, .arg = arg};
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->work, &attr);
	pthread_cond_init(&p->ended, &attr);
	pthread_condattr_destroy(&attr);
	np_job_list_init(&p->light);
	np_job_list_init(&p->heavy);
	np_job_list_init(&p->soon);
}

void np_thread_pool_release(struct np_thread_pool *p)
{
	NP_ASSERT(p->stopping && p->threads == 0);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->ended);
	pthread_mutex_destroy(&p->lock);
}

static struct timespec deadline_in(int64_t ms)
{
	struct np_mono t = np_mono_add_ms(np_mono_now(), ms);

	return (struct timespec){.tv_sec = t.us / 1000000, .tv_nsec = t.us % 1000000 * 1000};
}

/* -- with the lock held -- */

static size_t heavy_waiting(const struct np_thread_pool *p)
{
	return p->heavy.n + p->soon.n;
}

/* Heavy jobs that may start now. */
static size_t heavy_allowed(const struct np_thread_pool *p)
{
	size_t room = p->ops->heavy_max - p->heavy_running, n = heavy_waiting(p);

	return n < room ? n : room;
}

/* In turn, so that neither kind waits for all of the other. */
static struct np_pool_job *heavy_take(struct np_thread_pool *p)
{
	p->was_soon = p->soon.n > 0 && (!p->was_soon || p->heavy.n == 0);
	return np_job_list_take(p->was_soon ? &p->soon : &p->heavy);
}

static size_t runnable(const struct np_thread_pool *p)
{
	return heavy_allowed(p) + p->light.n;
}

/* Heavy ones first: they cannot take all threads, so the light ones are not kept waiting. */
static struct np_pool_job *job_next(struct np_thread_pool *p)
{
	if (heavy_allowed(p) == 0)
		return np_job_list_take(&p->light);
	p->heavy_running++;
	return heavy_take(p);
}

/* Gives the lock up for the time of the job; it orders what run wrote before what done reads. */
static void job_run(struct np_thread_pool *p, struct np_pool_job *job)
{
	bool heavy = job->heavy;

	pthread_mutex_unlock(&p->lock);
	p->ops->run(job);
	pthread_mutex_lock(&p->lock);
	if (heavy)
		p->heavy_running--;
	/* Under the lock: np_thread_pool_stop must not return between test and call. */
	if (p->abandoned)
		p->ops->lose(job);
	else
		p->ops->done(p->arg, job);
}

static void work_until_idle(struct np_thread_pool *p)
{
	while (!p->stopping) {
		struct np_pool_job *job = job_next(p);
		struct timespec until;
		int rc;

		if (job != NULL) {
			job_run(p, job);
			continue;
		}
		until = deadline_in(p->ops->idle_ms);
		p->idle++;
		rc = pthread_cond_timedwait(&p->work, &p->lock, &until);
		p->idle--;
		/* A job may have come between the timeout and the lock. */
		if (rc == ETIMEDOUT && runnable(p) == 0)
			return;
	}
}

static void *thread_main(void *arg)
{
	struct np_thread_pool *p = arg;

	pthread_mutex_lock(&p->lock);
	do {
		work_until_idle(p);
		pthread_mutex_unlock(&p->lock);
		p->ops->thread_end();
		pthread_mutex_lock(&p->lock);
	} while (!p->stopping && runnable(p) > 0); /* who submitted it counted on this thread */
	p->threads--;
	pthread_cond_signal(&p->ended);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static bool thread_start(struct np_thread_pool *p)
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
	rc = pthread_create(&thread, &attr, thread_main, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		return false;
	p->threads++;
	return true;
}

static enum np_err submit(struct np_thread_pool *p, struct np_pool_job *job)
{
	size_t n = runnable(p);
	struct np_job_list *heavy = job->soon ? &p->soon : &p->heavy;

	if (p->stopping)
		return NP_ESTATE;
	if (p->light.n + heavy_waiting(p) >= NP_THREAD_POOL_QUEUE_MAX)
		return NP_ELIMIT;
	if (!job->heavy || p->heavy_running + heavy_waiting(p) < p->ops->heavy_max)
		n++;
	/* Threads that were woken and did not run yet count as idle: as do the jobs they will take.
	 */
	if (n > p->idle && p->threads < p->ops->threads_max && !thread_start(p) && p->threads == 0)
		return NP_ESYS;
	np_job_list_put(job->heavy ? heavy : &p->light, job);
	pthread_cond_signal(&p->work);
	return NP_OK;
}

/* -- for everybody -- */

enum np_err np_thread_pool_submit(struct np_thread_pool *p, struct np_pool_job *job)
{
	enum np_err err;

	pthread_mutex_lock(&p->lock);
	err = submit(p, job);
	pthread_mutex_unlock(&p->lock);
	return err;
}

static void drop_all(struct np_thread_pool *p, struct np_pool_job *job)
{
	struct np_pool_job *next;

	for (; job != NULL; job = next) {
		next = job->next;
		p->ops->drop(job);
	}
}

bool np_thread_pool_stop(struct np_thread_pool *p, int64_t wait_ms)
{
	struct timespec until = deadline_in(wait_ms);
	struct np_pool_job *light, *heavy, *soon;
	bool gone;
	int rc = 0;

	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	light = p->light.first;
	heavy = p->heavy.first;
	soon = p->soon.first;
	np_job_list_init(&p->light);
	np_job_list_init(&p->heavy);
	np_job_list_init(&p->soon);
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	drop_all(p, light);
	drop_all(p, heavy);
	drop_all(p, soon);
	pthread_mutex_lock(&p->lock);
	while (p->threads > 0 && rc == 0)
		rc = pthread_cond_timedwait(&p->ended, &p->lock, &until);
	gone = p->threads == 0;
	p->abandoned = !gone;
	pthread_mutex_unlock(&p->lock);
	return gone;
}

void np_thread_pool_restart(struct np_thread_pool *p)
{
	pthread_mutex_lock(&p->lock);
	while (p->stopping && p->threads > 0)
		pthread_cond_wait(&p->ended, &p->lock);
	p->stopping = p->abandoned = false;
	pthread_mutex_unlock(&p->lock);
}
