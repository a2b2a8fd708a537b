/*
 * test_env.c - variables: defaults, floors and maxima, what is said of bad values, the documents.
 */
#include "core/env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct world {
	const char *name, *value; /* the one variable that is set */
	const char *name2, *value2;
	char said[256];
	int warnings;
};

static const char *get(void *arg, const char *name)
{
	struct world *w = arg;

	if (w->name != NULL && strcmp(name, w->name) == 0)
		return w->value;
	if (w->name2 != NULL && strcmp(name, w->name2) == 0)
		return w->value2;
	return NULL;
}

static void warn(void *arg, const char *text)
{
	struct world *w = arg;

	snprintf(w->said, sizeof(w->said), "%s", text);
	w->warnings++;
}

static struct np_env load(struct world *w)
{
	struct np_env env;

	memset(&env, 0x5a, sizeof(env));
	np_env_load(&env, get, warn, w);
	return env;
}

static void env_load__nothing_set__defaults(void **state)
{
	struct world w = {0};
	struct np_env e = load(&w);

	(void)state;
	assert_int_equal(w.warnings, 0);
	assert_int_equal(e.tcp_data_buf_size, 16384);
	assert_int_equal(e.udp_data_buf_size, 65535);
	assert_int_equal(e.handshake_timeout_ms, 5000);
	assert_int_equal(e.tcp_dial_timeout_ms, 5000);
	assert_int_equal(e.udp_dial_timeout_ms, 5000);
	assert_int_equal(e.udp_read_timeout_ms, 30000);
	assert_int_equal(e.pool_get_timeout_ms, 5000);
	assert_int_equal(e.min_pool_interval_ms, 100);
	assert_int_equal(e.max_pool_interval_ms, 1000);
	assert_int_equal(e.report_interval_ms, 5000);
	assert_int_equal(e.fallback_interval_ms, 300000);
	assert_int_equal(e.service_cooldown_ms, 3000);
	assert_int_equal(e.shutdown_timeout_ms, 5000);
	assert_int_equal(e.reload_interval_ms, 3600000);
	assert_int_equal(e.semaphore_limit, 65536);
	assert_int_equal(e.workers, 0);
}

static void env_load__valid__is_taken(void **state)
{
	struct world w = {
	    .name = "NP_REPORT_INTERVAL", .value = "1.5s", .name2 = "NP_WORKERS", .value2 = "256"};
	struct np_env e = load(&w);

	(void)state;
	assert_int_equal(w.warnings, 0);
	assert_int_equal(e.report_interval_ms, 1500);
	assert_int_equal(e.workers, 256);
	w = (struct world){
	    .name = "NP_SHUTDOWN_TIMEOUT", .value = "0", .name2 = "NP_WORKERS", .value2 = ""};
	e = load(&w);
	assert_int_equal(e.shutdown_timeout_ms, 0);
	assert_int_equal(e.workers, 0);
	assert_int_equal(w.warnings, 0);
	w = (struct world){.name = "NP_HANDSHAKE_TIMEOUT", .value = "24h"};
	assert_int_equal(load(&w).handshake_timeout_ms, 86400000);
}

static void env_load__bad__is_said_and_the_default_used(void **state)
{
	static const struct {
		const char *name, *value, *said;
	} bad[] = {
	    {"NP_REPORT_INTERVAL", "abc", "NP_REPORT_INTERVAL=abc: not a duration, using 5s"},
	    {"NP_REPORT_INTERVAL", "5", "NP_REPORT_INTERVAL=5: not a duration, using 5s"},
	    {"NP_POOL_GET_TIMEOUT", "-5s", "NP_POOL_GET_TIMEOUT=-5s: not a duration, using 5s"},
	    {"NP_HANDSHAKE_TIMEOUT", "1ms",
	     "NP_HANDSHAKE_TIMEOUT=1ms: not from 100ms to 24h0m0s, using 5s"},
	    {"NP_HANDSHAKE_TIMEOUT", "24h1ms",
	     "NP_HANDSHAKE_TIMEOUT=24h1ms: not from 100ms to 24h0m0s, using 5s"},
	    {"NP_TCP_DATA_BUF_SIZE", "4095",
	     "NP_TCP_DATA_BUF_SIZE=4095: not from 4096 to 1048576, using 16384"},
	    {"NP_TCP_DATA_BUF_SIZE", "1048577",
	     "NP_TCP_DATA_BUF_SIZE=1048577: not from 4096 to 1048576, using 16384"},
	    {"NP_UDP_DATA_BUF_SIZE", "64k", "NP_UDP_DATA_BUF_SIZE=64k: not a number, using 65535"},
	    {"NP_WORKERS", "0", "NP_WORKERS=0: not from 1 to 256, using automatic"},
	    {"NP_WORKERS", "257", "NP_WORKERS=257: not from 1 to 256, using automatic"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct world w = {.name = bad[i].name, .value = bad[i].value}, none = {0};
		struct np_env got = load(&w), want = load(&none);

		assert_int_equal(w.warnings, 1);
		assert_string_equal(w.said, bad[i].said);
		assert_memory_equal(&got, &want, sizeof(got));
	}
}

static void env_load__pool_intervals_crossed__the_maximum_rules(void **state)
{
	struct world w = {.name = "NP_MIN_POOL_INTERVAL", .value = "2s"};
	struct np_env e = load(&w);

	(void)state;
	assert_int_equal(w.warnings, 1);
	assert_non_null(strstr(w.said, "NP_MIN_POOL_INTERVAL"));
	assert_int_equal(e.min_pool_interval_ms, 1000);
	assert_int_equal(e.max_pool_interval_ms, 1000);
}

static void env_help__all_variables__are_there(void **state)
{
	static const char *const names[] = {
#define NP_ENV(name, ...) name,
#include "tbl/env.def"
#undef NP_ENV
	};
	struct np_buf help, table;

	(void)state;
	np_buf_init(&help, 65536);
	np_buf_init(&table, 65536);
	np_env_help(&help);
	np_env_markdown(&table);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_non_null(strstr(np_buf_cstr(&help), names[i]));
		assert_non_null(strstr(np_buf_cstr(&table), names[i]));
	}
	assert_non_null(
	    strstr(np_buf_cstr(&table), "| `NP_RELOAD_INTERVAL` | 1h0m0s | 1s | 24h0m0s | "));
	np_buf_release(&help);
	np_buf_release(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(env_load__nothing_set__defaults),
	    cmocka_unit_test(env_load__valid__is_taken),
	    cmocka_unit_test(env_load__bad__is_said_and_the_default_used),
	    cmocka_unit_test(env_load__pool_intervals_crossed__the_maximum_rules),
	    cmocka_unit_test(env_help__all_variables__are_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
