/*
 * Rules of request bodies: what is ignored, what is replaced, what is refused.
 */
#include "json_read.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct json_doc *parse(const char *text)
{
	struct json_doc *d = NULL;

	assert_int_equal(json_parse(text, strlen(text), &d), NP_OK);
	assert_non_null(d);
	return d;
}

static void expect_member(const char *text, const char *name, const char *value)
{
	struct json_doc *d = parse(text);
	const char *s = json_string(json_member(json_root(d), name));

	if (value == NULL)
		assert_null(s);
	else
		assert_string_equal(s, value);
	json_doc_free(d);
}

static void json_parse__first_value__rest_ignored(void **state)
{
	(void)state;
	expect_member("{\"a\":\"x\"} garbage \x01 \"", "a", "x");
	expect_member("{\"a\":\"x\"}{\"a\":\"y\"}", "a", "x");
}

static void json_parse__not_json__refused(void **state)
{
	static const char *const bad[] = {"",	      " ",	 "x",	    "{",
					  "{\"a\":}", "[1,]",	 "{\"a\"}", "\"\x01\"",
					  "\"a",      "\"\\ud8", "{'a':1}", "nul"};
	struct json_doc *d = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(json_parse(bad[i], strlen(bad[i]), &d), NP_EINVAL);
	assert_null(d);
}

static void json_parse__deep_nesting__refused(void **state)
{
	size_t n = 1000000;
	char *text = malloc(n);
	struct json_doc *d = NULL;

	(void)state;
	assert_non_null(text);
	memset(text, '[', n);
	assert_int_equal(json_parse(text, n, &d), NP_EINVAL);
	free(text);
}

static void json_member__case_and_repeats__last_counts(void **state)
{
	(void)state;
	expect_member("{\"ALIAS\":\"x\"}", "alias", "x");
	expect_member("{\"alias\":\"x\",\"Alias\":\"y\"}", "alias", "y");
	expect_member("{\"alias\":\"x\",\"alias\":null}", "alias", "x");
	expect_member("{\"alias\":null}", "alias", NULL);
	expect_member("[\"alias\"]", "alias", NULL);
	expect_member("null", "alias", NULL);
}

static void json_string__bad_utf8__replaced(void **state)
{
	(void)state;
	expect_member("{\"a\":\"\xff|\xc3\xa9|\xc0\x80|\xed\xa0\x80\"}", "a",
		      "\xef\xbf\xbd|\xc3\xa9|\xef\xbf\xbd\xef\xbf\xbd|"
		      "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

static void json_string__surrogates_and_nul__replaced(void **state)
{
	(void)state;
	expect_member("{\"a\":\"\\ud83d\\ude00\"}", "a", "\xf0\x9f\x98\x80");
	expect_member("{\"a\":\"\\ud83dx\"}", "a", "\xef\xbf\xbdx");
	expect_member("{\"a\":\"\\ude00\\ud83d\"}", "a", "\xef\xbf\xbd\xef\xbf\xbd");
	expect_member("{\"a\":\"x\\u0000y\"}", "a", "x\xef\xbf\xbdy");
	expect_member("{\"a\":\"\\\\u0000\\\"\"}", "a", "\\u0000\"");
}

static void json_u64__whole_numbers__exact(void **state)
{
	struct json_doc *d =
	    parse("[0,9007199254740992,\"18446744073709551615\",-1,1.5,1e300,\"x\",true]");
	const struct json *v = NULL;
	uint64_t n = 7, want[] = {0, 9007199254740992u, UINT64_MAX};

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		v = json_next(json_root(d), v);
		assert_int_equal(json_u64(v, &n), i < 3);
		assert_true(n == want[i < 3 ? i : 2]);
	}
	assert_null(json_next(json_root(d), v));
	json_doc_free(d);
}

static void json_next__object__members_in_order(void **state)
{
	struct json_doc *d = parse("{\"b\":true,\"a\":[],\"c\":null}");
	const struct json *v = json_next(json_root(d), NULL);

	(void)state;
	assert_string_equal(json_name(v), "b");
	assert_true(json_bool(v));
	v = json_next(json_root(d), v);
	assert_int_equal(json_kind(v), JSON_ARRAY);
	assert_null(json_next(v, NULL));
	v = json_next(json_root(d), v);
	assert_int_equal(json_kind(v), JSON_NULL);
	assert_null(json_next(json_root(d), v));
	json_doc_free(d);
}

static void json_parse__each_allocation_fails__enomem(void **state)
{
	static const char text[] =
	    "{\"url\":\"server://a:1/b:2\",\"meta\":{\"tags\":{\"a\":\"b\"}}}";
	struct json_doc *d = NULL;
	enum np_err err = NP_ENOMEM;
	long n;

	(void)state;
	for (n = 0; n < 100 && err != NP_OK; n++) {
		np_alloc_fail_after(n);
		err = json_parse(text, sizeof(text) - 1, &d);
		np_alloc_fail_after(-1);
		assert_true(err == NP_OK || err == NP_ENOMEM);
	}
	assert_true(n > 5 && err == NP_OK);
	json_doc_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(json_parse__first_value__rest_ignored),
	    cmocka_unit_test(json_parse__not_json__refused),
	    cmocka_unit_test(json_parse__deep_nesting__refused),
	    cmocka_unit_test(json_member__case_and_repeats__last_counts),
	    cmocka_unit_test(json_string__bad_utf8__replaced),
	    cmocka_unit_test(json_string__surrogates_and_nul__replaced),
	    cmocka_unit_test(json_u64__whole_numbers__exact),
	    cmocka_unit_test(json_next__object__members_in_order),
	    cmocka_unit_test(json_parse__each_allocation_fails__enomem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
