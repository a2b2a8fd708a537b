/*
 * sse_queue.c - the events that wait for one reader. See sse_queue.h.
 */
#include "sse_queue.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <string.h>
#include <utlist.h>

#include "base/banned.h"

#define SLOTS_STEP 64

void sse_queue_init(struct sse_queue *q, size_t max, struct sse_figures *figures)
{
	*q = (struct sse_queue){.max = max, .figures = figures};
}

void sse_queue_release(struct sse_queue *q)
{
	while (q->list != NULL)
		sse_queue_pop(q);
	np_free(q->updates);
	q->updates = NULL;
	q->nupdates = 0;
	sse_queue_said(q);
}

/* Takes it out of the list and forgets it; it is the oldest log if it is one. */
static void remove_entry(struct sse_queue *q, struct sse_entry *e)
{
	struct sse_block *b = e->block;

	DL_DELETE(q->list, e);
	if (b->type == SSE_LOG) {
		NP_ASSERT(q->logs == e);
		q->logs = e->next_log;
		if (q->logs == NULL)
			q->last_log = NULL;
	}
	if (b->type == SSE_UPDATE) {
		if (b->slot < q->nupdates && q->updates[b->slot] == e)
			q->updates[b->slot] = NULL;
	} else {
		q->bytes -= b->len;
	}
	sse_block_unref(b);
	np_free(e);
}

void sse_queue_pop(struct sse_queue *q)
{
	remove_entry(q, q->list);
	if (q->list == NULL) { /* it has caught up: the table is made again when it falls behind */
		np_free(q->updates);
		q->updates = NULL;
		q->nupdates = 0;
	}
}

void sse_queue_said(struct sse_queue *q)
{
	q->dropped = 0;
	sse_block_unref(q->sample);
	q->sample = NULL;
}

static void lose_log(struct sse_queue *q, struct sse_block *b)
{
	q->dropped++;
	q->figures->dropped_logs++;
	sse_block_unref(q->sample);
	q->sample = sse_block_ref(b);
}

/* Room for the place of slot; without memory updates are simply not coalesced. */
static bool has_place(struct sse_queue *q, uint32_t slot, uint32_t slots)
{
	struct sse_entry **more;

	if (slot < q->nupdates)
		return true;
	if (slot >= slots)
		return false;
	slots = (slots + SLOTS_STEP - 1) / SLOTS_STEP * SLOTS_STEP;
	more = np_realloc(q->updates, slots * sizeof(*more));
	if (more == NULL)
		return false;
	memset(more + q->nupdates, 0, (slots - q->nupdates) * sizeof(*more));
	q->updates = more;
	q->nupdates = slots;
	return true;
}

static bool coalesced(struct sse_queue *q, struct sse_block *b)
{
	struct sse_entry *e = b->slot < q->nupdates ? q->updates[b->slot] : NULL;

	if (e == NULL)
		return false;
	sse_block_unref(e->block);
	e->block = sse_block_ref(b);
	q->figures->coalesced++;
	return true;
}

/* Gives up logs until @len more bytes fit; false: they do not. */
static bool make_room(struct sse_queue *q, size_t len)
{
	while (q->bytes + len > q->max && q->logs != NULL) {
		lose_log(q, q->logs->block);
		remove_entry(q, q->logs);
	}
	return q->bytes + len <= q->max;
}

static void put_in_place(struct sse_queue *q, struct sse_entry *e, bool coalesce, uint32_t slots)
{
	const struct sse_block *b = e->block;

	switch (b->type) {
	case SSE_UPDATE:
		if (coalesce && has_place(q, b->slot, slots))
			q->updates[b->slot] = e;
		else if (b->slot < q->nupdates) /* a later one may not overtake this one */
			q->updates[b->slot] = NULL;
		return;
	case SSE_CREATE:
	case SSE_DELETE:
		/* What waits is of another life of the slot. */
		if (b->slot < q->nupdates)
			q->updates[b->slot] = NULL;
		break;
	case SSE_LOG:
		if (q->last_log != NULL)
			q->last_log->next_log = e;
		else
			q->logs = e;
		q->last_log = e;
		break;
	case SSE_INITIAL:
	case SSE_SHUTDOWN:
		break;
	}
	q->bytes += b->len;
}

enum np_err sse_queue_push(struct sse_queue *q, struct sse_block *b, bool coalesce, uint32_t slots)
{
	struct sse_entry *e;

	if (b->type == SSE_UPDATE) {
		if (coalesce && coalesced(q, b))
			return NP_OK;
	} else if (!make_room(q, b->len)) {
		if (b->type != SSE_LOG)
			return NP_ELIMIT;
		lose_log(q, b);
		return NP_OK;
	}
	e = np_calloc(1, sizeof(*e));
	if (e == NULL) {
		if (b->type != SSE_LOG)
			return NP_ENOMEM;
		lose_log(q, b);
		return NP_OK;
	}
	e->block = sse_block_ref(b);
	e->seq = b->seq;
	DL_APPEND(q->list, e);
	put_in_place(q, e, coalesce, slots);
	return NP_OK;
}
