/*
 * offload.h - helper threads for what would block a loop: getaddrinfo, scrypt, key generation, files.
 *
 * A job runs on a helper thread and comes back as mail to the worker that asked. Threads are started on
 * demand, at most OFFLOAD_THREADS_MAX; at most OFFLOAD_HEAVY_MAX jobs of class HEAVY (scrypt: 16 MiB and
 * 45 ms each) run at once. The queue holds at most OFFLOAD_QUEUE_MAX jobs.
 */
#ifndef NP_OFFLOAD_H
#define NP_OFFLOAD_H

#include "worker.h"

#define OFFLOAD_THREADS_MAX 8
#define OFFLOAD_HEAVY_MAX 2
#define OFFLOAD_QUEUE_MAX 4096

enum offload_class { OFFLOAD_LIGHT = 0, OFFLOAD_HEAVY };

struct offload_job {
	struct mail done;	/* mail.deliver is set by the caller; posted to @reply_to after run */
	struct worker *reply_to;
	enum offload_class class;
	void (*run)(struct offload_job *job); /* on a helper thread; touches the job alone */
	struct offload_job *next;
};

/* offload_submit - takes @job on success. Thread: any. Blocks: never. Errors: NP_ELIMIT (queue full), NP_ESYS (no thread). */
enum np_err offload_submit(struct offload_job *job) NP_MUST_CHECK;
/* offload_stop - waits for running jobs, drops those waiting (their done mail is posted with nothing run? no: they are run). Thread: main. */
void offload_stop(void);

#endif
