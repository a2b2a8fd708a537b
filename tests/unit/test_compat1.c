/*
 * test_compat1.c - the first line of NodePass 1.x: recognised with the key and without, in pieces,
 * and nothing else taken for it.
 */
#include "core/compat1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static enum np_err look(const char *line, const char *key)
{
	return np_compat1_first_line((const uint8_t *)line, strlen(line), key, strlen(key));
}

static void port_key__of_10101__fnv_1a_of_its_digits(void **state)
{
	char key[NP_COMPAT1_KEY_LEN + 1];

	(void)state;
	np_compat1_port_key(10101, key);
	assert_string_equal(key, "e68be2b4");
	np_compat1_port_key(1, key);
	assert_string_equal(key, "340ca71c");
}

static void first_line__key_with_itself__is_one(void **state)
{
	(void)state;
	/* text = key: zeros of its length */
	assert_int_equal(look("AAAAAAAAAAA=\n", "a8acb05f"), NP_OK);
	assert_int_equal(look("AAAA\n", "abc"), NP_OK);
	assert_int_equal(look("AA==\n", "a"), NP_OK);
	/* of another key, too: zeros again */
	assert_int_equal(look("AAAAAAAAAAAAAAAA\n", "short"), NP_OK);
	/* "np://1024/-#0" with the key "key" */
	assert_int_equal(look("BRVDREpIW1dNREhaWw==\n", "key"), NP_OK);
}

static void first_line__something_else__refused(void **state)
{
	static const char *const bad[] = {
	    "\n",
	    "GET / HTTP/1.1\r\n",
	    "AAAAAAAAAAA=\r\n",
	    "AAAAA\n",
	    "A===\n",
	    "AA=A\n",
	    "====\n",
	    "AAAA AAAA\n",
	    "YThhY2IwNWY=\n",
	    "SSH-2.0-x\r\n",
	    "\x16\x03\x01",
	    "AA\0A\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (look(bad[i], "a8acb05f") == NP_OK)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_int_equal(look("GET / HTTP/1.1\r\n", "k"), NP_EPROTO);
	assert_int_equal(look("\x16\x03\x01", "k"), NP_EPROTO);
	assert_int_equal(look("AAA-", "k"), NP_EPROTO);
}

static void first_line__in_pieces__waits_for_its_lf(void **state)
{
	static const char line[] = "AAAAAAAAAAA=\n";

	(void)state;
	for (size_t n = 0; n < sizeof(line) - 2; n++)
		assert_int_equal(np_compat1_first_line((const uint8_t *)line, n, "a8acb05f", 8),
				 NP_EAGAIN);
	assert_int_equal(
	    np_compat1_first_line((const uint8_t *)line, sizeof(line) - 1, "a8acb05f", 8), NP_OK);
}

static void first_line__endless__refused_at_its_maximum(void **state)
{
	uint8_t line[NP_COMPAT1_LINE_MAX + 10];

	(void)state;
	memset(line, 'A', sizeof(line));
	assert_int_equal(np_compat1_first_line(line, NP_COMPAT1_LINE_MAX - 1, "k", 1), NP_EAGAIN);
	assert_int_equal(np_compat1_first_line(line, NP_COMPAT1_LINE_MAX, "k", 1), NP_EPROTO);
	line[NP_COMPAT1_LINE_MAX - 1] = '\n';
	assert_int_equal(np_compat1_first_line(line, sizeof(line), "k", 1), NP_OK);
	line[NP_COMPAT1_LINE_MAX - 1] = 'A';
	line[NP_COMPAT1_LINE_MAX] = '\n';
	assert_int_equal(np_compat1_first_line(line, sizeof(line), "k", 1), NP_EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(port_key__of_10101__fnv_1a_of_its_digits),
	    cmocka_unit_test(first_line__key_with_itself__is_one),
	    cmocka_unit_test(first_line__something_else__refused),
	    cmocka_unit_test(first_line__in_pieces__waits_for_its_lf),
	    cmocka_unit_test(first_line__endless__refused_at_its_maximum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
