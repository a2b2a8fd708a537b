/*
 * Tests of what a node is told next: order, steps of its counter, pauses between snapshots.
 */
#include "reconcile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char id[RECONCILE_ID_MAX + 1];
static int64_t wait_ms;

static enum reconcile_action next(struct reconcile *r, uint64_t desired, int64_t now_ms)
{
	memset(id, 0, sizeof(id));
	return reconcile_next(r, desired, now_ms, id, &wait_ms);
}

static struct reconcile held_at(uint64_t revision)
{
	struct reconcile r;

	reconcile_init(&r, 4);
	reconcile_up(&r, "aa", revision, true, 0);
	return r;
}

static void id_queue_put__id_again__last(void **state)
{
	struct id_queue q = {.max = 2};

	(void)state;
	assert_int_equal(id_queue_put(&q, "a", 1), NP_OK);
	assert_int_equal(id_queue_put(&q, "b", 2), NP_OK);
	assert_int_equal(id_queue_put(&q, "a", 3), NP_OK);
	assert_int_equal(id_queue_put(&q, "c", 4), NP_ELIMIT);
	assert_int_equal(id_queue_value(&q, "a"), 3);
	assert_true(id_queue_take(&q, id));
	assert_string_equal(id, "b");
	assert_int_equal(id_queue_count(&q), 1);
	assert_true(id_queue_take(&q, id));
	assert_string_equal(id, "a");
	assert_false(id_queue_take(&q, id));
}

static void reconcile_next__down__waits(void **state)
{
	struct reconcile r;

	(void)state;
	reconcile_init(&r, 4);
	reconcile_changed(&r, "a", 0);
	assert_int_equal(next(&r, 5, 0), RECONCILE_WAIT);
	assert_int_equal(wait_ms, -1);
	assert_false(reconcile_is_idle(&r));
	reconcile_release(&r);
}

static void reconcile_next__held__nothing(void **state)
{
	struct reconcile r = held_at(7);

	(void)state;
	assert_int_equal(next(&r, 7, 1000), RECONCILE_WAIT);
	assert_int_equal(wait_ms, -1);
	assert_true(reconcile_is_idle(&r));
	reconcile_release(&r);
}

static void reconcile_next__not_held__snapshot_at_once(void **state)
{
	struct reconcile r;

	(void)state;
	reconcile_init(&r, 4);
	reconcile_up(&r, "aa", 0, false, 50);
	assert_int_equal(next(&r, 7, 50), RECONCILE_SNAPSHOT);
	assert_int_equal(reconcile_snapshot(&r, 7, 50), 7);
	/* What changes meanwhile comes after it. */
	reconcile_changed(&r, "a", 60);
	assert_int_equal(next(&r, 8, 60), RECONCILE_WAIT);
	reconcile_snapshot_end(&r, RECONCILE_DONE, 70);
	assert_int_equal(next(&r, 8, 70), RECONCILE_CHANGE);
	assert_string_equal(id, "a");
	reconcile_release(&r);
}

static void reconcile_snapshot__node_is_ahead__set_back_after_hello_only(void **state)
{
	struct reconcile r;

	(void)state;
	reconcile_init(&r, 4);
	reconcile_up(&r, "aa", 90, false, 0);
	assert_int_equal(reconcile_snapshot(&r, 7, 0), 7);
	reconcile_snapshot_end(&r, RECONCILE_DONE, 0);
	reconcile_release(&r);
	r = held_at(90);
	r.after_hello = false;
	assert_int_equal(reconcile_snapshot(&r, 7, 0), 90);
	reconcile_release(&r);
}

static void reconcile_change__two_changes__one_chain(void **state)
{
	struct reconcile r = held_at(7);
	struct reconcile_step step;

	(void)state;
	reconcile_changed(&r, "a", 0);
	reconcile_changed(&r, "b", 0);
	assert_int_equal(next(&r, 9, 0), RECONCILE_CHANGE);
	assert_true(reconcile_change(&r, "a", 8, &step));
	assert_int_equal(step.base, 7);
	assert_int_equal(step.revision, 8);
	assert_int_equal(next(&r, 9, 0), RECONCILE_CHANGE);
	assert_string_equal(id, "b");
	assert_true(reconcile_change(&r, "b", 9, &step));
	assert_int_equal(step.base, 8);
	assert_int_equal(next(&r, 9, 1000), RECONCILE_WAIT);
	assert_false(reconcile_is_idle(&r));
	reconcile_step_end(&r, RECONCILE_DONE, 5);
	reconcile_step_end(&r, RECONCILE_DONE, 5);
	assert_true(reconcile_is_idle(&r));
	reconcile_release(&r);
}

static void reconcile_change__told_already__no_step(void **state)
{
	struct reconcile r;
	struct reconcile_step step;

	(void)state;
	reconcile_init(&r, 4);
	reconcile_up(&r, "aa", 0, false, 0);
	assert_int_equal(reconcile_snapshot(&r, 9, 0), 9);
	reconcile_told(&r, "a", 8);
	reconcile_snapshot_end(&r, RECONCILE_DONE, 0);
	assert_false(reconcile_change(&r, "a", 8, &step));
	assert_true(reconcile_is_idle(&r));
	/* One that was not part of it although it is older: only another snapshot brings it. */
	assert_false(reconcile_change(&r, "b", 9, &step));
	assert_int_equal(next(&r, 9, 0), RECONCILE_WAIT);
	assert_int_equal(wait_ms, RECONCILE_SNAPSHOT_MS);
	assert_int_equal(next(&r, 9, RECONCILE_SNAPSHOT_MS), RECONCILE_SNAPSHOT);
	reconcile_release(&r);
}

static void reconcile_removal__changes_under_way__room_for_them(void **state)
{
	struct reconcile r = held_at(7);
	struct reconcile_step step;

	(void)state;
	/* Removal is 8, another change that waits for the store is 9. */
	reconcile_removal(&r, &step);
	assert_int_equal(step.base, 7);
	assert_int_equal(step.revision, 8);
	reconcile_step_end(&r, RECONCILE_DONE, 0);
	assert_int_equal(next(&r, 9, 0), RECONCILE_WAIT);
	assert_int_equal(wait_ms, RECONCILE_SETTLE_MS);
	assert_true(reconcile_change(&r, "b", 9, &step));
	assert_int_equal(step.base, 8);
	reconcile_release(&r);
}

static void reconcile_next__quiet_behind__number(void **state)
{
	struct reconcile r = held_at(7);
	struct reconcile_step step;

	(void)state;
	assert_int_equal(next(&r, 9, RECONCILE_SETTLE_MS - 1), RECONCILE_WAIT);
	assert_int_equal(wait_ms, 1);
	assert_int_equal(next(&r, 9, RECONCILE_SETTLE_MS), RECONCILE_NUMBER);
	reconcile_number(&r, 9, &step);
	assert_int_equal(step.base, 7);
	assert_int_equal(step.revision, 9);
	reconcile_step_end(&r, RECONCILE_DONE, 200);
	assert_int_equal(next(&r, 9, 1000), RECONCILE_WAIT);
	assert_int_equal(wait_ms, -1);
	reconcile_release(&r);
}

static void reconcile_step_end__lost__snapshot_when_all_is_answered(void **state)
{
	struct reconcile r = held_at(7);
	struct reconcile_step step;

	(void)state;
	assert_true(reconcile_change(&r, "a", 8, &step));
	assert_true(reconcile_change(&r, "b", 9, &step));
	reconcile_step_end(&r, RECONCILE_LOST, 10);
	assert_int_equal(next(&r, 9, 10), RECONCILE_WAIT);
	reconcile_step_end(&r, RECONCILE_LOST, 10);
	/* The first one is not kept waiting. */
	assert_int_equal(next(&r, 9, 10), RECONCILE_SNAPSHOT);
	assert_int_equal(reconcile_snapshot(&r, 9, 10), 9);
	reconcile_snapshot_end(&r, RECONCILE_LOST, 20);
	assert_int_equal(next(&r, 9, 20), RECONCILE_WAIT);
	assert_int_equal(wait_ms, RECONCILE_SNAPSHOT_MS - 10);
	/* Another boot has a count of its own. */
	reconcile_down(&r);
	reconcile_up(&r, "bb", 0, false, 30);
	assert_int_equal(next(&r, 9, 30), RECONCILE_SNAPSHOT);
	reconcile_release(&r);
}

static void reconcile_up__same_boot_again__snapshot_waits(void **state)
{
	struct reconcile r;

	(void)state;
	reconcile_init(&r, 4);
	reconcile_up(&r, "aa", 0, false, 0);
	assert_int_equal(reconcile_snapshot(&r, 9, 0), 9);
	reconcile_down(&r);
	reconcile_up(&r, "aa", 0, false, 100);
	assert_int_equal(next(&r, 9, 100), RECONCILE_WAIT);
	assert_int_equal(wait_ms, RECONCILE_SNAPSHOT_MS - 100);
	reconcile_release(&r);
}

static void reconcile_changed__queue_full__snapshot(void **state)
{
	struct reconcile r = held_at(7);
	char name[8];

	(void)state;
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "i%d", i);
		reconcile_changed(&r, name, 0);
	}
	assert_int_equal(next(&r, 12, 0), RECONCILE_SNAPSHOT);
	reconcile_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(id_queue_put__id_again__last),
	    cmocka_unit_test(reconcile_next__down__waits),
	    cmocka_unit_test(reconcile_next__held__nothing),
	    cmocka_unit_test(reconcile_next__not_held__snapshot_at_once),
	    cmocka_unit_test(reconcile_snapshot__node_is_ahead__set_back_after_hello_only),
	    cmocka_unit_test(reconcile_change__two_changes__one_chain),
	    cmocka_unit_test(reconcile_change__told_already__no_step),
	    cmocka_unit_test(reconcile_removal__changes_under_way__room_for_them),
	    cmocka_unit_test(reconcile_next__quiet_behind__number),
	    cmocka_unit_test(reconcile_step_end__lost__snapshot_when_all_is_answered),
	    cmocka_unit_test(reconcile_up__same_boot_again__snapshot_waits),
	    cmocka_unit_test(reconcile_changed__queue_full__snapshot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
