/*
 * Paths, queries and framing as the router and the guard read them, and the document made of them.
 */
#include "router.h"

#include "http_guard.h"
#include "json_read.h"
#include "openapi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void expect_route(const char *path, const char *route, const char *id)
{
	const char *got_id = NULL;
	const struct route *t = router_match("/api/v1", path, &got_id);

	if (route == NULL) {
		assert_null(t);
		return;
	}
	assert_non_null(t);
	assert_string_equal(t->path, route);
	if (id == NULL)
		assert_null(got_id);
	else
		assert_string_equal(got_id, id);
}

static void router_match__paths__exactly(void **state)
{
	static const char *const unknown[] = {"/",
					      "/api",
					      "/api/v1",
					      "/api/v1/",
					      "/api/v1/info/",
					      "/api/v1/docs/",
					      "/api/v2/info",
					      "/info",
					      "/api/v1x/info",
					      "/api/v1/docs/x",
					      "/api/v1/healthz",
					      "/healthz/"};

	(void)state;
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		expect_route(unknown[i], NULL, NULL);
	expect_route("/api/v1/info", "/info", NULL);
	expect_route("/api/v1/instances", "/instances", NULL);
	expect_route("/api/v1/instances/", "/instances/", "");
	expect_route("/api/v1/instances/a/b", "/instances/", "a/b");
	expect_route("/api/v1/docs/swagger-ui.css", "/docs/swagger-ui.css", "swagger-ui.css");
	expect_route("/healthz", "/healthz", NULL);
}

static void router_prefix_ok__taken_words__refused(void **state)
{
	(void)state;
	assert_true(router_prefix_ok("/api"));
	assert_true(router_prefix_ok("/a/b"));
	assert_true(router_prefix_ok("/healthzz"));
	assert_false(router_prefix_ok("/healthz"));
	assert_false(router_prefix_ok("/metrics/x"));
	assert_false(router_prefix_ok("/readyz"));
	assert_false(router_prefix_ok("api"));
	assert_false(router_prefix_ok("/a//b"));
	assert_false(router_prefix_ok("/a\n"));
}

static void http_path_clean__segments__as_a_browser_would(void **state)
{
	static const char *const rows[][2] = {
	    {"/", NULL},	 {"/a/b", NULL},     {"/a/", NULL},    {"/a.b/..c", NULL},
	    {"//", "/"},	 {"/a//b", "/a/b"},  {"/./a", "/a"},   {"/a/.", "/a/"},
	    {"/a/../b", "/b"},	 {"/../..", "/"},    {"/a/..", "/"},   {"//evil/x", "/evil/x"},
	    {"/a/b/../", "/a/"}, {"/a/b/..", "/a/"}, {"/%2e/a", NULL}, {"/a//", "/a/"}};
	struct np_buf b;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool clean;

		np_buf_init(&b, 256);
		clean = http_path_clean(rows[i][0], strlen(rows[i][0]), &b);
		assert_int_equal(clean, rows[i][1] == NULL);
		assert_string_equal(np_buf_cstr(&b), rows[i][1] != NULL ? rows[i][1] : rows[i][0]);
		np_buf_release(&b);
	}
}

static void http_path_decode__escapes__never_new_segments(void **state)
{
	struct np_buf b;

	(void)state;
	np_buf_init(&b, 64);
	assert_true(http_path_decode("/%61/%2A%2F%00x", 15, &b));
	assert_string_equal(np_buf_cstr(&b), "/a/*\x01\x01x");
	np_buf_release(&b);
	assert_false(http_path_decode("/%6", 3, &b));
	np_buf_release(&b);
	assert_false(http_path_decode("/%zz", 4, &b));
	np_buf_release(&b);
}

static void http_query_find__names_and_values__decoded(void **state)
{
	char out[8];

	(void)state;
	assert_true(http_query_find("a=1&target=%5B::1%5D", "target", out, sizeof(out)));
	assert_string_equal(out, "[::1]");
	assert_true(http_query_find("b=x+y&b=z", "b", out, sizeof(out)));
	assert_string_equal(out, "x y");
	assert_true(http_query_find("t%61rget", "target", out, sizeof(out)));
	assert_string_equal(out, "");
	assert_false(http_query_find("a=%zz", "a", out, sizeof(out)));
	assert_false(http_query_find("a=%00", "a", out, sizeof(out)));
	assert_false(http_query_find("a=12345678", "a", out, sizeof(out)));
	assert_false(http_query_find("aa=1&&=&b", "a", out, sizeof(out)));
	assert_false(http_query_find(NULL, "a", out, sizeof(out)));
}

static int verdict(const char *const fields[][2], size_t n, size_t body)
{
	struct http_facts f = {.minor = 1, .body_len = body};

	for (size_t i = 0; i < n; i++)
		http_guard_field(&f, fields[i][0], fields[i][1]);
	return http_guard_verdict(&f, "/").status;
}

static void http_guard_verdict__framing__only_one_reading(void **state)
{
	static const struct {
		const char *fields[3][2];
		size_t n;
		int status;
	} rows[] = {
	    {{{"Host", "x"}}, 1, 0},
	    {{{"Accept", "x"}}, 1, 400},
	    {{{"Host", "x"}, {"host", "y"}}, 2, 400},
	    {{{"Host", "x"}, {"Content-Length", "5"}}, 2, 0},
	    {{{"Host", "x"}, {"Content-Length", "+5"}}, 2, 400},
	    {{{"Host", "x"}, {"Content-Length", "5, 5"}}, 2, 400},
	    {{{"Host", "x"}, {"Content-Length", "5"}, {"content-length", "5"}}, 3, 400},
	    {{{"Host", "x"}, {"Transfer-Encoding", "Chunked"}}, 2, 0},
	    {{{"Host", "x"}, {"Transfer-Encoding", "gzip, chunked"}}, 2, 400},
	    {{{"Host", "x"}, {"Transfer-Encoding", "chunked"}, {"Content-Length", "5"}}, 3, 400},
	    {{{"Host", "x"}, {"X ", "y"}}, 2, 400},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(verdict(rows[i].fields, rows[i].n, 0), rows[i].status);
	assert_int_equal(verdict(rows[0].fields, 1, HTTP_BODY_MAX), 0);
	assert_int_equal(verdict(rows[0].fields, 1, HTTP_BODY_MAX + 1), 413);
}

static void http_guard_verdict__long_header__431(void **state)
{
	struct http_facts f = {.minor = 1, .hosts = 1, .header_len = HTTP_HEADER_MAX - 1};

	(void)state;
	assert_int_equal(http_guard_verdict(&f, "/").status, 0);
	assert_int_equal(http_guard_verdict(&f, "/a").status, 431);
}

static void openapi_render__document__is_json_with_all_paths(void **state)
{
	static const char *const paths[] = {"/instances", "/instances/{id}", "/events", "/info",
					    "/tcping",	  "/openapi.json",   "/docs"};
	const struct json *all, *v = NULL;
	struct json_doc *d;
	struct np_buf b;
	size_t n = 0;

	(void)state;
	np_buf_init(&b, 1024 * 1024);
	openapi_render("/a b/v1", &b);
	assert_int_equal(b.err, NP_OK);
	assert_int_equal(json_parse((const char *)np_buf_ptr(&b), np_buf_len(&b), &d), NP_OK);
	v = json_next(json_member(json_root(d), "servers"), NULL);
	assert_string_equal(json_string(json_member(v, "url")), "/a%20b/v1");
	all = json_member(json_root(d), "paths");
	for (v = json_next(all, NULL); v != NULL; v = json_next(all, v), n++)
		assert_string_equal(json_name(v), paths[n]);
	assert_int_equal(n, sizeof(paths) / sizeof(paths[0]));
	json_doc_free(d);
	np_buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(router_match__paths__exactly),
	    cmocka_unit_test(router_prefix_ok__taken_words__refused),
	    cmocka_unit_test(http_path_clean__segments__as_a_browser_would),
	    cmocka_unit_test(http_path_decode__escapes__never_new_segments),
	    cmocka_unit_test(http_query_find__names_and_values__decoded),
	    cmocka_unit_test(http_guard_verdict__framing__only_one_reading),
	    cmocka_unit_test(http_guard_verdict__long_header__431),
	    cmocka_unit_test(openapi_render__document__is_json_with_all_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
