/*
 * test_dirs.c - the defaults of parameters.md, by environment and user.
 */
#include "core/dirs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Pairs of name and value. */
static const char *get(void *arg, const char *name)
{
	for (const char **p = arg; p[0] != NULL; p += 2)
		if (strcmp(p[0], name) == 0)
			return p[1];
	return NULL;
}

static void np_run_dir__each_source__in_its_order(void **state)
{
	const char *all[] = {"NP_RUN_DIR", "/x", "XDG_RUNTIME_DIR", "/run/user/7", NULL};
	const char *empty[] = {"NP_RUN_DIR", "", "XDG_RUNTIME_DIR", "relative", NULL};
	char out[NP_DIR_MAX];

	(void)state;
	assert_int_equal(np_run_dir(get, all, 0, out), NP_OK);
	assert_string_equal(out, "/x");
	assert_int_equal(np_run_dir(get, all + 2, 0, out), NP_OK);
	assert_string_equal(out, "/run/nodepass");
	assert_int_equal(np_run_dir(get, all + 2, 7, out), NP_OK);
	assert_string_equal(out, "/run/user/7/nodepass");
	assert_int_equal(np_run_dir(get, empty, 7, out), NP_OK);
	assert_string_equal(out, "/tmp/nodepass-7");
}

static void np_state_dir__each_source__in_its_order(void **state)
{
	const char *all[] = {"NP_STATE_DIR", "/s", "XDG_STATE_HOME", "/xs", "HOME", "/h", NULL};
	char out[NP_DIR_MAX];

	(void)state;
	assert_int_equal(np_state_dir(get, all, 7, out), NP_OK);
	assert_string_equal(out, "/s");
	assert_int_equal(np_state_dir(get, all + 2, 0, out), NP_OK);
	assert_string_equal(out, "/var/lib/nodepass");
	assert_int_equal(np_state_dir(get, all + 2, 7, out), NP_OK);
	assert_string_equal(out, "/xs/nodepass");
	assert_int_equal(np_state_dir(get, all + 4, 7, out), NP_OK);
	assert_string_equal(out, "/h/.local/state/nodepass");
	assert_int_equal(np_state_dir(get, all + 6, 7, out), NP_ENOTFOUND);
}

static void np_run_dir__too_long__refused_and_untouched(void **state)
{
	char value[NP_DIR_MAX + 1], out[NP_DIR_MAX] = "as it was";
	const char *vars[] = {"NP_RUN_DIR", value, NULL};

	(void)state;
	memset(value, 'x', NP_DIR_MAX);
	value[NP_DIR_MAX] = '\0';
	assert_int_equal(np_run_dir(get, vars, 0, out), NP_ELIMIT);
	assert_string_equal(out, "as it was");
	value[NP_DIR_MAX - 1] = '\0';
	assert_int_equal(np_run_dir(get, vars, 0, out), NP_OK);
	assert_string_equal(out, value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(np_run_dir__each_source__in_its_order),
	    cmocka_unit_test(np_state_dir__each_source__in_its_order),
	    cmocka_unit_test(np_run_dir__too_long__refused_and_untouched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
