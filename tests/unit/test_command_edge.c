/*
 * test_command_edge.c - ctl.sock from a client that speaks the SP protocol by hand.
 *
 * The loop is turned by the test, so that requests pile up when it wants them to.
 */
#include "command_edge.h"
#include "edge_door.h"
#include "event_edge.h"
#include "nng_end.h" /* what nng leaves behind is no leak of ours */
#include "wire/ctl_msg.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/sockios.h>

#define REQUESTS    3000
#define BODY_LEN    8
#define LEAVERS	    300
#define FLOODS	    8
#define PATIENCE_MS 10000

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

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
	poll(NULL, 0, 1);
}

/* While the loop is turned, which carries the bytes. False: the other end has closed. */
static bool read_some(int fd, void *to, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = recv(fd, (char *)to + done, n - done, MSG_DONTWAIT);

		if (r == -1 && errno == EAGAIN)
			turn();
		else if (r <= 0)
			return false;
		else
			done += (size_t)r;
	}
	return true;
}

static void read_all(int fd, void *to, size_t n)
{
	assert_true(read_some(fd, to, n));
}

static const uint8_t req_hello[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};

static int connect_only(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd != -1);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	/* The loop is what accepts: with a full backlog it has to turn first. */
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

/* A req client. */
static int dial(void)
{
	uint8_t got[8];
	int fd = connect_only();

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

static void edge__many_at_once__handled_in_their_order(void **state)
{
	static uint8_t all[REQUESTS * (9 + 4 + BODY_LEN) + 1];
	int fd = dial(), left = 0;
	size_t n = 0;

	(void)state;
	for (unsigned i = 0; i < REQUESTS; i++)
		n += put_request(all + n, i);
	/* In one write: many small ones would fill the kernel's buffer, which counts them dearly. */
	assert_int_equal(write(fd, all, n), n);
	turn_until(REQUESTS);
	assert_true(in_order);
	assert_int_equal(ioctl(fd, SIOCOUTQ, &left), 0);
	assert_int_equal(left, 0);
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

static void turn_for(int ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_loopexit(base, &tv);
	event_base_dispatch(base);
}

/* Of what nng closes it gives the descriptors back a little later, on a thread of its own. */
static unsigned count_fds(void)
{
	struct dirent *e;
	DIR *fds = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(fds);
	while ((e = readdir(fds)) != NULL)
		n++;
	closedir(fds);
	return n;
}

static bool fds_come_back(unsigned before)
{
	for (int i = 0; i < PATIENCE_MS && count_fds() > before; i++)
		turn();
	return count_fds() <= before;
}

/*
 * nng writes its greeting to a connection that is gone, and its listener takes nobody any more. So the
 * first try of the next one is the oracle, whoever left before.
 */
static void edge__clients_leave_before_the_greeting__the_next_one_is_served(void **state)
{
	int old = dial();
	unsigned before, number = 0;

	(void)state;
	request(old, number);
	turn_until(++number);
	assert_int_equal(answer(old), number - 1);
	before = count_fds();
	for (int i = 0; i < LEAVERS; i++) {
		int fd;

		for (unsigned j = 0; j < 10; j++) {
			fd = connect_only();
			/* Nothing, a part, all of the greeting; too early or when it was accepted. */
			if (j % 3 > 0)
				assert_true(write(fd, req_hello, j % 3 * 4) >= 0);
			if (j % 4 == 0)
				turn();
			close(fd);
		}
		fd = dial();
		request(fd, number);
		turn_until(++number);
		assert_int_equal(answer(fd), number - 1);
		close(fd);
	}
	request(old, number);
	turn_until(++number);
	assert_int_equal(answer(old), number - 1);
	assert_true(fds_come_back(before));
	close(old);
}

/*
 * The connection of a client that leaves while requests of it are read and answers are written: nng's
 * thread that ends connections would wait for ever, and with it all that end later.
 */
static void edge__clients_leave_their_answers__nothing_of_them_stays(void **state)
{
	static uint8_t some[32 * (9 + 4 + BODY_LEN) + 1];
	unsigned before = count_fds();

	(void)state;
	for (int i = 0; i < LEAVERS; i++) {
		int fd = dial(), turns = rand() % 8;
		size_t n = 0;

		for (unsigned j = 0; j < 32; j++)
			n += put_request(some + n, j);
		assert_int_equal(write(fd, some, n), n);
		while (turns-- > 0)
			event_base_loop(base, EVLOOP_NONBLOCK);
		close(fd);
	}
	assert_true(fds_come_back(before));
}

/* No greeting, or another one: nng is not bothered. */
static void edge__another_greeting__closed(void **state)
{
	uint8_t got[8];
	int fd = connect_only();

	(void)state;
	assert_int_equal(write(fd, "GET / HTTP/1.0\r\n", 16), 16);
	assert_false(read_some(fd, got, sizeof(got)));
	close(fd);
}

/*
 * Clients whose messages went through too many hops: nng drops them and reads on, for ever. It does so
 * when the edge is closed, which has to end all the same.
 */
struct flood {
	pthread_t thread;
	int fd;
	atomic_bool end;
};

static void *flood_run(void *arg)
{
	static const uint8_t message[9 + 64] = {1, 0, 0, 0, 0, 0, 0, 0, 64};
	struct flood *f = arg;

	while (!atomic_load(&f->end) &&
	       send(f->fd, message, sizeof(message), MSG_NOSIGNAL) == sizeof(message))
		continue;
	return NULL;
}

static void command_edge_close__clients_that_never_stop__ends_in_time(void **state)
{
	static struct flood floods[FLOODS];
	struct timespec begin, end;
	struct np_diag diag;
	long took_ms, longest_ms = 0;
	unsigned before = count_fds();

	(void)state;
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < FLOODS; i++) {
			floods[i].fd = dial();
			atomic_store(&floods[i].end, false);
			assert_int_equal(
			    pthread_create(&floods[i].thread, NULL, flood_run, &floods[i]), 0);
		}
		for (int i = 0; i < 20; i++)
			turn();
		clock_gettime(CLOCK_MONOTONIC, &begin);
		command_edge_close(edge);
		clock_gettime(CLOCK_MONOTONIC, &end);
		took_ms =
		    (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
		longest_ms = took_ms > longest_ms ? took_ms : longest_ms;
		turn(); /* libevent closes the descriptors */
		for (int i = 0; i < FLOODS; i++) {
			atomic_store(&floods[i].end, true);
			pthread_join(floods[i].thread, NULL);
			close(floods[i].fd);
		}
		assert_int_equal(access(path, F_OK), -1);
		assert_int_equal(command_edge_open(path, base, on_request, NULL, &edge, &diag),
				 NP_OK);
	}
	print_message("the longest close lasted %ld ms\n", longest_ms);
	assert_true(longest_ms < DOOR_SETTLE_MS + DOOR_CLOSE_S * 1000 + 2000);
	assert_true(fds_come_back(before)); /* nng was not left with any of them */
}

/* -- events.sock: the same listener behind a pub socket -- */

static bool gets_an_event(struct event_edge *events)
{
	static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x21, 0, 0};
	struct ctl_event ev = {.kind = CTL_EVENT_LEASE};
	uint8_t got[9];
	bool yes;
	int fd = connect_only();

	assert_int_equal(write(fd, hello, sizeof(hello)), sizeof(hello));
	read_all(fd, got, 8);
	while (event_edge_listeners(events) == 0)
		turn();
	turn_for(50); /* counted before its pipe is started */
	event_edge_send(events, &ev);
	yes = read_some(fd, got, sizeof(got));
	close(fd);
	while (event_edge_listeners(events) > 0)
		turn();
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
	    TEST(edge__many_at_once__handled_in_their_order),
	    TEST(edge__answer_later__other_requests_go_on),
	    TEST(edge__client_is_gone__its_answer_is_dropped),
	    TEST(edge__clients_leave_before_the_greeting__the_next_one_is_served),
	    TEST(edge__clients_leave_their_answers__nothing_of_them_stays),
	    TEST(edge__another_greeting__closed),
	    TEST(command_edge_close__clients_that_never_stop__ends_in_time),
	    TEST(event_edge__subscriber_leaves_before_the_greeting__others_get_events),
	    TEST(command_edge_open__path_too_long__refused),
	};

	alarm(120);
	signal(SIGPIPE, SIG_IGN); /* as in the data plane: nng and its peers close when they like */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
