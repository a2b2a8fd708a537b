/*
 * store.c - the store's queue and thread: who asks is never blocked by a disk.
 *
 * One lock guards the two queues. The thread takes what waits, commits it in one go, and hands it
 * back through an eventfd to the loop, in order. When the group fails each transaction is tried
 * alone, so that a bad one fails for itself.
 */
#include "store.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/mono.h"
#include "base/wake_fd.h"
#include "core/proof.h"
#include "store_engine.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define GROUP_MAX     512  /* transactions of one commit */
#define FIRST_COPY_MS 5000 /* after the first commit, when a copy was due at the opening */

/* Owned by exactly one of waiting, the thread and ready; freed when its done was called. */
struct txn {
	struct txn *next;
	size_t size; /* of all of it, for the wipe */
	store_done_fn done;
	void *arg;
	enum np_err err;
	struct np_diag *diag; /* owned; NULL: no error, or no memory to say more */
	size_t n;
	struct store_op ops[]; /* then their blobs */
};

struct txn_queue {
	struct txn *first, **last;
	size_t n;
};

struct store {
	struct store_engine *engine; /* owned; of the thread from the first transaction on */
	uint64_t epoch;
	struct event *readable; /* owned; of fd */
	int fd;			/* eventfd: ready is not empty */
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t work;
	struct txn_queue waiting, ready;
	size_t pending; /* accepted, done not called */
	bool copy, stopping;
	bool copy_due;		/* copy_at is not set yet */
	struct np_mono copy_at; /* 0: not */
};

static void queue_init(struct txn_queue *q)
{
	*q = (struct txn_queue){.last = &q->first};
}

static void queue_put(struct txn_queue *q, struct txn *t)
{
	t->next = NULL;
	*q->last = t;
	q->last = &t->next;
	q->n++;
}

static struct txn *queue_take(struct txn_queue *q)
{
	struct txn *t = q->first;

	if (t == NULL)
		return NULL;
	q->first = t->next;
	if (q->first == NULL)
		q->last = &q->first;
	q->n--;
	return t;
}

/* Rows hold tunnel keys. */
static void txn_free(struct txn *t)
{
	np_free(t->diag);
	np_wipe(t, t->size);
	np_free(t);
}

/* -- the store's thread -- */

static void txn_fail(struct txn *t, enum np_err err, const struct np_diag *diag)
{
	t->err = err;
	t->diag = np_malloc(sizeof(*t->diag));
	if (t->diag != NULL)
		*t->diag = *diag;
}

static enum np_err commit(struct store_engine *e, struct txn *const *list, size_t n,
			  struct np_diag *diag)
{
	enum np_err err = store_engine_begin(e, diag);

	if (err != NP_OK)
		return err;
	for (size_t i = 0; err == NP_OK && i < n; i++)
		err = store_engine_apply(e, list[i]->ops, list[i]->n, diag);
	if (err == NP_OK)
		err = store_engine_commit(e, diag);
	if (err != NP_OK)
		store_engine_rollback(e);
	return err;
}

static void commit_group(struct store_engine *e, struct txn **list, size_t n)
{
	struct np_diag diag = {.text = ""};
	enum np_err err = commit(e, list, n, &diag);

	if (err == NP_OK)
		return;
	if (n == 1) {
		txn_fail(list[0], err, &diag);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		err = commit(e, &list[i], 1, &diag);
		if (err != NP_OK)
			txn_fail(list[i], err, &diag);
	}
}

/* With the lock held, which it gives up for the time of the commit. */
static void run_group(struct store *s)
{
	struct txn *list[GROUP_MAX];
	size_t n = 0;

	while (n < GROUP_MAX && (list[n] = queue_take(&s->waiting)) != NULL)
		n++;
	pthread_mutex_unlock(&s->lock);
	commit_group(s->engine, list, n);
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < n; i++)
		queue_put(&s->ready, list[i]);
	if (s->copy_due)
		s->copy_at = np_mono_add_ms(np_mono_now(), FIRST_COPY_MS);
	s->copy_due = false;
	np_wake_fd_set(s->fd);
}

static void run_copy(struct store *s)
{
	struct np_diag diag = {.text = ""};

	pthread_mutex_unlock(&s->lock);
	if (store_engine_copy(s->engine, &diag) != NP_OK)
		np_log(NP_LOG_ERROR, NULL, "no copy of the state was made: %s", diag.text);
	pthread_mutex_lock(&s->lock);
}

/* With the lock held. A state without any copy does not wait for the first one until somebody asks,
 * but long enough that it holds more than its first row. */
static void wait_for_work(struct store *s)
{
	struct timespec until = {.tv_sec = s->copy_at.us / 1000000,
				 .tv_nsec = s->copy_at.us % 1000000 * 1000};

	if (s->copy_at.us == 0) {
		pthread_cond_wait(&s->work, &s->lock);
	} else if (pthread_cond_timedwait(&s->work, &s->lock, &until) == ETIMEDOUT) {
		s->copy_at.us = 0;
		s->copy = true;
	}
}

static void *store_main(void *arg)
{
	struct store *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		if (s->waiting.n > 0) {
			run_group(s);
		} else if (s->copy) {
			s->copy = false;
			run_copy(s);
		} else if (s->stopping) {
			break;
		} else {
			wait_for_work(s);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static enum np_err thread_start(struct store *s, struct np_diag *diag)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all); /* signals belong to the main thread */
	pthread_sigmask(SIG_BLOCK, &all, &old);
	rc = pthread_create(&s->thread, NULL, store_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		return np_diag_set(diag, NP_ESYS, "store", "no thread for the store: %s",
				   strerror(rc));
	return NP_OK;
}

/* -- the loop -- */

/* A callback may hand in further transactions, so each is taken for itself. */
static void deliver(struct store *s)
{
	for (;;) {
		struct txn *t;

		pthread_mutex_lock(&s->lock);
		t = queue_take(&s->ready);
		if (t != NULL)
			s->pending--;
		pthread_mutex_unlock(&s->lock);
		if (t == NULL)
			return;
		if (t->done != NULL)
			t->done(t->arg, t->err, t->diag);
		txn_free(t);
	}
}

static void store_on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	np_wake_fd_clear(fd);
	deliver(arg);
}

static size_t blob_room(size_t len)
{
	return (len + 7) / 8 * 8;
}

static struct txn *txn_new(const struct store_op *ops, size_t n)
{
	size_t size = sizeof(struct txn) + n * sizeof(*ops);
	struct txn *t;
	uint8_t *p;

	for (size_t i = 0; i < n; i++)
		size += blob_room(ops[i].row.len);
	t = np_malloc(size);
	if (t == NULL)
		return NULL;
	*t = (struct txn){.size = size, .n = n};
	p = (uint8_t *)&t->ops[n];
	for (size_t i = 0; i < n; i++) {
		t->ops[i] = ops[i];
		t->ops[i].row.blob = p;
		if (ops[i].row.len > 0)
			memcpy(p, ops[i].row.blob, ops[i].row.len);
		p += blob_room(ops[i].row.len);
	}
	return t;
}

enum np_err store_txn(struct store *s, const struct store_op *ops, size_t n, store_done_fn done,
		      void *arg)
{
	enum np_err err = NP_EAGAIN;
	struct txn *t;

	for (size_t i = 0; i < n; i++)
		if (!ops[i].remove && ops[i].row.len > STORE_BLOB_MAX)
			return NP_ELIMIT;
	t = txn_new(ops, n);
	if (t == NULL)
		return NP_ENOMEM;
	t->done = done;
	t->arg = arg;
	pthread_mutex_lock(&s->lock);
	if (s->pending < STORE_QUEUE_MAX && !s->stopping) {
		queue_put(&s->waiting, t);
		s->pending++;
		pthread_cond_signal(&s->work);
		err = NP_OK;
	}
	pthread_mutex_unlock(&s->lock);
	if (err != NP_OK)
		txn_free(t);
	return err;
}

uint64_t store_epoch(const struct store *s)
{
	return s->epoch;
}

void store_copy(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	s->copy = true;
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
}

enum np_err store_load(struct store *s, store_row_fn fn, void *arg, struct np_diag *diag)
{
	return store_engine_load(s->engine, fn, arg, diag);
}

/* -- up and down -- */

/* The one place that knows which engines there are. */
static enum np_err path_of(const char *url, const char *state_dir, char out[STORE_PATH_MAX],
			   struct np_diag *diag)
{
	int n;

	if (url == NULL || url[0] == '\0')
		n = snprintf(out, STORE_PATH_MAX, "%s/nodepass.db", state_dir);
	else if (strncmp(url, "sqlite:", 7) == 0)
		n = snprintf(out, STORE_PATH_MAX, "%s", url + 7);
	else if (strncmp(url, "etcd:", 5) == 0)
		return np_diag_set(diag, NP_EUNSUPPORTED, "store",
				   "store: etcd is not available in this version, use sqlite:PATH");
	else
		return np_diag_set(diag, NP_EINVAL, "store",
				   "store: it begins with sqlite:, as in sqlite:PATH");
	if (n == 0 || out[0] == '\0' || out[n - 1] == '/')
		return np_diag_set(diag, NP_EINVAL, "store", "store: sqlite: needs a file's path");
	if (n >= STORE_PATH_MAX)
		return np_diag_set(diag, NP_EINVAL, "store", "store: the path is too long");
	return NP_OK;
}

static enum np_err loop_init(struct store *s, struct event_base *base, struct np_diag *diag)
{
	s->fd = np_wake_fd_open();
	if (s->fd == -1)
		return np_diag_set(diag, NP_ESYS, "store", "no eventfd: %s", strerror(errno));
	s->readable = event_new(base, s->fd, EV_READ | EV_PERSIST, store_on_readable, s);
	if (s->readable == NULL || event_add(s->readable, NULL) == -1)
		return np_diag_set(diag, NP_ENOMEM, "store", "%s", np_err_text(NP_ENOMEM));
	return NP_OK;
}

static void store_free(struct store *s)
{
	if (s->readable != NULL)
		event_free(s->readable);
	if (s->fd != -1)
		close(s->fd);
	store_engine_close(s->engine);
	pthread_cond_destroy(&s->work);
	pthread_mutex_destroy(&s->lock);
	np_free(s);
}

enum np_err store_open(struct event_base *base, const char *url, const char *state_dir,
		       struct store **out, bool *fresh, struct np_diag *note, struct np_diag *diag)
{
	char path[STORE_PATH_MAX] = "";
	enum np_err err = path_of(url, state_dir, path, diag);
	pthread_condattr_t attr;
	bool is_fresh = false;
	struct store *s;

	if (err != NP_OK)
		return err;
	s = np_calloc(1, sizeof(*s));
	if (s == NULL)
		return np_diag_set(diag, NP_ENOMEM, "store", "%s", np_err_text(NP_ENOMEM));
	s->fd = -1;
	queue_init(&s->waiting);
	queue_init(&s->ready);
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->work, &attr);
	pthread_condattr_destroy(&attr);
	err = store_make_dirs(path, diag);
	if (err == NP_OK)
		err = store_engine_open(path, &s->engine, &is_fresh, &s->epoch, note, diag);
	if (err == NP_OK)
		s->copy_due = store_engine_copy_due(s->engine);
	if (err == NP_OK)
		err = loop_init(s, base, diag);
	if (err == NP_OK)
		err = thread_start(s, diag);
	if (err != NP_OK) {
		store_free(s);
		return err;
	}
	*fresh = is_fresh;
	*out = s;
	return NP_OK;
}

enum np_err store_peek(const char *url, const char *state_dir, store_row_fn fn, void *arg,
		       struct np_diag *diag)
{
	char path[STORE_PATH_MAX] = "";
	enum np_err err = path_of(url, state_dir, path, diag);

	return err != NP_OK ? err : store_engine_peek(path, fn, arg, diag);
}

void store_close(struct store *s)
{
	if (s == NULL)
		return;
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	s->copy = true;
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	deliver(s);
	store_free(s);
}
