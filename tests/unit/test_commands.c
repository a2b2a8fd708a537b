/*
 * test_commands.c - the dispatcher: sessions of a controller, revisions.
 */
#include "commands_bed.h"

/* -- session -- */

static void handle__hello__says_who_and_what_is_needed(void **state)
{
	(void)state;
	assert_int_equal(hello(5, "c1", 3), CTL_OK);
	assert_int_equal(reply.result, CTL_CMD_HELLO);
	assert_true(reply.hello.need_snapshot);
	assert_int_equal(reply.hello.version, 1);
	assert_string_equal(reply.boot_id, BOOT);
	assert_string_equal(reply.hello.info.node_id, "node-1");
	assert_string_equal(reply.hello.info.controller_id, "c1");
	assert_int_equal(reply.hello.info.state, CTL_NODE_MANAGED);
	assert_int_equal(asked.lease_ms, 1000);
	assert_int_equal(hello(5, "c1", 0), CTL_OK);
	assert_false(reply.hello.need_snapshot);
}

static void handle__hello_of_another_version__unsupported(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_HELLO};

	(void)state;
	r.hello.min_version = 2;
	r.hello.max_version = 3;
	assert_int_equal(ask(&r), CTL_UNSUPPORTED);
	assert_int_equal(simple(CTL_CMD_NONE, 0), CTL_UNSUPPORTED);
}

static void handle__epochs__fence_who_is_late(void **state)
{
	(void)state;
	assert_int_equal(hello(5, "c1", 0), CTL_OK);
	assert_int_equal(hello(5, "c2", 0), CTL_FENCED);
	assert_int_equal(hello(4, "c2", 0), CTL_FENCED);
	assert_int_equal(simple(CTL_CMD_PING, 4), CTL_FENCED);
	assert_int_equal(simple(CTL_CMD_PING, 5), CTL_OK);
	assert_int_equal(hello(6, "c2", 0), CTL_OK);
	assert_int_equal(apply(5, 0, 1, "a", "server://a"), CTL_FENCED);
	assert_int_equal(reg.applied, 0);
}

static void handle__scripts__change_only_what_nobody_owns(void **state)
{
	(void)state;
	assert_int_equal(apply(0, 0, 0, "a", "server://a"), CTL_ACCEPTED);
	assert_int_equal(hello(5, "c1", 1), CTL_OK);
	assert_int_equal(apply(0, 0, 0, "b", "server://b"), CTL_FENCED);
	assert_int_equal(remove_one(0, 0, 0, "a"), CTL_FENCED);
	assert_int_equal(simple(CTL_CMD_SUBSCRIBE, 0), CTL_FENCED);
	assert_int_equal(simple(CTL_CMD_SHUTDOWN, 0), CTL_FENCED);
	assert_int_equal(simple(CTL_CMD_LIST, 0), CTL_OK);
	assert_int_equal(simple(CTL_CMD_INFO, 0), CTL_OK);
	now = np_mono_add_ms(now, 4000);
	commands_tick(c, now);
	assert_int_equal(commands_state(c), CTL_NODE_MANAGED);
	now = np_mono_add_ms(now, 1);
	commands_tick(c, now);
	assert_int_equal(commands_state(c), CTL_NODE_ORPHANED);
	assert_int_equal(apply(0, 0, 0, "b", "server://b"), CTL_ACCEPTED);
	assert_int_equal(simple(CTL_CMD_PING, 5), CTL_OK);
	assert_int_equal(commands_state(c), CTL_NODE_MANAGED);
	assert_int_equal(asked.shutdowns, 0);
}

/* -- revisions -- */

static void apply__revisions__each_case_of_the_table(void **state)
{
	(void)state;
	assert_int_equal(hello(1, "c", 0), CTL_OK);
	assert_int_equal(apply(1, 0, 7, "a", "server://a"), CTL_ACCEPTED);
	assert_int_equal(reply.applied_revision, 7);
	assert_int_equal(reply.status.revision, 7);
	/* told again: nothing happens */
	assert_int_equal(apply(1, 0, 7, "a", "server://a"), CTL_OK);
	assert_int_equal(reply.result, CTL_CMD_APPLY);
	assert_int_equal(apply(1, 0, 7, "a", "server://other"), CTL_STALE);
	assert_int_equal(apply(1, 0, 3, "z", "server://z"), CTL_OK);
	assert_int_equal(reg.applied, 1);
	assert_int_equal(apply(1, 6, 8, "a", "server://b"), CTL_GAP);
	assert_int_equal(reg.applied, 1);
	assert_int_equal(apply(1, 7, 8, "a", "server://b"), CTL_OK);
	assert_string_equal(find("a")->url, "server://b");
	assert_int_equal(commands_applied(c), 8);
}

static void apply__refused__counts_as_decided(void **state)
{
	const enum ctl_code nacks[] = {CTL_INVALID, CTL_CONFLICT, CTL_LIMIT};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		reg.next = nacks[i];
		assert_int_equal(apply(0, i, i + 1, "a", "server://a"), nacks[i]);
		assert_string_equal(reply.text, "refused");
		assert_int_equal(commands_applied(c), i + 1);
		assert_int_equal(asked.changed, i + 1);
	}
	reg.next = CTL_STALE;
	assert_int_equal(apply(0, 3, 4, "a", "server://a"), CTL_STALE);
	assert_int_equal(commands_applied(c), 3);
}

static void apply__script__moves_the_revision_by_one(void **state)
{
	(void)state;
	assert_int_equal(apply(0, 0, 0, "a", "server://a"), CTL_ACCEPTED);
	assert_int_equal(apply(0, 0, 0, "b", "server://b"), CTL_ACCEPTED);
	assert_int_equal(commands_applied(c), 2);
	assert_int_equal(find("b")->revision, 2);
	assert_int_equal(remove_one(0, 0, 0, "a"), CTL_ACCEPTED);
	assert_int_equal(remove_one(0, 0, 0, "a"), CTL_NOT_FOUND);
	assert_int_equal(commands_applied(c), 3);
}

static void apply__dry_run__changes_nothing(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_APPLY, .dry_run = true};

	(void)state;
	assert_int_equal(hello(1, "c", 0), CTL_OK);
	fill(&r.apply, "a", "server://a");
	assert_int_equal(ask(&r), CTL_OK); /* allowed: it only reads */
	assert_int_equal(reg.n, 0);
	assert_int_equal(commands_applied(c), 0);
}

static void remove__not_there__a_controller_goes_on(void **state)
{
	(void)state;
	assert_int_equal(remove_one(1, 0, 1, "x"), CTL_OK);
	assert_int_equal(commands_applied(c), 1);
}

static void action__verbs__reach_the_registry(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_ACTION};

	(void)state;
	snprintf(r.action.id, sizeof(r.action.id), "a");
	assert_int_equal(ask(&r), CTL_INVALID);
	r.action.verb = CTL_RESTART;
	assert_int_equal(ask(&r), CTL_NOT_FOUND);
	assert_int_equal(commands_applied(c), 0);
	assert_int_equal(apply(0, 0, 0, "a", "server://a"), CTL_ACCEPTED);
	assert_int_equal(ask(&r), CTL_ACCEPTED);
	assert_int_equal(reg.verb, CTL_RESTART);
	assert_string_equal(reply.status.id, "a");
	assert_int_equal(commands_applied(c), 2);
}

static void apply__draining__only_what_stops(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_APPLY};

	(void)state;
	commands_set_drain(c, COMMANDS_DRAINING);
	assert_int_equal(apply(0, 0, 0, "a", "server://a"), CTL_DRAINING);
	assert_int_equal(commands_applied(c), 0);
	fill(&r.apply, "a", "server://a");
	r.apply.desired = CTL_DESIRED_STOPPED;
	assert_int_equal(ask(&r), CTL_ACCEPTED);
	assert_int_equal(chunk(0, 0, "s", 0, "", true, 0), CTL_DRAINING);
	assert_int_equal(commands_state(c), CTL_NODE_DRAINING);
	commands_set_drain(c, COMMANDS_DRAINED);
	assert_int_equal(commands_state(c), CTL_NODE_DRAINED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(handle__hello__says_who_and_what_is_needed),
	    TEST(handle__hello_of_another_version__unsupported),
	    TEST(handle__epochs__fence_who_is_late),
	    TEST(handle__scripts__change_only_what_nobody_owns),
	    TEST(apply__revisions__each_case_of_the_table),
	    TEST(apply__refused__counts_as_decided),
	    TEST(apply__script__moves_the_revision_by_one),
	    TEST(apply__dry_run__changes_nothing),
	    TEST(remove__not_there__a_controller_goes_on),
	    TEST(action__verbs__reach_the_registry),
	    TEST(apply__draining__only_what_stops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
