/*
 * test_log.c - forms of a line, and a writer that survives slow, full and closed descriptors.
 *
 * Waiting is for conditions; alarm() ends a test whose condition never comes.
 */
#include "base/log.h"

#include "base/alloc.h"
#include "base/log_line.h"
#include "base/mono.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define WHEN "[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}"
#define RFC  "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}[+-][0-9]{2}:[0-9]{2}"

static char got[1 << 20];

static void assert_matches(const char *text, const char *pattern)
{
	regex_t re;
	int rc;

	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	rc = regexec(&re, text, 0, NULL, 0);
	regfree(&re);
	if (rc != 0)
		print_error("\"%s\" does not match %s\n", text, pattern);
	assert_int_equal(rc, 0);
}

static int temp_file(void)
{
	int fd = memfd_create("test_log", MFD_CLOEXEC);

	assert_true(fd != -1);
	return fd;
}

static void start(int fd, enum np_log_format format, bool color)
{
	struct np_log_options o = {.fd = fd, .format = format, .color = color};

	assert_int_equal(np_log_start(&o), NP_OK);
}

/* All that was written to the file @fd, as text. */
static const char *content(int fd)
{
	ssize_t n = pread(fd, got, sizeof(got) - 1, 0);

	assert_true(n >= 0);
	got[n] = '\0';
	return got;
}

static const char *one_line(enum np_log_format format, bool color, enum np_log_level level,
			    const char *instance, const char *text)
{
	int fd = temp_file();

	start(fd, format, color);
	np_log(level, instance, "%s", text);
	np_log_stop();
	content(fd);
	close(fd);
	return got;
}

static void wait_dropped(uint64_t n)
{
	while (np_log_dropped() < n)
		sched_yield();
}

static void log__text__has_the_default_form(void **state)
{
	(void)state;
	assert_matches(one_line(NP_LOG_TEXT, false, NP_LOG_INFO, NULL, "up port=1"),
		       "^" WHEN "  INFO  up port=1\n$");
	assert_matches(one_line(NP_LOG_TEXT, false, NP_LOG_WARN, "ab12", "x"),
		       "^" WHEN "  WARN  x instance=ab12\n$");
	assert_matches(one_line(NP_LOG_TEXT, true, NP_LOG_ERROR, "", "x"),
		       "^" WHEN "  \033\\[31mERROR\033\\[0m  x\n$");
	assert_matches(one_line(NP_LOG_TEXT, true, NP_LOG_EVENT, "", "x"),
		       "^" WHEN "  \033\\[36mEVENT\033\\[0m  x\n$");
	assert_matches(one_line(NP_LOG_TEXT, true, NP_LOG_DEBUG, "", "x"),
		       "^" WHEN "  \033\\[34mDEBUG\033\\[0m  x\n$");
}

static void log_line_parse__default_form__level_and_text(void **state)
{
	static const char *const others[] = {
	    "",
	    "2026-11-26",
	    "2026-11-26 19:40:27.02x  WARN  x",
	    "2026-11-26T19:40:27.026  WARN  x",
	    "2026-11-26 19:40:27.026  WARNING  x",
	    "2026-11-26 19:40:27.026  WARN x",
	    "==12==ERROR: AddressSanitizer: heap-use-after-free",
	};
	char line[NP_LOG_LINE_MAX];

	(void)state;
	for (enum np_log_level l = NP_LOG_DEBUG; l <= NP_LOG_EVENT; l++) {
		enum np_log_level level = NP_LOG_NONE;

		np_log_line_at(line, l, 1700000000123, false, "an  end k=v instance=a");
		assert_string_equal(np_log_line_parse(line, &level), "an  end k=v instance=a");
		assert_int_equal(level, l);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		enum np_log_level level = NP_LOG_NONE;

		assert_null(np_log_line_parse(others[i], &level));
		assert_int_equal(level, NP_LOG_NONE);
	}
}

static void log__logfmt__is_quoted(void **state)
{
	(void)state;
	assert_matches(one_line(NP_LOG_LOGFMT, true, NP_LOG_INFO, "ab12", "say \"a\\b\" k=v"),
		       "^time=" RFC
		       " level=info msg=\"say \\\\\"a\\\\\\\\b\\\\\" k=v\" instance=ab12\n$");
	assert_matches(one_line(NP_LOG_LOGFMT, false, NP_LOG_EVENT, "a b", "x"),
		       "^time=" RFC " level=event msg=\"x\" instance=\"a b\"\n$");
	assert_matches(one_line(NP_LOG_LOGFMT, false, NP_LOG_WARN, NULL, "x"),
		       "^time=" RFC " level=warn msg=\"x\"\n$");
}

static void log__json__is_an_object_a_line(void **state)
{
	(void)state;
	assert_matches(one_line(NP_LOG_JSON, true, NP_LOG_DEBUG, "a\"b", "say \"x\\\n\""),
		       "^\\{\"time\":\"" RFC "\",\"level\":\"debug\",\"msg\":\"say "
		       "\\\\\"x\\\\\\\\\\\\\\\\x0a\\\\\"\",\"instance\":\"a\\\\\"b\"\\}\n$");
	assert_matches(one_line(NP_LOG_JSON, true, NP_LOG_ERROR, NULL, "x"),
		       "^\\{\"time\":\"" RFC "\",\"level\":\"error\",\"msg\":\"x\"\\}\n$");
}

static void log__bytes_that_do_not_print__are_escaped(void **state)
{
	(void)state;
	assert_matches(one_line(NP_LOG_TEXT, false, NP_LOG_INFO, "i\nj", "a\nb\x1b[1m\x7f\xff\r"),
		       "INFO  a\\\\x0ab\\\\x1b\\[1m\\\\x7f\\\\xff\\\\x0d instance=i\\\\x0aj\n$");
	/* UTF-8 stays, but not overlong, surrogate, C1 or direction-changing. */
	assert_non_null(strstr(one_line(NP_LOG_TEXT, false, NP_LOG_INFO, NULL,
					"w\xc3\xa9"
					"b \xe2\x82\xac \xf0\x9f\x98\x80"),
			       "w\xc3\xa9"
			       "b \xe2\x82\xac \xf0\x9f\x98\x80\n"));
	assert_non_null(
	    strstr(one_line(NP_LOG_TEXT, false, NP_LOG_INFO, NULL,
			    "\xc0\xaf \xed\xa0\x80 \xc2\x9b \xe2\x80\xae \xe2\x82"),
		   "\\xc0\\xaf \\xed\\xa0\\x80 \\xc2\\x9b \\xe2\\x80\\xae \\xe2\\x82\n"));
}

static void log__too_long__is_cut_and_keeps_the_instance(void **state)
{
	static const enum np_log_format formats[] = {NP_LOG_TEXT, NP_LOG_LOGFMT, NP_LOG_JSON};
	static const char *const ends[] = {"... instance=ab12\n", "...\" instance=ab12\n",
					   "...\",\"instance\":\"ab12\"}\n"};
	static const char units[] = {'a', '"', '\n', '\\'};
	char text[4000];

	(void)state;
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		for (size_t u = 0; u < sizeof(units); u++) {
			const char *line;
			size_t len;

			memset(text, units[u], sizeof(text) - 1);
			text[sizeof(text) - 1] = '\0';
			line = one_line(formats[i], true, NP_LOG_INFO, "ab12", text);
			len = strlen(line);
			assert_in_range(len, NP_LOG_LINE_MAX - 8, NP_LOG_LINE_MAX);
			assert_string_equal(line + len - strlen(ends[i]), ends[i]);
			assert_ptr_equal(strchr(line, '\n'), line + len - 1);
		}
	}
	memset(text, 'i', sizeof(text) - 1);
	assert_matches(one_line(NP_LOG_JSON, true, NP_LOG_INFO, text, text),
		       "\\.\\.\\.\",\"instance\":\"i+\\.\\.\\.\"\\}\n$");
}

static void log_escape__peer_text__prints_and_fits(void **state)
{
	char out[16];

	(void)state;
	np_log_escape("a\n\\\xff", 4, out, sizeof(out));
	assert_string_equal(out, "a\\x0a\\x5c\\xff");
	np_log_escape("ab\n", 3, out, 6);
	assert_string_equal(out, "ab");
	np_log_escape("abcdef", 6, out, 4);
	assert_string_equal(out, "abc");
	out[0] = 'k';
	np_log_escape("abc", 3, out, 0);
	assert_int_equal(out[0], 'k');
	np_log_escape("a\0b", 3, out, sizeof(out));
	assert_string_equal(out, "a\\x00b");
}

static void log_enabled__thresholds__event_always_but_none(void **state)
{
	(void)state;
	assert_true(np_log_enabled(NP_LOG_INFO, NP_LOG_WARN));
	assert_false(np_log_enabled(NP_LOG_WARN, NP_LOG_INFO));
	assert_true(np_log_enabled(NP_LOG_EVENT, NP_LOG_EVENT));
	assert_false(np_log_enabled(NP_LOG_EVENT, NP_LOG_ERROR));
	assert_false(np_log_enabled(NP_LOG_NONE, NP_LOG_EVENT));
}

static void log__not_started__goes_out_directly(void **state)
{
	int fd = temp_file(), out = dup(STDOUT_FILENO);

	(void)state;
	assert_true(out != -1);
	fflush(stdout);
	assert_true(dup2(fd, STDOUT_FILENO) != -1);
	errno = 77;
	np_log(NP_LOG_INFO, NULL, "early");
	assert_int_equal(errno, 77);
	assert_true(dup2(out, STDOUT_FILENO) != -1);
	close(out);
	assert_matches(content(fd), "^" WHEN "  INFO  early\n$");
	close(fd);
	np_log_stop();
}

static void log__stopped__goes_out_directly(void **state)
{
	int fd = temp_file();

	(void)state;
	start(fd, NP_LOG_TEXT, false);
	np_log(NP_LOG_INFO, NULL, "one");
	np_log_stop();
	np_log(NP_LOG_INFO, NULL, "two");
	np_log((enum np_log_level)NP_LOG_NONE, NULL, "three");
	assert_matches(content(fd), "^[^\n]*one\n[^\n]*two\n$");
	close(fd);
}

static void *log_thousand(void *arg)
{
	for (int i = 0; i < 1000; i++)
		np_log(NP_LOG_INFO, arg, "number=%d", i);
	return NULL;
}

static void log__several_threads__lines_are_whole_and_in_order(void **state)
{
	static char names[4][2] = {"a", "b", "c", "d"};
	int next[4] = {0}, fd = temp_file();
	pthread_t t[4];
	char *at, *save = NULL;

	(void)state;
	start(fd, NP_LOG_TEXT, false);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, log_thousand, names[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	np_log_stop();
	content(fd);
	for (at = strtok_r(got, "\n", &save); at != NULL; at = strtok_r(NULL, "\n", &save)) {
		const char *text = strstr(at, "number=");
		char name = at[strlen(at) - 1];
		int i = name - 'a';

		assert_non_null(text);
		assert_in_range(i, 0, 3);
		assert_int_equal(strtol(text + 7, NULL, 10), next[i]++);
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(next[i], 1000);
	close(fd);
}

static void log__reader_is_slow__drops_counts_and_says_so(void **state)
{
	uint64_t before = np_log_dropped(), lost, lines = 0;
	unsigned long long said = 0;
	size_t len = 0;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	alarm(60);
	start(fds[1], NP_LOG_TEXT, false);
	/* Nobody reads: callers go on all the same. */
	for (int i = 0; i < 3 * NP_LOG_RING_MAX; i++)
		np_log(NP_LOG_INFO, NULL, "%0100d", i);
	lost = np_log_dropped() - before;
	assert_true(lost > NP_LOG_RING_MAX);
	while (lines + said < 3 * NP_LOG_RING_MAX) {
		ssize_t n = read(fds[0], got + len, sizeof(got) - 1 - len);
		char *line = got, *end;

		assert_true(n > 0);
		len += (size_t)n;
		got[len] = '\0';
		for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
			char *count;

			*end = '\0';
			count = strstr(line, "dropped count=");
			if (count == NULL) {
				lines++;
				continue;
			}
			assert_matches(line, "  WARN  ");
			said += strtoull(count + 14, NULL, 10);
		}
		len -= (size_t)(line - got);
		memmove(got, line, len);
	}
	assert_true(said == lost);
	assert_true(lines + said == 3 * NP_LOG_RING_MAX);
	np_log_stop();
	alarm(0);
	close(fds[0]);
	close(fds[1]);
}

static void log_stop__descriptor_blocks__ends_all_the_same(void **state)
{
	uint64_t before = np_log_dropped();
	struct np_mono from = np_mono_now();
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	alarm(60);
	start(fds[1], NP_LOG_TEXT, false);
	for (int i = 0; i < 2000; i++)
		np_log(NP_LOG_INFO, NULL, "%0100d", i);
	np_log_stop();
	alarm(0);
	assert_true(np_log_dropped() > before);
	assert_in_range(np_mono_diff_ms(np_mono_now(), from), 500, 20000);
	close(fds[0]);
	close(fds[1]);
}

static void log__nonblocking_descriptor__loses_nothing(void **state)
{
	uint64_t before = np_log_dropped();
	size_t lines = 0;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	assert_true(fcntl(fds[0], F_SETFL, 0) != -1);
	alarm(60);
	start(fds[1], NP_LOG_TEXT, false);
	for (int i = 0; i < 3000; i++)
		np_log(NP_LOG_INFO, NULL, "%0100d", i);
	while (lines < 3000) {
		ssize_t n = read(fds[0], got, sizeof(got));

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			lines += got[i] == '\n' ? 1 : 0;
	}
	np_log_stop();
	alarm(0);
	assert_true(np_log_dropped() == before);
	close(fds[0]);
	close(fds[1]);
}

static void log__closed_pipe__kills_nobody(void **state)
{
	uint64_t before = np_log_dropped();
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	alarm(60);
	start(fds[1], NP_LOG_TEXT, false);
	np_log(NP_LOG_INFO, NULL, "into the void");
	wait_dropped(before + 1);
	np_log_stop();
	np_log(NP_LOG_INFO, NULL, "directly into the void");
	alarm(0);
	assert_true(np_log_dropped() == before + 2);
	close(fds[1]);
}

static void log__full_disk__goes_on_when_there_is_room(void **state)
{
	uint64_t before = np_log_dropped();
	int full = open("/dev/full", O_WRONLY), file = temp_file();

	(void)state;
	assert_true(full != -1);
	alarm(60);
	start(full, NP_LOG_TEXT, false);
	for (unsigned i = 1; i <= 5; i++) {
		np_log(NP_LOG_INFO, NULL, "lost");
		wait_dropped(before + i);
	}
	assert_true(dup2(file, full) != -1);
	np_log(NP_LOG_INFO, NULL, "kept");
	np_log_stop();
	alarm(0);
	assert_matches(content(file), "^[^\n]*  INFO  kept\n[^\n]*  WARN  [^\n]*count=5\n$");
	assert_true(np_log_dropped() == before + 5);
	close(full);
	close(file);
}

static void log__without_memory__drops_the_line(void **state)
{
	struct np_log_options o = {.fd = STDOUT_FILENO};
	uint64_t before = np_log_dropped();
	int fd = temp_file();

	(void)state;
	np_alloc_fail_after(0);
	assert_int_equal(np_log_start(&o), NP_ENOMEM);
	start(fd, NP_LOG_TEXT, false);
	np_alloc_fail_after(0);
	np_log(NP_LOG_INFO, NULL, "lost");
	np_alloc_fail_after(-1);
	np_log(NP_LOG_INFO, NULL, "kept");
	np_log_stop();
	assert_true(np_log_dropped() == before + 1);
	assert_matches(content(fd), "  INFO  kept\n");
	assert_matches(content(fd), "  WARN  log lines were dropped count=1\n");
	assert_null(strstr(got, "lost"));
	close(fd);
}

struct shown {
	bool take;
	int lines;
	enum np_log_level level;
	char instance[32], text[NP_LOG_LINE_MAX];
	int64_t time_ms;
};

static bool on_shown(void *arg, enum np_log_level level, const char *instance, const char *text,
		     int64_t time_ms)
{
	struct shown *s = arg;

	s->lines++;
	s->level = level;
	snprintf(s->instance, sizeof(s->instance), "%s", instance != NULL ? instance : "-");
	snprintf(s->text, sizeof(s->text), "%s", text);
	s->time_ms = time_ms;
	return s->take;
}

static void np_log_set_sink__it_takes_lines__they_go_nowhere_else(void **state)
{
	struct shown s = {.take = true};
	int fd = temp_file();

	(void)state;
	start(fd, NP_LOG_TEXT, true);
	np_log_set_sink(on_shown, &s);
	errno = EDOM;
	np_log(NP_LOG_WARN, "web1", "a\n%s", "b");
	assert_int_equal(errno, EDOM);
	assert_int_equal(s.lines, 1);
	assert_int_equal(s.level, NP_LOG_WARN);
	assert_string_equal(s.instance, "web1");
	assert_string_equal(s.text, "a\\x0ab");
	assert_true(s.time_ms > 1600000000000);
	s.take = false;
	np_log(NP_LOG_INFO, NULL, "not taken");
	np_log_set_sink(NULL, NULL);
	np_log(NP_LOG_INFO, NULL, "not shown");
	np_log_stop();
	assert_int_equal(s.lines, 2);
	content(fd);
	close(fd);
	assert_null(strstr(got, "b"));
	assert_non_null(strstr(got, "not taken"));
	assert_non_null(strstr(got, "not shown"));
}

static void np_log_set_sink__line_too_long__cut_and_marked(void **state)
{
	struct shown s = {.take = true};
	static char text[2 * NP_LOG_LINE_MAX];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	np_log_set_sink(on_shown, &s);
	np_log(NP_LOG_INFO, NULL, "%s", text);
	np_log_set_sink(NULL, NULL);
	assert_int_equal(strlen(s.text), NP_LOG_LINE_MAX - 1);
	assert_string_equal(s.text + strlen(s.text) - 4, "x...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(log__not_started__goes_out_directly),
	    cmocka_unit_test(log__text__has_the_default_form),
	    cmocka_unit_test(log_line_parse__default_form__level_and_text),
	    cmocka_unit_test(log__logfmt__is_quoted),
	    cmocka_unit_test(log__json__is_an_object_a_line),
	    cmocka_unit_test(log__bytes_that_do_not_print__are_escaped),
	    cmocka_unit_test(log__too_long__is_cut_and_keeps_the_instance),
	    cmocka_unit_test(log_escape__peer_text__prints_and_fits),
	    cmocka_unit_test(log_enabled__thresholds__event_always_but_none),
	    cmocka_unit_test(log__stopped__goes_out_directly),
	    cmocka_unit_test(log__several_threads__lines_are_whole_and_in_order),
	    cmocka_unit_test(log__reader_is_slow__drops_counts_and_says_so),
	    cmocka_unit_test(log_stop__descriptor_blocks__ends_all_the_same),
	    cmocka_unit_test(log__nonblocking_descriptor__loses_nothing),
	    cmocka_unit_test(log__closed_pipe__kills_nobody),
	    cmocka_unit_test(log__full_disk__goes_on_when_there_is_room),
	    cmocka_unit_test(log__without_memory__drops_the_line),
	    cmocka_unit_test(np_log_set_sink__it_takes_lines__they_go_nowhere_else),
	    cmocka_unit_test(np_log_set_sink__line_too_long__cut_and_marked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
