/*
 * test_command_edge.c - ctl.sock from a client that speaks the SP protocol by hand.
 *
 * The loop is turned by the test, so that requests pile up when it wants them to.
 */
#include "command_edge.h"
#include "event_edge.h"
#include "nng_end.h" /* what nng leaves behind is no leak of ours */
#include "wire/ctl_msg.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/sockios.h>

#define REQUESTS 3000
#define BODY_LEN 8

static char dir[] = "/tmp/np-edge-XXXXXX";
static char path[64];
static struct event_base *base;
static struct command_edge *edge;
static unsigned handled;
static bool in_order = true, all_allowed = true;
static struct command_call *kept;
static bool keep;

static void on_request(void *arg, struct command_call *call, const void *data, size_t len,
		       bool allowed)
{
	char expected[BODY_LEN + 1];

	(void)arg;
	snprintf(expected, sizeof(expected), "%08u", handled++);
	in_order = in_order && len == BODY_LEN && memcmp(data, expected, BODY_LEN) == 0;
	all_allowed = all_allowed && allowed;
	if (keep)
		kept = call;
	else
		command_edge_reply(edge, call, data, len);
}

static int setup(void **state)
{
	struct np_diag diag;

	(void)state;
	memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/ctl.sock", dir);
	handled = 0;
	in_order = all_allowed = true;
	keep = false;
	base = event_base_new();
	assert_non_null(base);
	assert_int_equal(command_edge_open(path, base, on_request, NULL, &edge, &diag), NP_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	command_edge_close(edge);
	event_base_free(base);
	unlink(path);
	rmdir(dir);
	return 0;
}

static void read_all(int fd, void *to, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = read(fd, (char *)to + done, n - done);

		assert_true(r > 0);
		done += (size_t)r;
	}
}

static const uint8_t req_hello[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};

/* A req client. */
static int dial(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	uint8_t got[8];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd != -1);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(write(fd, req_hello, sizeof(req_hello)), sizeof(req_hello));
	read_all(fd, got, sizeof(got));
	assert_int_equal(got[5], 0x31);
	return fd;
}

static size_t put_request(uint8_t *m, unsigned number)
{
	memset(m, 0, 9 + 4);
	m[0] = 1;
	m[8] = 4 + BODY_LEN;
	m[9] = 0x80;
	m[11] = (uint8_t)(number >> 8);
	m[12] = (uint8_t)number;
	snprintf((char *)m + 13, BODY_LEN + 1, "%08u", number);
	return 9 + 4 + BODY_LEN;
}

static void request(int fd, unsigned number)
{
	uint8_t m[9 + 4 + BODY_LEN + 1];
	size_t n = put_request(m, number);

	assert_int_equal(write(fd, m, n), n);
}

/* Returns the number of the request that is answered. */
static unsigned answer(int fd)
{
	uint8_t m[9 + 4 + BODY_LEN];

	read_all(fd, m, sizeof(m));
	assert_int_equal(m[8], 4 + BODY_LEN);
	assert_int_equal(m[9], 0x80);
	return (unsigned)m[11] << 8 | m[12];
}

static void turn_until(unsigned n)
{
	while (handled < n)
		event_base_loop(base, EVLOOP_ONCE);
}

static void edge__one_request__answered_with_its_number(void **state)
{
	struct stat st;
	int fd = dial();

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	request(fd, 0);
	turn_until(1);
	assert_int_equal(answer(fd), 0);
	assert_true(in_order && all_allowed);
	close(fd);
}

static void edge__loop_stands_still__receiving_stops_and_goes_on(void **state)
{
	static uint8_t all[REQUESTS * (9 + 4 + BODY_LEN) + 1];
	int fd = dial(), before = -1, now = 0, same = 0;
	size_t n = 0;

	(void)state;
	for (unsigned i = 0; i < REQUESTS; i++)
		n += put_request(all + n, i);
	/* In one write: many small ones would fill the kernel's buffer, which counts them dearly. */
	assert_int_equal(write(fd, all, n), n);
	/* What the edge has not taken stays in the kernel: until that is constant. */
	while (same < 20) {
		usleep(10000);
		assert_int_equal(ioctl(fd, SIOCOUTQ, &now), 0);
		same = now == before ? same + 1 : 0;
		before = now;
	}
	assert_true(now > 0);
	turn_until(REQUESTS);
	assert_true(in_order);
	assert_int_equal(ioctl(fd, SIOCOUTQ, &now), 0);
	assert_int_equal(now, 0);
	close(fd);
}

static void edge__answer_later__other_requests_go_on(void **state)
{
	int one = dial(), two = dial();

	(void)state;
	keep = true;
	request(one, 0);
	turn_until(1);
	keep = false;
	request(two, 1);
	turn_until(2);
	assert_int_equal(answer(two), 1);
	command_edge_reply(edge, kept, "00000000", BODY_LEN);
	assert_int_equal(answer(one), 0);
	close(one);
	close(two);
}

static void edge__client_is_gone__its_answer_is_dropped(void **state)
{
	int fd = dial();

	(void)state;
	keep = true;
	request(fd, 0);
	turn_until(1);
	close(fd);
	keep = false;
	command_edge_reply(edge, kept, "00000000", BODY_LEN);
	fd = dial();
	request(fd, 1);
	turn_until(2);
	assert_int_equal(answer(fd), 1);
	close(fd);
}

static int connect_only(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

static void turn_for(int ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_loopexit(base, &tv);
	event_base_dispatch(base);
}

/* A client that is greeted by a dead listener is never served, or cut: each try is a new one. */
static bool is_served_in_time(unsigned number)
{
	uint8_t m[9 + 4 + BODY_LEN + 1], got[8];
	size_t n = put_request(m, number);

	for (int i = 0; i < 100 && handled <= number; i++) {
		const struct timeval patience = {.tv_usec = 200000};
		int fd = connect_only();

		assert_int_equal(
		    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
		if (write(fd, req_hello, sizeof(req_hello)) == sizeof(req_hello) &&
		    recv(fd, got, sizeof(got), MSG_WAITALL) == sizeof(got) &&
		    write(fd, m, n) == (ssize_t)n)
			turn_for(200);
		else
			turn_for(100);
		if (handled > number)
			assert_int_equal(answer(fd), number);
		close(fd);
	}
	return handled > number;
}

/* nng writes its greeting to a connection that is gone, and its listener takes nobody any more. */
static void edge__client_leaves_before_the_greeting__others_are_served(void **state)
{
	int old = dial();

	(void)state;
	request(old, 0);
	turn_until(1);
	assert_int_equal(answer(old), 0);
	for (unsigned i = 1; i < 4; i++) {
		for (int j = 0; j < 10; j++)
			close(connect_only());
		assert_true(is_served_in_time(i));
	}
	request(old, 4);
	turn_until(5);
	assert_int_equal(answer(old), 4);
	close(old);
}

/* -- events.sock: the same listener behind a pub socket -- */

static bool gets_an_event(struct event_edge *events)
{
	static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x21, 0, 0};
	uint8_t got[64];
	bool yes = false;

	for (int i = 0; i < 100 && !yes; i++) {
		struct ctl_event ev = {.kind = CTL_EVENT_LEASE};
		int fd = connect_only();

		assert_int_equal(write(fd, hello, sizeof(hello)), sizeof(hello));
		read_all(fd, got, 8);
		turn_for(200);
		event_edge_send(events, &ev);
		turn_for(100);
		yes = recv(fd, got, sizeof(got), MSG_DONTWAIT) > 9;
		close(fd);
	}
	return yes;
}

static void event_edge__subscriber_leaves_before_the_greeting__others_get_events(void **state)
{
	struct event_edge *events;
	struct np_diag diag;
	char json[80], own[64];

	(void)state;
	memcpy(own, path, sizeof(own));
	snprintf(path, sizeof(path), "%s/events.sock", dir);
	snprintf(json, sizeof(json), "%s/events.json.sock", dir);
	assert_int_equal(event_edge_open(path, json, base, &events, &diag), NP_OK);
	assert_true(gets_an_event(events));
	for (int j = 0; j < 10; j++)
		close(connect_only());
	assert_true(gets_an_event(events));
	/* Its own questions are no subscribers. */
	for (int i = 0; i < 100 && event_edge_listeners(events) > 0; i++)
		turn_for(100);
	turn_for(1500);
	assert_int_equal(event_edge_listeners(events), 0);
	event_edge_close(events);
	memcpy(path, own, sizeof(path));
}

static void command_edge_open__path_too_long__refused(void **state)
{
	struct command_edge *other;
	struct np_diag diag;
	char too_long[200];

	(void)state;
	memset(too_long, 'x', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = '\0';
	assert_int_equal(command_edge_open(too_long, base, on_request, NULL, &other, &diag),
			 NP_ELIMIT);
	assert_int_equal(
	    command_edge_open("/nowhere/ctl.sock", base, on_request, NULL, &other, &diag), NP_ESYS);
	assert_non_null(strstr(diag.text, "/nowhere/ctl.sock"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(edge__one_request__answered_with_its_number),
	    TEST(edge__loop_stands_still__receiving_stops_and_goes_on),
	    TEST(edge__answer_later__other_requests_go_on),
	    TEST(edge__client_is_gone__its_answer_is_dropped),
	    TEST(edge__client_leaves_before_the_greeting__others_are_served),
	    TEST(event_edge__subscriber_leaves_before_the_greeting__others_get_events),
	    TEST(command_edge_open__path_too_long__refused),
	};

	alarm(120);
	signal(SIGPIPE, SIG_IGN); /* as in the data plane: nng and its peers close when they like */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
