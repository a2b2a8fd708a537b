/*
 * trace.c - records of lost turns and the question that travels over the workers. See trace.h.
 */
#include "trace.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "session.h"
#include "shard.h"

#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

struct trace {
	uint8_t id[NP_TRACE_LEN];
	bool delivered;
	struct np_mono when;
	UT_hash_handle hh;
};

/* Visits every shard of the instance on its own worker; only the origin touches @session. */
struct trace_query {
	struct mail mail;
	struct instance *inst;
	struct worker *origin;
	struct session *session; /* NULL: nobody waits any more */
	uint8_t id[NP_TRACE_LEN];
	unsigned next; /* worker to be asked */
	bool delivered;
};

static void trace_drop(struct shard *sh, struct trace *t)
{
	HASH_DEL(sh->traces, t);
	np_free(t);
}

void trace_lost(struct shard *sh, const uint8_t id[NP_TRACE_LEN], bool delivered)
{
	struct trace *t = NULL;

	HASH_FIND(hh, sh->traces, id, NP_TRACE_LEN, t);
	if (t == NULL) {
		if (HASH_COUNT(sh->traces) >= TRACE_MAX) {
			trace_drop(sh, sh->traces); /* the oldest: insertion order */
			sh->traces_forgotten = worker_now(sh->worker);
		}
		t = np_calloc(1, sizeof(*t));
		if (t != NULL) {
			memcpy(t->id, id, NP_TRACE_LEN);
			HASH_ADD(hh, sh->traces, id, NP_TRACE_LEN, t);
		}
		if (t == NULL || t->hh.tbl == NULL) {
			np_free(t);
			sh->traces_forgotten = worker_now(sh->worker);
			return;
		}
	}
	t->delivered |= delivered;
	t->when = worker_now(sh->worker);
	shard_wake(sh);
}

bool trace_seen(const struct shard *sh, const uint8_t id[NP_TRACE_LEN])
{
	struct trace *t = NULL;

	if (sh->traces != NULL)
		HASH_FIND(hh, sh->traces, id, NP_TRACE_LEN, t);
	return t != NULL;
}

void trace_tick(struct shard *sh, struct np_mono now)
{
	while (sh->traces != NULL && np_mono_diff_ms(now, sh->traces->when) > TRACE_KEEP_MS)
		trace_drop(sh, sh->traces);
}

void trace_release(struct shard *sh)
{
	while (sh->traces != NULL)
		trace_drop(sh, sh->traces);
}

/* Did a byte of this open reach a target from here? A first attempt that still runs is ended. */
static bool ask_shard(struct shard *sh, const struct trace_query *q)
{
	struct session *s, *next;
	struct np_mono now = worker_now(sh->worker);
	struct trace *t = NULL;
	const struct channel *ch;

	if (np_mono_is_set(sh->traces_forgotten) &&
	    np_mono_diff_ms(now, sh->traces_forgotten) <= TRACE_KEEP_MS)
		return true;
	HASH_FIND(hh, sh->traces, q->id, NP_TRACE_LEN, t);
	if (t != NULL && t->delivered)
		return true;
	/* A first attempt that is still on its way here comes too late. */
	trace_lost(sh, q->id, false);
	DL_FOREACH_SAFE (sh->sessions, s, next) {
		if (s->role != SESSION_EGRESS || s->query == q ||
		    memcmp(s->trace, q->id, NP_TRACE_LEN) != 0)
			continue;
		if (s->delivered)
			return true;
		session_abort(s, NP_REASON_CHANNEL_LOST);
	}
	DL_FOREACH (sh->channels, ch)
		if (ch->has_last_trace && ch->last_delivered &&
		    memcmp(ch->last_trace, q->id, NP_TRACE_LEN) == 0)
			return true;
	return false;
}

static void query_finish(struct trace_query *q)
{
	struct session *s = q->session;

	if (s != NULL) {
		s->query = NULL;
		session_trace_answer(s, q->delivered);
	}
	atomic_fetch_sub(&q->inst->trace_queries, 1);
	np_free(q);
}

/* Worker 0, 1, …, the last one, then home to the origin. */
static void query_on_mail(struct worker *w, struct mail *m)
{
	struct trace_query *q = (struct trace_query *)m;

	if (q->next > workers_count()) {
		query_finish(q);
		return;
	}
	if (!q->delivered && q->inst->shards[w->index] != NULL)
		q->delivered = ask_shard(q->inst->shards[w->index], q);
	if (++q->next < workers_count()) {
		worker_post(worker_at(q->next), m);
		return;
	}
	q->next++; /* asked all: finished when it arrives */
	worker_post(q->origin, m);
}

enum np_err trace_ask(struct session *s)
{
	struct trace_query *q = np_calloc(1, sizeof(*q));

	if (q == NULL)
		return NP_ENOMEM;
	q->mail.deliver = query_on_mail;
	q->inst = s->shard->inst;
	q->origin = s->shard->worker;
	q->session = s;
	memcpy(q->id, s->trace, NP_TRACE_LEN);
	s->query = q;
	atomic_fetch_add(&q->inst->trace_queries, 1);
	worker_post(worker_at(0), &q->mail);
	return NP_OK;
}

void trace_forget(struct session *s)
{
	if (s->query != NULL)
		s->query->session = NULL;
	s->query = NULL;
}
