/*
 * fuzz_log.c - what a peer said, in a line: one line of printing bytes within its maximum, in every
 * form; np_log_escape cuts at whole escapes.
 */
#include "base/log.h"
#include "base/log_line.h"

#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t format(char out[NP_LOG_LINE_MAX], const struct np_log_options *o,
		     const char *instance, const char *fmt, ...) NP_PRINTF(4, 5);
static size_t format(char out[NP_LOG_LINE_MAX], const struct np_log_options *o,
		     const char *instance, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = np_log_line_format(out, o, NP_LOG_WARN, instance, fmt, ap);
	va_end(ap);
	return n;
}

/* The quotes of a JSON line: an even number of them without a backslash in front. */
static void check_quotes(const char *line, size_t n)
{
	unsigned quotes = 0;

	for (size_t i = 0; i < n; i++) {
		if (line[i] == '\\')
			i++;
		else if (line[i] == '"')
			quotes++;
	}
	NP_ASSERT(quotes == 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum np_log_format forms[] = {NP_LOG_TEXT, NP_LOG_LOGFMT, NP_LOG_JSON};
	char text[8192], name[64], line[NP_LOG_LINE_MAX], escaped[100];
	size_t text_len = size < sizeof(text) ? size : sizeof(text) - 1;
	size_t name_len = size < sizeof(name) - 2 ? size : sizeof(name) - 2;

	if (size == 0)
		return 0;
	memcpy(text, data, text_len);
	text[text_len] = '\0';
	name[0] = 'i'; /* never empty */
	memcpy(name + 1, data + size - name_len, name_len);
	name[name_len + 1] = '\0';
	for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
		struct np_log_options o = {.format = forms[f]};
		size_t n = format(line, &o, name, "%s", text);

		NP_ASSERT(n > 0 && n <= NP_LOG_LINE_MAX && line[n - 1] == '\n');
		for (size_t i = 0; i < n - 1; i++)
			NP_ASSERT((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
		if (forms[f] == NP_LOG_JSON)
			check_quotes(line, n);
	}
	np_log_escape((const char *)data, size, escaped, sizeof(escaped));
	NP_ASSERT(strlen(escaped) < sizeof(escaped));
	for (const char *c = escaped; *c != '\0'; c++) {
		NP_ASSERT(*c >= 0x20 && *c <= 0x7e);
		if (*c == '\\')
			NP_ASSERT(c[1] == 'x' && strlen(c) >= 4);
	}
	return 0;
}
