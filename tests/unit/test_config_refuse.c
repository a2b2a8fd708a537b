/*
 * test_config_refuse.c - URLs that are refused: the code, the text a person reads, the place, and
 * that no text quotes a key.
 */
#include "core/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

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
	refused("server://a:1/b:2?compat=1", NP_EUNSUPPORTED, "compat",
		"compat=1: not available in this version");
	refused("server://a:1/b:2?type=3", NP_EUNSUPPORTED, "type",
		"type=3: not available in this version");
	refused("server://a:1/b:2?quic=1", NP_EUNSUPPORTED, "quic",
		"quic=1: not available in this version");
	refused("master://a:1?store=etcd://a:1,b:2/p", NP_EUNSUPPORTED, "store",
		"store=etcd://a:1,b:2/p: not available in this version");
}

static void config_parse__parameters_together__checked(void **state)
{
	(void)state;
	refused("client://a:1/b:2?mode=2&key=/k", NP_EINVAL, "crt",
		"crt is required, the path of a PEM file (key is given)");
	refused("client://a:1/b:2?crt=/c&tls=1", NP_EINVAL, "key",
		"key is required, the path of a PEM file (crt is given)");
	refused("server://a:1/b:2?tls=1&ca=/c", NP_EINVAL, "ca",
		"ca=/c: a server asks its clients for certificates with tls=2 only");
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
				    "dns, dial, lbs, block, ca, allow, deny, accept, compat";
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(config_parse__bad_url__says_which_part),
	    cmocka_unit_test(config_parse__bad_value__says_value_and_range),
	    cmocka_unit_test(config_parse__not_in_this_version__says_so),
	    cmocka_unit_test(config_parse__parameters_together__checked),
	    cmocka_unit_test(config_parse__unknown_parameter__lists_and_hints),
	    cmocka_unit_test(config_parse__too_long__refused),
	    cmocka_unit_test(config_parse__diag_offset__points_at_the_offender),
	    cmocka_unit_test(config_parse__any_error__never_quotes_the_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
