/*
 * test_num.c - strict numbers, Go durations and hexadecimal; mutations of valid texts.
 */
#include "base/num.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define DAY 86400000

static enum np_err u64(const char *s, uint64_t *out)
{
	return np_parse_u64(s, strlen(s), 0, UINT64_MAX, out);
}

static void parse_u64__valid__is_the_value(void **state)
{
	uint64_t v;

	(void)state;
	assert_int_equal(u64("0", &v), NP_OK);
	assert_true(v == 0);
	assert_int_equal(u64("00042", &v), NP_OK);
	assert_true(v == 42);
	assert_int_equal(u64("18446744073709551615", &v), NP_OK);
	assert_true(v == UINT64_MAX);
	assert_int_equal(np_parse_u64("123", 2, 0, 99, &v), NP_OK);
	assert_true(v == 12);
}

static void parse_u64__not_a_number__invalid(void **state)
{
	static const char *const bad[] = {"",	 "-1", "+1",  " 1",  "1 ", "0x10",
					  "1e3", "1.", "1.0", "abc", "１", "99999999999999999999x"};
	uint64_t v = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(u64(bad[i], &v), NP_EINVAL);
	assert_int_equal(np_parse_u64("1\0", 2, 0, 9, &v), NP_EINVAL);
	assert_true(v == 77);
}

static void parse_u64__out_of_range__refused(void **state)
{
	uint64_t v = 77;

	(void)state;
	assert_int_equal(u64("18446744073709551616", &v), NP_ERANGE);
	assert_int_equal(u64("99999999999999999999999", &v), NP_ERANGE);
	assert_int_equal(np_parse_u64("4", 1, 5, 9, &v), NP_ERANGE);
	assert_int_equal(np_parse_u64("10", 2, 5, 9, &v), NP_ERANGE);
	assert_true(v == 77);
	assert_int_equal(np_parse_u64("5", 1, 5, 5, &v), NP_OK);
}

static void parse_duration__go_forms__are_milliseconds(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {
	    {"0", 0},
	    {"0s", 0},
	    {"300ms", 300},
	    {"1.5s", 1500},
	    {"10m", 600000},
	    {"1h2m", 3720000},
	    {"1h2m3.004s", 3723004},
	    {".5s", 500},
	    {"5.s", 5000},
	    {"24h", DAY},
	    {"0.4ms", 0},
	    {"0.5ms", 1},
	    {"1499us", 1},
	    {"1500us", 2},
	    {"1500\xc2\xb5s", 2},
	    {"1500\xce\xbcs", 2},
	    {"1000000ns", 1},
	    {"1m1m", 120000},
	    {"0.1h", 360000},
	    {"1.999999999999999999s", 2000},
	    {"00010s", 10000},
	    {"1s500ms", 1500},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int64_t ms = -1;

		assert_int_equal(np_parse_duration(good[i].text, strlen(good[i].text), DAY, &ms),
				 NP_OK);
		assert_true(ms == good[i].ms);
	}
}

static void parse_duration__other_texts__invalid(void **state)
{
	static const char *const bad[] = {
	    "",	   "5",	  "00",	   "-5s",    "+5s", "5x",   "s",    ".s",
	    "abc", " 5s", "5s ",   "1.5.5s", "5 s", "1,5s", "5S",   "5mss",
	    "1h2", "1d",  "\xc2s", "5\xc2",  "ms",  ".",    "1..s",
	};
	int64_t ms = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(np_parse_duration(bad[i], strlen(bad[i]), DAY, &ms), NP_EINVAL);
	assert_true(ms == 77);
}

static void parse_duration__over_the_maximum__refused(void **state)
{
	static const char *const bad[] = {"25h", "24h1ms", "99999999999999999999h",
					  "18446744073709551616ns", "5124095h5124095h5124095h"};
	int64_t ms = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(np_parse_duration(bad[i], strlen(bad[i]), DAY, &ms), NP_ERANGE);
	/* What overflows is still read to its end. */
	assert_int_equal(np_parse_duration("99999999999999999999hx", 22, DAY, &ms), NP_EINVAL);
	assert_true(ms == 77);
}

static void format_duration__go_form__parses_back(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} forms[] = {
	    {0, "0s"},
	    {1, "1ms"},
	    {300, "300ms"},
	    {1000, "1s"},
	    {1500, "1.5s"},
	    {1050, "1.05s"},
	    {60000, "1m0s"},
	    {600000, "10m0s"},
	    {3720000, "1h2m0s"},
	    {3600000, "1h0m0s"},
	    {90061001, "25h1m1.001s"},
	    {-1500, "-1.5s"},
	    {-3, "-3ms"},
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		int64_t back;

		np_format_duration(forms[i].ms, out);
		assert_string_equal(out, forms[i].text);
		if (forms[i].ms < 0)
			continue;
		assert_int_equal(np_parse_duration(out, strlen(out), INT64_MAX, &back), NP_OK);
		assert_true(back == forms[i].ms);
	}
	np_format_duration(INT64_MIN, out);
	assert_string_equal(out, "-2562047788015h12m55.808s");
	np_format_duration(INT64_MAX, out);
	assert_string_equal(out, "2562047788015h12m55.807s");
}

static void parse_duration__mutations__stay_in_range(void **state)
{
	static const char *const seeds[] = {"1h2m3.5s", "300ms", "1500\xc2\xb5s", "0.123456789h"};

	(void)state;
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
		size_t len = strlen(seeds[i]);

		for (size_t bit = 0; bit < len * 8; bit++) {
			char text[32];
			int64_t ms = -1;

			memcpy(text, seeds[i], len);
			text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
			for (size_t cut = 0; cut <= len; cut++) {
				if (np_parse_duration(text, cut, DAY, &ms) == NP_OK)
					assert_in_range(ms, 0, DAY);
			}
		}
	}
}

static void parse_hex__both_cases__bytes(void **state)
{
	static const uint8_t want[] = {0x00, 0xaf, 0xFA, 0x19};
	uint8_t out[4] = {0};
	char text[9];

	(void)state;
	assert_int_equal(np_parse_hex("00aFfA19", 8, out, 4), NP_OK);
	assert_memory_equal(out, want, 4);
	np_format_hex(out, 4, text);
	assert_string_equal(text, "00affa19");
	np_format_hex(out, 0, text);
	assert_string_equal(text, "");
}

static void parse_hex__bad__leaves_output(void **state)
{
	uint8_t out[2] = {7, 7};

	(void)state;
	assert_int_equal(np_parse_hex("00a", 3, out, 2), NP_EINVAL);
	assert_int_equal(np_parse_hex("00a00", 5, out, 2), NP_EINVAL);
	assert_int_equal(np_parse_hex("00ag", 4, out, 2), NP_EINVAL);
	assert_int_equal(np_parse_hex("00a000", 6, out, 2), NP_EINVAL);
	assert_int_equal(np_parse_hex("", 0, out, 2), NP_EINVAL);
	assert_int_equal(out[0] + out[1], 14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parse_u64__valid__is_the_value),
	    cmocka_unit_test(parse_u64__not_a_number__invalid),
	    cmocka_unit_test(parse_u64__out_of_range__refused),
	    cmocka_unit_test(parse_duration__go_forms__are_milliseconds),
	    cmocka_unit_test(parse_duration__other_texts__invalid),
	    cmocka_unit_test(parse_duration__over_the_maximum__refused),
	    cmocka_unit_test(format_duration__go_form__parses_back),
	    cmocka_unit_test(parse_duration__mutations__stay_in_range),
	    cmocka_unit_test(parse_hex__both_cases__bytes),
	    cmocka_unit_test(parse_hex__bad__leaves_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
