/*
 * test_node_changes.c - changes on their way to a data plane: their chain of revisions, refusals; gaps
 * of it and of the events that come back.
 */
#include "node_bed.h"

static void node_changed__many_at_once__one_chain_in_order(void **state)
{
	(void)state;
	specs(1);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	for (size_t i = 1; i <= 100; i++)
		change(i);
	change(1);
	assert_true(until(is_all_applied));
	assert_int_equal(fake.gaps, 0);
	assert_int_equal(asked_count(CTL_CMD_APPLY), 100);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 1);
	assert_string_equal(asked_last(CTL_CMD_APPLY)->id, "s0001");
}

static void node_changed__instance_gone__removed(void **state)
{
	(void)state;
	specs(2);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	owner.hide_last = true;
	owner.revision = 5; /* others are being stored */
	node_changed(node, "s0001");
	assert_true(until(is_all_applied));
	assert_string_equal(fake.asked[fake.nasked - 2].id, "s0001");
	assert_int_equal(fake.asked[fake.nasked - 2].revision, 3);
	assert_int_equal(asked_count(CTL_CMD_REMOVE), 2);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 1);
}

static bool is_error_reported(void)
{
	return owner.last.state == CTL_ERROR;
}

static void node_changed__refused__error_reported(void **state)
{
	(void)state;
	specs(2);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	fake.apply_code = CTL_INVALID;
	change(1);
	assert_true(until(is_error_reported));
	assert_string_equal(owner.last.id, "s0001");
	assert_string_equal(owner.last.error, "no such port");
	assert_int_equal(owner.last.revision, 3);
	/* The others go on. */
	fake.apply_code = 0;
	change(0);
	assert_true(until(is_all_applied));
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 1);
}

static void node_changed__gap__snapshot_after_pause(void **state)
{
	struct np_mono begin = np_mono_now();

	(void)state;
	specs(2);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	fake.applied = 77; /* somebody else was there */
	owner.revision = 100;
	change(1);
	assert_true(until(is_all_applied));
	assert_int_equal(fake.gaps, 1);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 2);
	assert_true(np_mono_diff_ms(np_mono_now(), begin) >= 5000);
}

static void node_event__seq_gap__list(void **state)
{
	(void)state;
	specs(1);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	fake_lease();
	owner.listed = asked_count(CTL_CMD_LIST);
	fake_status("s0000", CTL_RUNNING);
	pass(200);
	assert_int_equal(asked_count(CTL_CMD_LIST), owner.listed);
	fake.seq += 3;
	fake_status("s0000", CTL_STOPPED);
	assert_true(until(is_listed_again));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(node_changed__many_at_once__one_chain_in_order),
	    TEST(node_changed__instance_gone__removed),
	    TEST(node_changed__refused__error_reported),
	    TEST(node_changed__gap__snapshot_after_pause),
	    TEST(node_event__seq_gap__list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
