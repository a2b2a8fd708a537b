/*
 * Compact JSON, byte for byte: scripts cut it with sed.
 */
#include "json_write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect_text(const char *value, const char *want)
{
	struct np_buf b;

	np_buf_init(&b, 256);
	json_put_str(&b, NULL, value);
	assert_string_equal(np_buf_cstr(&b), want);
	np_buf_release(&b);
}

static void json_put__nested__commas_and_order(void **state)
{
	struct np_buf b;

	(void)state;
	np_buf_init(&b, 1024);
	json_put_begin(&b, NULL, '[');
	json_put_begin(&b, NULL, '{');
	json_put_str(&b, "id", "x[");
	json_put_begin(&b, "tags", '{');
	json_put_end(&b, '}');
	json_put_u64(&b, "n", UINT64_MAX);
	json_put_i64(&b, "i", -1);
	json_put_bool(&b, "t", true);
	json_put_null(&b, "z");
	json_put_raw(&b, "r", "[1]", 3);
	json_put_end(&b, '}');
	json_put_bool(&b, NULL, false);
	json_put_end(&b, ']');
	assert_string_equal(np_buf_cstr(&b),
			    "[{\"id\":\"x[\",\"tags\":{},\"n\":18446744073709551615,"
			    "\"i\":-1,\"t\":true,\"z\":null,\"r\":[1]},false]");
	np_buf_release(&b);
}

static void json_put_begin__after_other_text__no_comma(void **state)
{
	struct np_buf b;

	(void)state;
	np_buf_init(&b, 64);
	np_buf_put_str(&b, "data: ");
	json_put_begin(&b, NULL, '{');
	json_put_end(&b, '}');
	assert_string_equal(np_buf_cstr(&b), "data: {}");
	np_buf_release(&b);
}

static void json_put_str__escapes__as_clients_expect(void **state)
{
	(void)state;
	expect_text("a\"\\\b\f\n\r\t", "\"a\\\"\\\\\\b\\f\\n\\r\\t\"");
	expect_text("\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\"");
	expect_text("<&>", "\"\\u003c\\u0026\\u003e\"");
	expect_text("\xe2\x80\xa8\xe2\x80\xa9", "\"\\u2028\\u2029\"");
	expect_text("bfnrt M\xc3\xbc", "\"bfnrt M\xc3\xbc\"");
}

static void json_put_str__bad_utf8__replaced(void **state)
{
	(void)state;
	expect_text("\xff\xc3", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
	expect_text("\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
	expect_text("\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\"");
}

static void json_put_str__past_maximum__sticky_error(void **state)
{
	struct np_buf b;

	(void)state;
	np_buf_init(&b, 8);
	json_put_str(&b, NULL, "more than eight");
	assert_int_equal(b.err, NP_ELIMIT);
	assert_null(np_buf_cstr(&b));
	np_buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(json_put__nested__commas_and_order),
	    cmocka_unit_test(json_put_begin__after_other_text__no_comma),
	    cmocka_unit_test(json_put_str__escapes__as_clients_expect),
	    cmocka_unit_test(json_put_str__bad_utf8__replaced),
	    cmocka_unit_test(json_put_str__past_maximum__sticky_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
