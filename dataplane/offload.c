/*
 * offload.c - the data plane's pool of helper threads: jobs come back as mail.
 */
#include "offload.h"

#include "core/digest.h"

#include <pthread.h>
#include <stddef.h>

#define IDLE_MS 30000

static struct np_thread_pool pool;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct offload_job *job_of(struct np_pool_job *pooled)
{
	return (struct offload_job *)((char *)pooled - offsetof(struct offload_job, pooled));
}

static void job_run(struct np_pool_job *pooled)
{
	struct offload_job *job = job_of(pooled);

	job->run(job);
}

static void job_done(void *arg, struct np_pool_job *pooled)
{
	struct offload_job *job = job_of(pooled);

	(void)arg;
	worker_post(job->reply_to, &job->done);
}

static void job_lose(struct np_pool_job *pooled)
{
	struct offload_job *job = job_of(pooled);

	if (job->lose != NULL)
		job->lose(job);
}

static void job_drop(struct np_pool_job *pooled)
{
	struct offload_job *job = job_of(pooled);

	if (job->drop != NULL)
		job->drop(job);
}

static const struct np_thread_pool_ops ops = {
    .threads_max = OFFLOAD_THREADS_MAX,
    .heavy_max = OFFLOAD_HEAVY_MAX,
    .idle_ms = IDLE_MS,
    .run = job_run,
    .done = job_done,
    .lose = job_lose,
    .drop = job_drop,
    .thread_end = np_crypto_thread_end,
};

static void offload_init(void)
{
	np_thread_pool_init(&pool, &ops, NULL);
}

enum np_err offload_submit(struct offload_job *job)
{
	pthread_once(&once, offload_init);
	job->pooled.heavy = job->class != OFFLOAD_LIGHT;
	job->pooled.soon = job->class == OFFLOAD_SOON;
	return np_thread_pool_submit(&pool, &job->pooled);
}

void offload_stop(void)
{
	pthread_once(&once, offload_init);
	np_thread_pool_stop(&pool, OFFLOAD_STOP_MS);
}

void offload_restart(void)
{
	pthread_once(&once, offload_init);
	np_thread_pool_restart(&pool);
}
