/*
 * report.h - what an instance says of itself: checkpoints, session ends, sums of counters.
 */
#ifndef NP_REPORT_H
#define NP_REPORT_H

#include "instance.h"

/* report_start - the timers of checkpoints and of the summary of session ends. Errors: NP_ENOMEM.
 * Thread: home. */
enum np_err report_start(struct instance *inst) NP_MUST_CHECK;
void report_stop(struct instance *inst);

#endif
