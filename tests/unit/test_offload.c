/*
 * test_offload.c - jobs run, come back, are limited, dropped or abandoned at the end.
 */
#include "offload.h"

#include "on_worker.h"

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
	sem_t *hold; /* run waits for it */
	sem_t done, started;
	struct worker *ran_on;
	bool dropped, lost, signals_blocked;
	pthread_t thread;
};

static _Atomic int running, running_max;

static void probe_run(struct offload_job *job)
{
	struct probe *p = (struct probe *)job;
	int now = atomic_fetch_add(&running, 1) + 1, max = atomic_load(&running_max);
	sigset_t set;

	while (now > max && !atomic_compare_exchange_weak(&running_max, &max, now))
		;
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	p->signals_blocked = sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGINT) == 1;
	p->thread = pthread_self();
	sem_post(&p->started);
	if (p->hold != NULL)
		sem_wait(p->hold);
	atomic_fetch_sub(&running, 1);
}

static void probe_done(struct worker *w, struct mail *m)
{
	struct probe *p = (struct probe *)m;

	p->ran_on = worker_self() == w ? w : NULL;
	sem_post(&p->done);
}

static void probe_drop(struct offload_job *job)
{
	struct probe *p = (struct probe *)job;

	p->dropped = true;
	if (p->hold != NULL) /* lets those that run go on: offload_stop waits for them */
		sem_post(p->hold);
}

static void probe_lose(struct offload_job *job)
{
	((struct probe *)job)->lost = true;
}

static void probe_init(struct probe *p, enum offload_class class, sem_t *hold)
{
	memset(p, 0, sizeof(*p));
	p->job.done.deliver = probe_done;
	p->job.reply_to = worker_at(0);
	p->job.class = class;
	p->job.run = probe_run;
	p->job.drop = probe_drop;
	p->job.lose = probe_lose;
	p->hold = hold;
	sem_init(&p->done, 0, 0);
	sem_init(&p->started, 0, 0);
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
	assert_true(on_worker_wait(&p.done));
	assert_ptr_equal(p.ran_on, worker_at(1));
	assert_true(p.signals_blocked);
	assert_false(pthread_equal(p.thread, pthread_self()));
	assert_false(p.dropped);
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
		assert_true(on_worker_wait(&p[i].done));
}

static void offload_submit__many_light__all_threads_and_no_more(void **state)
{
	static struct probe p[40];
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	submit_many(p, 40, OFFLOAD_LIGHT, &hold);
	for (size_t i = 0; i < OFFLOAD_THREADS_MAX; i++) /* the first ones, in order */
		assert_true(on_worker_wait(&p[i].started));
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
	assert_true(on_worker_wait(&heavy[0].started));
	assert_true(on_worker_wait(&heavy[1].started));
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
		assert_true(on_worker_wait(&p[i].started));
	submit_many(p + OFFLOAD_THREADS_MAX, OFFLOAD_QUEUE_MAX, OFFLOAD_LIGHT, &hold);
	probe_init(&extra, OFFLOAD_LIGHT, NULL);
	assert_int_equal(offload_submit(&extra.job), NP_ELIMIT);
	release_many(p, OFFLOAD_THREADS_MAX + OFFLOAD_QUEUE_MAX, &hold);
	assert_int_equal(offload_submit(&extra.job), NP_OK);
	assert_true(on_worker_wait(&extra.done));
}

static void offload_stop__running_and_waiting__waits_and_drops(void **state)
{
	static struct probe heavy[4], late;
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	submit_many(heavy, 4, OFFLOAD_HEAVY, &hold);
	assert_true(on_worker_wait(&heavy[0].started));
	assert_true(on_worker_wait(&heavy[1].started));
	offload_stop();
	assert_true(heavy[2].dropped && heavy[3].dropped);
	assert_false(heavy[0].dropped || heavy[1].dropped);
	assert_int_equal(atomic_load(&running), 0);
	assert_true(on_worker_wait(&heavy[0].done));
	assert_true(on_worker_wait(&heavy[1].done));
	assert_false(heavy[0].lost || heavy[2].lost);
	probe_init(&late, OFFLOAD_LIGHT, NULL);
	assert_int_equal(offload_submit(&late.job), NP_ESTATE);
	assert_int_equal(sem_trywait(&heavy[2].done), -1);
	assert_int_equal(sem_trywait(&heavy[2].started), -1);
}

static void offload_stop__job_hangs__abandoned_without_mail_and_lost(void **state)
{
	static struct probe p;
	struct np_mono before = np_mono_now();
	sem_t hold;

	(void)state;
	sem_init(&hold, 0, 0);
	submit_many(&p, 1, OFFLOAD_LIGHT, &hold);
	assert_true(on_worker_wait(&p.started));
	offload_stop();
	assert_in_range(np_mono_diff_ms(np_mono_now(), before), OFFLOAD_STOP_MS - 10, 10000);
	workers_stop();
	sem_post(&hold);
	offload_restart(); /* the thread has ended; its worker was gone */
	assert_int_equal(sem_trywait(&p.done), -1);
	assert_true(p.lost && !p.dropped);
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
