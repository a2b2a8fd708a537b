/*
 * test_resolve.c - literals, cache, single flight, stale answers, failures, cancellation, eviction.
 */
#include "resolve.h"

#include "offload.h"
#include "on_worker.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"

/* The resolver of these tests: counts, can be held, and fails or answers as told. */
static _Atomic int lookups, answer_last_byte;
static _Atomic bool fail, held;
static sem_t hold;
static char last_host[NP_HOST_MAX + 1];
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;

static void fake_lookup(const char *host, struct resolve_answer *out)
{
	atomic_fetch_add(&lookups, 1);
	pthread_mutex_lock(&last_lock);
	memcpy(last_host, host, strlen(host) + 1);
	pthread_mutex_unlock(&last_lock);
	if (atomic_load(&held))
		sem_wait(&hold);
	if (atomic_load(&fail)) {
		snprintf(out->error, sizeof(out->error), "no such name");
		return;
	}
	out->n = 2;
	assert_true(np_addr_from_literal("192.0.2.0", 0, &out->addr[0]));
	out->addr[0].in.sin_addr.s_addr =
	    htonl(0xc0000200U | (unsigned)atomic_load(&answer_last_byte));
	assert_true(np_addr_from_literal("2001:db8::1", 0, &out->addr[1]));
}

/* One question, asked on the worker. */
struct question {
	struct resolve_request request; /* first */
	const char *host;
	int64_t ttl_ms;
	enum np_err err;
	struct resolve_answer answer;
	unsigned answered;
	sem_t done;
	void (*then)(struct question *q);
};

static void question_on_answer(struct resolve_request *r, const struct resolve_answer *a)
{
	struct question *q = (struct question *)r;

	q->answered++;
	q->answer = *a;
	if (q->then != NULL)
		q->then(q);
	sem_post(&q->done);
}

static void question_ask(struct worker *w, void *arg)
{
	struct question *q = arg;

	q->request.on_answer = question_on_answer;
	q->err = resolve(w, q->host, q->ttl_ms, &q->request, &q->answer);
}

static void question_cancel(struct worker *w, void *arg)
{
	(void)w;
	resolve_cancel(&((struct question *)arg)->request);
}

static struct question *question_new(const char *host, int64_t ttl_ms)
{
	struct question *q = calloc(1, sizeof(*q));

	q->host = host;
	q->ttl_ms = ttl_ms;
	sem_init(&q->done, 0, 0);
	return q;
}

/* ask - and wait for the answer; *at_once says whether it came from the cache. */
static struct resolve_answer ask(const char *host, int64_t ttl_ms, bool *at_once)
{
	struct question *q = question_new(host, ttl_ms);
	struct resolve_answer a;

	assert_true(on_worker(worker_at(0), question_ask, q));
	assert_true(q->err == NP_OK || q->err == NP_EAGAIN);
	*at_once = q->err == NP_OK;
	if (!*at_once)
		assert_true(on_worker_wait(&q->done));
	a = q->answer;
	free(q);
	return a;
}

static unsigned last_byte(const struct resolve_answer *a)
{
	return ntohl(a->addr[0].in.sin_addr.s_addr) & 0xff;
}

static int set_up(void **state)
{
	(void)state;
	atomic_store(&lookups, 0);
	atomic_store(&fail, false);
	atomic_store(&held, false);
	atomic_store(&answer_last_byte, 1);
	sem_init(&hold, 0, 0);
	resolve_set_lookup(fake_lookup);
	return workers_start(1) != NP_OK;
}

static int tear_down(void **state)
{
	(void)state;
	offload_stop();
	workers_stop();
	offload_restart();
	return 0;
}

static void resolve__literal_or_empty__at_once_without_lookup(void **state)
{
	struct resolve_answer a;
	bool at_once;
	char text[NP_ADDR_TEXT_MAX];

	(void)state;
	a = ask("10.1.2.3", 1000, &at_once);
	assert_true(at_once);
	assert_int_equal(a.n, 1);
	np_addr_format_host(&a.addr[0], text);
	assert_string_equal(text, "10.1.2.3");
	a = ask("2001:db8::7", 1000, &at_once);
	assert_true(at_once);
	np_addr_format_host(&a.addr[0], text);
	assert_string_equal(text, "2001:db8::7");
	a = ask("", 1000, &at_once);
	assert_true(at_once);
	np_addr_format_host(&a.addr[0], text);
	assert_string_equal(text, "127.0.0.1");
	assert_int_equal(atomic_load(&lookups), 0);
}

static void resolve__name__looked_up_once_whatever_the_case(void **state)
{
	struct resolve_answer a;
	bool at_once;

	(void)state;
	a = ask("Target.Test", 60000, &at_once);
	assert_false(at_once);
	assert_int_equal(a.n, 2);
	assert_int_equal(last_byte(&a), 1);
	assert_int_equal(a.addr[1].sa.sa_family, AF_INET6);
	assert_string_equal(last_host, "target.test");
	a = ask("tARGET.tEST", 60000, &at_once);
	assert_true(at_once);
	assert_int_equal(a.n, 2);
	assert_int_equal(atomic_load(&lookups), 1);
	ask("other.test", 60000, &at_once);
	assert_int_equal(atomic_load(&lookups), 2);
}

static void resolve__asked_while_looked_up__one_lookup_for_all(void **state)
{
	struct question *q[10];

	(void)state;
	atomic_store(&held, true);
	for (int i = 0; i < 10; i++) {
		q[i] = question_new("slow.test", 60000);
		assert_true(on_worker(worker_at(0), question_ask, q[i]));
		assert_int_equal(q[i]->err, NP_EAGAIN);
	}
	assert_true(on_worker(worker_at(0), question_cancel, q[3]));
	sem_post(&hold);
	for (int i = 0; i < 10; i++) {
		if (i == 3)
			continue;
		assert_true(on_worker_wait(&q[i]->done));
		assert_int_equal(q[i]->answer.n, 2);
		assert_int_equal(q[i]->answered, 1);
	}
	assert_int_equal(atomic_load(&lookups), 1);
	assert_true(on_worker(worker_at(0), question_cancel, q[4])); /* harmless afterwards */
	assert_int_equal(q[3]->answered, 0);
	for (int i = 0; i < 10; i++)
		free(q[i]);
}

/* wait_byte - until the refresh has come back; the time limit of the test bounds it. */
static void wait_byte(const char *host, unsigned byte)
{
	struct resolve_answer a;
	bool at_once;

	do {
		a = ask(host, 3600000, &at_once);
		assert_true(at_once);
	} while (last_byte(&a) != byte);
}

static void nothing(struct worker *w, void *arg)
{
	(void)w;
	(void)arg;
}

/* Lifetimes end by the clock: it is the condition here. */
static void pass_ms(int64_t ms)
{
	struct np_mono until = np_mono_add_ms(np_mono_now(), ms);

	while (np_mono_before(np_mono_now(), until))
		assert_true(on_worker(worker_at(0), nothing, NULL));
}

static void resolve__lifetime_over__old_answer_at_once_new_one_later(void **state)
{
	struct resolve_answer a;
	bool at_once;

	(void)state;
	ask("move.test", 1100, &at_once);
	atomic_store(&answer_last_byte, 2);
	a = ask("move.test", 1100, &at_once);
	assert_true(at_once);
	assert_int_equal(last_byte(&a), 1);
	assert_int_equal(atomic_load(&lookups), 1);
	pass_ms(1150);
	a = ask("move.test", 1100, &at_once);
	assert_true(at_once);
	assert_int_equal(last_byte(&a), 1);
	wait_byte("move.test", 2);
	assert_int_equal(atomic_load(&lookups), 2);
}

static void resolve__resolver_fails_later__last_good_answer_stays(void **state)
{
	struct resolve_answer a;
	bool at_once;

	(void)state;
	ask("flaky.test", 0, &at_once);
	atomic_store(&fail, true);
	pass_ms(1050);
	for (int i = 0; i < 20; i++) {
		a = ask("flaky.test", 0, &at_once);
		assert_true(at_once);
		assert_int_equal(a.n, 2);
		assert_int_equal(last_byte(&a), 1);
	}
	assert_in_range(atomic_load(&lookups), 1, 2); /* no more than one a second */
	atomic_store(&fail, false);
	atomic_store(&answer_last_byte, 9);
	pass_ms(1050);
	ask("flaky.test", 0, &at_once);
	wait_byte("flaky.test", 9);
}

static void resolve__name_unknown__said_and_not_asked_for_a_second(void **state)
{
	struct resolve_answer a;
	bool at_once;

	(void)state;
	atomic_store(&fail, true);
	a = ask("none.test", 60000, &at_once);
	assert_false(at_once);
	assert_int_equal(a.n, 0);
	assert_string_equal(a.error, "no such name");
	for (int i = 0; i < 20; i++) {
		a = ask("none.test", 60000, &at_once);
		assert_int_equal(a.n, 0);
		assert_string_equal(a.error, "no such name");
	}
	assert_int_equal(atomic_load(&lookups), 1);
	atomic_store(&fail, false);
	pass_ms(1050);
	a = ask("none.test", 60000, &at_once);
	assert_int_equal(a.n, 2);
	assert_int_equal(a.error[0], '\0');
}

static struct question *second, *third;

static void ask_again_and_cancel(struct question *q)
{
	question_ask(worker_self(), second); /* the same name: from the cache now */
	resolve_cancel(&third->request);     /* waits behind us */
	(void)q;
}

static void resolve__asked_and_cancelled_inside_on_answer__safe(void **state)
{
	struct question *first = question_new("nest.test", 60000);

	(void)state;
	second = question_new("nest.test", 60000);
	third = question_new("nest.test", 60000);
	first->then = ask_again_and_cancel;
	atomic_store(&held, true);
	assert_true(on_worker(worker_at(0), question_ask, first));
	assert_true(on_worker(worker_at(0), question_ask, third));
	sem_post(&hold);
	assert_true(on_worker_wait(&first->done));
	assert_true(on_worker(worker_at(0), nothing, NULL));
	assert_int_equal(second->err, NP_OK);
	assert_int_equal(second->answer.n, 2);
	assert_int_equal(third->answered, 0);
	free(first);
	free(second);
	free(third);
}

static void resolver_free__questions_waiting__forgotten(void **state)
{
	struct question *q = question_new("hang.test", 60000);

	(void)state;
	atomic_store(&held, true);
	for (int i = 0; i < OFFLOAD_THREADS_MAX; i++) { /* the last lookups wait in the queue */
		char name[32];

		snprintf(name, sizeof(name), "hang%d.test", i);
		struct question *other = question_new(name, 60000);
		assert_true(on_worker(worker_at(0), question_ask, other));
		assert_true(on_worker(worker_at(0), question_cancel, other));
		free(other);
	}
	assert_true(on_worker(worker_at(0), question_ask, q));
	assert_int_equal(q->err, NP_EAGAIN);
	for (int i = 0; i < OFFLOAD_THREADS_MAX + 1; i++)
		sem_post(&hold);
	offload_stop();
	workers_stop();
	assert_true(q->answered <= 1);
	assert_null(q->request.entry);
	offload_restart();
	assert_int_equal(workers_start(1), NP_OK);
	free(q);
}

static void ask_many(struct worker *w, void *arg)
{
	static struct question q[8];
	size_t from = *(size_t *)arg;
	char name[32];

	for (size_t i = 0; i < 8; i++) {
		memset(&q[i], 0, sizeof(q[i]));
		snprintf(name, sizeof(name), "n%zu.test", from + i);
		q[i].host = name;
		q[i].ttl_ms = 3600000;
		question_ask(w, &q[i]);
		assert_int_equal(q[i].err, NP_EAGAIN);
		resolve_cancel(&q[i].request);
	}
}

static void resolve__more_names_than_the_cache_holds__oldest_go(void **state)
{
	bool at_once;

	(void)state;
	ask("first.test", 3600000, &at_once);
	/* The table of all workers forgets in the order of the answers, which helpers may swap. */
	for (size_t i = 0; i < RESOLVE_CACHE_MAX + 64; i += 8) {
		assert_true(on_worker(worker_at(0), ask_many, &i));
		ask("first.test", 3600000, &at_once); /* in use: stays */
		assert_true(at_once);
	}
	ask("last.test", 3600000, &at_once);
	ask("first.test", 3600000, &at_once);
	assert_true(at_once);
	ask("n0.test", 3600000, &at_once);
	assert_false(at_once);
}

struct starved {
	unsigned refused;
	bool ok;
};

/* Every allocation of a question fails in turn; the one after them all is answered. */
static void ask_starved(struct worker *w, void *arg)
{
	struct starved *s = arg;
	static struct question q;

	for (long n = 0; n < 50 && !s->ok; n++) {
		memset(&q, 0, sizeof(q));
		q.host = "starved.test";
		q.ttl_ms = 60000;
		np_alloc_fail_after(n);
		question_ask(w, &q);
		np_alloc_fail_after(-1);
		if (q.err == NP_ENOMEM)
			s->refused++;
		else
			s->ok = q.err == NP_EAGAIN;
		resolve_cancel(&q.request);
	}
}

static void resolve__no_memory__refused_and_usable(void **state)
{
	struct starved s = {0};
	bool at_once;

	(void)state;
	assert_true(on_worker(worker_at(0), ask_starved, &s));
	assert_true(s.ok);
	assert_in_range(s.refused, 2, 49);
	assert_int_equal(ask("starved.test", 60000, &at_once).n, 2);
}

static void resolve__system__localhost_known_nonsense_not(void **state)
{
	struct resolve_answer a;
	bool at_once;

	(void)state;
	workers_stop();
	resolve_set_lookup(NULL);
	assert_int_equal(workers_start(1), NP_OK);
	a = ask("localhost", 60000, &at_once);
	assert_in_range(a.n, 1, RESOLVE_ADDRS_MAX);
	for (size_t i = 0; i < a.n; i++)
		assert_int_equal(np_addr_port(&a.addr[i]), 0);
	a = ask("no such name..", 60000, &at_once);
	assert_int_equal(a.n, 0);
	assert_true(strlen(a.error) > 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(resolve__literal_or_empty__at_once_without_lookup),
	    TEST(resolve__name__looked_up_once_whatever_the_case),
	    TEST(resolve__asked_while_looked_up__one_lookup_for_all),
	    TEST(resolve__lifetime_over__old_answer_at_once_new_one_later),
	    TEST(resolve__resolver_fails_later__last_good_answer_stays),
	    TEST(resolve__name_unknown__said_and_not_asked_for_a_second),
	    TEST(resolve__asked_and_cancelled_inside_on_answer__safe),
	    TEST(resolver_free__questions_waiting__forgotten),
	    TEST(resolve__more_names_than_the_cache_holds__oldest_go),
	    TEST(resolve__no_memory__refused_and_usable),
	    TEST(resolve__system__localhost_known_nonsense_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
