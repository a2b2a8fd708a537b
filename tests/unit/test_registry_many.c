/*
 * test_registry_many.c - hundreds of instances: keys are made beside the loop, idle costs nothing.
 */
#include "registry_bed.h"

#include <malloc.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/resource.h>

#define MANY	  1000
#define MANY_WORD 300

static double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void registry_apply__word_keys__made_beside_the_loop(void **state)
{
	struct fixture *f = *state;
	struct np_mono begin = np_mono_now();
	int64_t longest = 0;
	char id[16];

	for (unsigned i = 0; i < MANY_WORD; i++) {
		struct np_mono one = np_mono_now();

		snprintf(id, sizeof(id), "s%u", i);
		assert_int_equal(
		    apply(f, id, 1, CTL_DESIRED_RUNNING,
			  "server://one-word@127.0.0.1:%u/127.0.0.1:1?mode=2&noudp=1&log=none",
			  20000 + i),
		    CTL_ACCEPTED);
		if (np_mono_diff_ms(np_mono_now(), one) > longest)
			longest = np_mono_diff_ms(np_mono_now(), one);
	}
	UNTIL(f, running(f) == MANY_WORD);
	print_message("%d servers with one word: %lld ms, longest apply %lld ms\n", MANY_WORD,
		      (long long)np_mono_diff_ms(np_mono_now(), begin), (long long)longest);
}

/* -- keys of clients that wait for a helper -- */

#define CLIENTS 50

static sem_t go;
static _Atomic unsigned derived;

static void derive(struct offload_job *job)
{
	(void)job;
	sem_wait(&go);
	atomic_fetch_add(&derived, 1);
}

static void derived_told(struct worker *w, struct mail *m)
{
	(void)w;
	(void)m;
}

static void registry_apply__word_key_behind_those_of_clients__not_the_last(void **state)
{
	static struct offload_job clients[CLIENTS];
	struct fixture *f = *state;

	sem_init(&go, 0, 0);
	for (size_t i = 0; i < CLIENTS; i++) {
		clients[i] = (struct offload_job){.done.deliver = derived_told,
						  .reply_to = worker_at(0),
						  .class = OFFLOAD_HEAVY,
						  .run = derive};
		assert_int_equal(offload_submit(&clients[i]), NP_OK);
	}
	assert_int_equal(
	    apply(f, "s", 1, CTL_DESIRED_RUNNING,
		  "server://last-word@127.0.0.1:%u/127.0.0.1:1?mode=2&noudp=1&log=none",
		  free_port()),
	    CTL_ACCEPTED);
	sem_post(&go);
	UNTIL(f, running(f) == 1);
	assert_int_equal(atomic_load(&derived), 1);
	for (size_t i = 1; i < CLIENTS; i++)
		sem_post(&go);
}

static void registry_apply__many__idle_costs_nothing(void **state)
{
	struct fixture *f = *state;
	const char *text = getenv("NP_TEST_INSTANCES");
	unsigned many = text != NULL ? (unsigned)atoi(text) : MANY;
	struct rlimit rl;
	struct np_mono begin;
	size_t before;
	double cpu;
	char id[16];

	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	before = mallinfo2().uordblks;
	begin = np_mono_now();
	for (unsigned i = 0; i < many; i++) {
		snprintf(id, sizeof(id), "i%u", i);
		assert_int_equal(
		    apply(f, id, 1, CTL_DESIRED_RUNNING,
			  "client://127.0.%u.%u:12345/127.0.0.1:%u?mode=1&noudp=1&log=none",
			  1 + i / 250, 1 + i % 250, f->a.port),
		    CTL_ACCEPTED);
	}
	UNTIL(f, running(f) == many);
	print_message("%u instances: running after %lld ms, %zu bytes each\n", many,
		      (long long)np_mono_diff_ms(np_mono_now(), begin),
		      (mallinfo2().uordblks - before) / many);
	begin = np_mono_now();
	while (np_mono_diff_ms(np_mono_now(), begin) < 5000 && text != NULL)
		pass(f);
	cpu = cpu_s();
	begin = np_mono_now();
	while (np_mono_diff_ms(np_mono_now(), begin) < 2000) {
		const struct timeval tv = {.tv_usec = 500000};

		event_base_loopexit(f->base, &tv);
		event_base_dispatch(f->base);
	}
	print_message("idle: %.2f %% of a core\n", (cpu_s() - cpu) / 2 * 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(registry_apply__word_keys__made_beside_the_loop),
	    TEST(registry_apply__word_key_behind_those_of_clients__not_the_last),
	    TEST(registry_apply__many__idle_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
