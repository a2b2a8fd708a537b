/*
 * thread_pool.h - a few threads for what would hold up a loop: names, files, scrypt.
 *
 * Threads are started when there is more to run than idle threads, and end after a while without
 * work. They handle no signals: those belong to the main thread. A pool knows nothing of loops: how
 * a job comes back to the one that asked is its owner's (dataplane/offload.c: mail;
 * controlplane/helpers.c: an eventfd).
 */
#ifndef NP_BASE_THREAD_POOL_H
#define NP_BASE_THREAD_POOL_H

#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NP_THREAD_POOL_QUEUE_MAX 4096 /* jobs that wait */

/* First member of what travels, or embedded in it. */
struct np_pool_job {
	struct np_pool_job *next;
	bool heavy; /* counts for heavy_max */
	bool soon;  /* heavy, and takes turns with all others that are */
};

struct np_job_list {
	struct np_pool_job *first, **last;
	size_t n;
};

/* np_job_list_take - the first one; NULL: none. */
void np_job_list_init(struct np_job_list *l);
void np_job_list_put(struct np_job_list *l, struct np_pool_job *job);
struct np_pool_job *np_job_list_take(struct np_job_list *l);

struct np_thread_pool_ops {
	unsigned threads_max, heavy_max; /* heavy_max: heavy jobs at once, fewer than threads */
	int64_t idle_ms;		 /* a thread without work ends after it */
	void (*run)(struct np_pool_job *job); /* on a helper thread; touches the job alone */
	/* After run, on the same thread, with the pool's lock: short, and calls nothing of the
	 * pool. Never after np_thread_pool_stop. */
	void (*done)(void *arg, struct np_pool_job *job);
	/* Instead of done, when np_thread_pool_stop gave up waiting: everybody else may be gone. */
	void (*lose)(struct np_pool_job *job);
	/* Instead of run, on the thread of np_thread_pool_stop, for a job that never started. */
	void (*drop)(struct np_pool_job *job);
	void (*thread_end)(void); /* on a helper thread, before the pool counts it as gone */
};

/* Owned by whoever embeds it. */
struct np_thread_pool {
	const struct np_thread_pool_ops *ops;  /* borrowed, for the life of the pool */
	void *arg;			       /* for done */
	pthread_mutex_t lock;		       /* guards all below */
	pthread_cond_t work;		       /* a job may be taken, or stopping */
	pthread_cond_t ended;		       /* a thread is gone, with stopping set */
	struct np_job_list light, heavy, soon; /* soon: of the heavy ones */
	bool was_soon;			       /* the heavy one that was taken last */
	unsigned threads, idle, heavy_running;
	bool stopping;
	bool abandoned; /* np_thread_pool_stop gave up waiting */
};

void np_thread_pool_init(struct np_thread_pool *p, const struct np_thread_pool_ops *ops, void *arg);
/*
 * np_thread_pool_submit - takes @job on success.
 * Thread: any.  Blocks: never.
 * Errors: NP_ELIMIT (queue full), NP_ESYS (no thread runs and none can be made), NP_ESTATE
 * (stopped).
 */
enum np_err np_thread_pool_submit(struct np_thread_pool *p, struct np_pool_job *job) NP_MUST_CHECK;
/*
 * np_thread_pool_stop - drops the jobs that wait, then waits for those that run and their threads.
 * @wait_ms: one that takes longer (a resolver, a file system without answer) is abandoned: it is
 * lost when it comes to its end, and until then the pool must stay where it is.
 * Returns false: some thread is still there.
 */
bool np_thread_pool_stop(struct np_thread_pool *p, int64_t wait_ms);
/* np_thread_pool_restart - jobs are taken again after np_thread_pool_stop. Waits for what was
 * abandoned. */
void np_thread_pool_restart(struct np_thread_pool *p);
/* np_thread_pool_release - after np_thread_pool_stop has returned true. */
void np_thread_pool_release(struct np_thread_pool *p);

#endif
