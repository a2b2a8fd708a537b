/*
 * helpers.c - see helpers.h. One lock guards both queues; it is never held while a job runs.
 */
#include "helpers.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "core/digest.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define STACK (256 * 1024)

struct job_queue {
	struct helper_job *first, **last;
};

struct helpers {
	struct event *readable; /* owned; of fd */
	int fd;			/* eventfd: ended is not empty */
	unsigned max;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t work, idle;
	struct job_queue waiting, ended;
	unsigned threads, idling, running;
	bool stopping;
};

static void queue_put(struct job_queue *q, struct helper_job *job)
{
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
}

static struct helper_job *queue_take(struct job_queue *q)
{
	struct helper_job *job = q->first;

	if (job == NULL)
		return NULL;
	q->first = job->next;
	if (q->first == NULL)
		q->last = &q->first;
	return job;
}

/* With the lock held, which it gives up for the time of the job. */
static void run_job(struct helpers *h, struct helper_job *job)
{
	const uint64_t one = 1;

	h->running++;
	pthread_mutex_unlock(&h->lock);
	job->run(job);
	pthread_mutex_lock(&h->lock);
	h->running--;
	queue_put(&h->ended, job);
	/* Fails only when the counter is full: then the loop has been told already. */
	if (write(h->fd, &one, sizeof(one)) == -1)
		NP_ASSERT(errno == EAGAIN);
}

static void *helper_main(void *arg)
{
	struct helpers *h = arg;
	struct helper_job *job;

	pthread_mutex_lock(&h->lock);
	while (!h->stopping) {
		job = queue_take(&h->waiting);
		if (job != NULL) {
			run_job(h, job);
			continue;
		}
		h->idling++;
		pthread_cond_wait(&h->work, &h->lock);
		h->idling--;
	}
	pthread_mutex_unlock(&h->lock);
	np_crypto_thread_end();
	pthread_mutex_lock(&h->lock);
	h->threads--;
	pthread_cond_signal(&h->idle);
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* With the lock held. */
static bool thread_start(struct helpers *h)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	sigfillset(&all); /* signals belong to the main thread */
	pthread_sigmask(SIG_BLOCK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	rc = pthread_create(&thread, &attr, helper_main, h);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		h->threads++;
	return rc == 0;
}

enum np_err helpers_submit(struct helpers *h, struct helper_job *job)
{
	enum np_err err = NP_OK;

	pthread_mutex_lock(&h->lock);
	if (h->idling == 0 && h->threads < h->max && !thread_start(h) && h->threads == 0)
		err = NP_ESYS;
	if (err == NP_OK) {
		queue_put(&h->waiting, job);
		pthread_cond_signal(&h->work);
	}
	pthread_mutex_unlock(&h->lock);
	return err;
}

static struct helper_job *ended_take(struct helpers *h)
{
	struct helper_job *job;

	pthread_mutex_lock(&h->lock);
	job = queue_take(&h->ended);
	pthread_mutex_unlock(&h->lock);
	return job;
}

static void helpers_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct helper_job *job;
	uint64_t n;

	(void)what;
	if (read((int)fd, &n, sizeof(n)) == -1)
		NP_ASSERT(errno == EAGAIN || errno == EINTR);
	while ((job = ended_take(arg)) != NULL)
		job->done(job);
}

enum np_err helpers_new(struct event_base *base, unsigned threads, struct helpers **out)
{
	struct helpers *h = np_calloc(1, sizeof(*h));
	pthread_condattr_t attr;

	if (h == NULL)
		return NP_ENOMEM;
	h->max = threads;
	h->waiting.last = &h->waiting.first;
	h->ended.last = &h->ended.first;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->work, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->idle, &attr);
	pthread_condattr_destroy(&attr);
	h->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->fd != -1)
		h->readable = event_new(base, h->fd, EV_READ | EV_PERSIST, helpers_on_readable, h);
	if (h->readable == NULL || event_add(h->readable, NULL) != 0) {
		enum np_err err = h->fd == -1 ? NP_ESYS : NP_ENOMEM;

		helpers_free(h);
		return err;
	}
	*out = h;
	return NP_OK;
}

/* False: some thread is still at work. */
static bool wait_for_threads(struct helpers *h)
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += HELPERS_STOP_MS / 1000;
	while (h->threads > 0 && rc == 0)
		rc = pthread_cond_timedwait(&h->idle, &h->lock, &until);
	return h->threads == 0;
}

void helpers_free(struct helpers *h)
{
	struct helper_job *job;
	bool all;

	if (h == NULL)
		return;
	pthread_mutex_lock(&h->lock);
	h->stopping = true;
	pthread_cond_broadcast(&h->work);
	all = wait_for_threads(h);
	pthread_mutex_unlock(&h->lock);
	if (h->readable != NULL)
		event_free(h->readable);
	while ((job = ended_take(h)) != NULL)
		job->drop(job);
	while ((job = queue_take(&h->waiting)) != NULL)
		job->drop(job);
	if (!all)
		return;
	if (h->fd != -1)
		close(h->fd);
	pthread_cond_destroy(&h->work);
	pthread_cond_destroy(&h->idle);
	pthread_mutex_destroy(&h->lock);
	np_free(h);
}
