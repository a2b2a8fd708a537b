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

/* report_set_session_sink - @fn is shown every end of a session, on its worker; NULL = nobody.
 * Before the workers start and after they ended. */
typedef void (*report_session_fn)(void *arg, const char *id, const struct session_record *r);
void report_set_session_sink(report_session_fn fn, void *arg);

#endif
