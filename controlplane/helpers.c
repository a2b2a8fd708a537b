/*
 * helpers.c - see helpers.h. Jobs that have run wait in a list; an eventfd tells the loop.
 */
#include "helpers.h"

#include "base/alloc.h"
#include "base/wake_fd.h"
#include "core/digest.h"

#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/banned.h"

#define IDLE_MS 30000

struct helpers {
	struct np_thread_pool_ops ops;
	struct np_thread_pool pool;
	struct event *readable; /* owned; of fd */
	int fd;			/* eventfd: ended is not empty */
	pthread_mutex_t lock;	/* guards ended */
	struct np_job_list ended;
};

static struct helper_job *job_of(struct np_pool_job *pooled)
{
	return (struct helper_job *)((char *)pooled - offsetof(struct helper_job, pooled));
}

static void job_run(struct np_pool_job *pooled)
{
	struct helper_job *job = job_of(pooled);

	job->run(job);
}

static void job_done(void *arg, struct np_pool_job *pooled)
{
	struct helpers *h = arg;

	pthread_mutex_lock(&h->lock);
	np_job_list_put(&h->ended, pooled);
	pthread_mutex_unlock(&h->lock);
	np_wake_fd_set(h->fd);
}

/* It is left to the end of the process: its own end is the loop's, which is gone. */
static void job_lose(struct np_pool_job *pooled)
{
	(void)pooled;
}

static void job_drop(struct np_pool_job *pooled)
{
	struct helper_job *job = job_of(pooled);

	job->drop(job);
}

enum np_err helpers_submit(struct helpers *h, struct helper_job *job)
{
	return np_thread_pool_submit(&h->pool, &job->pooled);
}

static struct np_pool_job *ended_take(struct helpers *h)
{
	struct np_pool_job *pooled;

	pthread_mutex_lock(&h->lock);
	pooled = np_job_list_take(&h->ended);
	pthread_mutex_unlock(&h->lock);
	return pooled;
}

static void helpers_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct np_pool_job *pooled;

	(void)what;
	np_wake_fd_clear(fd);
	while ((pooled = ended_take(arg)) != NULL)
		job_of(pooled)->done(job_of(pooled));
}

enum np_err helpers_new(struct event_base *base, unsigned threads, struct helpers **out)
{
	struct helpers *h = np_calloc(1, sizeof(*h));

	if (h == NULL)
		return NP_ENOMEM;
	h->ops = (struct np_thread_pool_ops){.threads_max = threads,
					     .idle_ms = IDLE_MS,
					     .run = job_run,
					     .done = job_done,
					     .lose = job_lose,
					     .drop = job_drop,
					     .thread_end = np_crypto_thread_end};
	np_thread_pool_init(&h->pool, &h->ops, h);
	np_job_list_init(&h->ended);
	pthread_mutex_init(&h->lock, NULL);
	h->fd = np_wake_fd_open();
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

void helpers_free(struct helpers *h)
{
	struct np_pool_job *pooled;
	bool gone;

	if (h == NULL)
		return;
	gone = np_thread_pool_stop(&h->pool, HELPERS_STOP_MS);
	if (h->readable != NULL)
		event_free(h->readable);
	while ((pooled = ended_take(h)) != NULL)
		job_drop(pooled);
	if (!gone)
		return;
	if (h->fd != -1)
		close(h->fd);
	np_thread_pool_release(&h->pool);
	pthread_mutex_destroy(&h->lock);
	np_free(h);
}
