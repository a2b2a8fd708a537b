/*
 * test_err.c - names and texts of errors, diagnoses.
 */
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void err_name__every_code__is_its_own(void **state)
{
	static const enum np_err codes[] = {
#define NP_ERR(name, value, text) NP_##name,
#include "tbl/errors.def"
#undef NP_ERR
	};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		assert_true(codes[i] <= 0);
		assert_string_not_equal(np_err_name(codes[i]), "UNKNOWN");
		assert_true(strlen(np_err_text(codes[i])) > 0);
		for (size_t j = 0; j < i; j++) {
			assert_string_not_equal(np_err_name(codes[i]), np_err_name(codes[j]));
			assert_true(codes[i] != codes[j]);
		}
	}
	assert_string_equal(np_err_name(NP_EINVAL), "EINVAL");
	assert_string_equal(np_err_text(NP_EUNSUPPORTED), "not available in this version");
}

static void err_name__no_such_code__is_said(void **state)
{
	(void)state;
	assert_string_equal(np_err_name((enum np_err) - 999), "UNKNOWN");
	assert_string_equal(np_err_text((enum np_err)1), "unknown error");
}

static void diag_set__without_diag__returns_the_error(void **state)
{
	(void)state;
	assert_int_equal(np_diag_set(NULL, NP_ERANGE, "x", "%d", 1), NP_ERANGE);
}

static void diag_set__bytes_that_do_not_print__become_question_marks(void **state)
{
	struct np_diag d = {.offset = 7};

	(void)state;
	assert_int_equal(np_diag_set(&d, NP_EINVAL, "a\nb", "x=%s", "1\n\x1b[2\xff"), NP_EINVAL);
	assert_string_equal(d.field, "a?b");
	assert_string_equal(d.text, "x=1??[2?");
	assert_int_equal(d.offset, 0);
	np_diag_set(&d, NP_EINVAL, NULL, "y");
	assert_string_equal(d.field, "");
}

static void diag_set__too_long__is_cut(void **state)
{
	struct np_diag d;
	char text[2000];

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	np_diag_set(&d, NP_EINVAL, text, "%s", text);
	assert_int_equal(strlen(d.text), sizeof(d.text) - 1);
	assert_int_equal(strlen(d.field), sizeof(d.field) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(err_name__every_code__is_its_own),
	    cmocka_unit_test(err_name__no_such_code__is_said),
	    cmocka_unit_test(diag_set__without_diag__returns_the_error),
	    cmocka_unit_test(diag_set__bytes_that_do_not_print__become_question_marks),
	    cmocka_unit_test(diag_set__too_long__is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
