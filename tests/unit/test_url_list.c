/*
 * test_url_list.c - lists of URLs on their way to the data plane: what goes in comes out, and an
 * origin cannot break a line.
 */
#include "core/url_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void url_list__several__come_out_as_they_went_in(void **state)
{
	static const struct {
		const char *url, *origin;
	} rows[] = {
	    {"client://a:1/b:2?mode=1", "tunnels.conf:7"},
	    {"server://k%0a@:1/:2", ""},
	    {"client://c:1/d:2", "URL 3"},
	};
	struct np_buf b;
	const char *origin;
	char *at, *url;

	(void)state;
	np_buf_init(&b, NP_URL_LIST_MAX);
	for (size_t i = 0; i < 3; i++)
		np_url_list_put(&b, rows[i].url, rows[i].origin);
	at = (char *)(uintptr_t)np_buf_cstr(&b);
	assert_non_null(at);
	for (size_t i = 0; i < 3; i++) {
		assert_true(np_url_list_next(&at, &url, &origin));
		assert_string_equal(url, rows[i].url);
		assert_string_equal(origin, rows[i].origin);
	}
	assert_false(np_url_list_next(&at, &url, &origin));
	np_buf_release(&b);
}

static void url_list__one__is_the_url_itself(void **state)
{
	struct np_buf b;

	(void)state;
	np_buf_init(&b, NP_URL_LIST_MAX);
	np_url_list_put(&b, "server://:1/:2", NULL);
	assert_string_equal(np_buf_cstr(&b), "server://:1/:2");
	np_buf_release(&b);
}

static void url_list__hostile_origin__stays_in_its_line(void **state)
{
	char origin[NP_URL_ORIGIN_MAX + 50];
	const char *back;
	struct np_buf b;
	char *at, *url;

	(void)state;
	memset(origin, 'x', sizeof(origin));
	origin[sizeof(origin) - 1] = '\0';
	memcpy(origin, "a\nserver://:9/:9\tb\x7f", 19);
	np_buf_init(&b, NP_URL_LIST_MAX);
	np_url_list_put(&b, "client://:1/:2", origin);
	at = (char *)(uintptr_t)np_buf_cstr(&b);
	assert_true(np_url_list_next(&at, &url, &back));
	assert_string_equal(url, "client://:1/:2");
	assert_int_equal(strlen(back), NP_URL_ORIGIN_MAX);
	assert_memory_equal(back, "a?server://:9/:9?b?x", 20);
	assert_false(np_url_list_next(&at, &url, &back));
	np_buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(url_list__several__come_out_as_they_went_in),
	    cmocka_unit_test(url_list__one__is_the_url_itself),
	    cmocka_unit_test(url_list__hostile_origin__stays_in_its_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
