/*
 * test_netlist.c - lists of networks: forms, borders of prefixes, both families, who is admitted.
 */
#include "core/netlist.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct np_netlist list(const char *text)
{
	struct np_netlist l;

	assert_int_equal(np_netlist_parse(text, &l), NP_OK);
	return l;
}

static bool has(const char *text, const char *host)
{
	struct np_netlist l = list(text);
	struct np_addr a;
	bool is;

	assert_true(np_addr_from_literal(host, 4711, &a));
	is = np_netlist_has(&l, &a);
	np_netlist_release(&l);
	return is;
}

static void netlist_has__borders_of_prefixes__to_the_bit(void **state)
{
	(void)state;
	assert_true(has("10.0.0.0/8", "10.0.0.0"));
	assert_true(has("10.0.0.0/8", "10.255.255.255"));
	assert_false(has("10.0.0.0/8", "11.0.0.0"));
	assert_false(has("10.0.0.0/8", "9.255.255.255"));
	assert_true(has("192.168.4.0/22", "192.168.7.255"));
	assert_false(has("192.168.4.0/22", "192.168.8.0"));
	assert_false(has("192.168.4.0/22", "192.168.3.255"));
	assert_true(has("10.0.0.128/25", "10.0.0.128"));
	assert_false(has("10.0.0.128/25", "10.0.0.127"));
	assert_true(has("10.0.0.1/31", "10.0.0.0")); /* host bits do not count */
	assert_true(has("1.2.3.4", "1.2.3.4"));
	assert_false(has("1.2.3.4", "1.2.3.5"));
	assert_true(has("1.2.3.4/32", "1.2.3.4"));
	assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(has("2001:db8::/33", "2001:db8:8000::"));
	assert_true(has("::1", "::1"));
	assert_false(has("::1", "::2"));
	assert_true(has("9.9.9.9,2001:db8::1,10.0.0.0/8", "10.1.1.1"));
}

static void netlist_has__other_family__only_where_it_is_meant(void **state)
{
	(void)state;
	assert_true(has("0.0.0.0/0", "255.1.2.3"));
	assert_false(has("0.0.0.0/0", "2001:db8::1"));
	assert_true(has("::/0", "2001:db8::1"));
	assert_true(has("::/0", "1.2.3.4")); /* all addresses are all */
	assert_true(has("10.0.0.0/8", "::ffff:10.1.1.1"));
	assert_true(has("::ffff:10.0.0.0/104", "10.1.1.1"));
	assert_false(has("::a01:101", "10.1.1.1"));
}

static void netlist_has__unset_address__in_none(void **state)
{
	struct np_netlist l = list("0.0.0.0/0,::/0");
	const struct np_addr unset = {.len = 0};

	(void)state;
	assert_false(np_netlist_has(&l, &unset));
	np_netlist_release(&l);
}

static void netlist_parse__what_is_no_list__refused_and_untouched(void **state)
{
	static const char *const bad[] = {
	    "",		  ",",	      "1.2.3.4,",    ",1.2.3.4",   "1.2.3.4,,5.6.7.8",
	    "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1",  "1.2.3.4/+8", "::1/129",
	    "::1/08 ",	  " 1.2.3.4", "1.2.3.4 ",    "1.2.3",	   "home",
	    "fe80::1%lo", "[::1]",    "1.2.3.4/8/8", "1.2.3.4:80", "/8",
	    "256.0.0.1/8"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct np_netlist l = {.n = 4242};

		if (np_netlist_parse(bad[i], &l) == NP_OK)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(l.n, 4242);
	}
}

static void netlist_parse__no_memory__refused(void **state)
{
	struct np_netlist l = {.n = 4242};

	(void)state;
	np_alloc_fail_after(0);
	assert_int_equal(np_netlist_parse("::1", &l), NP_ENOMEM);
	np_alloc_fail_after(-1);
	assert_int_equal(l.n, 4242);
}

static bool admits(const char *allow, const char *deny, const char *host)
{
	struct np_netlist a = {.n = 0}, d = {.n = 0};
	struct np_addr addr;
	bool in;

	if (allow != NULL)
		a = list(allow);
	if (deny != NULL)
		d = list(deny);
	assert_true(np_addr_from_literal(host, 1, &addr));
	in = np_netlist_admits(&a, &d, &addr);
	np_netlist_release(&a);
	np_netlist_release(&d);
	return in;
}

static void netlist_admits__deny_wins__no_list_says_nothing(void **state)
{
	(void)state;
	assert_true(admits(NULL, NULL, "1.2.3.4"));
	assert_true(admits("1.2.3.0/24", NULL, "1.2.3.4"));
	assert_false(admits("1.2.3.0/24", NULL, "1.2.4.4"));
	assert_false(admits("1.2.3.0/24", "1.2.3.4", "1.2.3.4"));
	assert_true(admits("1.2.3.0/24", "1.2.3.4", "1.2.3.5"));
	assert_false(
	    admits("1.2.3.4", "1.2.3.0/24", "1.2.3.4")); /* the narrower one does not win */
	assert_true(admits(NULL, "1.2.3.4", "::1"));
	assert_false(admits("1.2.3.4", NULL, "::1"));
}

static bool equal(const char *x, const char *y)
{
	struct np_netlist a = list(x), b = list(y);
	bool is = np_netlist_equal(&a, &b);

	np_netlist_release(&a);
	np_netlist_release(&b);
	return is;
}

static void netlist_equal__same_networks__whatever_the_spelling(void **state)
{
	(void)state;
	assert_true(equal("10.1.2.3/8,::1", "10.0.0.0/8,0:0::1/128"));
	assert_false(equal("10.0.0.0/8", "10.0.0.0/9"));
	assert_false(equal("10.0.0.0/8", "10.0.0.0/8,::1"));
	assert_false(equal("1.1.1.1,2.2.2.2", "2.2.2.2,1.1.1.1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(netlist_has__borders_of_prefixes__to_the_bit),
	    cmocka_unit_test(netlist_has__other_family__only_where_it_is_meant),
	    cmocka_unit_test(netlist_has__unset_address__in_none),
	    cmocka_unit_test(netlist_parse__what_is_no_list__refused_and_untouched),
	    cmocka_unit_test(netlist_parse__no_memory__refused),
	    cmocka_unit_test(netlist_admits__deny_wins__no_list_says_nothing),
	    cmocka_unit_test(netlist_equal__same_networks__whatever_the_spelling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
