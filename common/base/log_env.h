/*
 * log_env.h - the log as the environment wants it: NP_LOG_FORMAT, NP_LOG_COLOR, NO_COLOR.
 */
#ifndef NP_BASE_LOG_ENV_H
#define NP_BASE_LOG_ENV_H

#include "base/log.h"

/* np_log_start_env - np_log_start on standard output; a form that is not known is said at WARN.
 * @used (may be NULL) gets the options. Thread: main, once. Errors: those of np_log_start. */
enum np_err np_log_start_env(struct np_log_options *used) NP_MUST_CHECK;

#endif
