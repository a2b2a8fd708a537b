/*
 * log_line.c - how a line looks. Escapes everything that does not print, so one call is one line.
 */
#include "base/log_line.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

#define TAIL_MAX     256
#define TAIL_END_MAX 4 /* a quote, a brace, a line's end */

struct text {
	char *to;
	size_t len, max;
	size_t mark; /* where the dots of a cut go: the last unit that leaves room for them */
	bool cut;
};

enum quoting { QUOTE_NONE = 0, QUOTE_BACKSLASH };

static const char dots[] = "...";

/* All of @unit or nothing; nothing at all after the first unit that did not fit. */
static void text_put(struct text *t, const char *unit, size_t n)
{
	if (t->cut)
		return;
	if (n > t->max - t->len) {
		t->cut = true;
		return;
	}
	memcpy(t->to + t->len, unit, n);
	t->len += n;
	if (t->max - t->len >= sizeof(dots) - 1)
		t->mark = t->len;
}

static void text_end_cut(struct text *t)
{
	t->len = t->mark;
	t->cut = false;
	text_put(t, dots, sizeof(dots) - 1);
}

/* The length of the valid UTF-8 sequence at @p that prints, 0 = none. C1 and bidi controls do not
 * print. */
static size_t printing_utf8(const unsigned char *p, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	uint32_t c;

	if (n == 0 || n > left)
		return 0;
	c = p[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	if (c < 0xa0 || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	    (c >= 0x2066 && c <= 0x2069) || c == 0xfeff)
		return 0;
	return n;
}

static void hex_escape(unsigned char c, char out[5])
{
	static const char digits[] = "0123456789abcdef";

	out[0] = '\\';
	out[1] = 'x';
	out[2] = digits[c >> 4];
	out[3] = digits[c & 15];
	out[4] = '\0';
}

static void text_put_escaped(struct text *t, const char *in, size_t len, enum quoting quoting)
{
	const unsigned char *p = (const unsigned char *)in;
	char unit[8];

	for (size_t i = 0, n; i < len && !t->cut; i += n) {
		n = 1;
		if (p[i] == '"' || p[i] == '\\') {
			unit[0] = '\\';
			unit[1] = in[i];
			text_put(t, quoting == QUOTE_NONE ? unit + 1 : unit,
				 quoting == QUOTE_NONE ? 1 : 2);
		} else if (p[i] >= 0x20 && p[i] < 0x7f) {
			text_put(t, in + i, 1);
		} else if ((n = printing_utf8(p + i, len - i)) > 0) {
			text_put(t, in + i, n);
		} else {
			n = 1;
			unit[0] = '\\';
			hex_escape(p[i], unit + 1);
			text_put(t, quoting == QUOTE_NONE ? unit + 1 : unit,
				 quoting == QUOTE_NONE ? 4 : 5);
		}
	}
}

void np_log_escape(const char *in, size_t len, char *out, size_t max)
{
	size_t used = 0;
	char unit[5];

	if (max == 0)
		return;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)in[i];
		size_t n = 1;

		/* An own backslash is escaped too, so that the result is read in one way only. */
		if (c < 0x20 || c > 0x7e || c == '\\') {
			hex_escape(c, unit);
			n = 4;
		} else {
			unit[0] = in[i];
		}
		if (n > max - 1 - used)
			break;
		memcpy(out + used, unit, n);
		used += n;
	}
	out[used] = '\0';
}

static const struct {
	const char *name, *lower, *color;
} levels[] = {
    [NP_LOG_DEBUG] = {"DEBUG", "debug", "\033[34m"},
    [NP_LOG_INFO] = {"INFO", "info", "\033[32m"},
    [NP_LOG_WARN] = {"WARN", "warn", "\033[33m"},
    [NP_LOG_ERROR] = {"ERROR", "error", "\033[31m"},
    [NP_LOG_EVENT] = {"EVENT", "event", "\033[36m"},
};

static size_t put_time(char *out, size_t max, struct timespec ts, bool rfc3339)
{
	struct tm tm;
	char zone[16] = "";
	long off;
	int n;

	if (localtime_r(&ts.tv_sec, &tm) == NULL)
		return 0;
	if (rfc3339) {
		off = tm.tm_gmtoff < 0 ? -tm.tm_gmtoff : tm.tm_gmtoff;
		snprintf(zone, sizeof(zone), "%c%02ld:%02ld", tm.tm_gmtoff < 0 ? '-' : '+',
			 off / 3600 % 100, off / 60 % 60);
	}
	n = snprintf(out, max, "%04d-%02d-%02d%c%02d:%02d:%02d.%03ld%s", tm.tm_year + 1900,
		     tm.tm_mon + 1, tm.tm_mday, rfc3339 ? 'T' : ' ', tm.tm_hour, tm.tm_min,
		     tm.tm_sec, ts.tv_nsec / 1000000, zone);
	return n > 0 && (size_t)n < max ? (size_t)n : 0;
}

static size_t put_head(char *out, size_t max, enum np_log_level level, struct timespec ts,
		       const struct np_log_options *o)
{
	char when[64] = "";
	int n = 0;

	put_time(when, sizeof(when), ts, o->format != NP_LOG_TEXT);
	switch (o->format) {
	case NP_LOG_TEXT:
		n = snprintf(out, max, "%s  %s%s%s  ", when, o->color ? levels[level].color : "",
			     levels[level].name, o->color ? "\033[0m" : "");
		break;
	case NP_LOG_LOGFMT:
		n = snprintf(out, max, "time=%s level=%s msg=\"", when, levels[level].lower);
		break;
	case NP_LOG_JSON:
		n = snprintf(out, max, "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":\"", when,
			     levels[level].lower);
		break;
	}
	return n > 0 && (size_t)n < max ? (size_t)n : 0;
}

static bool is_plain(const char *s)
{
	return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:")] ==
	       '\0';
}

/* What stands behind the text, the line's end included. */
static size_t put_tail(char out[TAIL_MAX], const char *instance, const struct np_log_options *o)
{
	static const struct {
		const char *end, *before, *quote;
	} forms[] = {
	    [NP_LOG_TEXT] = {"\n", " instance=", ""},
	    [NP_LOG_LOGFMT] = {"\n", " instance=", "\""},
	    [NP_LOG_JSON] = {"}\n", ",\"instance\":", "\""},
	};
	bool set = instance != NULL && instance[0] != '\0';
	const char *quote = forms[o->format].quote;
	struct text t = {.to = out, .max = TAIL_MAX};

	/* The end of the message's own quotes. */
	text_put(&t, quote, strlen(quote));
	if (set) {
		if (o->format == NP_LOG_LOGFMT && is_plain(instance))
			quote = "";
		text_put(&t, forms[o->format].before, strlen(forms[o->format].before));
		text_put(&t, quote, strlen(quote));
		t.max -= TAIL_END_MAX;
		text_put_escaped(&t, instance, strlen(instance),
				 quote[0] == '\0' ? QUOTE_NONE : QUOTE_BACKSLASH);
		if (t.cut)
			text_end_cut(&t);
		t.max += TAIL_END_MAX;
		text_put(&t, quote, strlen(quote));
	}
	text_put(&t, forms[o->format].end, strlen(forms[o->format].end));
	return t.len;
}

size_t np_log_line_format(char out[NP_LOG_LINE_MAX], const struct np_log_options *o,
			  enum np_log_level level, const char *instance, const char *fmt,
			  va_list ap)
{
	char said[NP_LOG_LINE_MAX], tail[TAIL_MAX];
	size_t tail_len = put_tail(tail, instance, o);
	struct text t = {.to = out, .max = NP_LOG_LINE_MAX - tail_len};
	int n = vsnprintf(said, sizeof(said), fmt, ap);
	struct timespec now = {0};

	clock_gettime(CLOCK_REALTIME, &now);
	if (n < 0)
		n = snprintf(said, sizeof(said), "a line could not be formatted");
	t.len = put_head(out, t.max, level, now, o);
	t.mark = t.len;
	text_put_escaped(&t, said, strnlen(said, sizeof(said) - 1),
			 o->format == NP_LOG_TEXT ? QUOTE_NONE : QUOTE_BACKSLASH);
	if (t.cut || (size_t)n >= sizeof(said))
		text_end_cut(&t);
	memcpy(out + t.len, tail, tail_len);
	return t.len + tail_len;
}

size_t np_log_line_at(char out[NP_LOG_LINE_MAX], enum np_log_level level, int64_t time_ms,
		      bool color, const char *text)
{
	const struct np_log_options o = {.color = color};
	const struct timespec ts = {.tv_sec = time_ms / 1000, .tv_nsec = time_ms % 1000 * 1000000};
	struct text t = {.to = out, .max = NP_LOG_LINE_MAX - 1};

	t.len = put_head(out, t.max, level, ts, &o);
	t.mark = t.len;
	text_put_escaped(&t, text, strlen(text), QUOTE_NONE);
	if (t.cut)
		text_end_cut(&t);
	out[t.len] = '\0';
	return t.len;
}

const char *np_log_line_parse(const char *line, enum np_log_level *level)
{
	static const char when[] = "0000-00-00 00:00:00.000  ";

	for (const char *p = when; *p != '\0'; p++, line++)
		if (*p == '0' ? *line < '0' || *line > '9' : *line != *p)
			return NULL;
	for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++) {
		size_t len = strlen(levels[i].name);

		if (strncmp(line, levels[i].name, len) == 0 && strncmp(line + len, "  ", 2) == 0) {
			*level = (enum np_log_level)i;
			return line + len + 2;
		}
	}
	return NULL;
}

size_t np_log_line_text(char out[NP_LOG_LINE_MAX], const char *fmt, va_list ap)
{
	char said[NP_LOG_LINE_MAX];
	struct text t = {.to = out, .max = NP_LOG_LINE_MAX - 1};
	int n = vsnprintf(said, sizeof(said), fmt, ap);

	if (n < 0)
		n = snprintf(said, sizeof(said), "a line could not be formatted");
	text_put_escaped(&t, said, strnlen(said, sizeof(said) - 1), QUOTE_NONE);
	if (t.cut || (size_t)n >= sizeof(said))
		text_end_cut(&t);
	out[t.len] = '\0';
	return t.len;
}
