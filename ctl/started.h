/*
 * started.h - waits until instances that were started run, or says which of them do not.
 *
 * The API answers when a start is stored; the data plane does it a moment later. Single thread;
 * blocks.
 */
#ifndef CTL_STARTED_H
#define CTL_STARTED_H

#include "ctl.h"

#define STARTED_WAIT_MS	    10000
#define STARTED_WAIT_MAX_MS 3600000

/*
 * started_wait - until each of @calls, whose paths are those of instances that were stopped, is
 * running or in error, c->wait_ms at most; 0: not at all. Uses the calls for its own questions.
 * Returns CTL_OK, or CTL_FAILED with a line on standard error for each that does not run.
 */
int started_wait(struct ctl *c, struct api_call *calls, size_t n);

#endif
