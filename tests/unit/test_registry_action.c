/*
 * test_registry_action.c - instances that are stopped, started, restarted, reset and removed: nothing is
 * left behind.
 */
#include "registry_bed.h"

#include <errno.h>

/* Nobody listens there: connections that are left do not count. */
static bool has_no_listener(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	bool none;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	none = bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
	close(fd);
	return none;
}

/* The instance runs. Was its listener gone before its visitor was? */
static bool stops_with_the_listener_first(struct fixture *f, uint16_t port)
{
	struct np_mono begin;
	struct np_diag diag;
	bool first;
	char c;
	int fd;

	fd = visitor_open(port);
	assert_int_equal(greeting(fd), 'A');
	begin = np_mono_now();
	assert_int_equal(registry_action(f->r, "a", CTL_STOP, &diag), CTL_ACCEPTED);
	assert_int_equal(status(f, "a").state, CTL_STOPPING);
	UNTIL(f, has_no_listener(port));
	first = recv(fd, &c, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN;
	UNTIL(f, status(f, "a").state == CTL_STOPPED);
	assert_true(np_mono_diff_ms(np_mono_now(), begin) >= REGISTRY_STOP_GRACE_MS);
	assert_true(recv(fd, &c, 1, 0) <= 0);
	close(fd);
	return first;
}

static void registry_action__stop__listener_first(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct np_diag diag;
	struct counter_sum sum;
	unsigned stops = 1;
	int fd;

	start_one(f, port);
	/* On a busy machine the visitor's time may be over before this looks again. */
	while (!stops_with_the_listener_first(f, port) && stops < 4) {
		stops++;
		assert_int_equal(registry_action(f->r, "a", CTL_START, &diag), CTL_ACCEPTED);
		UNTIL(f, status(f, "a").state == CTL_RUNNING);
	}
	assert_in_range(stops, 1, 3);
	assert_true(registry_sum(f->r, "a", &sum));
	assert_int_equal(sum.closes[NP_REASON_INSTANCE_STOPPED], stops);
	assert_int_equal(visitor_open(port), -1);
	assert_int_equal(registry_action(f->r, "a", CTL_STOP, &diag), CTL_OK);
	assert_int_equal(registry_action(f->r, "a", CTL_START, &diag), CTL_ACCEPTED);
	UNTIL(f, status(f, "a").state == CTL_RUNNING);
	assert_int_equal(status(f, "a").starts, stops + 1);
	fd = visitor_open(port);
	assert_int_equal(greeting(fd), 'A');
	close(fd);
}

static void registry_action__restart__pauses(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct np_diag diag;
	struct np_mono begin;

	start_one(f, port);
	begin = np_mono_now();
	assert_int_equal(registry_action(f->r, "a", CTL_RESTART, &diag), CTL_ACCEPTED);
	UNTIL(f, status(f, "a").starts == 2 && status(f, "a").state == CTL_RUNNING);
	assert_true(np_mono_diff_ms(np_mono_now(), begin) >= REGISTRY_RESTART_PAUSE_MS);
}

static void registry_action__reset__counts_from_nothing(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct np_diag diag;
	struct ctl_stats s;
	int fd;

	start_one(f, port);
	fd = visitor_open(port);
	assert_int_equal(greeting(fd), 'A');
	assert_true(echoes(fd, "12345"));
	UNTIL(f, registry_stats(f->r, "a", &s) && s.tcp_rx == 5 && s.tcp_tx == 6);
	assert_int_equal(s.tcps, 1);
	assert_int_equal(registry_action(f->r, "a", CTL_RESET, &diag), CTL_OK);
	assert_true(registry_stats(f->r, "a", &s));
	assert_int_equal(s.tcp_rx, 0);
	assert_int_equal(s.tcps, 1);
	assert_true(echoes(fd, "123"));
	UNTIL(f, registry_stats(f->r, "a", &s) && s.tcp_rx == 3 && s.tcp_tx == 3);
	close(fd);
}

static void registry_remove__running__said_once(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	start_one(f, port);
	assert_int_equal(registry_remove(f->r, "a"), CTL_ACCEPTED);
	(void)registry_remove(f->r, "a");
	UNTIL(f, registry_spec(f->r, "a") == NULL);
	assert_int_equal(f->removed, 1);
	assert_string_equal(f->removed_id, "a");
	assert_int_equal(registry_remove(f->r, "a"), CTL_NOT_FOUND);
	assert_null(registry_next(f->r, ""));
	assert_int_equal(visitor_open(port), -1);
}

static void registry_remove__being_made__leaves_nothing(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	assert_int_equal(apply(f, "s", 1, CTL_DESIRED_RUNNING,
			       "server://a-word-of-a-key@127.0.0.1:%u/127.0.0.1:%u?mode=2&log=none",
			       port, f->a.port),
			 CTL_ACCEPTED);
	assert_int_equal(registry_remove(f->r, "s"), CTL_OK);
	UNTIL(f, ending(f) == 0);
	assert_int_equal(visitor_open(port), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(registry_action__stop__listener_first),
	    TEST(registry_action__restart__pauses),
	    TEST(registry_action__reset__counts_from_nothing),
	    TEST(registry_remove__running__said_once),
	    TEST(registry_remove__being_made__leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
