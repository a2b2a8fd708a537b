/* Tests of validate.c: scheme, form, what the master hands down. */
#include "validate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct validate_defaults info = {.log = "info"};

static void becomes(const char *given, const struct validate_defaults *d, const char *url)
{
	struct np_diag diag = {.text = ""};
	struct validated v;

	if (validate_url(given, d, &v, &diag) != NP_OK)
		fail_msg("%s: %s", given, diag.text);
	assert_string_equal(v.url, url);
	assert_memory_equal(v.config, v.url, strcspn(v.url, "?"));
	validated_release(&v);
	assert_null(v.url);
}

static void refused(const char *given, const char *begin, const char *word)
{
	struct np_diag diag = {.text = ""};
	struct validated v;

	assert_int_equal(validate_url(given, &info, &v, &diag), NP_EINVAL);
	if (strncmp(diag.text, begin, strlen(begin)) != 0 || strstr(diag.text, word) == NULL)
		fail_msg("%s: \"%s\"", given, diag.text);
}

static void validate_url__parameters__sorted_and_log_inherited(void **state)
{
	(void)state;
	becomes("server://a:1/b:2?rate=5&mode=1&max=8", &info,
		"server://a:1/b:2?log=info&max=8&mode=1&rate=5");
	becomes("SERVER://a:1/b:2", &info, "server://a:1/b:2?log=info");
	becomes("client://a:1/b:2?mode=1&log=", &info, "client://a:1/b:2?log=info&mode=1");
	becomes("client://a:1/b:2?mode=1&log=warn", &info, "client://a:1/b:2?log=warn&mode=1");
	becomes("client://k@a:1/b:2,c:3?mode=1", &info, "client://k@a:1/b:2,c:3?log=info&mode=1");
}

static void validate_url__no_log_at_the_master__verbatim(void **state)
{
	const struct validate_defaults none = {0};

	(void)state;
	becomes("client://a:1/b:2", &none, "client://a:1/b:2");
}

static void validate_url__master_with_tls__only_servers_inherit(void **state)
{
	const struct validate_defaults one = {.log = "info", .tls = 1};
	const struct validate_defaults two = {.tls = 2, .crt = "/e/a b.pem", .key = "/e/k.pem"};

	(void)state;
	becomes("server://a:1/b:2", &one, "server://a:1/b:2?log=info&tls=1");
	becomes("server://a:1/b:2?tls=0", &one, "server://a:1/b:2?log=info&tls=0");
	becomes("client://a:1/b:2", &one, "client://a:1/b:2?log=info");
	becomes("server://a:1/b:2", &two, "server://a:1/b:2?crt=/e/a%20b.pem&key=/e/k.pem&tls=2");
	becomes("server://a:1/b:2?tls=1", &two, "server://a:1/b:2?tls=1");
}

static void validate_url__normal_form__stays_as_it_is(void **state)
{
	(void)state;
	becomes("server://p%40ss@a:1/b:2?log=info&max=8", &info,
		"server://p%40ss@a:1/b:2?log=info&max=8");
}

static void validate_url__other_scheme__refused(void **state)
{
	(void)state;
	refused("ftp://x", "Invalid URL scheme", "ftp");
	refused("master://127.0.0.1:1", "Invalid URL scheme", "master");
	refused("http://a:1/b:2", "Invalid URL scheme", "http");
}

static void validate_url__bad_form__names_the_offender(void **state)
{
	(void)state;
	refused("://x", "Invalid URL format", "");
	refused("  server://a:1/b:2", "Invalid URL format", "");
	refused("server://a:1/b:2\x01", "Invalid URL format", "");
	refused("server://a:b/c", "Invalid URL format", "");
	refused("client://a:1", "Invalid URL format", "");
	refused("client://a:1/b:2?rate=fast", "Invalid URL format", "fast");
	refused("client://a:1/b:2?modus=1", "Invalid URL format", "mode");
	refused("client://a:1/b:2?rate=1&rate=2", "Invalid URL format", "rate");
}

static void validate_url__bad_form__never_says_the_key(void **state)
{
	struct np_diag diag = {.text = ""};
	struct validated v;

	(void)state;
	assert_int_not_equal(validate_url("client://Sesam@a:1/b:2?rate=fast", &info, &v, &diag),
			     NP_OK);
	assert_null(strstr(diag.text, "Sesam"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(validate_url__parameters__sorted_and_log_inherited),
	    cmocka_unit_test(validate_url__no_log_at_the_master__verbatim),
	    cmocka_unit_test(validate_url__master_with_tls__only_servers_inherit),
	    cmocka_unit_test(validate_url__normal_form__stays_as_it_is),
	    cmocka_unit_test(validate_url__other_scheme__refused),
	    cmocka_unit_test(validate_url__bad_form__names_the_offender),
	    cmocka_unit_test(validate_url__bad_form__never_says_the_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
