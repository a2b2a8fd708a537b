/*
 * log.h - lines for people and machines, through a bounded ring and a writer thread.
 *
 * A line is formatted by the caller, put into the ring and written by the writer thread: a blocked
 * terminal blocks nothing. When the ring is full lines are dropped, counted, and the count is said
 * in a WARN line as soon as there is room. Before np_log_start and after np_log_stop lines go out
 * directly.
 */
#ifndef NP_BASE_LOG_H
#define NP_BASE_LOG_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum np_log_level { /* ordered by severity; EVENT is the checkpoint level */
		    NP_LOG_DEBUG = 0,
		    NP_LOG_INFO,
		    NP_LOG_WARN,
		    NP_LOG_ERROR,
		    NP_LOG_EVENT, /* checkpoints: shown at every threshold but NONE */
		    NP_LOG_NONE,  /* a threshold only */
};

enum np_log_format { NP_LOG_TEXT = 0, NP_LOG_LOGFMT, NP_LOG_JSON };

#define NP_LOG_LINE_MAX 2048 /* bytes of one line; the rest is cut and marked "..." */
#define NP_LOG_RING_MAX 4096 /* lines waiting for the writer */

struct np_log_options {
	int fd;
	enum np_log_format format;
	bool color;
};

/* np_log_start - starts the writer thread. Thread: main, once. Errors: NP_ENOMEM, NP_ESYS. */
enum np_err np_log_start(const struct np_log_options *o) NP_MUST_CHECK;
/* np_log_stop - writes what waits (for at most 1 s if the descriptor blocks), ends the thread. */
void np_log_stop(void);

/* np_log_enabled - is a line of @level shown at @threshold? */
static inline bool np_log_enabled(enum np_log_level threshold, enum np_log_level level)
{
	if (threshold == NP_LOG_NONE)
		return false;
	return level >= threshold || level == NP_LOG_EVENT;
}

/*
 * np_log - one line. @instance may be NULL or ""; it is shown as instance=… when set.
 * The text is "words key=value …"; bytes that do not print are escaped. errno survives.
 * Thread: any. Blocks: never.
 */
void np_log(enum np_log_level level, const char *instance, const char *fmt, ...) NP_PRINTF(3, 4);
void np_vlog(enum np_log_level level, const char *instance, const char *fmt, va_list ap)
    NP_PRINTF(3, 0);

/* np_log_write - a line that is whole already (@len with its end of line, at most twice
 * NP_LOG_LINE_MAX). Thread: any. Blocks: never. */
void np_log_write(const char *line, size_t len);

/*
 * np_log_set_sink - @fn is shown every line first (NULL = nobody). It returns true when it took the
 * line, which then goes nowhere else. @text: the message without time, level and instance, escaped,
 * cut to NP_LOG_LINE_MAX - 1 bytes; @time_ms: wall clock. @fn runs on the caller's thread, must not
 * block and must not log. No call of the former one is running any more when this returns.
 */
typedef bool (*np_log_sink_fn)(void *arg, enum np_log_level level, const char *instance,
			       const char *text, int64_t time_ms);
void np_log_set_sink(np_log_sink_fn fn, void *arg);

/* np_log_dropped - lines lost to a full ring so far. */
uint64_t np_log_dropped(void);

/* np_log_escape - @in cut to @max bytes and made printable (\xNN); for what a peer said. */
void np_log_escape(const char *in, size_t len, char *out, size_t max);

#endif
