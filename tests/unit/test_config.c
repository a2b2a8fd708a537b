/*
 * test_config.c - URLs: values, refusals with their texts, canonical and public forms, warnings,
 * differences, secrets, every allocation failing in turn, mutations.
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

static void refused(const char *url, enum np_err want, const char *field, const char *text)
{
	struct np_config c = {.url = NULL, .min = 4242};
	struct np_diag d = {.text = ""};
	enum np_err err = np_config_parse(url, &c, &d);

	if (err != want || strcmp(d.text, text) != 0)
		print_error("%s: %s: %s\n", url, np_err_name(err), d.text);
	assert_int_equal(err, want);
	assert_string_equal(d.text, text);
	assert_string_equal(d.field, field);
	assert_true(d.offset <= strlen(url));
	/* Untouched on error, and no diagnosis is needed. */
	assert_int_equal(c.min, 4242);
	assert_int_equal(np_config_parse(url, &c, NULL), want);
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

/* ---- refusals ---- */

static void config_parse__bad_url__says_which_part(void **state)
{
	(void)state;
	refused("", NP_EINVAL, "url",
		"the URL is empty: server://, client:// or master:// expected");
	refused("nodepass", NP_EINVAL, "scheme",
		"\"nodepass\" is no URL: server://, client:// or master:// expected");
	refused("10.0.0.1:80/a:1", NP_EINVAL, "scheme",
		"the URL has no scheme (core): server://, client:// or master:// expected");
	refused("server:", NP_EINVAL, "scheme",
		"the URL has no scheme (core): server://, client:// or master:// expected");
	refused("//a:1/b:2", NP_EINVAL, "scheme",
		"the scheme (core) is missing: server://, client:// or master:// expected");
	refused("://a:1/b:2", NP_EINVAL, "scheme",
		"the scheme (core) is missing: server://, client:// or master:// expected");
	refused("tunnel://a:1/b:2", NP_EINVAL, "scheme",
		"unknown core \"tunnel\": server://, client:// or master:// expected");
	refused("  server://a:1/b:2", NP_EINVAL, "scheme",
		"the scheme (core) is unknown: server://, client:// or master:// expected");
	refused("server://a:1/b:2\n", NP_EINVAL, "url",
		"the URL has a control character at byte 16");
	refused("server://", NP_EINVAL, "tunnel address",
		"tunnel address is empty: host:port, [v6]:port or :port expected");
	refused("master://", NP_EINVAL, "API address",
		"API address is empty: host:port, [v6]:port or :port expected");
	refused("server:///a:1", NP_EINVAL, "tunnel address",
		"tunnel address is empty: host:port, [v6]:port or :port expected");
	refused("server://a:1", NP_EINVAL, "target address",
		"target address is empty: host:port, [v6]:port or :port expected");
	refused("client://a:1/?mode=1", NP_EINVAL, "target address",
		"target address is empty: host:port, [v6]:port or :port expected");
	refused("server://a:99999/b:2", NP_ERANGE, "tunnel address",
		"tunnel address \"a:99999\": port \"99999\" is not a number from 1 to 65535");
	refused("server://a:1/b:2,b:x", NP_EINVAL, "target address",
		"target address \"b:x\": port \"x\" is not a number from 1 to 65535");
	refused("server://a:1/b:2,,c:3", NP_EINVAL, "target address",
		"target address \"b:2,,c:3\": empty member in the list");
	refused("client://a:1/[::1:80", NP_EINVAL, "target address",
		"target address \"[::1:80\": missing ]");
	refused("server://a:1/b:2#top", NP_EINVAL, "url",
		"a fragment (#...) has no meaning here; a # that is meant is written %23");
	refused("server://a:1/b:2?log=info#top", NP_EINVAL, "url",
		"a fragment (#...) has no meaning here; a # that is meant is written %23");
	refused("master://a:1/%zz", NP_EINVAL, "prefix", "API prefix: bad percent escape \"%zz\"");
	refused("master://a:1/a%0ab", NP_EINVAL, "prefix", "API prefix: a control character");
}

static void config_parse__bad_value__says_value_and_range(void **state)
{
	static const struct {
		const char *pair, *text;
		enum np_err err;
	} bad[] = {
	    {"log=loud", "log=loud: expected none, debug, info, warn, error or event", NP_EINVAL},
	    {"log=INFO", "log=INFO: expected none, debug, info, warn, error or event", NP_EINVAL},
	    {"tls=3", "tls=3: expected 0, 1 or 2", NP_ERANGE},
	    {"tls=-1", "tls=-1: expected 0, 1 or 2", NP_EINVAL},
	    {"mode=abc", "mode=abc: expected 0, 1 or 2", NP_EINVAL},
	    {"max=0", "max=0: expected a whole number from 1 to 65535", NP_ERANGE},
	    {"max=65536", "max=65536: expected a whole number from 1 to 65535", NP_ERANGE},
	    {"slot=1000001", "slot=1000001: expected a whole number from 0 to 1000000", NP_ERANGE},
	    {"rate=1.5", "rate=1.5: expected a whole number from 0 to 1000000", NP_EINVAL},
	    {"read=-5s",
	     "read=-5s: expected a duration such as 30s, 1.5h or 1h2m, at most 8760h, 0 = never",
	     NP_EINVAL},
	    {"read=5",
	     "read=5: expected a duration such as 30s, 1.5h or 1h2m, at most 8760h, 0 = never",
	     NP_EINVAL},
	    {"read=8761h",
	     "read=8761h: expected a duration such as 30s, 1.5h or 1h2m, at most 8760h, 0 = never",
	     NP_ERANGE},
	    {"dns=x", "dns=x: expected a duration such as 30s, 5m or 1h2m, at most 8760h",
	     NP_EINVAL},
	    {"dns=1.1.1.1,8.8.8.8",
	     "dns=1.1.1.1,8.8.8.8: name servers cannot be given, the system's are used; dns is how "
	     "long a resolved name is used, a duration such as 5m",
	     NP_EINVAL},
	    {"dns=2606:4700::1111",
	     "dns=2606:4700::1111: name servers cannot be given, the system's are used; dns is how "
	     "long a resolved name is used, a duration such as 5m",
	     NP_EINVAL},
	    {"proxy=yes", "proxy=yes: expected 0, 1 or 2", NP_EINVAL},
	    {"notcp=2", "notcp=2: expected 0 or 1", NP_ERANGE},
	    {"dial=notanip", "dial=notanip: expected auto or an IP address", NP_EINVAL},
	    {"dial=[1.2.3.4]", "dial=[1.2.3.4]: expected auto or an IP address", NP_EINVAL},
	    {"lbs=3", "lbs=3: expected 0, 1 or 2", NP_ERANGE},
	    {"block=4", "block=4: expected 0 or any of the digits 1, 2 and 3", NP_EINVAL},
	    {"block=11", "block=11: expected 0 or any of the digits 1, 2 and 3", NP_EINVAL},
	    {"block=01", "block=01: expected 0 or any of the digits 1, 2 and 3", NP_EINVAL},
	    {"allow=home",
	     "allow=home: expected a list of networks such as 10.0.0.0/8,2001:db8::/32", NP_EINVAL},
	    {"deny=10.0.0.0/33",
	     "deny=10.0.0.0/33: expected a list of networks such as 10.0.0.0/8,2001:db8::/32",
	     NP_EINVAL},
	    {"deny=10.0.0.0/8,",
	     "deny=10.0.0.0/8,: expected a list of networks such as 10.0.0.0/8,2001:db8::/32",
	     NP_EINVAL},
	    {"accept=2", "accept=2: expected a list of networks such as 10.0.0.0/8,2001:db8::/32",
	     NP_EINVAL},
	    {"compat=2", "compat=2: expected 0 or 1", NP_ERANGE},
	    {"type=4", "type=4: expected a whole number from 0 to 3", NP_ERANGE},
	    {"quic=x", "quic=x: expected 0 or 1", NP_EINVAL},
	    {"log=%g1", "log: bad percent escape \"%g1\"", NP_EINVAL},
	    {"log=%4", "log: bad percent escape \"%4\"", NP_EINVAL},
	    {"crt=a%00b", "crt: bad percent escape \"%00\"", NP_EINVAL},
	    {"tls=0&tls=1", "parameter tls is given more than once", NP_EINVAL},
	    {"tls=&tls=", "parameter tls is given more than once", NP_EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char url[256], field[16];

		snprintf(url, sizeof(url), "server://a:1/b:2?%s", bad[i].pair);
		snprintf(field, sizeof(field), "%.*s", (int)strcspn(bad[i].pair, "="), bad[i].pair);
		refused(url, bad[i].err, field, bad[i].text);
	}
	refused("client://a:1/b:2?min=65536", NP_ERANGE, "min",
		"min=65536: expected a whole number from 0 to 65535");
	refused("client://a:1/b:2?pin=00", NP_EINVAL, "pin",
		"pin=00: expected 64 hexadecimal digits");
	refused("client://a:1/b:2?sni=a%20b", NP_EINVAL, "sni",
		"sni=a b: expected a host name or none");
	refused("master://a:1?store=mysql:x", NP_EINVAL, "store",
		"store=mysql:x: expected sqlite:PATH or etcd://host:port[,...]/prefix");
	refused("master://a:1?store=etcd://x/p", NP_EINVAL, "store",
		"store=etcd://x/p: expected sqlite:PATH or etcd://host:port[,...]/prefix");
}

static void config_parse__not_in_this_version__says_so(void **state)
{
	(void)state;
	refused("server://a:1/b:2?allow=10.0.0.0/8", NP_EUNSUPPORTED, "allow",
		"allow=10.0.0.0/8: not available in this version");
	refused("server://a:1/b:2?deny=::1,1.2.3.4,fe80::/10", NP_EUNSUPPORTED, "deny",
		"deny=::1,1.2.3.4,fe80::/10: not available in this version");
	refused("server://a:1/b:2?accept=0.0.0.0/0", NP_EUNSUPPORTED, "accept",
		"accept=0.0.0.0/0: not available in this version");
	refused("server://a:1/b:2?compat=1", NP_EUNSUPPORTED, "compat",
		"compat=1: not available in this version");
	refused("server://a:1/b:2?type=3", NP_EUNSUPPORTED, "type",
		"type=3: not available in this version");
	refused("server://a:1/b:2?quic=1", NP_EUNSUPPORTED, "quic",
		"quic=1: not available in this version");
	refused("master://a:1?store=sqlite:/x", NP_EUNSUPPORTED, "store",
		"store=sqlite:/x: not available in this version");
	refused("master://a:1?store=etcd://a:1,b:2/p", NP_EUNSUPPORTED, "store",
		"store=etcd://a:1,b:2/p: not available in this version");
	refused("client://a:1/b:2?mode=2&tls=2&crt=/c&key=/k", NP_EUNSUPPORTED, "crt",
		"crt=/c: certificates of clients are not available in this version");
	refused("client://a:1/b:2?mode=2&key=/k", NP_EUNSUPPORTED, "key",
		"key=/k: certificates of clients are not available in this version");
}

static void config_parse__parameters_together__checked(void **state)
{
	(void)state;
	refused("server://a:1/b:2?tls=2", NP_EINVAL, "crt",
		"tls=2: crt and key are required, the paths of two PEM files");
	refused("master://a:1?tls=2", NP_EINVAL, "crt",
		"tls=2: crt and key are required, the paths of two PEM files");
	refused("client://a:1/b:2?tls=2&mode=1", NP_EINVAL, "crt",
		"tls=2: crt and key are required, the paths of two PEM files");
	refused("server://a:1/b:2?tls=2&key=/k&crt=", NP_EINVAL, "crt",
		"tls=2: crt is required, the path of a PEM file (key is given)");
	refused("client://a:1/b:2?tls=2&crt=/c", NP_EINVAL, "key",
		"tls=2: key is required, the path of a PEM file (crt is given)");
	refused("client://a:1/b:2?notcp=1&noudp=1", NP_EINVAL, "noudp",
		"notcp=1 with noudp=1: nothing is left to serve");
}

static void config_parse__unknown_parameter__lists_and_hints(void **state)
{
	static const char known[] = "; a server knows log, tls, crt, key, max, mode, read, rate, "
				    "proxy, slot, notcp, noudp, "
				    "dns, dial, lbs, block, allow, deny, accept, compat";
	static const struct {
		const char *name, *hint;
	} names[] = {
	    {"foo", ""},     {"tlss", ", did you mean tls?"}, {"rates", ", did you mean rate?"},
	    {"verbose", ""}, {"Tls", ", did you mean tls?"},  {"modus", ", did you mean mode?"},
	};
	char url[64], text[512];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(url, sizeof(url), "server://a:1/b:2?%s=1", names[i].name);
		snprintf(text, sizeof(text), "unknown parameter \"%s\"%s%s", names[i].name,
			 names[i].hint, known);
		refused(url, NP_EINVAL, "query", text);
	}
	refused("master://a:1?loh", NP_EINVAL, "query",
		"unknown parameter \"loh\", did you mean log?; a master knows log, tls, crt, key, "
		"store");
}

static void config_parse__too_long__refused(void **state)
{
	char url[NP_URL_MAX + 100];
	struct np_config c;
	struct np_diag d;
	int n;

	(void)state;
	n = snprintf(url, sizeof(url), "server://a:1/b:2?crt=");
	memset(url + n, 'x', sizeof(url) - (size_t)n);
	url[NP_URL_MAX + 1] = '\0';
	refused(url, NP_ERANGE, "url", "the URL is longer than 4096 bytes");
	url[NP_URL_MAX] = '\0';
	c = parse(url);
	np_config_release(&c);
	n = snprintf(url, sizeof(url), "server://");
	memset(url + n, 'k', NP_KEY_MAX + 1);
	snprintf(url + n + NP_KEY_MAX + 1, 20, "@a:1/b:2");
	refused(url, NP_ERANGE, "key", "tunnel key: longer than 1024 bytes");
	snprintf(url + n + NP_KEY_MAX, 20, "@a:1/b:2");
	c = parse(url);
	assert_int_equal(c.key_len, NP_KEY_MAX);
	np_config_release(&c);
	n = snprintf(url, sizeof(url), "server://a:1/b:1");
	for (int i = 1; i < NP_TARGETS_MAX; i++)
		n += snprintf(url + n, sizeof(url) - (size_t)n, ",b:1");
	c = parse(url);
	assert_int_equal(c.ntargets, NP_TARGETS_MAX);
	np_config_release(&c);
	snprintf(url + n, sizeof(url) - (size_t)n, ",b:1");
	assert_int_equal(np_config_parse(url, &c, &d), NP_ERANGE);
	assert_string_equal(d.text, "target address: more than 64 members");
}

static void config_parse__diag_offset__points_at_the_offender(void **state)
{
	static const struct {
		const char *url;
		size_t offset;
	} places[] = {
	    {"server://k@a:x/b:2", 13},
	    {"server://a:1/b:2,c:x", 19},
	    {"server://a:1/b:2?log=info&tls=9", 30},
	    {"server://a:1/b:2?zz=1", 17},
	    {"server://a:1/b:2?log=in%zz", 23},
	    {"server://a:1/b:2#", 16},
	    {"server://a%zz@a:1/b:2", 10},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct np_config c;
		struct np_diag d;

		assert_int_not_equal(np_config_parse(places[i].url, &c, &d), NP_OK);
		assert_int_equal(d.offset, places[i].offset);
	}
}

/* ---- secrets ---- */

static void config_parse__any_error__never_quotes_the_key(void **state)
{
	static const char *const urls[] = {
	    "server://Zq7secret%zz@a:1/b:2",
	    "server://Zq7secret@a:x/b:2",
	    "server://Zq7secret@a:1/b:x",
	    "server://Zq7secret@a:1/b:2?tls=9",
	    "server://Zq7secret@a:1/b:2?x=1",
	    "server://Zq7secret@a:1/b:2#f",
	    "tunnel://Zq7secret@a:1/b:2",
	    "Zq7secret@a:1/b:2",
	    "Zq7secret@a://b:1",
	    "server:Zq7secret@a:1",
	    "//Zq7secret@a:1/b:2",
	    "server://Zq7/secret@a:1/b:2",
	    "server://Zq7secret/x@a:1/b:2",
	    "server://Zq7secret?/x@a:1/b:2",
	    "server://Zq7secret#/x@a:1/b:2",
	    "client://1:2/Zq7secret@a:1/b:2",
	    "server://Zq7secret@",
	    "server://1:2?/Zq7secret@a:1/b:2",
	    "master://Zq7?secret@a:1",
	    "master://Zq7secret@a:x",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct np_config c;
		struct np_diag d;

		assert_int_not_equal(np_config_parse(urls[i], &c, &d), NP_OK);
		if (strstr(d.text, "Zq7") != NULL || strstr(d.text, "secret") != NULL)
			print_error("%s: %s\n", urls[i], d.text);
		assert_null(strstr(d.text, "Zq7"));
		assert_null(strstr(d.text, "secret"));
		assert_true(strlen(d.text) > 0);
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
	    {"server://a:1/b:2", "server://a:1/b:3", NP_CHANGE_RESTART},
	    {"server://a:1/b:2", "server://a:1/b:2,b:2", NP_CHANGE_RESTART},
	    {"server://a:1/b:2", "server://a:2/b:2", NP_CHANGE_RESTART},
	    {"server://a:1/b:2", "server://k@a:1/b:2", NP_CHANGE_RESTART},
	    {"server://k@a:1/b:2", "server://l@a:1/b:2", NP_CHANGE_RESTART},
	    {"server://a:1/b:2", "client://a:1/b:2", NP_CHANGE_RESTART},
	    {"client://a:1/b:2?sni=x", "client://a:1/b:2?sni=none", NP_CHANGE_RESTART},
	    {"client://a:1/b:2?pin=" HEX64, "client://a:1/b:2", NP_CHANGE_RESTART},
	    {"client://a:1/b:2?ca=/x", "client://a:1/b:2?ca=%2Fx", NP_CHANGE_NONE},
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
	static const enum np_param ingress[] = {NP_PARAM_BLOCK, NP_PARAM_ALLOW, NP_PARAM_DENY,
						NP_PARAM_ACCEPT};
	static const enum np_param egress[] = {NP_PARAM_PROXY, NP_PARAM_DIAL, NP_PARAM_LBS,
					       NP_PARAM_DNS};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(np_param_end(ingress[i]), NP_END_INGRESS);
		assert_int_equal(np_param_end(egress[i]), NP_END_EGRESS);
	}
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
	    cmocka_unit_test(config_parse__bad_url__says_which_part),
	    cmocka_unit_test(config_parse__bad_value__says_value_and_range),
	    cmocka_unit_test(config_parse__not_in_this_version__says_so),
	    cmocka_unit_test(config_parse__parameters_together__checked),
	    cmocka_unit_test(config_parse__unknown_parameter__lists_and_hints),
	    cmocka_unit_test(config_parse__too_long__refused),
	    cmocka_unit_test(config_parse__diag_offset__points_at_the_offender),
	    cmocka_unit_test(config_parse__any_error__never_quotes_the_key),
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
