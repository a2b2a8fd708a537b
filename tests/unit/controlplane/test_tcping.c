/*
 * Probes of real sockets: connected, refused, not understood, no slot, cancelled; and the figures of
 * this machine against /proc.
 */
#include "tcping.h"

#include "base/mono.h"
#include "hostinfo.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_MS 3000

struct answer {
	int calls;
	struct tcping_result res;
};

static struct event_base *base;
static struct tcping *pings;

static void on_done(void *arg, const struct tcping_result *res)
{
	struct answer *a = arg;

	a->calls++;
	a->res = *res;
}

static int listener(int backlog, char *target, size_t max)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	snprintf(target, max, "127.0.0.1:%u", ntohs(sin.sin_port));
	return fd;
}

static void ask(const char *target, struct answer *a)
{
	*a = (struct answer){.calls = 0};
	assert_non_null(tcping_start(pings, target, on_done, a));
	while (a->calls == 0)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(a->calls, 1);
}

static void tcping__listening__connected(void **state)
{
	struct answer a;
	char target[32];
	int fd = listener(8, target, sizeof(target));

	(void)state;
	ask(target, &a);
	assert_true(a.res.connected);
	assert_string_equal(a.res.error, "");
	assert_in_range(a.res.latency_ms, 0, TIMEOUT_MS);
	close(fd);
}

static void tcping__bound_only__refused(void **state)
{
	char target[32], want[96];
	int fd = listener(-1, target, sizeof(target));
	struct answer a;

	(void)state;
	ask(target, &a);
	assert_false(a.res.connected);
	assert_int_equal(a.res.latency_ms, 0);
	snprintf(want, sizeof(want), "dial tcp %s: connect: connection refused", target);
	assert_string_equal(a.res.error, want);
	close(fd);
}

static void tcping__bad_targets__said(void **state)
{
	static const char *const rows[][2] = {
	    {"foo", "dial tcp: address foo: missing port in address"},
	    {"[::1]", "dial tcp: address [::1]: missing port in address"},
	    {"a:b:1", "dial tcp: address a:b:1: too many colons in address"},
	    {"127.0.0.1:99999", "dial tcp: address 99999: invalid port"},
	    {"127.0.0.1:", "dial tcp: address : invalid port"},
	    {"name.invalid:1", "dial tcp: lookup name.invalid: "},
	};
	struct answer a;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ask(rows[i][0], &a);
		assert_false(a.res.connected);
		assert_memory_equal(a.res.error, rows[i][1], strlen(rows[i][1]));
	}
}

static void tcping__no_slot__refused_after_a_second(void **state)
{
	struct tcping_probe *probes[TCPING_SLOTS];
	struct answer busy[TCPING_SLOTS] = {0}, late;
	char deaf[32], good[32];
	int fd = listener(0, deaf, sizeof(deaf)), open = listener(8, good, sizeof(good));
	int fill[4];
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	struct np_mono began = np_mono_now();

	(void)state;
	/* A full queue: the kernel answers no further SYN. */
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	for (int i = 0; i < 4; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(fill[i], (struct sockaddr *)&sin, sizeof(sin));
	}
	for (int i = 0; i < TCPING_SLOTS; i++) {
		probes[i] = tcping_start(pings, deaf, on_done, &busy[i]);
		assert_non_null(probes[i]);
	}
	ask(good, &late);
	assert_string_equal(late.res.error, "too many requests");
	assert_in_range(np_mono_diff_ms(np_mono_now(), began), TCPING_WAIT_MS - 50, TIMEOUT_MS);
	for (int i = 0; i < TCPING_SLOTS - 1; i++) {
		assert_int_equal(busy[i].calls, 0);
		tcping_cancel(probes[i]);
	}
	ask(good, &late);
	assert_true(late.res.connected);
	while (busy[TCPING_SLOTS - 1].calls == 0)
		event_base_loop(base, EVLOOP_ONCE);
	assert_non_null(strstr(busy[TCPING_SLOTS - 1].res.error, ": i/o timeout"));
	assert_int_equal(busy[0].calls, 0);
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(fd);
	close(open);
}

static void tcping_free__probe_waits__answered(void **state)
{
	struct tcping *t = NULL;
	struct answer a = {0};

	(void)state;
	assert_int_equal(tcping_new(base, TIMEOUT_MS, &t), NP_OK);
	assert_non_null(tcping_start(t, "name.invalid:1", on_done, &a));
	event_base_loop(base, EVLOOP_ONCE); /* the lookup runs, maybe beyond the end of @t */
	tcping_free(t);
	assert_int_equal(a.calls, 1);
	assert_false(a.res.connected);
}

static void hostinfo__first_sample__as_in_proc(void **state)
{
	const struct hostinfo_figures *f;
	struct hostinfo *h = NULL;
	char text[64] = {0};
	FILE *file = fopen("/proc/uptime", "r");
	uint64_t up;

	(void)state;
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	up = strtoull(text, NULL, 10);
	assert_int_equal(hostinfo_new(base, &h), NP_OK);
	f = hostinfo_get(h);
	assert_in_range(f->cpu, 0, 100);
	assert_true(f->mem_total > 0 && f->mem_used > 0 && f->mem_used <= f->mem_total);
	assert_true(f->swap_used <= f->swap_total);
	assert_in_range(f->sysup, up, up + 5);
	hostinfo_free(h);
}

static int setup(void **state)
{
	(void)state;
	base = event_base_new();
	return base == NULL || tcping_new(base, TIMEOUT_MS, &pings) != NP_OK;
}

static int teardown(void **state)
{
	(void)state;
	tcping_free(pings);
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tcping__listening__connected),
	    cmocka_unit_test(tcping__bound_only__refused),
	    cmocka_unit_test(tcping__bad_targets__said),
	    cmocka_unit_test(tcping__no_slot__refused_after_a_second),
	    cmocka_unit_test(tcping_free__probe_waits__answered),
	    cmocka_unit_test(hostinfo__first_sample__as_in_proc),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
