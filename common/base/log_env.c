/*
 * log_env.c - see log_env.h.
 */
#include "base/log_env.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

enum np_err np_log_start_env(struct np_log_options *used)
{
	const char *format = getenv("NP_LOG_FORMAT"), *color = getenv("NP_LOG_COLOR");
	struct np_log_options o = {.fd = STDOUT_FILENO, .color = true};
	bool bad = false;
	enum np_err err;

	if (format != NULL && strcmp(format, "logfmt") == 0)
		o.format = NP_LOG_LOGFMT;
	else if (format != NULL && strcmp(format, "json") == 0)
		o.format = NP_LOG_JSON;
	else
		bad = format != NULL && format[0] != '\0' && strcmp(format, "text") != 0;
	if ((color != NULL && strcmp(color, "0") == 0) || getenv("NO_COLOR") != NULL)
		o.color = false;
	err = np_log_start(&o);
	if (err == NP_OK && bad)
		np_log(NP_LOG_WARN, NULL,
		       "NP_LOG_FORMAT=%.64s: not text, logfmt or json, using text", format);
	if (used != NULL)
		*used = o;
	return err;
}
