/*
 * test_worker.c - work put off to the next pass or to a little later, and taken back.
 */
#include "worker.h"

#include "on_worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ONE, TWO, THREE, TASKS };

static struct bed {
	struct job {
		struct task task;
		struct np_mono at;
		char name;
	} jobs[TASKS];
	char ran[16]; /* names, in the order in which they ran */
	size_t nran;
	unsigned again; /* so often ONE puts off itself, the last time THREE */
	struct np_mono begun;
	sem_t ended;
} bed;

static void job_run(struct worker *w, struct task *t)
{
	struct job *j = (struct job *)t;

	j->at = np_mono_now();
	bed.ran[bed.nran++] = j->name;
	if (j == &bed.jobs[ONE] && bed.again > 0)
		worker_defer_later(w, --bed.again > 0 ? t : &bed.jobs[THREE].task);
	if (j == &bed.jobs[THREE])
		sem_post(&bed.ended);
}

static int set_up(void **state)
{
	(void)state;
	memset(&bed, 0, sizeof(bed));
	sem_init(&bed.ended, 0, 0);
	for (int i = 0; i < TASKS; i++) {
		bed.jobs[i].task.run = job_run;
		bed.jobs[i].name = (char)('1' + i);
	}
	return workers_start(1) != NP_OK;
}

static int tear_down(void **state)
{
	(void)state;
	workers_stop();
	sem_destroy(&bed.ended);
	return 0;
}

static void run(void (*fn)(struct worker *w, void *arg), const char *order)
{
	bed.begun = np_mono_now();
	assert_true(on_worker(worker_at(0), fn, NULL));
	assert_true(on_worker_wait(&bed.ended));
	assert_string_equal(bed.ran, order);
}

static int64_t ms_until(int job)
{
	return np_mono_diff_ms(bed.jobs[job].at, bed.begun);
}

static void all_later(struct worker *w, void *arg)
{
	(void)arg;
	for (int i = 0; i < TASKS; i++) {
		worker_defer_later(w, &bed.jobs[i].task);
		worker_defer_later(w, &bed.jobs[i].task); /* once, however often it is asked */
	}
}

static void defer_later__some__run_in_order_after_their_time(void **state)
{
	(void)state;
	run(all_later, "123");
	assert_true(ms_until(ONE) >= WORKER_LATER_MS - 1);
}

static void second_is_hurried(struct worker *w, void *arg)
{
	all_later(w, arg);
	worker_defer(w, &bed.jobs[TWO].task);
	worker_defer_later(w, &bed.jobs[TWO].task); /* it does not get later again */
}

static void defer__one_that_was_for_later__runs_in_the_next_pass(void **state)
{
	(void)state;
	run(second_is_hurried, "213");
}

static void two_are_taken_back(struct worker *w, void *arg)
{
	all_later(w, arg);
	worker_undefer(w, &bed.jobs[ONE].task);
	worker_defer(w, &bed.jobs[TWO].task);
	worker_undefer(w, &bed.jobs[TWO].task);
	worker_undefer(w, &bed.jobs[TWO].task);
}

static void undefer__of_either_kind__never_runs(void **state)
{
	(void)state;
	run(two_are_taken_back, "3");
}

static void one_three_times(struct worker *w, void *arg)
{
	(void)arg;
	bed.again = 3;
	worker_defer_later(w, &bed.jobs[ONE].task);
}

static void defer_later__from_a_task_that_was_late__waits_again(void **state)
{
	(void)state;
	run(one_three_times, "1113");
	assert_true(ms_until(THREE) >= 4 * (WORKER_LATER_MS - 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(defer_later__some__run_in_order_after_their_time,
					    set_up, tear_down),
	    cmocka_unit_test_setup_teardown(defer__one_that_was_for_later__runs_in_the_next_pass,
					    set_up, tear_down),
	    cmocka_unit_test_setup_teardown(undefer__of_either_kind__never_runs, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(defer_later__from_a_task_that_was_late__waits_again,
					    set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
