/*
 * log_line.h - one log line as bytes: time, level, text, instance in each of the forms. For log.c.
 */
#ifndef NP_BASE_LOG_LINE_H
#define NP_BASE_LOG_LINE_H

#include "base/log.h"

/*
 * np_log_line_format - a whole line with its end of line. Returns its length, <= NP_LOG_LINE_MAX.
 * What does not fit is cut off the text and marked "..."; the instance always stays.
 */
size_t np_log_line_format(char out[NP_LOG_LINE_MAX], const struct np_log_options *o,
			  enum np_log_level level, const char *instance, const char *fmt,
			  va_list ap) NP_PRINTF(5, 0);

/*
 * np_log_line_at - the default form of a line that was said elsewhere at @time_ms (wall clock),
 * NUL-terminated, without an end of line. Returns its length.
 */
size_t np_log_line_at(char out[NP_LOG_LINE_MAX], enum np_log_level level, int64_t time_ms,
		      bool color, const char *text);

/*
 * np_log_line_parse - a line of another process, in the default form without colours and end of line.
 * Returns its text, within @line, and sets *level; NULL: it has another form.
 */
const char *np_log_line_parse(const char *line, enum np_log_level *level);

/* np_log_line_text - the message alone, escaped, cut and NUL-terminated. Returns its length. */
size_t np_log_line_text(char out[NP_LOG_LINE_MAX], const char *fmt, va_list ap) NP_PRINTF(2, 0);

#endif
