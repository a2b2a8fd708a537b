/*
 * worker.c - event loops, mailboxes, deferred tasks, graveyards. See worker.h.
 *
 * One loop pass: libevent runs what is ready, then the tasks that were deferred before the pass
 * run and the graveyard is emptied. A pass does not wait while tasks do. Mail is taken at the end of
 * each pass; an eventfd wakes a loop for it that waits, or may be about to.
 */
#include "worker.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/wake_fd.h"
#include "pipe.h"
#include "resolve.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <utlist.h>

/* Rounds of mail at the end: no chain of messages is longer. */
#define STOP_ROUNDS 8
/* Memory goes back to the system so long after so many objects were freed. */
#define TRIM_GRAVES   64
#define TRIM_AFTER_MS 5000
#define TRIM_KEEP     (256 * 1024)

struct worker_private {
	pthread_t thread;
	bool running;
	int wake_fd;
	struct event *wake_event;
	struct event *trim_event; /* pending: memory was freed and is not given back yet */
	unsigned freed;		  /* graves since it was */
	bool ended;		  /* the loop's own view of stop */
	bool attached;		  /* the loop is not ours */
	bool now_is_of_pass;	  /* now was taken in this pass */
	uint32_t pass;
	/* It may be waiting for events. Becomes true under the lock, when there is no mail. */
	_Atomic bool asleep;
	pthread_mutex_t lock; /* guards the three below */
	struct mail *first, **last;
	bool stop;
	struct task *tasks, *later; /* the first of later is due first */
	struct event *later_event;  /* pending while there are some, or were */
	struct grave *graves;
	struct np_mono now;
};

static struct worker workers[WORKERS_MAX];
static unsigned nworkers;
static _Atomic unsigned next_worker;
static _Thread_local struct worker *self;

unsigned workers_count(void)
{
	return nworkers;
}

struct worker *worker_at(unsigned index)
{
	NP_ASSERT(index < nworkers);
	return &workers[index];
}

struct worker *worker_self(void)
{
	return self;
}

struct worker *worker_pick(void)
{
	unsigned start = atomic_fetch_add_explicit(&next_worker, 1, memory_order_relaxed);
	struct worker *best = &workers[start % nworkers];

	for (unsigned i = 1; i < nworkers; i++) {
		struct worker *w = &workers[(start + i) % nworkers];

		if (atomic_load_explicit(&w->load, memory_order_relaxed) <
		    atomic_load_explicit(&best->load, memory_order_relaxed))
			best = w;
	}
	return best;
}

/* Sessions come and go: by so much more a worker's load may be above the least. */
static uint32_t load_most(uint32_t least)
{
	return least + least / 4 + 8;
}

struct worker *worker_after(const struct worker *w)
{
	struct worker *next = worker_pick();
	uint32_t most = load_most(atomic_load_explicit(&next->load, memory_order_relaxed));

	for (unsigned i = 1; w != NULL && i <= nworkers; i++) {
		struct worker *turn = &workers[(w->index + i) % nworkers];

		if (atomic_load_explicit(&turn->load, memory_order_relaxed) <= most)
			return turn;
	}
	return next;
}

void worker_post(struct worker *w, struct mail *m)
{
	struct worker_private *p = w->p;
	bool wake;

	m->next = NULL;
	pthread_mutex_lock(&p->lock);
	/* Not empty: who posted before has woken it. */
	wake = p->first == NULL && atomic_load_explicit(&p->asleep, memory_order_relaxed);
	*p->last = m;
	p->last = &m->next;
	pthread_mutex_unlock(&p->lock);
	if (wake)
		np_wake_fd_set(p->wake_fd);
}

void worker_undefer(struct worker *w, struct task *t)
{
	if (!t->queued)
		return;
	if (t->later)
		DL_DELETE(w->p->later, t);
	else
		DL_DELETE(w->p->tasks, t);
	t->queued = t->later = false;
}

void worker_defer(struct worker *w, struct task *t)
{
	if (t->queued && !t->later)
		return;
	worker_undefer(w, t);
	t->queued = true;
	t->since = w->p->pass;
	DL_APPEND(w->p->tasks, t);
}

static uint32_t ms_of_pass(struct worker *w)
{
	return (uint32_t)(worker_pass_now(w).us / 1000);
}

static bool later_wake_in(struct worker *w, uint32_t ms)
{
	const struct timeval tv = tv_of_ms(ms);

	return evtimer_add(w->p->later_event, &tv) == 0;
}

void worker_defer_later(struct worker *w, struct task *t)
{
	if (t->queued)
		return;
	t->queued = t->later = true;
	t->since = ms_of_pass(w);
	DL_APPEND(w->p->later, t);
	if (!evtimer_pending(w->p->later_event, NULL) && !later_wake_in(w, WORKER_LATER_MS))
		worker_defer(w, t); /* no memory for the timer: now, then */
}

static void worker_on_later(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct task *t;
	uint32_t now = ms_of_pass(w);

	(void)fd;
	(void)what;
	while ((t = w->p->later) != NULL && now - t->since >= WORKER_LATER_MS)
		worker_defer(w, t);
	if (t == NULL || later_wake_in(w, t->since + WORKER_LATER_MS - now))
		return;
	while (w->p->later != NULL)
		worker_defer(w, w->p->later);
}

void worker_bury(struct worker *w, struct grave *g)
{
	g->next = w->p->graves;
	w->p->graves = g;
}

struct np_mono worker_now(struct worker *w)
{
	struct worker_private *p = w->p;

	/* Within an event: mail that comes from here on is taken at the end of the pass. */
	if (!p->attached)
		atomic_store_explicit(&p->asleep, false, memory_order_relaxed);
	p->now = np_mono_now();
	p->now_is_of_pass = true;
	return p->now;
}

struct np_mono worker_pass_now(struct worker *w)
{
	return w->p->now_is_of_pass ? w->p->now : worker_now(w);
}

/* xorshift32: for jitter and choice, never for secrets. */
uint32_t worker_random(struct worker *w)
{
	uint32_t x = w->random;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return w->random = x;
}

static void worker_take_mail(struct worker *w)
{
	struct worker_private *p = w->p;
	struct mail *m, *next;
	bool stop;

	pthread_mutex_lock(&p->lock);
	m = p->first;
	p->first = NULL;
	p->last = &p->first;
	stop = p->stop;
	if (!p->attached)
		atomic_store_explicit(&p->asleep, false, memory_order_relaxed);
	pthread_mutex_unlock(&p->lock);
	for (; m != NULL; m = next) {
		next = m->next;
		m->deliver(w, m);
	}
	p->ended = stop;
}

static void worker_on_wake(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	np_wake_fd_clear(fd);
	worker_take_mail(arg);
}

/*
 * What ends lies scattered between what lives on, where free() finds no whole end of the heap to
 * give back: 80 MiB stayed after 4 000 TLS sessions. The walk through the heap holds up all threads
 * that need memory, some milliseconds then, so it waits for the end of a wave.
 */
static void worker_on_trim(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	w->p->freed = 0;
	malloc_trim(TRIM_KEEP);
}

static void empty_graveyard(struct worker_private *p)
{
	const struct timeval later = tv_of_ms(TRIM_AFTER_MS);
	struct grave *g = p->graves, *next;

	p->graves = NULL;
	for (; g != NULL; g = next) {
		next = g->next;
		g->release(g);
		p->freed++;
	}
	if (p->freed >= TRIM_GRAVES && p->trim_event != NULL &&
	    !evtimer_pending(p->trim_event, NULL))
		evtimer_add(p->trim_event, &later);
}

/*
 * Runs the tasks that were queued before this pass; a task that defers itself again runs in the
 * next one, behind the sockets that became ready meanwhile. Graves are last: nothing on the stack
 * holds them.
 */
static void worker_end_pass(struct worker *w)
{
	struct worker_private *p = w->p;

	worker_take_mail(w);
	while (p->tasks != NULL && p->tasks->since != p->pass) {
		struct task *t = p->tasks;

		worker_undefer(w, t);
		t->run(w, t);
	}
	p->pass++;
	empty_graveyard(p);
}

/* true: nothing is left to do; from here on mail wakes it. */
static bool worker_may_sleep(struct worker_private *p)
{
	bool asleep;

	if (p->tasks != NULL)
		return false;
	pthread_mutex_lock(&p->lock);
	asleep = p->first == NULL;
	atomic_store_explicit(&p->asleep, asleep, memory_order_relaxed);
	pthread_mutex_unlock(&p->lock);
	return asleep;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct worker_private *p = w->p;

	self = w;
	while (!p->ended) {
		int wait = worker_may_sleep(p) ? 0 : EVLOOP_NONBLOCK;

		p->now_is_of_pass = false;
		event_base_loop(w->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | wait);
		worker_end_pass(w);
	}
	return NULL;
}

static void worker_release(struct worker *w)
{
	struct worker_private *p = w->p;

	if (p == NULL)
		return;
	if (w->resolver != NULL)
		resolver_free(w->resolver);
	pipe_pool_free(w->pipes);
	if (w->udp != NULL)
		w->udp_free(w->udp);
	if (p->wake_event != NULL)
		event_free(p->wake_event);
	if (p->trim_event != NULL)
		event_free(p->trim_event);
	if (p->later_event != NULL)
		event_free(p->later_event);
	if (w->base != NULL)
		event_base_free(w->base);
	if (p->wake_fd != -1)
		close(p->wake_fd);
	pthread_mutex_destroy(&p->lock);
	np_free(w->scratch);
	np_free(p);
	memset(w, 0, sizeof(*w));
}

static enum np_err worker_init(struct worker *w, unsigned index)
{
	struct event_config *cfg;
	struct worker_private *p = np_calloc(1, sizeof(*p));

	if (p == NULL)
		return NP_ENOMEM;
	memset(w, 0, sizeof(*w));
	w->p = p;
	w->index = index;
	p->last = &p->first;
	p->wake_fd = -1;
	pthread_mutex_init(&p->lock, NULL);
	if (getrandom(&w->random, sizeof(w->random), 0) != (ssize_t)sizeof(w->random) ||
	    w->random == 0)
		w->random = 0x9e3779b9U + index;
	w->scratch = np_malloc(WORKER_SCRATCH);
	cfg = event_config_new();
	if (w->scratch == NULL || cfg == NULL) {
		if (cfg != NULL)
			event_config_free(cfg);
		return NP_ENOMEM;
	}
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	w->base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	if (w->base == NULL)
		return NP_ENOMEM;
	p->wake_fd = np_wake_fd_open();
	if (p->wake_fd == -1)
		return NP_ESYS;
	p->wake_event = event_new(w->base, p->wake_fd, EV_READ | EV_PERSIST, worker_on_wake, w);
	p->trim_event = evtimer_new(w->base, worker_on_trim, w);
	p->later_event = evtimer_new(w->base, worker_on_later, w);
	w->resolver = resolver_new(w);
	w->pipes = pipe_pool_new(w);
	if (p->wake_event == NULL || p->trim_event == NULL || p->later_event == NULL ||
	    w->resolver == NULL || w->pipes == NULL || event_add(p->wake_event, NULL) != 0)
		return NP_ENOMEM;
	return NP_OK;
}

enum np_err worker_attach(struct event_base *base, struct worker **out)
{
	struct worker *w = np_calloc(1, sizeof(*w));
	struct worker_private *p = np_calloc(1, sizeof(*p));
	enum np_err err = NP_ENOMEM;

	if (w == NULL || p == NULL)
		goto fail;
	p->wake_fd = np_wake_fd_open();
	if (p->wake_fd == -1) {
		err = NP_ESYS;
		goto fail;
	}
	w->p = p;
	w->index = WORKERS_MAX;
	w->base = base;
	p->attached = true;
	p->asleep = true;
	p->last = &p->first;
	p->wake_event = event_new(base, p->wake_fd, EV_READ | EV_PERSIST, worker_on_wake, w);
	if (p->wake_event == NULL || event_add(p->wake_event, NULL) != 0) {
		if (p->wake_event != NULL)
			event_free(p->wake_event);
		close(p->wake_fd);
		goto fail;
	}
	pthread_mutex_init(&p->lock, NULL);
	*out = w;
	return NP_OK;
fail:
	np_free(w);
	np_free(p);
	return err;
}

void worker_detach(struct worker *w)
{
	worker_take_mail(w);
	event_free(w->p->wake_event);
	close(w->p->wake_fd);
	pthread_mutex_destroy(&w->p->lock);
	np_free(w->p);
	np_free(w);
}

enum np_err workers_start(unsigned n)
{
	enum np_err err = NP_OK;

	NP_ASSERT(nworkers == 0 && n >= 1 && n <= WORKERS_MAX);
	for (unsigned i = 0; i < n && err == NP_OK; i++) {
		err = worker_init(&workers[i], i);
		nworkers = i + 1;
	}
	for (unsigned i = 0; i < n && err == NP_OK; i++) {
		if (pthread_create(&workers[i].p->thread, NULL, worker_main, &workers[i]) != 0)
			err = NP_ESYS;
		else
			workers[i].p->running = true;
	}
	if (err != NP_OK)
		workers_stop();
	return err;
}

void workers_stop(void)
{
	for (unsigned i = 0; i < nworkers; i++) {
		struct worker_private *p = workers[i].p;

		if (p == NULL || !p->running)
			continue;
		pthread_mutex_lock(&p->lock);
		p->stop = true;
		pthread_mutex_unlock(&p->lock);
		np_wake_fd_set(p->wake_fd);
	}
	for (unsigned i = 0; i < nworkers; i++)
		if (workers[i].p != NULL && workers[i].p->running)
			pthread_join(workers[i].p->thread, NULL);
	/* What was posted or buried while the loops ended; mail may answer mail. */
	for (unsigned round = 0; round < STOP_ROUNDS; round++) {
		for (unsigned i = 0; i < nworkers; i++) {
			if (workers[i].p == NULL || workers[i].base == NULL)
				continue;
			self = &workers[i];
			worker_take_mail(&workers[i]);
			while (workers[i].p->graves != NULL)
				worker_end_pass(&workers[i]);
		}
	}
	self = NULL;
	for (unsigned i = 0; i < nworkers; i++)
		worker_release(&workers[i]);
	nworkers = 0;
}
