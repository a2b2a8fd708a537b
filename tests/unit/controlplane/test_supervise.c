/*
 * Tests of the supervisor with shell scripts as the data plane.
 */
#include "supervise.h"

#include "base/mono.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_S 20 /* no test takes that long unless it fails */

static char dir[64], program[96];
static struct event_base *base;

static struct seen {
	int ready, exits, lines, pid, until_ready, until_exits;
	bool adopted, stopped, until_stopped;
	struct np_mono exit_at[8];
	char words[4096], last_line[512];
} seen;

static void look(void)
{
	if ((seen.until_ready > 0 && seen.ready >= seen.until_ready) ||
	    (seen.until_exits > 0 && seen.exits >= seen.until_exits) ||
	    (seen.until_stopped && seen.stopped))
		event_base_loopbreak(base);
}

static void on_ready(void *arg, int pid, bool adopted)
{
	(void)arg;
	seen.ready++;
	seen.pid = pid;
	seen.adopted = adopted;
	look();
}

static void on_exit_cb(void *arg, int pid, const char *words)
{
	(void)arg;
	(void)pid;
	if (seen.exits < 8)
		seen.exit_at[seen.exits] = np_mono_now();
	seen.exits++;
	snprintf(seen.words, sizeof(seen.words), "%s", words);
	look();
}

static void on_output(void *arg, const char *line)
{
	(void)arg;
	seen.lines++;
	snprintf(seen.last_line, sizeof(seen.last_line), "%s", line);
}

static void on_stopped(void *arg)
{
	(void)arg;
	seen.stopped = true;
	look();
}

static const struct supervise_callbacks callbacks = {
    .on_ready = on_ready, .on_exit = on_exit_cb, .on_output = on_output};

/* Runs the loop until one of seen.until_* is reached. */
static void loop(void)
{
	event_base_loopexit(base, &(struct timeval){.tv_sec = PATIENCE_S});
	event_base_dispatch(base);
	seen.until_ready = seen.until_exits = 0;
	seen.until_stopped = false;
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/np-test-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(program, sizeof(program), "%s/plane", dir);
	base = event_base_new();
	seen = (struct seen){0};
	return base == NULL ? -1 : 0;
}

static int teardown(void **state)
{
	char path[96];

	(void)state;
	event_base_free(base);
	unlink(program);
	snprintf(path, sizeof(path), "%s/lock", dir);
	unlink(path);
	return rmdir(dir);
}

static void script(const char *text)
{
	FILE *f = fopen(program, "w");

	assert_non_null(f);
	fprintf(f, "#!/bin/sh\n%s", text);
	fclose(f);
	assert_int_equal(chmod(program, 0700), 0);
}

static struct supervise *start(const char *with)
{
	struct supervise *s = NULL;

	assert_int_equal(supervise_new_program(base, dir, with, &callbacks, NULL, &s), NP_OK);
	supervise_start(s);
	return s;
}

static void stop(struct supervise *s)
{
	seen.until_stopped = true;
	supervise_stop(s, 5000, on_stopped, NULL);
	if (!seen.stopped)
		loop();
	assert_true(seen.stopped);
	supervise_free(s);
}

static void supervise_start__program_says_ready__reported(void **state)
{
	struct supervise *s;
	int pid;

	(void)state;
	script("echo \"$1 $2\"; printf R >&3; exec 3>&-; exec sleep 100\n");
	s = start(program);
	seen.until_ready = 1;
	loop();
	assert_int_equal(seen.ready, 1);
	assert_false(seen.adopted);
	pid = seen.pid;
	/* A session of its own: signals of our terminal do not reach it. */
	assert_int_equal(getsid(pid), pid);
	stop(s);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(seen.exits, 1);
	assert_non_null(strstr(seen.words, "signal 15"));
	assert_non_null(strstr(seen.last_line, "--run-dir=/tmp/np-test-"));
	assert_non_null(strstr(seen.last_line, "--ready-fd=3"));
}

static void supervise_start__program_dies__last_words_and_pauses(void **state)
{
	struct supervise *s;

	(void)state;
	script("printf R >&3; echo first; printf '\\033[31mcannot\\033[0m go on\\n' >&2; exit 7\n");
	s = start(program);
	seen.until_exits = 4;
	loop();
	assert_int_equal(seen.exits, 4);
	assert_non_null(strstr(seen.words, "exit status 7"));
	assert_non_null(strstr(seen.words, "first"));
	assert_non_null(strstr(seen.words, "cannot go on"));
	/* at once, 100, 200 ms */
	for (int i = 0; i < 2; i++)
		assert_true(np_mono_diff_ms(seen.exit_at[i + 2], seen.exit_at[i + 1]) >=
			    (100 << i) - 1);
	stop(s);
}

/* A busy machine may take its time now and then, but not each time. */
static void supervise_start__program_dies_once__next_one_at_once(void **state)
{
	int64_t fastest = INT64_MAX;

	(void)state;
	script("printf R >&3; exit 7\n");
	for (int i = 0; i < 20 && fastest >= SUPERVISE_PAUSE_MIN_MS; i++) {
		struct supervise *s = start(program);
		int64_t took;

		memset(&seen, 0, sizeof(seen));
		seen.until_exits = 2;
		loop();
		took = np_mono_diff_ms(seen.exit_at[1], seen.exit_at[0]);
		fastest = took < fastest ? took : fastest;
		stop(s);
	}
	assert_true(fastest < SUPERVISE_PAUSE_MIN_MS);
}

static void supervise_start__endless_output__last_lines_kept(void **state)
{
	struct supervise *s;

	(void)state;
	script("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; exit 1\n");
	s = start(program);
	seen.until_exits = 1;
	loop();
	assert_int_equal(seen.lines, 3000);
	assert_null(strstr(seen.words, "line 2980 "));
	assert_non_null(strstr(seen.words, "line 2981 "));
	assert_non_null(strstr(seen.words, "line 3000"));
	stop(s);
}

static void supervise_start__no_such_program__tried_again(void **state)
{
	struct supervise *s;

	(void)state;
	s = start(program); /* not written yet */
	script("printf R >&3; exec sleep 100\n");
	seen.until_ready = 1;
	loop();
	assert_int_equal(seen.ready, 1);
	stop(s);
}

static void supervise_stop__deaf_program__killed(void **state)
{
	struct supervise *s;

	(void)state;
	script("trap '' TERM; printf R >&3; while :; do sleep 1; done\n");
	s = start(program);
	seen.until_ready = 1;
	loop();
	seen.until_stopped = true;
	supervise_stop(s, 100, on_stopped, NULL);
	loop();
	assert_true(seen.stopped);
	assert_non_null(strstr(seen.words, "signal 9"));
	supervise_free(s);
}

/* A process that holds the lock as a data plane does. */
static pid_t holder_start(void)
{
	char path[96], text[16], byte;
	int fd, ready[2];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/lock", dir);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		snprintf(text, sizeof(text), "%d\n", (int)getpid());
		if (flock(fd, LOCK_EX) == 0 && write(fd, text, strlen(text)) > 0 &&
		    write(ready[1], "R", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void supervise_start__lock_is_held__adopted(void **state)
{
	pid_t pid = holder_start();
	struct supervise *s;

	(void)state;
	script("printf R >&3; exec sleep 100\n");
	s = start(program);
	assert_int_equal(seen.ready, 1);
	assert_true(seen.adopted);
	assert_int_equal(seen.pid, pid);
	/* Its end is seen although it is no child of the supervisor; the next one is ours. */
	kill(pid, SIGKILL);
	seen.until_ready = 2;
	loop();
	assert_int_equal(seen.exits, 1);
	assert_int_equal(seen.ready, 2);
	assert_false(seen.adopted);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	stop(s);
}

static void supervise_start__stale_lock_file__own_one_started(void **state)
{
	pid_t pid = holder_start();
	struct supervise *s;

	(void)state;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	script("printf R >&3; exec sleep 100\n");
	s = start(program);
	seen.until_ready = 1;
	loop();
	assert_false(seen.adopted);
	stop(s);
}

static void supervise_stop__external__left_alone(void **state)
{
	struct supervise *s = start(NULL);
	pid_t pid;

	(void)state;
	assert_true(supervise_is_external(s));
	assert_int_equal(seen.ready, 0);
	pid = holder_start();
	seen.until_ready = 1;
	loop();
	assert_true(seen.adopted);
	assert_int_equal(seen.pid, pid);
	stop(s);
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void supervise_free__child_runs__it_goes_on(void **state)
{
	struct supervise *s;
	int pid;

	(void)state;
	script("printf R >&3; exec sleep 100\n");
	s = start(program);
	seen.until_ready = 1;
	loop();
	pid = seen.pid;
	supervise_free(s);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void supervise_find__no_such_program__places_named(void **state)
{
	char path[256];
	struct np_diag diag;

	(void)state;
	assert_int_equal(supervise_find("no-such-program", path, sizeof(path), &diag),
			 NP_ENOTFOUND);
	assert_non_null(strstr(diag.text, "no-such-program"));
	assert_int_equal(supervise_find("test_supervise", path, sizeof(path), &diag), NP_OK);
	assert_int_equal(access(path, X_OK), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(supervise_start__program_says_ready__reported),
	    TEST(supervise_start__program_dies__last_words_and_pauses),
	    TEST(supervise_start__program_dies_once__next_one_at_once),
	    TEST(supervise_start__endless_output__last_lines_kept),
	    TEST(supervise_start__no_such_program__tried_again),
	    TEST(supervise_stop__deaf_program__killed),
	    TEST(supervise_start__lock_is_held__adopted),
	    TEST(supervise_start__stale_lock_file__own_one_started),
	    TEST(supervise_stop__external__left_alone),
	    TEST(supervise_free__child_runs__it_goes_on),
	    cmocka_unit_test(supervise_find__no_such_program__places_named),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
