/*
 * test_arrivals.c - visitors of a single-end client go to the workers in turn, and are begun in the
 * order in which they came. What begins and refuses them here only takes notes.
 */
#include "arrivals.h"
#include "instance.h"
#include "on_worker.h"
#include "visitor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define WORKERS	 3
#define VISITORS NP_STORM_MANY
#define STORM	 (NP_STORM_MANY + 8)

static struct bed {
	struct instance inst;
	struct shard shard[WORKERS];
	struct shard *_Atomic shards[WORKERS];
	struct visitor visitor[STORM];
	_Atomic unsigned begun, astray, swapped;
	unsigned of[WORKERS], refused;
	enum np_reason reason;
	bool waited, waits_on;
	struct np_mono now;
	sem_t all, gate;
} bed;

void visitor_begin(struct visitor *v)
{
	unsigned place = atomic_fetch_add(&bed.begun, 1);

	if (v != &bed.visitor[place])
		atomic_fetch_add(&bed.swapped, 1);
	if (v->shard->worker != worker_self())
		atomic_fetch_add(&bed.astray, 1);
	atomic_fetch_add(&v->shard->worker->load, 1);
	bed.of[v->shard->worker->index]++;
	if (place + 1 == VISITORS)
		sem_post(&bed.all);
}

void visitor_refuse(struct visitor *v, enum np_reason reason)
{
	bed.refused += v->shard->worker == worker_self();
	bed.reason = reason;
}

static int bed_open(void **state)
{
	(void)state;
	memset(&bed, 0, sizeof(bed));
	sem_init(&bed.all, 0, 0);
	sem_init(&bed.gate, 0, 0);
	assert_int_equal(workers_start(WORKERS), NP_OK);
	for (unsigned i = 0; i < WORKERS; i++) {
		bed.shard[i] = (struct shard){.inst = &bed.inst, .worker = worker_at(i)};
		bed.shards[i] = &bed.shard[i];
	}
	bed.inst.home = worker_at(0);
	bed.inst.shards = bed.shards;
	return 0;
}

static int bed_close(void **state)
{
	(void)state;
	workers_stop();
	sem_destroy(&bed.all);
	sem_destroy(&bed.gate);
	return 0;
}

static void arrive(unsigned i)
{
	struct visitor *v = &bed.visitor[i];
	struct worker *w = arrivals_turn(&bed.inst.arrivals, bed.now);

	v->inst = &bed.inst;
	v->shard = &bed.shard[w->index];
	arrivals_add(&bed.inst, v);
}

static void all_at_once(struct worker *w, void *arg)
{
	(void)w, (void)arg;
	for (unsigned i = 0; i < VISITORS; i++)
		arrive(i);
}

static void one(struct worker *w, void *arg)
{
	(void)w;
	arrive(*(unsigned *)arg);
}

static void nothing(struct worker *w, void *arg)
{
	(void)w, (void)arg;
}

/* Mail that was posted before this has been delivered when it returns. */
static void let_all_begin(void)
{
	for (unsigned i = 0; i < WORKERS; i++)
		assert_true(on_worker(worker_at(i), nothing, NULL));
}

static void wait_at_gate(struct worker *w, void *arg)
{
	(void)w, (void)arg;
	on_worker_wait(&bed.gate);
}

static void check_all(void)
{
	assert_true(on_worker_wait(&bed.all));
	assert_int_equal(bed.swapped, 0);
	assert_int_equal(bed.astray, 0);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_in_range(bed.of[i], VISITORS / WORKERS - ARRIVALS_RUN_MAX,
				VISITORS / WORKERS + ARRIVALS_RUN_MAX);
}

static void arrivals__burst__is_shared_out_in_order(void **state)
{
	(void)state;
	assert_true(on_worker(bed.inst.home, all_at_once, NULL));
	check_all();
}

static void arrivals__one_by_one__are_shared_out_too(void **state)
{
	(void)state;
	for (unsigned i = 0; i < VISITORS; i++)
		assert_true(on_worker(bed.inst.home, one, &i));
	check_all();
}

/* Few streams that last: none of the workers has a second one before each has one. */
static void arrivals__few__go_one_by_one(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WORKERS; i++) {
		assert_true(on_worker(bed.inst.home, one, &i));
		let_all_begin();
	}
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(bed.of[i], 1);
}

static void arrivals__one_who_carries_more__is_passed_over(void **state)
{
	(void)state;
	atomic_store(&worker_at(1)->load, 100);
	for (unsigned i = 0; i < 4 * ARRIVALS_RUN_MAX; i++)
		assert_ptr_not_equal(arrivals_turn(&bed.inst.arrivals, bed.now), worker_at(1));
}

/* Those beyond what is kept in order go at once, wherever those before them are. */
static void all_of_a_storm(struct worker *w, void *arg)
{
	(void)w, (void)arg;
	for (unsigned i = 0; i < STORM; i++)
		arrive(i);
	bed.waited = bed.inst.arrivals.line != NULL;
}

static void hold_up_others(struct on_worker *held)
{
	for (unsigned i = 1; i < WORKERS; i++) {
		held[i] = (struct on_worker){.mail.deliver = on_worker_deliver, .fn = wait_at_gate};
		sem_init(&held[i].done, 0, 0);
		worker_post(worker_at(i), &held[i].mail);
	}
}

static void let_others_go_on(struct on_worker *held)
{
	for (unsigned i = 1; i < WORKERS; i++)
		sem_post(&bed.gate);
	for (unsigned i = 1; i < WORKERS; i++) {
		assert_true(on_worker_wait(&held[i].done));
		sem_destroy(&held[i].done);
	}
}

static void arrivals__storm__nobody_waits_for_another(void **state)
{
	struct on_worker held[WORKERS];

	(void)state;
	hold_up_others(held);
	assert_true(on_worker(bed.inst.home, all_of_a_storm, NULL));
	assert_false(bed.waited);
	let_others_go_on(held);
	let_all_begin();
	assert_int_equal(atomic_load(&bed.begun), STORM);
	assert_int_equal(bed.astray, 0);
}

/* Home's own visitor waits for one on its way to a worker that is busy, and so does what is behind it. */
static void one_is_held_up(struct worker *w, void *arg)
{
	struct arrivals *a = &bed.inst.arrivals;
	unsigned i = 0;

	(void)w, (void)arg;
	while (a->line == NULL && i < VISITORS)
		arrive(i++);
	bed.waited = a->line != NULL;
	arrivals_refuse_all(&bed.inst, NP_REASON_SHUTDOWN);
	bed.waits_on = a->line != NULL;
}

static void arrivals__end_of_the_instance__refuses_the_line(void **state)
{
	struct on_worker held[WORKERS];

	(void)state;
	hold_up_others(held);
	assert_true(on_worker(bed.inst.home, one_is_held_up, NULL));
	assert_true(bed.waited && !bed.waits_on);
	assert_int_equal(bed.refused, 1);
	assert_int_equal(bed.reason, NP_REASON_SHUTDOWN);
	let_others_go_on(held);
	let_all_begin(); /* the call home comes late, and finds nobody */
	assert_int_equal(atomic_load(&bed.inst.arrivals.on_way), 0);
	assert_int_equal(bed.astray + bed.swapped, 0);
	let_all_begin();
	assert_int_equal(atomic_load(&bed.inst.arrivals.call), CALL_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(arrivals__burst__is_shared_out_in_order, bed_open,
					    bed_close),
	    cmocka_unit_test_setup_teardown(arrivals__one_by_one__are_shared_out_too, bed_open,
					    bed_close),
	    cmocka_unit_test_setup_teardown(arrivals__few__go_one_by_one, bed_open, bed_close),
	    cmocka_unit_test_setup_teardown(arrivals__one_who_carries_more__is_passed_over,
					    bed_open, bed_close),
	    cmocka_unit_test_setup_teardown(arrivals__storm__nobody_waits_for_another, bed_open,
					    bed_close),
	    cmocka_unit_test_setup_teardown(arrivals__end_of_the_instance__refuses_the_line,
					    bed_open, bed_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
