/*
 * test_loopback.c - which addresses are loopback ones, and that sockets over them are not paced,
 * whatever the host's default is, also those that a listener accepted.
 */
#include "dial_socket.h"
#include "listener.h"
#include "loopback.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void addresses(void **state)
{
	static const struct {
		const char *text;
		bool is;
	} cases[] = {
	    {"127.0.0.1", true},
	    {"127.255.1.2", true},
	    {"128.0.0.1", false},
	    {"10.127.0.1", false},
	    {"0.0.0.0", false},
	    {"::1", true},
	    {"::", false},
	    {"::2", false},
	    {"::ffff:127.0.0.1", true},
	    {"::ffff:10.0.0.1", false},
	    {"fe80::1", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct np_addr a;

		assert_true(np_addr_from_literal(cases[i].text, 80, &a));
		if (loopback_is(&a) != cases[i].is)
			fail_msg("%s", cases[i].text);
	}
}

static void assert_not_paced(int fd)
{
	char name[16] = "";
	socklen_t len = sizeof(name);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	if (strncmp(name, "bbr", 3) == 0)
		fail_msg("congestion control %s", name);
}

static void sockets(void **state)
{
	struct np_addr at;
	const char *call;
	int l, c, a, err;

	(void)state;
	assert_true(np_addr_from_literal("127.0.0.1", 0, &at));
	l = listener_socket(&at, false);
	assert_int_not_equal(l, -1);
	assert_int_equal(getsockname(l, &at.sa, &at.len), 0);
	c = dial_socket_connect(&at, NULL, &call, &err);
	assert_int_not_equal(c, -1);
	assert_int_equal(poll(&(struct pollfd){.fd = l, .events = POLLIN}, 1, 5000), 1);
	a = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	assert_int_not_equal(a, -1);
	assert_not_paced(l);
	assert_not_paced(c);
	assert_not_paced(a);
	close(a);
	close(c);
	close(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
