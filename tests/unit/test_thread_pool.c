/*
 * test_thread_pool.c - jobs run aside, heavy ones not all at once; idle threads end; the end drops,
 * waits and loses.
 */
#include "base/thread_pool.h"

#include "base/mono.h"
#include "on_worker.h"
#include "pool_probe.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include <cmocka.h>

#define THREADS 3
#define HEAVY	2

struct probe {
	struct np_pool_job job;
	struct pool_probe p;
	void *arg; /* that done got */
};

static sem_t thread_ended;

static void probe_run(struct np_pool_job *job)
{
	pool_probe_run(&((struct probe *)job)->p);
}

static void probe_done(void *arg, struct np_pool_job *job)
{
	struct probe *p = (struct probe *)job;

	p->arg = arg;
	sem_post(&p->p.done);
}

static void probe_lose(struct np_pool_job *job)
{
	((struct probe *)job)->p.lost = true;
}

static void probe_drop(struct np_pool_job *job)
{
	pool_probe_drop(&((struct probe *)job)->p);
}

static void thread_end(void)
{
	sem_post(&thread_ended);
}

#define OPS(idle)                                                                                \
	{                                                                                        \
		.threads_max = THREADS, .heavy_max = HEAVY, .idle_ms = (idle), .run = probe_run, \
		.done = probe_done, .lose = probe_lose, .drop = probe_drop,                      \
		.thread_end = thread_end                                                         \
	}
static const struct np_thread_pool_ops patient = OPS(60000), hasty = OPS(1);

static void pool_init(struct np_thread_pool *pool, const struct np_thread_pool_ops *ops)
{
	sem_init(&thread_ended, 0, 0);
	atomic_store(&running_max, 0);
	np_thread_pool_init(pool, ops, pool);
}

static void pool_end(struct np_thread_pool *pool)
{
	assert_true(np_thread_pool_stop(pool, 20000));
	np_thread_pool_release(pool);
}

static enum np_err give(struct np_thread_pool *pool, struct probe *p, bool heavy, sem_t *hold)
{
	memset(p, 0, sizeof(*p));
	pool_probe_init(&p->p, hold);
	p->job.heavy = heavy;
	return np_thread_pool_submit(pool, &p->job);
}

static enum np_err give_heavy(struct np_thread_pool *pool, struct probe *p, bool soon, sem_t *hold)
{
	memset(p, 0, sizeof(*p));
	sem_init(hold, 0, 0);
	pool_probe_init(&p->p, hold);
	p->job.heavy = true;
	p->job.soon = soon;
	return np_thread_pool_submit(pool, &p->job);
}

static void np_thread_pool_submit__one__runs_aside_without_signals(void **state)
{
	struct np_thread_pool pool;
	struct probe p;

	(void)state;
	pool_init(&pool, &patient);
	assert_int_equal(give(&pool, &p, false, NULL), NP_OK);
	assert_true(on_worker_wait(&p.p.done));
	assert_ptr_equal(p.arg, &pool);
	assert_true(p.p.signals_blocked);
	assert_false(pthread_equal(p.p.thread, pthread_self()));
	pool_end(&pool);
	assert_false(p.p.dropped || p.p.lost);
	assert_int_equal(sem_trywait(&thread_ended), 0);
}

static void np_thread_pool_submit__one_after_another_quickly__each_has_a_thread(void **state)
{
	struct np_thread_pool pool;
	struct probe p[THREADS];
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	pool_init(&pool, &patient);
	/* A thread that idles is woken for one of them, and is no reason not to start others. */
	assert_int_equal(give(&pool, &p[0], false, NULL), NP_OK);
	assert_true(on_worker_wait(&p[0].p.done));
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(give(&pool, &p[i], false, &hold), NP_OK);
	for (size_t i = 0; i < THREADS; i++)
		assert_true(on_worker_wait(&p[i].p.started));
	for (size_t i = 0; i < THREADS; i++)
		sem_post(&hold);
	for (size_t i = 0; i < THREADS; i++)
		assert_true(on_worker_wait(&p[i].p.done));
	pool_end(&pool);
}

static void np_thread_pool_submit__heavy_ones__leave_a_thread_to_light_ones(void **state)
{
	struct np_thread_pool pool;
	struct probe heavy[8], light;
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	pool_init(&pool, &patient);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(give(&pool, &heavy[i], true, &hold), NP_OK);
	assert_true(on_worker_wait(&heavy[0].p.started));
	assert_true(on_worker_wait(&heavy[1].p.started));
	assert_int_equal(give(&pool, &light, false, NULL), NP_OK);
	assert_true(on_worker_wait(&light.p.done)); /* while all heavy ones are held */
	assert_int_equal(sem_trywait(&heavy[HEAVY].p.started), -1);
	atomic_store(&running_max, 0);
	for (size_t i = 0; i < 8; i++)
		sem_post(&hold);
	for (size_t i = 0; i < 8; i++)
		assert_true(on_worker_wait(&heavy[i].p.done));
	assert_in_range(atomic_load(&running_max), 1, HEAVY);
	pool_end(&pool);
}

static void np_thread_pool_submit__soon_and_other_heavy_ones__take_turns(void **state)
{
	enum { OTHERS = 5, SOON = 3, ALL = OTHERS + SOON };
	/* One heavy thread is held by the first of all; these have the other one. */
	static const size_t order[] = {1, OTHERS, 2, OTHERS + 1, 3, OTHERS + 2, 4};
	struct np_thread_pool pool;
	struct probe p[ALL];
	sem_t hold[ALL];

	(void)state;
	pool_init(&pool, &patient);
	for (size_t i = 0; i < ALL; i++) {
		assert_int_equal(give_heavy(&pool, &p[i], i >= OTHERS, &hold[i]), NP_OK);
		if (i < HEAVY)
			assert_true(on_worker_wait(&p[i].p.started));
	}
	for (size_t i = 0; i + 1 < sizeof(order) / sizeof(*order); i++) {
		sem_post(&hold[order[i]]);
		assert_true(on_worker_wait(&p[order[i + 1]].p.started));
	}
	sem_post(&hold[0]);
	sem_post(&hold[4]);
	for (size_t i = 0; i < ALL; i++)
		assert_true(on_worker_wait(&p[i].p.done));
	pool_end(&pool);
}

static void np_thread_pool_submit__queue_full__refused_then_taken(void **state)
{
	static struct probe busy[THREADS], waiting[NP_THREAD_POOL_QUEUE_MAX], extra;
	struct np_thread_pool pool;
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	pool_init(&pool, &patient);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(give(&pool, &busy[i], false, &hold), NP_OK);
	for (size_t i = 0; i < THREADS; i++)
		assert_true(on_worker_wait(&busy[i].p.started));
	for (size_t i = 0; i < NP_THREAD_POOL_QUEUE_MAX; i++)
		assert_int_equal(give(&pool, &waiting[i], false, NULL), NP_OK);
	assert_int_equal(give(&pool, &extra, false, NULL), NP_ELIMIT);
	for (size_t i = 0; i < THREADS; i++)
		sem_post(&hold);
	for (size_t i = 0; i < NP_THREAD_POOL_QUEUE_MAX; i++)
		assert_true(on_worker_wait(&waiting[i].p.done));
	assert_int_equal(give(&pool, &extra, false, NULL), NP_OK);
	assert_true(on_worker_wait(&extra.p.done));
	pool_end(&pool);
}

static void np_thread_pool_submit__threads_that_end_idle__never_loses_a_job(void **state)
{
	struct np_thread_pool pool;
	struct probe p;

	(void)state;
	pool_init(&pool, &hasty);
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(give(&pool, &p, i % 2 == 0, NULL), NP_OK);
		assert_true(on_worker_wait(&p.p.done));
		if (i % 8 == 0)
			assert_true(on_worker_wait(&thread_ended));
	}
	pool_end(&pool);
}

static void np_thread_pool_stop__running_and_waiting__waits_and_drops(void **state)
{
	struct np_thread_pool pool;
	struct probe heavy[4], late;
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	pool_init(&pool, &patient);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(give(&pool, &heavy[i], true, &hold), NP_OK);
	assert_true(on_worker_wait(&heavy[0].p.started));
	assert_true(on_worker_wait(&heavy[1].p.started));
	assert_true(np_thread_pool_stop(&pool, 20000));
	assert_true(heavy[2].p.dropped && heavy[3].p.dropped);
	assert_false(heavy[0].p.dropped || heavy[1].p.dropped || heavy[0].p.lost ||
		     heavy[1].p.lost);
	assert_int_equal(sem_trywait(&heavy[0].p.done), 0);
	assert_int_equal(sem_trywait(&heavy[1].p.done), 0);
	assert_int_equal(sem_trywait(&heavy[2].p.started), -1);
	assert_int_equal(give(&pool, &late, false, NULL), NP_ESTATE);
	np_thread_pool_restart(&pool);
	assert_int_equal(give(&pool, &late, false, NULL), NP_OK);
	assert_true(on_worker_wait(&late.p.done));
	pool_end(&pool);
}

static void np_thread_pool_stop__job_hangs__lost_when_it_ends(void **state)
{
	struct np_mono before = np_mono_now();
	struct np_thread_pool pool;
	struct probe p;
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	pool_init(&pool, &patient);
	assert_int_equal(give(&pool, &p, false, &hold), NP_OK);
	assert_true(on_worker_wait(&p.p.started));
	assert_false(np_thread_pool_stop(&pool, 50));
	assert_true(np_mono_diff_ms(np_mono_now(), before) >= 49);
	sem_post(&hold);
	np_thread_pool_restart(&pool); /* waits for its thread */
	assert_true(p.p.lost && !p.p.dropped);
	assert_int_equal(sem_trywait(&p.p.done), -1);
	pool_end(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(np_thread_pool_submit__one__runs_aside_without_signals),
	    cmocka_unit_test(np_thread_pool_submit__one_after_another_quickly__each_has_a_thread),
	    cmocka_unit_test(np_thread_pool_submit__heavy_ones__leave_a_thread_to_light_ones),
	    cmocka_unit_test(np_thread_pool_submit__soon_and_other_heavy_ones__take_turns),
	    cmocka_unit_test(np_thread_pool_submit__queue_full__refused_then_taken),
	    cmocka_unit_test(np_thread_pool_submit__threads_that_end_idle__never_loses_a_job),
	    cmocka_unit_test(np_thread_pool_stop__running_and_waiting__waits_and_drops),
	    cmocka_unit_test(np_thread_pool_stop__job_hangs__lost_when_it_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
