/*
 * test_offload.c - jobs run, come back, are limited, dropped or abandoned at the end.
 */
#include "offload.h"

#include "on_worker.h"
#include "pool_probe.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct probe {
	struct offload_job job;
	struct pool_probe p;
	struct worker *ran_on;
};

static void probe_run(struct offload_job *job)
{
	pool_probe_run(&((struct probe *)job)->p);
}

static void probe_done(struct worker *w, struct mail *m)
{
	struct probe *p = (struct probe *)m;

	p->ran_on = worker_self() == w ? w : NULL;
	sem_post(&p->p.done);
}

static void probe_drop(struct offload_job *job)
{
	pool_probe_drop(&((struct probe *)job)->p);
}

static void probe_lose(struct offload_job *job)
{
	((struct probe *)job)->p.lost = true;
}

static void probe_init(struct probe *p, enum offload_class class, sem_t *hold)
{
	memset(p, 0, sizeof(*p));
	pool_probe_init(&p->p, hold);
	p->job.done.deliver = probe_done;
	p->job.reply_to = worker_at(0);
	p->job.class = class;
	p->job.run = probe_run;
	p->job.drop = probe_drop;
	p->job.lose = probe_lose;
}

static int set_up(void **state)
{
	(void)state;
	atomic_store(&running_max, 0);
	return workers_start(2) != NP_OK;
}

static int tear_down(void **state)
{
	(void)state;
	offload_stop();
	workers_stop();
	offload_restart();
	return 0;
}

static void offload_submit__light__runs_aside_and_comes_back(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, OFFLOAD_LIGHT, NULL);
	p.job.reply_to = worker_at(1);
	assert_int_equal(offload_submit(&p.job), NP_OK);
	assert_true(on_worker_wait(&p.p.done));
	assert_ptr_equal(p.ran_on, worker_at(1));
	assert_true(p.p.signals_blocked);
	assert_false(pthread_equal(p.p.thread, pthread_self()));
	assert_false(p.p.dropped);
}

static void submit_many(struct probe *p, size_t n, enum offload_class class, sem_t *hold)
{
	for (size_t i = 0; i < n; i++) {
		probe_init(&p[i], class, hold);
		assert_int_equal(offload_submit(&p[i].job), NP_OK);
	}
}

static void release_many(struct probe *p, size_t n, sem_t *hold)
{
	for (size_t i = 0; i < n; i++)
		sem_post(hold);
	for (size_t i = 0; i < n; i++)
		assert_true(on_worker_wait(&p[i].p.done));
}

static void offload_submit__many_light__all_threads_and_no_more(void **state)
{
	static struct probe p[40];
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	submit_many(p, 40, OFFLOAD_LIGHT, &hold);
	for (size_t i = 0; i < OFFLOAD_THREADS_MAX; i++) /* the first ones, in order */
		assert_true(on_worker_wait(&p[i].p.started));
	release_many(p, 40, &hold);
	assert_int_equal(atomic_load(&running_max), OFFLOAD_THREADS_MAX);
}

static void offload_submit__many_heavy__two_at_once_and_light_pass(void **state)
{
	static struct probe heavy[10], light[4];
	sem_t hold, hold_light;

	(void)state;
	sem_init(&hold, 0, 0);
	sem_init(&hold_light, 0, 0);
	submit_many(heavy, 10, OFFLOAD_HEAVY, &hold);
	submit_many(light, 4, OFFLOAD_LIGHT, &hold_light);
	release_many(light, 4, &hold_light); /* while all heavy ones are held */
	assert_true(on_worker_wait(&heavy[0].p.started));
	assert_true(on_worker_wait(&heavy[1].p.started));
	atomic_store(&running_max, 0);
	release_many(heavy, 10, &hold);
	assert_in_range(atomic_load(&running_max), 1, OFFLOAD_HEAVY_MAX);
}

static void offload_submit__queue_full__refused_and_goes_on(void **state)
{
	static struct probe p[OFFLOAD_THREADS_MAX + OFFLOAD_QUEUE_MAX], extra;
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	submit_many(p, OFFLOAD_THREADS_MAX, OFFLOAD_LIGHT, &hold);
	for (size_t i = 0; i < OFFLOAD_THREADS_MAX; i++)
		assert_true(on_worker_wait(&p[i].p.started));
	submit_many(p + OFFLOAD_THREADS_MAX, OFFLOAD_QUEUE_MAX, OFFLOAD_LIGHT, &hold);
	probe_init(&extra, OFFLOAD_LIGHT, NULL);
	assert_int_equal(offload_submit(&extra.job), NP_ELIMIT);
	release_many(p, OFFLOAD_THREADS_MAX + OFFLOAD_QUEUE_MAX, &hold);
	assert_int_equal(offload_submit(&extra.job), NP_OK);
	assert_true(on_worker_wait(&extra.p.done));
}

static void offload_stop__running_and_waiting__waits_and_drops(void **state)
{
	static struct probe heavy[4], late;
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	submit_many(heavy, 4, OFFLOAD_HEAVY, &hold);
	assert_true(on_worker_wait(&heavy[0].p.started));
	assert_true(on_worker_wait(&heavy[1].p.started));
	offload_stop();
	assert_true(heavy[2].p.dropped && heavy[3].p.dropped);
	assert_false(heavy[0].p.dropped || heavy[1].p.dropped);
	assert_int_equal(atomic_load(&running), 0);
	assert_true(on_worker_wait(&heavy[0].p.done));
	assert_true(on_worker_wait(&heavy[1].p.done));
	assert_false(heavy[0].p.lost || heavy[2].p.lost);
	probe_init(&late, OFFLOAD_LIGHT, NULL);
	assert_int_equal(offload_submit(&late.job), NP_ESTATE);
	assert_int_equal(sem_trywait(&heavy[2].p.done), -1);
	assert_int_equal(sem_trywait(&heavy[2].p.started), -1);
}

static void offload_stop__job_hangs__abandoned_without_mail_and_lost(void **state)
{
	static struct probe p;
	struct np_mono before = np_mono_now();
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	submit_many(&p, 1, OFFLOAD_LIGHT, &hold);
	assert_true(on_worker_wait(&p.p.started));
	offload_stop();
	assert_in_range(np_mono_diff_ms(np_mono_now(), before), OFFLOAD_STOP_MS - 10, 10000);
	workers_stop();
	sem_post(&hold);
	offload_restart(); /* the thread has ended; its worker was gone */
	assert_int_equal(sem_trywait(&p.p.done), -1);
	assert_true(p.p.lost && !p.p.dropped);
	assert_int_equal(workers_start(1), NP_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(offload_submit__light__runs_aside_and_comes_back,
					    set_up, tear_down),
	    cmocka_unit_test_setup_teardown(offload_submit__many_light__all_threads_and_no_more,
					    set_up, tear_down),
	    cmocka_unit_test_setup_teardown(offload_submit__many_heavy__two_at_once_and_light_pass,
					    set_up, tear_down),
	    cmocka_unit_test_setup_teardown(offload_submit__queue_full__refused_and_goes_on, set_up,
					    tear_down),
	    cmocka_unit_test_setup_teardown(offload_stop__running_and_waiting__waits_and_drops,
					    set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		offload_stop__job_hangs__abandoned_without_mail_and_lost, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
