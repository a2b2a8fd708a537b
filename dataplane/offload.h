/*
 * offload.h - helper threads for what would block a loop: getaddrinfo, scrypt, key generation,
 * files.
 *
 * A job runs on a helper thread and comes back as mail to the worker that asked. Threads are
 * started on demand, at most OFFLOAD_THREADS_MAX; at most OFFLOAD_HEAVY_MAX jobs of class HEAVY
 * (scrypt: 16 MiB and 45 ms each) run at once. The queue holds at most OFFLOAD_QUEUE_MAX jobs.
 */
#ifndef NP_OFFLOAD_H
#define NP_OFFLOAD_H

#include "base/thread_pool.h"
#include "worker.h"

#define OFFLOAD_THREADS_MAX 8
#define OFFLOAD_HEAVY_MAX   2
#define OFFLOAD_QUEUE_MAX   NP_THREAD_POOL_QUEUE_MAX
#define OFFLOAD_STOP_MS	    1000

/* SOON: heavy as well, what visitors wait for; such jobs take turns with those that are only HEAVY. */
enum offload_class { OFFLOAD_LIGHT = 0, OFFLOAD_HEAVY, OFFLOAD_SOON };

struct offload_job {
	struct mail done; /* mail.deliver is set by the caller; posted to @reply_to after run */
	struct worker *reply_to;
	enum offload_class class;
	void (*run)(struct offload_job *job); /* on a helper thread; touches the job alone */
	/* Instead of run and done, from offload_stop, for a job that never started. May be NULL. */
	void (*drop)(struct offload_job *job);
	/* Instead of done, on the helper thread, after run: offload_stop gave up waiting for it. Frees
	 * the job and what run made, touches nothing else. May be NULL. */
	void (*lose)(struct offload_job *job);
	struct np_pool_job pooled; /* offload.c's */
};

/*
 * offload_submit - takes @job on success. Thread: any. Blocks: never.
 * Errors: NP_ELIMIT (queue full), NP_ESYS (no thread), NP_ESTATE (stopped).
 */
enum np_err offload_submit(struct offload_job *job) NP_MUST_CHECK;
/*
 * offload_stop - before workers_stop, which delivers the mail that is still posted here. Waits for
 * the jobs that run, at most OFFLOAD_STOP_MS: one that takes longer (a resolver without answer) is
 * abandoned, its mail is never posted, and it is lost when it comes to its end. Jobs that were not started are not run, and no mail is posted for them: they are dropped. Thread: main.
 */
void offload_stop(void);
/* offload_restart - jobs are taken again after offload_stop; for tests that start more than once.
 */
void offload_restart(void);

#endif
