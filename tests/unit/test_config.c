/*
 * test_config.c - URLs: values, canonical and public forms, warnings, differences, documents, every
 * allocation failing in turn, mutations. What is refused is in test_config_refuse.c.
 */
#include "core/config.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEFAULTS_REST "mode=0&notcp=0&noudp=0&proxy=0&rate=0&read=10m0s&slot=65536"
#define HEX64	      "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static struct np_config parse(const char *url)
{
	struct np_config c;
	struct np_diag d;
	enum np_err err = np_config_parse(url, &c, &d);

	if (err != NP_OK)
		print_error("%s: %s\n", url, d.text);
	assert_int_equal(err, NP_OK);
	return c;
}

static void canonical_is(const char *url, bool with_key, const char *want)
{
	struct np_config c = parse(url);
	struct np_buf b;

	np_buf_init(&b, 65536);
	assert_int_equal(np_config_canonical(&c, with_key, &b), NP_OK);
	assert_string_equal(np_buf_cstr(&b), want);
	np_buf_release(&b);
	np_config_release(&c);
}

static void public_is(const char *url, const char *want)
{
	struct np_config c = parse(url);
	struct np_buf b;

	np_buf_init(&b, 65536);
	assert_int_equal(np_config_public_url(&c, &b), NP_OK);
	assert_string_equal(np_buf_cstr(&b), want);
	np_buf_release(&b);
	np_config_release(&c);
}

/* ---- values ---- */

static void config_parse__server_without_parameters__defaults(void **state)
{
	struct np_config c = parse("server://10.1.0.1:10101/10.1.0.1:8080");

	(void)state;
	assert_int_equal(c.role, NP_ROLE_SERVER);
	assert_string_equal(c.url, "server://10.1.0.1:10101/10.1.0.1:8080");
	assert_string_equal(c.key, "2775");
	assert_int_equal(c.key_len, 4);
	assert_false(c.key_given);
	assert_string_equal(c.tunnel.host, "10.1.0.1");
	assert_int_equal(c.tunnel.port, 10101);
	assert_int_equal(c.ntargets, 1);
	assert_int_equal(c.targets[0].port, 8080);
	assert_null(c.prefix);
	assert_int_equal(c.inert, 0);
	assert_int_equal(c.log, NP_LOG_INFO);
	assert_int_equal(c.tls, 0);
	assert_null(c.crt);
	assert_null(c.keyfile);
	assert_int_equal(c.min, 64);
	assert_int_equal(c.max, 1024);
	assert_int_equal(c.mode, 0);
	assert_int_equal(c.read_ms, 600000);
	assert_int_equal(c.rate, 0);
	assert_int_equal(c.proxy, 0);
	assert_int_equal(c.slot, 65536);
	assert_false(c.notcp);
	assert_false(c.noudp);
	assert_int_equal(c.dns_ms, 300000);
	assert_true(c.dial_auto);
	assert_int_equal(c.lbs, 0);
	assert_int_equal(c.block, 0);
	assert_null(c.sni);
	assert_null(c.ca);
	assert_false(c.has_pin);
	for (unsigned p = 0; p < NP_PARAM_COUNT; p++)
		assert_false(c.given[p]);
	np_config_release(&c);
	assert_null(c.key);
	assert_null(c.url);
}

static void config_parse__all_of_a_client__values(void **state)
{
	struct np_config c = parse(
	    "CLIENT://mypass@[::1]:1/a:1,[fe80::1%25eth0]:2,:3?log=event&tls=1&min=0&mode=2&"
	    "read=1h2m&rate=1000000&proxy=2&slot=0&notcp=0&noudp=1&dns=0&dial=[::2]&lbs=2&block=31&"
	    "sni=ex.example&ca=/a%20b+c&pin=" HEX64 "&compat=0");

	(void)state;
	assert_int_equal(c.role, NP_ROLE_CLIENT);
	assert_string_equal(c.key, "mypass");
	assert_true(c.key_given);
	assert_string_equal(c.tunnel.host, "::1");
	assert_int_equal(c.ntargets, 3);
	assert_string_equal(c.targets[1].host, "fe80::1%eth0");
	assert_string_equal(c.targets[2].host, "");
	assert_int_equal(c.log, NP_LOG_EVENT);
	assert_int_equal(c.tls, 1);
	assert_int_equal(c.min, 0);
	assert_true(c.given[NP_PARAM_MIN]);
	assert_int_equal(c.mode, 2);
	assert_int_equal(c.read_ms, 3720000);
	assert_int_equal(c.rate, 1000000);
	assert_int_equal(c.proxy, 2);
	assert_int_equal(c.slot, 0);
	assert_true(c.noudp);
	assert_int_equal(c.dns_ms, 0);
	assert_false(c.dial_auto);
	assert_int_equal(c.dial.sa.sa_family, AF_INET6);
	assert_int_equal(np_addr_port(&c.dial), 0);
	assert_int_equal(c.lbs, 2);
	assert_int_equal(c.block, 1 << 3 | 1 << 1);
	assert_string_equal(c.sni, "ex.example");
	assert_string_equal(c.ca, "/a b c");
	assert_true(c.has_pin);
	assert_int_equal(c.pin[1], 0x11);
	assert_int_equal(c.pin[31], 0xff);
	assert_int_equal(c.inert, 0);
	np_config_release(&c);
}

static void config_parse__empty_and_odd_pairs__as_if_absent(void **state)
{
	struct np_config c = parse("server://a:1/b:2?&log=&&max&tls=1&");

	(void)state;
	assert_int_equal(c.log, NP_LOG_INFO);
	assert_false(c.given[NP_PARAM_LOG]);
	assert_false(c.given[NP_PARAM_MAX]);
	assert_true(c.given[NP_PARAM_TLS]);
	np_config_release(&c);
	c = parse("server://@a:255/b:2?");
	assert_false(c.key_given);
	assert_string_equal(c.key, "ff");
	np_config_release(&c);
}

static void config_parse__key__is_decoded(void **state)
{
	static const struct {
		const char *url, *key;
	} keys[] = {
	    {"server://p%40s%3As%2F%3F%23%25@a:1/b:2", "p@s:s/?#%"},
	    {"server://p@ss@a:1/b:2", "p@ss"},
	    {"server://user:word@a:1/b:2", "user:word"},
	    {"server://a+b@a:1/b:2", "a+b"},
	    {"server://w?t#f@a:1/b:2", "w?t#f"},
	    {"server://w\xc3\xa9@a:1/b:2", "w\xc3\xa9"},
	    {"client://k@a:1/b:2?ca=/x@y/z", "k"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct np_config c = parse(keys[i].url);

		assert_string_equal(c.key, keys[i].key);
		assert_int_equal(c.key_len, strlen(keys[i].key));
		assert_true(c.key_given);
		np_config_release(&c);
	}
}

static void config_parse__master__prefix(void **state)
{
	static const struct {
		const char *url, *prefix;
	} prefixes[] = {
	    {"master://0.0.0.0:9090", "/api"},
	    {"master://0.0.0.0:9090/", "/api"},
	    {"master://:9090/?log=info", "/api"},
	    {"master://:9090?log=info", "/api"},
	    {"master://:9090/management", "/management"},
	    {"master://:9090/a/b//", "/a/b"},
	    {"master://:9090/a%20b", "/a b"},
	    {"master://:9090/a+b", "/a+b"},
	    {"master://:9090/%2F", "/api"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		struct np_config c = parse(prefixes[i].url);

		assert_string_equal(c.prefix, prefixes[i].prefix);
		assert_int_equal(c.ntargets, 0);
		assert_null(c.targets);
		np_config_release(&c);
	}
}

static void config_parse__files__where_they_are_needed(void **state)
{
	static const char *const good[] = {
	    "server://a:1/b:2?tls=2&crt=/c&key=/k",
	    "master://a:1?tls=2&crt=/c&key=/k",
	    "client://a:1/b:2?tls=2&crt=/c&key=/k&mode=1",
	    "client://a:1/b:2?tls=2&crt=/c&key=/k",
	    "client://a:1/b:2?tls=2&mode=2",
	    "client://a:1/b:2?tls=2",
	    "server://a:1/b:2?crt=/c",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct np_config c = parse(good[i]);

		assert_int_equal((c.inert >> NP_PARAM_CRT) & 1, c.crt != NULL && c.tls != 2);
		np_config_release(&c);
	}
}

static void public_url__key__is_left_out(void **state)
{
	(void)state;
	public_is("server://Zq7secret@a:1/b:2?tls=1", "server://a:1/b:2?tls=1");
	public_is("SERVER://p@ss?#@[::1]:01/b:2,c:3?tls&log=",
		  "server://[::1]:01/b:2,c:3?tls&log=");
	public_is("master://a:1", "master://a:1");
	public_is("client://a:1/b:2", "client://a:1/b:2");
}

/* ---- canonical form ---- */

static void config_canonical__defaults__sorted_and_complete(void **state)
{
	(void)state;
	canonical_is("client://127.0.0.1:1/127.0.0.1:2", true,
		     "client://127.0.0.1:1/127.0.0.1:2?block=0&compat=0&dial=auto&dns=5m0s&lbs=0&"
		     "log=info&min=64&" DEFAULTS_REST "&sni=none&tls=0");
	canonical_is("server://127.0.0.1:1/127.0.0.1:2", true,
		     "server://127.0.0.1:1/127.0.0.1:2?block=0&compat=0&dial=auto&dns=5m0s&lbs=0&"
		     "log=info&max=1024&" DEFAULTS_REST "&tls=0");
	canonical_is("master://:9090", true, "master://:9090/api?log=info&tls=0");
	canonical_is("master://:9090/a%20b/?tls=2&key=%2Fk&crt=/c+d", true,
		     "master://:9090/a%20b?crt=/c+d&key=%2Fk&log=info&tls=2");
}

static void config_canonical__given_values__stand_as_written(void **state)
{
	(void)state;
	canonical_is("client://p@s%3as@H:1/[FE80::1]:02,b:3?read=60m&sni=none&max=7&type=0&quic=0&"
		     "min=064&log=&dns=300s",
		     true,
		     "client://p%40s:s@H:1/[FE80::1]:2,b:3?block=0&compat=0&dial=auto&dns=300s&"
		     "lbs=0&log=info&max=7&min=064&mode=0&notcp=0&noudp=0&proxy=0&quic=0&rate=0&"
		     "read=60m&slot=65536&sni=none&tls=0&type=0");
	canonical_is("client://secret@[fe80::1%251]:1/b:3", false,
		     "client://[fe80::1%251]:1/b:3?block=0&compat=0&dial=auto&dns=5m0s&lbs=0&"
		     "log=info&min=64&" DEFAULTS_REST "&sni=none&tls=0");
}

static void config_canonical__no_room__error(void **state)
{
	struct np_config c = parse("server://a:1/b:2");
	struct np_buf b;

	(void)state;
	np_buf_init(&b, 20);
	assert_int_equal(np_config_canonical(&c, true, &b), NP_ELIMIT);
	np_buf_release(&b);
	np_buf_init(&b, 10);
	assert_int_equal(np_config_public_url(&c, &b), NP_ELIMIT);
	np_buf_release(&b);
	np_config_release(&c);
}

/* ---- warnings and differences ---- */

struct said {
	char text[1024];
	int n;
};

static void collect(void *arg, const char *text)
{
	struct said *s = arg;
	size_t used = strlen(s->text);

	snprintf(s->text + used, sizeof(s->text) - used, "%s\n", text);
	s->n++;
}

static void warns(const char *url, int n, const char *part)
{
	struct np_config c = parse(url);
	struct said s = {.n = 0};

	np_config_warnings(&c, collect, &s);
	if (s.n != n || strstr(s.text, part) == NULL)
		print_error("%s:\n%s", url, s.text);
	assert_int_equal(s.n, n);
	assert_non_null(strstr(s.text, part));
	np_config_release(&c);
}

static void config_warnings__each_thing__once(void **state)
{
	(void)state;
	warns("server://0123456789abcdef@a:1/b:2?tls=1&max=5", 0, "");
	warns("server://a:10101/b:2", 1, "is no secret");
	warns("server://a:10101/b:2", 1, "port=10101");
	warns("client://a:1/b:2?mode=1", 0, "");
	warns("client://short@a:1/b:2?mode=2", 1,
	      "key is short and can be guessed, \"nodepass key\" prints a good one characters=5");
	warns("server://0123456789abcdef@a:1/b:2?min=5", 1,
	      "parameter min has no effect on a server and is ignored");
	warns("client://a:1/b:2?mode=1&max=abc", 1,
	      "parameter max has no effect on a client and is ignored");
	warns("client://a:1/b:2?mode=1&type=0&quic=0", 2,
	      "parameter type=0 is one of other releases and has no effect");
	warns("master://a:1?slot=5&type=9", 2, "parameter slot has no effect on a master");
	warns("master://user@a:1", 1, "the user part of the URL has no effect on a master");
	warns("client://a:1/b:2?mode=1&ca=/c", 1,
	      "parameter ca has no effect on a client without a server: visitors are not asked for "
	      "certificates");
	warns("client://a:1/b:2?mode=1&tls=1&crt=/c", 1,
	      "parameter crt has no effect with tls=1 and is ignored");
}

static enum np_change diff(const char *a, const char *b)
{
	struct np_config x = parse(a), y = parse(b);
	enum np_change there = np_config_diff(&x, &y), back = np_config_diff(&y, &x);

	assert_int_equal(there, back);
	np_config_release(&x);
	np_config_release(&y);
	return there;
}

static void config_diff__changes__are_classified(void **state)
{
	static const struct {
		const char *a, *b;
		enum np_change want;
	} pairs[] = {
	    {"server://a:1/b:2", "SERVER://a:01/b:2?max=1024&log=info", NP_CHANGE_NONE},
	    {"server://a:1/b:2", "server://a:1/b:2?min=9&type=0", NP_CHANGE_NONE},
	    {"client://a:1/b:2", "client://a:1/b:2?min=64", NP_CHANGE_LIVE},
	    {"server://a:1/b:2?rate=5", "server://a:1/b:2?rate=6", NP_CHANGE_LIVE},
	    {"server://a:1/b:2", "server://a:1/b:2?log=warn", NP_CHANGE_LIVE},
	    {"server://a:1/b:2", "server://a:1/b:2?read=5m", NP_CHANGE_LIVE},
	    {"server://a:1/b:2?dial=::1", "server://a:1/b:2", NP_CHANGE_LIVE},
	    {"server://a:1/b:2?block=12", "server://a:1/b:2?block=21", NP_CHANGE_NONE},
	    {"server://a:1/b:2?block=12", "server://a:1/b:2?block=1", NP_CHANGE_LIVE},
	    {"server://a:1/b:2?slot=5", "server://a:1/b:2?slot=6&tls=1", NP_CHANGE_RESTART},
	    {"server://a:1/b:2", "server://a:1/b:2?notcp=1", NP_CHANGE_RESTART},
	    {"server://a:1/b:2?allow=10.0.0.0/8", "server://a:1/b:2", NP_CHANGE_LIVE},
	    {"server://a:1/b:2?allow=::1", "server://a:1/b:2?allow=::1/128", NP_CHANGE_NONE},
	    {"client://a:1/b:2?deny=::1", "client://a:1/b:2?deny=::2", NP_CHANGE_LIVE},
	    {"client://a:1/b:2?accept=1.2.3.4", "client://a:1/b:2?accept=1.2.3.4/31",
	     NP_CHANGE_LIVE},
	    {"server://a:1/b:2", "server://a:1/b:3", NP_CHANGE_LIVE},
	    {"server://a:1/b:2", "server://a:1/b:2,b:2", NP_CHANGE_LIVE},
	    {"server://a:1/b:2", "server://a:1/b:3?noudp=1", NP_CHANGE_RESTART},
	    {"server://a:1/b:2?tls=2&crt=/c&key=/k", "server://a:1/b:2?tls=2&crt=/d&key=/l",
	     NP_CHANGE_LIVE},
	    {"server://a:1/b:2", "server://a:1/b:2?tls=2&crt=/d&key=/l", NP_CHANGE_RESTART},
	    {"server://a:1/b:2", "server://a:2/b:2", NP_CHANGE_RESTART},
	    {"server://a:1/b:2", "server://k@a:1/b:2", NP_CHANGE_RESTART},
	    {"server://k@a:1/b:2", "server://l@a:1/b:2", NP_CHANGE_RESTART},
	    {"server://a:1/b:2", "client://a:1/b:2", NP_CHANGE_RESTART},
	    {"client://a:1/b:2?sni=x", "client://a:1/b:2?sni=none", NP_CHANGE_RESTART},
	    {"client://a:1/b:2?pin=" HEX64, "client://a:1/b:2", NP_CHANGE_RESTART},
	    {"client://a:1/b:2?ca=/x", "client://a:1/b:2?ca=%2Fx", NP_CHANGE_NONE},
	    {"client://a:1/b:2", "client://a:1/b:2?crt=/c&key=/k", NP_CHANGE_RESTART},
	    {"client://a:1/b:2?crt=/d&key=/k", "client://a:1/b:2?crt=/c&key=/k", NP_CHANGE_LIVE},
	    {"server://a:1/b:2?tls=2&crt=/c&key=/k", "server://a:1/b:2?tls=2&crt=/c&key=/k&ca=/a",
	     NP_CHANGE_RESTART},
	    {"master://a:1/x", "master://a:1/y", NP_CHANGE_RESTART},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		assert_int_equal(diff(pairs[i].a, pairs[i].b), pairs[i].want);
}

/* ---- documents ---- */

static void config_help__every_parameter__is_there(void **state)
{
	struct np_buf help, table;
	char row[32];

	(void)state;
	np_buf_init(&help, 65536);
	np_buf_init(&table, 65536);
	np_config_help(&help);
	np_config_markdown(&table);
	for (unsigned p = 0; p < NP_PARAM_COUNT; p++) {
		snprintf(row, sizeof(row), "  %-7s ", np_param_name((enum np_param)p));
		assert_non_null(strstr(np_buf_cstr(&help), row));
		snprintf(row, sizeof(row), "| `%s` | ", np_param_name((enum np_param)p));
		assert_non_null(strstr(np_buf_cstr(&table), row));
	}
	assert_non_null(strstr(np_buf_cstr(&table),
			       "| `block` | server, client | 0 or any of the digits 1, 2 and 3 | 0 "
			       "| ingress | "));
	np_buf_release(&help);
	np_buf_release(&table);
}

static void param_end__ingress_and_egress__as_specified(void **state)
{
	static const enum np_param ingress[] = {NP_PARAM_BLOCK, NP_PARAM_ACCEPT};
	static const enum np_param egress[] = {NP_PARAM_PROXY, NP_PARAM_DIAL, NP_PARAM_LBS,
					       NP_PARAM_DNS};

	(void)state;
	for (size_t i = 0; i < sizeof(ingress) / sizeof(*ingress); i++)
		assert_int_equal(np_param_end(ingress[i]), NP_END_INGRESS);
	for (size_t i = 0; i < sizeof(egress) / sizeof(*egress); i++)
		assert_int_equal(np_param_end(egress[i]), NP_END_EGRESS);
	/* an egress judges the address that was announced */
	assert_int_equal(np_param_end(NP_PARAM_ALLOW), NP_END_EITHER);
	assert_int_equal(np_param_end(NP_PARAM_DENY), NP_END_EITHER);
	assert_int_equal(np_param_end(NP_PARAM_RATE), NP_END_EITHER);
	assert_int_equal(np_param_end(NP_PARAM_COUNT), NP_END_EITHER);
	assert_string_equal(np_param_name(NP_PARAM_COUNT), "unknown");
	assert_string_equal(np_role_name(NP_ROLE_CLIENT), "client");
}

/* ---- memory and mutations ---- */

static const char *const seeds[] = {
    "server://Zq%40key@10.1.0.1:10101/10.1.0.1:8080,[fe80::1%25eth0]:2?log=debug&tls=2&crt=/c&key=/"
    "k",
    "client://mypassword@server.example:10101/:8080?min=128&mode=2&read=1h2m&sni=a.b&ca=/"
    "x%20y&pin=" HEX64,
    "master://0.0.0.0:9090/a%20b?log=info&tls=0",
    "client://[::1]:1080/"
    "target.example.com:8080?mode=1&rate=100&block=123&dial=::1&dns=1m&lbs=1&max=3",
};

static void config_parse__each_allocation_fails__no_memory_and_no_leak(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
		struct np_config c = {.min = 4242};
		struct np_diag d;
		enum np_err err;
		long n = 0;

		for (;; n++) {
			assert_true(n < 50);
			np_alloc_fail_after(n);
			err = np_config_parse(seeds[i], &c, &d);
			np_alloc_fail_after(-1);
			if (err == NP_OK)
				break;
			assert_int_equal(err, NP_ENOMEM);
			assert_int_equal(c.min, 4242);
			assert_non_null(strstr(d.text, "out of memory"));
		}
		assert_true(n >= 3);
		np_config_release(&c);
	}
}

static void config_canonical__each_allocation_fails__no_memory(void **state)
{
	struct np_config c = parse(seeds[0]);
	struct np_buf b;
	enum np_err err;
	long n = 0;

	(void)state;
	for (;; n++) {
		assert_true(n < 50);
		np_buf_init(&b, 65536);
		np_alloc_fail_after(n);
		err = np_config_canonical(&c, true, &b);
		np_alloc_fail_after(-1);
		np_buf_release(&b);
		if (err == NP_OK)
			break;
		assert_int_equal(err, NP_ENOMEM);
	}
	assert_true(n >= 2);
	np_config_release(&c);
}

/* What parses has a canonical form that parses to the same canonical form. */
static bool round_trip(const char *url)
{
	struct np_config c, again;
	struct np_buf a, b;
	struct np_diag d;

	if (np_config_parse(url, &c, &d) != NP_OK) {
		assert_true(d.text[0] != '\0');
		return false;
	}
	for (int with_key = 0; with_key < 2; with_key++) {
		np_buf_init(&a, 65536);
		np_buf_init(&b, 65536);
		assert_int_equal(np_config_canonical(&c, with_key == 1, &a), NP_OK);
		assert_int_equal(np_config_parse(np_buf_cstr(&a), &again, &d), NP_OK);
		assert_int_equal(np_config_canonical(&again, with_key == 1, &b), NP_OK);
		assert_string_equal(np_buf_cstr(&a), np_buf_cstr(&b));
		if (with_key == 1 && c.key_given) {
			assert_int_equal(c.key_len, again.key_len);
			assert_memory_equal(c.key, again.key, c.key_len);
		}
		np_buf_release(&a);
		np_buf_release(&b);
		np_config_release(&again);
	}
	np_config_release(&c);
	return true;
}

static void config__mutations__parse_or_refuse(void **state)
{
	unsigned taken = 0, refusals = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
		size_t len = strlen(seeds[i]);
		char text[NP_URL_MAX + 1];

		assert_true(round_trip(seeds[i]));
		for (size_t bit = 0; bit < len * 8; bit++) {
			memcpy(text, seeds[i], len + 1);
			text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
			if (round_trip(text))
				taken++;
			else
				refusals++;
		}
		for (size_t cut = 0; cut < len; cut++) {
			memcpy(text, seeds[i], cut);
			text[cut] = '\0';
			if (round_trip(text))
				taken++;
			else
				refusals++;
		}
	}
	assert_true(taken > 100);
	assert_true(refusals > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(config_parse__server_without_parameters__defaults),
	    cmocka_unit_test(config_parse__all_of_a_client__values),
	    cmocka_unit_test(config_parse__empty_and_odd_pairs__as_if_absent),
	    cmocka_unit_test(config_parse__key__is_decoded),
	    cmocka_unit_test(config_parse__master__prefix),
	    cmocka_unit_test(config_parse__files__where_they_are_needed),
	    cmocka_unit_test(public_url__key__is_left_out),
	    cmocka_unit_test(config_canonical__defaults__sorted_and_complete),
	    cmocka_unit_test(config_canonical__given_values__stand_as_written),
	    cmocka_unit_test(config_canonical__no_room__error),
	    cmocka_unit_test(config_warnings__each_thing__once),
	    cmocka_unit_test(config_diff__changes__are_classified),
	    cmocka_unit_test(config_help__every_parameter__is_there),
	    cmocka_unit_test(param_end__ingress_and_egress__as_specified),
	    cmocka_unit_test(config_parse__each_allocation_fails__no_memory_and_no_leak),
	    cmocka_unit_test(config_canonical__each_allocation_fails__no_memory),
	    cmocka_unit_test(config__mutations__parse_or_refuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
