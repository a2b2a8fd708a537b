/*
 * test_alloc.c - the allocation-failure hook, the assertion's last words, the clock's type.
 */
#include "base/alloc.h"

#include "base/assert.h"
#include "base/mono.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void fail_after__n__lets_one_fail(void **state)
{
	void *p[4];
	unsigned long before = np_alloc_count();

	(void)state;
	np_alloc_fail_after(2);
	for (int i = 0; i < 4; i++)
		p[i] = np_malloc(1);
	assert_non_null(p[0]);
	assert_non_null(p[1]);
	assert_null(p[2]);
	assert_non_null(p[3]);
	assert_int_equal(np_alloc_count() - before, 4);
	for (int i = 0; i < 4; i++)
		np_free(p[i]);
}

static void fail_after__every_function__fails(void **state)
{
	char *kept = np_strdup("kept");

	(void)state;
	np_alloc_fail_after(0);
	assert_null(np_calloc(1, 1));
	np_alloc_fail_after(0);
	assert_null(np_strdup("x"));
	np_alloc_fail_after(0);
	assert_null(np_strndup("x", 1));
	np_alloc_fail_after(0);
	assert_null(np_realloc(kept, 100));
	assert_string_equal(kept, "kept");
	np_alloc_fail_after(0);
	np_alloc_fail_after(-1);
	kept = np_realloc(kept, 0);
	assert_non_null(kept);
	np_free(kept);
	np_free(NULL);
}

static void calloc__nothing_and_something__zeroed(void **state)
{
	uint8_t *p;

	(void)state;
	p = np_calloc(0, 8);
	assert_non_null(p);
	np_free(p);
	p = np_calloc(4, 4);
	assert_non_null(p);
	for (int i = 0; i < 16; i++)
		assert_int_equal(p[i], 0);
	np_free(p);
	p = np_malloc(0);
	assert_non_null(p);
	np_free(p);
}

static void strndup__longer_text__is_cut(void **state)
{
	char *s = np_strndup("abcdef", 3);

	(void)state;
	assert_string_equal(s, "abc");
	np_free(s);
	s = np_strndup("ab", 30);
	assert_string_equal(s, "ab");
	np_free(s);
}

static void *allocate(void *arg)
{
	(void)arg;
	return np_malloc(1);
}

static void fail_after__another_thread__is_not_touched(void **state)
{
	pthread_t t;
	void *p = NULL;

	(void)state;
	np_alloc_fail_after(0);
	assert_int_equal(pthread_create(&t, NULL, allocate, NULL), 0);
	assert_int_equal(pthread_join(t, &p), 0);
	assert_non_null(p);
	np_free(p);
	assert_null(np_malloc(1));
}

static void assert__false__one_line_and_abort(void **state)
{
	char text[256] = "";
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid != -1);
	if (pid == 0) {
		struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL);
		dup2(fds[1], STDERR_FILENO);
		NP_ASSERT(1 + 1 == 3);
		_exit(0);
	}
	close(fds[1]);
	n = read(fds[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(text, "assertion 1 + 1 == 3 failed at "));
	assert_non_null(strstr(text, "test_alloc.c:"));
	assert_ptr_equal(strchr(text, '\n'), text + n - 1);
}

static void assert__true__goes_on(void **state)
{
	struct {
		unsigned magic;
	} object = {42}, *p = &object;

	(void)state;
	NP_ASSERT(p != NULL);
	NP_CHECK_MAGIC(p, 42);
}

static void mono__arithmetic__keeps_units(void **state)
{
	struct np_mono a = np_mono_now(), b;

	(void)state;
	assert_true(np_mono_is_set(a));
	assert_false(np_mono_is_set((struct np_mono){0}));
	b = np_mono_add_ms(a, 1500);
	assert_true(np_mono_diff_ms(b, a) == 1500);
	assert_true(np_mono_diff_us(a, b) == -1500000);
	assert_true(np_mono_before(a, b));
	assert_false(np_mono_before(b, a));
	assert_true(np_mono_diff_us(np_mono_add_us(a, 7), a) == 7);
	assert_false(np_mono_before(np_mono_now(), a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fail_after__n__lets_one_fail),
	    cmocka_unit_test(fail_after__every_function__fails),
	    cmocka_unit_test(calloc__nothing_and_something__zeroed),
	    cmocka_unit_test(strndup__longer_text__is_cut),
	    cmocka_unit_test(fail_after__another_thread__is_not_touched),
	    cmocka_unit_test(assert__false__one_line_and_abort),
	    cmocka_unit_test(assert__true__goes_on),
	    cmocka_unit_test(mono__arithmetic__keeps_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
