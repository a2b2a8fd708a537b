/*
 * test_node.c - the connection to a data plane: what is told at its beginning, how it is kept, lost
 * and made anew, its shutdown.
 */
#include "node_bed.h"

static void on_shutdown(void *arg)
{
	(void)arg;
	owner.shutdowns++;
}

static void node_new__empty_node__hello_snapshot_list(void **state)
{
	(void)state;
	specs(3);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	assert_false(owner.held);
	assert_true(node_is_up(node));
	assert_int_equal(node_pid(node), 4242);
	assert_int_equal(fake.asked[0].command, CTL_CMD_HELLO);
	assert_int_equal(fake.asked[0].epoch, 3);
	assert_int_equal(asked_count(CTL_CMD_SUBSCRIBE), 1);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 1);
	assert_int_equal(asked_count(CTL_CMD_LIST), 2);
	assert_int_equal(fake.instances, 3);
	assert_int_equal(fake.applied, 3);
	assert_int_equal(owner.statuses, 2);
}

static void node_new__state_is_held__no_snapshot(void **state)
{
	(void)state;
	specs(3);
	fake_open("aa");
	fake.applied = 3;
	assert_int_equal(node_new(base, dir, "test", 3, 500, &callbacks, NULL, &node), NP_OK);
	assert_true(until(is_synced_and_listed));
	assert_true(owner.held);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 0);
}

static bool is_told(void)
{
	return asked_count(CTL_CMD_SNAPSHOT) == 1 && owner.synced >= 2 && owner.leases > 0;
}

/* One of them was refused when it was new, before we began. */
static void node_new__state_is_held_but_not_all_listed__one_snapshot(void **state)
{
	(void)state;
	specs(3);
	owner.misses = true;
	fake_open("aa");
	fake.applied = 3;
	assert_int_equal(node_new(base, dir, "test", 3, 500, &callbacks, NULL, &node), NP_OK);
	assert_true(until(is_told));
	assert_true(owner.held);
	owner.listed = asked_count(CTL_CMD_LIST);
	fake.seq += 3; /* another list is no reason for another one */
	fake_status("s0000", CTL_RUNNING);
	assert_true(until(is_listed_again));
	change(0);
	assert_true(until(is_all_applied));
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 1);
}

static void node_new__many_instances__chunks(void **state)
{
	(void)state;
	specs(SPECS_MAX);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	assert_true(asked_count(CTL_CMD_SNAPSHOT) >= 3);
	assert_true(asked_last(CTL_CMD_SNAPSHOT)->last);
	assert_int_equal(fake.instances, SPECS_MAX);
}

static bool is_down(void)
{
	return owner.downs > 0;
}

static bool is_up_twice(void)
{
	return owner.ups >= 2 && owner.synced >= 2;
}

static void node__data_plane_dies__snapshot_to_the_next(void **state)
{
	struct np_mono begin;

	(void)state;
	specs(5);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	quiet();
	fake_close();
	assert_true(until(is_down));
	assert_false(node_is_up(node));
	change(2);
	fake_open("bb");
	node_kick(node);
	begin = np_mono_now();
	assert_true(until(is_up_twice));
	assert_true(np_mono_diff_ms(np_mono_now(), begin) < 1000);
	assert_false(owner.held);
	assert_int_equal(fake.instances, 5);
	assert_int_equal(fake.applied, 6);
}

static void node__silent_data_plane__connected_anew(void **state)
{
	(void)state;
	specs(1);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	fake.silent = true;
	assert_true(until(is_down));
	fake.silent = false;
	assert_true(until(is_up_twice));
	assert_true(owner.held);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 1);
}

static bool is_pinged(void)
{
	return asked_count(CTL_CMD_PING) >= 2 && owner.leases >= 2;
}

static void node__idle__pings(void **state)
{
	(void)state;
	specs(1);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	assert_true(until(is_pinged));
	assert_int_equal(owner.downs, 0);
	assert_int_equal(owner.synced, 1);
}

static bool is_shut_down(void)
{
	return owner.shutdowns > 0;
}

static void node_shutdown__answered__done(void **state)
{
	(void)state;
	specs(1);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	node_shutdown(node, 1000, on_shutdown, NULL);
	assert_true(until(is_shut_down));
	assert_int_equal(asked_count(CTL_CMD_SHUTDOWN), 1);
	assert_int_equal(owner.shutdowns, 1);
}

static void node_new__no_data_plane__waits(void **state)
{
	(void)state;
	assert_int_equal(node_new(base, dir, "test", 3, 500, &callbacks, NULL, &node), NP_OK);
	pass(300);
	assert_false(node_is_up(node));
	node_shutdown(node, 1000, on_shutdown, NULL);
	assert_int_equal(owner.shutdowns, 1);
	/* Found without being told. */
	fake_open("aa");
	assert_true(until(is_synced_and_listed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(node_new__empty_node__hello_snapshot_list),
	    TEST(node_new__state_is_held__no_snapshot),
	    TEST(node_new__state_is_held_but_not_all_listed__one_snapshot),
	    TEST(node_new__many_instances__chunks),
	    TEST(node__data_plane_dies__snapshot_to_the_next),
	    TEST(node__silent_data_plane__connected_anew),
	    TEST(node__idle__pings),
	    TEST(node_shutdown__answered__done),
	    TEST(node_new__no_data_plane__waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
