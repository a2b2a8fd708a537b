/*
 * helpers.h - a few threads for what would hold up the loop: reading files, scrypt.
 *
 * A job runs on a helper thread (base/thread_pool.h) and ends on the loop.
 */
#ifndef CP_HELPERS_H
#define CP_HELPERS_H

#include "base/err.h"
#include "base/thread_pool.h"

#include <event2/event.h>

#define HELPERS_STOP_MS 1000

struct helpers;

/* First member, or embedded in what travels. */
struct helper_job {
	struct np_pool_job pooled;	      /* helpers.c's */
	void (*run)(struct helper_job *job);  /* on a helper thread; touches the job alone */
	void (*done)(struct helper_job *job); /* on the loop, after run; owns the job */
	void (*drop)(struct helper_job *job); /* instead of done, from helpers_free; owns the job */
};

/* helpers_new - at most @threads at once. Errors: NP_ENOMEM, NP_ESYS. */
enum np_err helpers_new(struct event_base *base, unsigned threads,
			struct helpers **out) NP_MUST_CHECK;
/* helpers_submit - takes @job on success. Errors: those of np_thread_pool_submit. */
enum np_err helpers_submit(struct helpers *h, struct helper_job *job) NP_MUST_CHECK;
/* helpers_free - jobs that wait are dropped; those that run are waited for, HELPERS_STOP_MS at most:
 * one that takes longer (a file system without answer) is left to the end of the process. */
void helpers_free(struct helpers *h);

#endif
