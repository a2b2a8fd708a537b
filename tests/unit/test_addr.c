/*
 * test_addr.c - host:port texts, literals, formats, keys of sources and the order of dialling.
 */
#include "core/addr.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct np_addr addr(const char *host, uint16_t port)
{
	struct np_addr a = {.len = 0};

	assert_true(np_addr_from_literal(host, port, &a));
	return a;
}

static void hostport_parse__forms__come_apart(void **state)
{
	static const struct {
		const char *text, *host;
		uint16_t port;
	} good[] = {
	    {"10.1.0.1:10101", "10.1.0.1", 10101},
	    {":80", "", 80},
	    {"[::1]:80", "::1", 80},
	    {"[fe80::1%eth0]:1", "fe80::1%eth0", 1},
	    {"[fe80::1%2]:1", "fe80::1%2", 1},
	    {"host.example:65535", "host.example", 65535},
	    {"a_b-c.d:00080", "a_b-c.d", 80},
	    {"[::ffff:1.2.3.4]:5", "::ffff:1.2.3.4", 5},
	    {"host.:1", "host.", 1},
	    {"4ever:1", "4ever", 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct np_hostport hp;
		struct np_diag d;

		assert_int_equal(np_hostport_parse(good[i].text, strlen(good[i].text),
						   "target address", &hp, &d),
				 NP_OK);
		assert_string_equal(hp.host, good[i].host);
		assert_int_equal(hp.port, good[i].port);
	}
}

static void hostport_parse__bad__names_the_value(void **state)
{
	static const struct {
		const char *text;
		enum np_err err;
		size_t offset;
		const char *said;
	} bad[] = {
	    {"", NP_EINVAL, 0, "tunnel address is empty: host:port, [v6]:port or :port expected"},
	    {"127.0.0.1:abc", NP_EINVAL, 10,
	     "tunnel address \"127.0.0.1:abc\": port \"abc\" is not a number from 1 to 65535"},
	    {"127.0.0.1:0", NP_ERANGE, 10,
	     "tunnel address \"127.0.0.1:0\": port \"0\" is not a number from 1 to 65535"},
	    {"h:65536", NP_ERANGE, 2,
	     "tunnel address \"h:65536\": port \"65536\" is not a number from 1 to 65535"},
	    {"h:-1", NP_EINVAL, 2,
	     "tunnel address \"h:-1\": port \"-1\" is not a number from 1 to 65535"},
	    {"[::1:80", NP_EINVAL, 0, "tunnel address \"[::1:80\": missing ]"},
	    {"[::1]", NP_EINVAL, 5,
	     "tunnel address \"[::1]\": the port is missing; host:port, [v6]:port or :port "
	     "expected"},
	    {"[::1]80", NP_EINVAL, 5,
	     "tunnel address \"[::1]80\": after ] a : and the port are expected"},
	    {"[]:80", NP_EINVAL, 1,
	     "tunnel address \"[]:80\": no IPv6 address between the brackets"},
	    {"[1.2.3.4]:80", NP_EINVAL, 1,
	     "tunnel address \"[1.2.3.4]:80\": no IPv6 address between the brackets"},
	    {"[fe80::1%]:80", NP_EINVAL, 1,
	     "tunnel address \"[fe80::1%]:80\": no IPv6 address between the brackets"},
	    {"::1:80", NP_EINVAL, 0,
	     "tunnel address \"::1:80\": an IPv6 address is written in brackets, [v6]:port"},
	    {"127.0.0.1", NP_EINVAL, 9,
	     "tunnel address \"127.0.0.1\": the port is missing; "
	     "host:port, [v6]:port or :port expected"},
	    {"h:", NP_EINVAL, 2,
	     "tunnel address \"h:\": the port is missing; host:port, [v6]:port or :port expected"},
	    {"10.0.0.256:1", NP_EINVAL, 0,
	     "tunnel address \"10.0.0.256:1\": the host is no IPv4 address"},
	    {"a b:1", NP_EINVAL, 1,
	     "tunnel address \"a b:1\": the host has a character that no name has; "
	     "host:port, [v6]:port or :port expected"},
	    {"a..b:1", NP_EINVAL, 2,
	     "tunnel address \"a..b:1\": the host is no name; host:port, [v6]:port or :port "
	     "expected"},
	    {".:1", NP_EINVAL, 0,
	     "tunnel address \".:1\": the host is no name; host:port, [v6]:port or :port expected"},
	    {"h:1\n", NP_EINVAL, 2,
	     "tunnel address \"h:1?\": port \"1?\" is not a number from 1 to 65535"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct np_hostport hp = {.host = "kept", .port = 7};
		struct np_diag d;

		assert_int_equal(
		    np_hostport_parse(bad[i].text, strlen(bad[i].text), "tunnel address", &hp, &d),
		    bad[i].err);
		assert_string_equal(d.text, bad[i].said);
		assert_string_equal(d.field, "tunnel address");
		assert_int_equal(d.offset, bad[i].offset);
		assert_string_equal(hp.host, "kept");
		assert_int_equal(
		    np_hostport_parse(bad[i].text, strlen(bad[i].text), "x", &hp, NULL),
		    bad[i].err);
	}
}

static void hostport_parse__long_hosts__have_limits(void **state)
{
	char text[400];
	struct np_hostport hp;
	size_t n = 0;

	(void)state;
	/* Labels of 49 and a dot: 5 * 50 + 3 = 253 bytes. */
	for (int label = 0; label < 5; label++) {
		memset(text + n, 'a', 49);
		text[n + 49] = '.';
		n += 50;
	}
	memcpy(text + n, "abc:1", 5);
	assert_int_equal(np_hostport_parse(text, n + 5, "f", &hp, NULL), NP_OK);
	assert_int_equal(strlen(hp.host), NP_HOST_MAX);
	memcpy(text + n, "abcd:1", 6);
	assert_int_equal(np_hostport_parse(text, n + 6, "f", &hp, NULL), NP_EINVAL);
	memset(text, 'a', 64);
	memcpy(text + 64, ":1", 2);
	assert_int_equal(np_hostport_parse(text, 66, "f", &hp, NULL), NP_EINVAL);
	assert_int_equal(np_hostport_parse(text + 1, 65, "f", &hp, NULL), NP_OK);
	assert_int_equal(np_hostport_parse("[::1\0x]:1", 9, "f", &hp, NULL), NP_EINVAL);
	assert_int_equal(np_hostport_parse("a\0b:1", 5, "f", &hp, NULL), NP_EINVAL);
}

static void hostport_list__members__in_order(void **state)
{
	struct np_hostport list[3];
	struct np_diag d;
	size_t n = 0;

	(void)state;
	assert_int_equal(np_hostport_list_parse("a:1,[::1]:2,:3", 14, "f", list, 3, &n, &d), NP_OK);
	assert_int_equal(n, 3);
	assert_string_equal(list[0].host, "a");
	assert_string_equal(list[1].host, "::1");
	assert_int_equal(list[2].port, 3);
	n = 7;
	assert_int_equal(np_hostport_list_parse("b:1,b:2,b:3,b:4", 15, "f", list, 3, &n, &d),
			 NP_ERANGE);
	assert_string_equal(d.text, "f: more than 3 members");
	assert_int_equal(np_hostport_list_parse("b:1,,b:3", 8, "f", list, 3, &n, &d), NP_EINVAL);
	assert_string_equal(d.text, "f \"b:1,,b:3\": empty member in the list");
	assert_int_equal(np_hostport_list_parse("b:1,", 4, "f", list, 3, &n, &d), NP_EINVAL);
	assert_int_equal(np_hostport_list_parse(",b:1", 4, "f", list, 3, &n, &d), NP_EINVAL);
	assert_int_equal(np_hostport_list_parse("", 0, "f", list, 3, &n, &d), NP_EINVAL);
	assert_string_equal(d.text, "f is empty: host:port, [v6]:port or :port expected");
	assert_int_equal(np_hostport_list_parse("b:1,b:x", 7, "f", list, 3, &n, &d), NP_EINVAL);
	assert_int_equal(d.offset, 6);
	/* Nothing of a refused list was stored. */
	assert_int_equal(n, 7);
	assert_string_equal(list[0].host, "a");
}

static void hostport__mutations__format_and_parse_agree(void **state)
{
	static const char *const seeds[] = {"10.1.0.1:10101", "[fe80::1%2]:443", "host.example:80",
					    ":1", "[::ffff:1.2.3.4]:65535"};

	(void)state;
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
		size_t len = strlen(seeds[i]);

		for (size_t bit = 0; bit < len * 8; bit++) {
			char text[64], again[NP_HOST_MAX + 9];
			struct np_hostport a, b;
			struct np_diag d;

			memcpy(text, seeds[i], len);
			text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
			for (size_t cut = 0; cut <= len; cut++) {
				if (np_hostport_parse(text, cut, "f", &a, &d) != NP_OK) {
					assert_true(d.text[0] != '\0');
					continue;
				}
				np_hostport_format(&a, again, sizeof(again));
				assert_int_equal(
				    np_hostport_parse(again, strlen(again), "f", &b, &d), NP_OK);
				assert_string_equal(a.host, b.host);
				assert_int_equal(a.port, b.port);
			}
		}
	}
}

static void addr_from_literal__names__are_none(void **state)
{
	static const char *const none[] = {
	    "",	     "localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1", "::1%",	       "::1%eth0",
	    "::1%0", "[::1]",	  ":::",   "%1",	"1.2.3.4%1", "::1%99999999999"};
	struct np_addr a = {.len = 0};

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_false(np_addr_from_literal(none[i], 1, &a));
	assert_int_equal(a.len, 0);
	assert_true(np_addr_from_literal("fe80::1%3", 9, &a));
	assert_int_equal(a.in6.sin6_scope_id, 3);
	assert_int_equal(a.len, sizeof(struct sockaddr_in6));
}

static void addr_format__all_kinds__text(void **state)
{
	static const struct {
		const char *host, *with_port, *alone;
	} forms[] = {
	    {"1.2.3.4", "1.2.3.4:80", "1.2.3.4"},
	    {"::1", "[::1]:80", "::1"},
	    {"::ffff:1.2.3.4", "1.2.3.4:80", "1.2.3.4"},
	    {"fe80::1%4294967295", "[fe80::1%4294967295]:80", "fe80::1%4294967295"},
	    {"1111:2222:3333:4444:5555:6666:7777:8888",
	     "[1111:2222:3333:4444:5555:6666:7777:8888]:80",
	     "1111:2222:3333:4444:5555:6666:7777:8888"},
	};
	struct np_addr unset = {.len = 0};
	char out[NP_ADDR_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct np_addr a = addr(forms[i].host, 80);

		np_addr_format(&a, out);
		assert_string_equal(out, forms[i].with_port);
		np_addr_format_host(&a, out);
		assert_string_equal(out, forms[i].alone);
	}
	np_addr_format(&unset, out);
	assert_string_equal(out, "-");
	np_addr_format_host(&unset, out);
	assert_string_equal(out, "-");
}

static void addr_format__longest__fits(void **state)
{
	struct np_addr a = addr("1111:2222:3333:4444:5555:6666:7777:8888%4294967295", 65535);
	char out[NP_ADDR_TEXT_MAX];

	(void)state;
	np_addr_format(&a, out);
	assert_string_equal(out, "[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535");
}

static void addr_port__set__is_read_back(void **state)
{
	struct np_addr v4 = addr("1.2.3.4", 80), v6 = addr("::1", 81), unset = {.len = 0};

	(void)state;
	np_addr_set_port(&v4, 1);
	np_addr_set_port(&v6, 65535);
	np_addr_set_port(&unset, 5);
	assert_int_equal(np_addr_port(&v4), 1);
	assert_int_equal(np_addr_port(&v6), 65535);
	assert_int_equal(np_addr_port(&unset), 0);
}

static void addr_equal__every_part__counts(void **state)
{
	struct np_addr v4 = addr("1.2.3.4", 80), v6 = addr("fe80::1%1", 80), other,
		       unset = {.len = 0};

	(void)state;
	other = addr("1.2.3.4", 80);
	assert_true(np_addr_equal(&v4, &other));
	other = addr("1.2.3.4", 81);
	assert_false(np_addr_equal(&v4, &other));
	assert_true(np_addr_same_host(&v4, &other));
	other = addr("1.2.3.5", 80);
	assert_false(np_addr_equal(&v4, &other));
	assert_false(np_addr_same_host(&v4, &other));
	other = addr("::ffff:1.2.3.4", 80);
	assert_false(np_addr_equal(&v4, &other));
	assert_true(np_addr_same_host(&v4, &other));
	np_addr_unmap(&other);
	assert_true(np_addr_equal(&v4, &other));
	other = addr("fe80::1%2", 80);
	assert_false(np_addr_equal(&v6, &other));
	assert_false(np_addr_same_host(&v6, &other));
	assert_false(np_addr_equal(&v6, &v4));
	assert_false(np_addr_equal(&unset, &v4));
	assert_true(np_addr_equal(&unset, &unset));
}

static void addr_hash__seed_and_parts__matter(void **state)
{
	struct np_addr a = addr("1.2.3.4", 80), b = addr("1.2.3.4", 81), c = addr("1.2.3.5", 80),
		       d = addr("2001:db8::1", 80), e = addr("2001:db8::2", 80), same;

	(void)state;
	same = addr("1.2.3.4", 80);
	assert_true(np_addr_hash(&a, 1) == np_addr_hash(&same, 1));
	assert_true(np_addr_hash(&a, 1) != np_addr_hash(&a, 2));
	assert_true(np_addr_hash(&a, 1) != np_addr_hash(&b, 1));
	assert_true(np_addr_hash(&a, 1) != np_addr_hash(&c, 1));
	assert_true(np_addr_hash(&d, 1) != np_addr_hash(&e, 1));
	same = addr("2001:db8::1", 80);
	assert_true(np_addr_hash(&d, 1) == np_addr_hash(&same, 1));
}

/* 4096 neighbouring ports and addresses over 256 buckets: none empty, none with four times its
 * share. */
static void addr_hash__neighbours__spread(void **state)
{
	unsigned buckets[256] = {0};

	(void)state;
	for (unsigned i = 0; i < 4096; i++) {
		char host[32];
		struct np_addr a;

		snprintf(host, sizeof(host), "10.0.0.%u", i % 64);
		a = addr(host, (uint16_t)(40000 + i / 64));
		buckets[np_addr_hash(&a, 99) & 255]++;
	}
	for (unsigned i = 0; i < 256; i++)
		assert_in_range(buckets[i], 1, 64);
}

static void addr_source_key__networks__are_one_source(void **state)
{
	struct np_addr a = addr("1.2.3.4", 80), b = addr("::ffff:1.2.3.4", 9),
		       c = addr("1.2.3.5", 80), d = addr("2001:db8:0:1::1", 1),
		       e = addr("2001:db8:0:1:ffff::2", 2), f = addr("2001:db8:0:2::1", 1),
		       unset = {.len = 0};

	(void)state;
	assert_true(np_addr_source_key(&a) == np_addr_source_key(&b));
	assert_true(np_addr_source_key(&a) != np_addr_source_key(&c));
	assert_true(np_addr_source_key(&d) == np_addr_source_key(&e));
	assert_true(np_addr_source_key(&d) != np_addr_source_key(&f));
	assert_true(np_addr_source_key(&unset) == 0);
	a = addr("0.0.0.0", 1);
	b = addr("::1", 1);
	assert_true(np_addr_source_key(&a) != np_addr_source_key(&b));
}

/* "46" lists; the port is the place in the input. */
static void order(const char *families, const char *want, const char *ports)
{
	struct np_addr list[16];
	size_t n = strlen(families);

	for (size_t i = 0; i < n; i++)
		list[i] = addr(families[i] == '4' ? "1.2.3.4" : "::1", (uint16_t)(i + 1));
	np_addr_order(list, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(list[i].sa.sa_family, want[i] == '4' ? AF_INET : AF_INET6);
		assert_int_equal(np_addr_port(&list[i]), ports[i] - '0');
	}
}

static void addr_order__families__alternate(void **state)
{
	(void)state;
	order("", "", "");
	order("4", "4", "1");
	order("44", "44", "12");
	order("666444", "646464", "142536");
	order("4466", "4646", "1324");
	order("644444", "644444", "123456");
	order("444446", "464444", "162345");
	order("646464", "646464", "123456");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hostport_parse__forms__come_apart),
	    cmocka_unit_test(hostport_parse__bad__names_the_value),
	    cmocka_unit_test(hostport_parse__long_hosts__have_limits),
	    cmocka_unit_test(hostport_list__members__in_order),
	    cmocka_unit_test(hostport__mutations__format_and_parse_agree),
	    cmocka_unit_test(addr_from_literal__names__are_none),
	    cmocka_unit_test(addr_format__all_kinds__text),
	    cmocka_unit_test(addr_format__longest__fits),
	    cmocka_unit_test(addr_port__set__is_read_back),
	    cmocka_unit_test(addr_equal__every_part__counts),
	    cmocka_unit_test(addr_hash__seed_and_parts__matter),
	    cmocka_unit_test(addr_hash__neighbours__spread),
	    cmocka_unit_test(addr_source_key__networks__are_one_source),
	    cmocka_unit_test(addr_order__families__alternate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
