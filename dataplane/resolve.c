/*
 * resolve.c - a cache of names per worker, filled by getaddrinfo on helper threads.
 *
 * What one worker learned the others take over: they ask the shared table before they ask the
 * resolver, so a name is looked up once in its lifetime, and the last good answer is everybody's.
 *
 * An entry belongs to its resolver; a lookup is a job of its own memory, so the entry outlives it
 * or not, whichever: an entry with a lookup under way is never evicted. Only the owner worker
 * touches entries; a helper thread touches its lookup alone.
 */
#include "resolve.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "offload.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define HASH_NONFATAL_OOM      1
#define uthash_malloc(n)       np_malloc(n)
#define uthash_free(p, n)      np_free(p)
#define uthash_nonfatal_oom(e) ((e)->hashed = false)
#include <uthash.h>
#include <utlist.h>

#define RETRY_MS 1000

struct lookup {
	struct offload_job job; /* first: mail and job lead back to it */
	struct resolve_entry *entry;
	resolve_lookup_fn fn;
	char host[NP_HOST_MAX + 1];
	struct resolve_answer answer;
};

struct resolve_entry {
	UT_hash_handle hh;
	struct resolve_entry *prev, *next; /* resolver->used */
	struct resolver *resolver;
	struct lookup *lookup; /* under way; owned by the helper threads until it comes back */
	struct resolve_request *waiting; /* borrowed from those who ask */
	bool hashed, answering;
	struct np_mono tried;	/* last answer of either kind */
	struct np_mono fetched; /* last good one; not set = none yet */
	size_t n;
	struct np_addr *addr; /* owned; the last good answer */
	char error[96];	      /* of the last attempt, when there is no good one */
	char host[NP_HOST_MAX + 1];
};

struct resolver {
	struct worker *worker;
	struct resolve_entry *by_host;
	struct resolve_entry *used; /* the one used longest ago first */
};

/* The last good answers of all workers. Locked when an entry is missing or its lifetime is over, not
 * for each question. */
struct known {
	UT_hash_handle hh; /* in the order in which they came */
	struct np_mono fetched;
	bool hashed;
	size_t n;
	struct np_addr *addr; /* owned */
	char host[NP_HOST_MAX + 1];
};

static struct {
	pthread_mutex_t lock;
	struct known *by_host;
	unsigned users; /* resolvers; the last one takes the table with it */
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Written before the workers start, read by them. */
static resolve_lookup_fn lookup_fn;

void resolve_set_lookup(resolve_lookup_fn fn)
{
	lookup_fn = fn;
}

static void known_free(struct known *k)
{
	HASH_DEL(shared.by_host, k);
	np_free(k->addr);
	np_free(k);
}

struct resolver *resolver_new(struct worker *w)
{
	struct resolver *r = np_calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->worker = w;
	pthread_mutex_lock(&shared.lock);
	shared.users++;
	pthread_mutex_unlock(&shared.lock);
	return r;
}

static void shared_leave(void)
{
	pthread_mutex_lock(&shared.lock);
	if (--shared.users == 0)
		while (shared.by_host != NULL)
			known_free(shared.by_host);
	pthread_mutex_unlock(&shared.lock);
}

static void entry_free(struct resolve_entry *e)
{
	struct resolver *r = e->resolver;
	struct resolve_request *q, *tmp;

	DL_FOREACH_SAFE (e->waiting, q, tmp) {
		DL_DELETE(e->waiting, q);
		q->entry = NULL;
	}
	HASH_DEL(r->by_host, e);
	DL_DELETE(r->used, e);
	np_free(e->addr);
	np_free(e);
}

void resolver_free(struct resolver *r)
{
	struct resolve_entry *e, *tmp;

	if (r == NULL)
		return;
	DL_FOREACH_SAFE (r->used, e, tmp)
		entry_free(e);
	np_free(r);
	shared_leave();
}

/* -- on a helper thread -- */

static void answer_add(struct resolve_answer *a, const struct sockaddr *sa, socklen_t len)
{
	struct np_addr *new = &a->addr[a->n];

	if (a->n == RESOLVE_ADDRS_MAX || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6) ||
	    len > sizeof(new->in6))
		return;
	memset(new, 0, sizeof(*new));
	memcpy(&new->sa, sa, len);
	new->len = len;
	np_addr_set_port(new, 0);
	for (size_t i = 0; i < a->n; i++) /* a hosts file may name one address twice */
		if (np_addr_equal(&a->addr[i], new))
			return;
	a->n++;
}

/*
 * No AI_ADDRCONFIG: it takes no account of loopback addresses, so on a host that has nothing else
 * it would find nothing. An address of a family without route costs one failed connect.
 */
static void system_lookup(const char *host, struct resolve_answer *out)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	char text[64];
	int rc = getaddrinfo(host, NULL, &hints, &list);

	if (rc != 0) {
		snprintf(out->error, sizeof(out->error), "%s",
			 rc == EAI_SYSTEM ? strerror_r(errno, text, sizeof(text))
					  : gai_strerror(rc));
		return;
	}
	for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next)
		answer_add(out, ai->ai_addr, ai->ai_addrlen);
	freeaddrinfo(list);
	np_addr_order(out->addr, out->n);
	if (out->n == 0)
		snprintf(out->error, sizeof(out->error), "no address");
}

static void lookup_run(struct offload_job *job)
{
	struct lookup *l = (struct lookup *)job;

	l->fn(l->host, &l->answer);
}

static void lookup_drop(struct offload_job *job)
{
	np_free(job);
}

/* -- on the worker -- */

static struct np_addr *copy_of(const struct np_addr *list, size_t n)
{
	struct np_addr *copy = np_malloc(n * sizeof(*copy));

	if (copy != NULL)
		memcpy(copy, list, n * sizeof(*copy));
	return copy;
}

/* Without memory the others ask for themselves. */
static void shared_put(const struct resolve_entry *e)
{
	struct known *k;
	struct np_addr *copy = copy_of(e->addr, e->n);

	if (copy == NULL)
		return;
	pthread_mutex_lock(&shared.lock);
	HASH_FIND_STR(shared.by_host, e->host, k);
	if (k == NULL) {
		if (HASH_COUNT(shared.by_host) >= RESOLVE_CACHE_MAX)
			known_free(shared.by_host); /* the one that came first */
		k = np_calloc(1, sizeof(*k));
		if (k != NULL) {
			k->hashed = true;
			memcpy(k->host, e->host, sizeof(k->host));
			HASH_ADD_STR(shared.by_host, host, k);
		}
		if (k != NULL && !k->hashed) {
			np_free(k);
			k = NULL;
		}
	}
	if (k != NULL) {
		np_free(k->addr);
		k->addr = copy;
		k->n = e->n;
		k->fetched = e->fetched;
	} else {
		np_free(copy);
	}
	pthread_mutex_unlock(&shared.lock);
}

/* What another worker learned since. */
static void shared_take(struct resolve_entry *e)
{
	struct np_addr *copy = NULL;
	struct known *k;

	pthread_mutex_lock(&shared.lock);
	HASH_FIND_STR(shared.by_host, e->host, k);
	if (k != NULL && (e->n == 0 || np_mono_before(e->fetched, k->fetched)))
		copy = copy_of(k->addr, k->n);
	if (copy != NULL) {
		np_free(e->addr);
		e->addr = copy;
		e->n = k->n;
		e->fetched = k->fetched;
	}
	pthread_mutex_unlock(&shared.lock);
}

static void entry_keep(struct resolve_entry *e, const struct resolve_answer *a, struct np_mono now)
{
	struct np_addr *copy = NULL;

	e->tried = now;
	if (a->n > 0)
		copy = copy_of(a->addr, a->n);
	if (copy == NULL) {
		snprintf(e->error, sizeof(e->error), "%s", a->n > 0 ? "out of memory" : a->error);
		return;
	}
	np_free(e->addr);
	e->addr = copy;
	e->n = a->n;
	e->fetched = now;
	shared_put(e);
}

static void entry_answer(const struct resolve_entry *e, struct resolve_answer *out)
{
	out->n = e->n;
	out->error[0] = '\0';
	if (e->n > 0)
		memcpy(out->addr, e->addr, e->n * sizeof(e->addr[0]));
	else
		memcpy(out->error, e->error, sizeof(out->error));
}

/* on_answer may ask again, for this name, too, and may cancel others that wait. */
static void lookup_deliver(struct worker *w, struct mail *m)
{
	struct lookup *l = (struct lookup *)m;
	struct resolve_entry *e = l->entry;
	struct resolve_answer *answer = &l->answer;

	NP_ASSERT(e->lookup == l);
	entry_keep(e, answer, worker_now(w));
	e->lookup = NULL;
	e->answering = true; /* not evicted below */
	if (answer->n == 0 && e->n == 0)
		shared_take(e);
	if (answer->n == 0)
		entry_answer(e, answer);
	while (e->waiting != NULL) {
		struct resolve_request *r = e->waiting;

		DL_DELETE(e->waiting, r);
		r->entry = NULL;
		r->on_answer(r, answer);
	}
	e->answering = false;
	np_free(l);
}

static enum np_err lookup_start(struct resolve_entry *e)
{
	struct lookup *l = np_calloc(1, sizeof(*l));
	enum np_err err;

	if (l == NULL)
		return NP_ENOMEM;
	l->job.done.deliver = lookup_deliver;
	l->job.reply_to = e->resolver->worker;
	l->job.class = OFFLOAD_LIGHT;
	l->job.run = lookup_run;
	l->job.drop = lookup_drop;
	l->entry = e;
	l->fn = lookup_fn != NULL ? lookup_fn : system_lookup;
	memcpy(l->host, e->host, sizeof(l->host));
	err = offload_submit(&l->job);
	if (err != NP_OK) {
		np_free(l);
		return err;
	}
	e->lookup = l;
	return NP_OK;
}

/* evict - the one used longest ago that nobody waits for. */
static bool evict(struct resolver *r)
{
	struct resolve_entry *e;

	DL_FOREACH (r->used, e) {
		if (e->lookup == NULL && !e->answering) {
			entry_free(e);
			return true;
		}
	}
	return false;
}

static enum np_err entry_new(struct resolver *r, const char *host, struct resolve_entry **out)
{
	struct resolve_entry *e;

	if (HASH_COUNT(r->by_host) >= RESOLVE_CACHE_MAX && !evict(r))
		return NP_ELIMIT;
	e = np_calloc(1, sizeof(*e));
	if (e == NULL)
		return NP_ENOMEM;
	e->resolver = r;
	e->hashed = true;
	snprintf(e->host, sizeof(e->host), "%s", host);
	HASH_ADD_STR(r->by_host, host, e);
	if (!e->hashed) {
		np_free(e);
		return NP_ENOMEM;
	}
	DL_APPEND(r->used, e);
	*out = e;
	return NP_OK;
}

static enum np_err entry_get(struct resolver *r, const char *host, struct resolve_entry **out)
{
	struct resolve_entry *e;
	char lower[NP_HOST_MAX + 1];
	size_t n = strlen(host);

	NP_ASSERT(n <= NP_HOST_MAX);
	for (size_t i = 0; i <= n; i++) /* ASCII only, whatever the locale */
		lower[i] = host[i] >= 'A' && host[i] <= 'Z' ? (char)(host[i] + 32) : host[i];
	HASH_FIND_STR(r->by_host, lower, e);
	if (e == NULL)
		return entry_new(r, lower, out);
	DL_DELETE(r->used, e);
	DL_APPEND(r->used, e);
	*out = e;
	return NP_OK;
}

static bool answer_at_once(const char *host, struct resolve_answer *out)
{
	struct np_addr a;

	if (!np_addr_from_literal(*host == '\0' ? "127.0.0.1" : host, 0, &a))
		return false;
	out->n = 1;
	out->addr[0] = a;
	out->error[0] = '\0';
	return true;
}

enum np_err resolve(struct worker *w, const char *host, int64_t ttl_ms, struct resolve_request *r,
		    struct resolve_answer *out)
{
	struct resolve_entry *e = NULL;
	struct np_mono now;
	enum np_err err;
	bool recent;

	if (answer_at_once(host, out))
		return NP_OK;
	err = entry_get(w->resolver, host, &e);
	if (err != NP_OK)
		return err;
	now = worker_now(w);
	if (e->n == 0 || np_mono_diff_ms(now, e->fetched) >= ttl_ms)
		shared_take(e);
	recent = np_mono_is_set(e->tried) && np_mono_diff_ms(now, e->tried) < RETRY_MS;
	if (e->n > 0) {
		/* When no refresh can be started now, the next question will try again. */
		if (np_mono_diff_ms(now, e->fetched) >= ttl_ms && !recent && e->lookup == NULL)
			(void)!lookup_start(e);
		entry_answer(e, out);
		return NP_OK;
	}
	if (e->lookup == NULL && recent) {
		entry_answer(e, out);
		return NP_OK;
	}
	if (e->lookup == NULL) {
		err = lookup_start(e);
		if (err != NP_OK)
			return err;
	}
	r->entry = e;
	DL_APPEND(e->waiting, r);
	return NP_EAGAIN;
}

void resolve_cancel(struct resolve_request *r)
{
	if (r->entry == NULL)
		return;
	DL_DELETE(r->entry->waiting, r);
	r->entry = NULL;
}
