/*
 * test_registry_action.c - instances that are stopped, started, restarted, reset and removed: nothing is
 * left behind.
 */
#include "registry_bed.h"

static void registry_action__stop__listener_at_once(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct np_diag diag;
	struct np_mono begin = np_mono_now();
	struct counter_sum sum;
	char c;
	int fd;

	start_one(f, port);
	fd = visitor_open(port);
	assert_int_equal(greeting(fd), 'A');
	assert_int_equal(registry_action(f->r, "a", CTL_STOP, &diag), CTL_ACCEPTED);
	assert_int_equal(status(f, "a").state, CTL_STOPPING);
	UNTIL(f, status(f, "a").state == CTL_STOPPED);
	assert_in_range(np_mono_diff_ms(np_mono_now(), begin), 2900, 6000);
	assert_true(recv(fd, &c, 1, 0) <= 0);
	assert_int_equal(visitor_open(port), -1);
	assert_true(registry_sum(f->r, "a", &sum));
	assert_int_equal(sum.closes[NP_REASON_INSTANCE_STOPPED], 1);
	assert_int_equal(registry_action(f->r, "a", CTL_STOP, &diag), CTL_OK);
	close(fd);
	assert_int_equal(registry_action(f->r, "a", CTL_START, &diag), CTL_ACCEPTED);
	UNTIL(f, status(f, "a").state == CTL_RUNNING);
	assert_int_equal(status(f, "a").starts, 2);
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
	    TEST(registry_action__stop__listener_at_once),
	    TEST(registry_action__restart__pauses),
	    TEST(registry_action__reset__counts_from_nothing),
	    TEST(registry_remove__running__said_once),
	    TEST(registry_remove__being_made__leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
