/*
 * reconcile.c - see reconcile.h.
 */
#include "reconcile.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

#define uthash_malloc(n)  np_malloc(n)
#define uthash_free(p, n) np_free(p)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/banned.h"

struct id_entry {
	char id[RECONCILE_ID_MAX + 1];
	UT_hash_handle hh; /* keeps the order in which they were added */
};

static struct id_entry *entry_find(const struct id_queue *q, const char *id)
{
	struct id_entry *e = NULL;

	HASH_FIND_STR(q->head, id, e);
	return e;
}

enum np_err id_queue_put(struct id_queue *q, const char *id)
{
	struct id_entry *e = entry_find(q, id);

	if (strlen(id) > RECONCILE_ID_MAX)
		return NP_ELIMIT;
	if (e != NULL) {
		HASH_DEL(q->head, e);
	} else {
		if (HASH_COUNT(q->head) >= q->max)
			return NP_ELIMIT;
		e = np_calloc(1, sizeof(*e));
		if (e == NULL)
			return NP_ENOMEM;
		snprintf(e->id, sizeof(e->id), "%s", id);
	}
	HASH_ADD_STR(q->head, id, e);
	if (entry_find(q, id) == NULL) { /* the table could not grow */
		np_free(e);
		return NP_ENOMEM;
	}
	return NP_OK;
}

bool id_queue_take(struct id_queue *q, char id[RECONCILE_ID_MAX + 1])
{
	struct id_entry *e = q->head;

	if (e == NULL)
		return false;
	memcpy(id, e->id, sizeof(e->id));
	HASH_DEL(q->head, e);
	np_free(e);
	return true;
}

bool id_queue_has(const struct id_queue *q, const char *id)
{
	return entry_find(q, id) != NULL;
}

size_t id_queue_count(const struct id_queue *q)
{
	return HASH_COUNT(q->head);
}

void id_queue_clear(struct id_queue *q)
{
	char id[RECONCILE_ID_MAX + 1];

	while (id_queue_take(q, id))
		continue;
}

void reconcile_init(struct reconcile *r, size_t queue_max)
{
	*r = (struct reconcile){.queue = {.max = queue_max}};
}

void reconcile_release(struct reconcile *r)
{
	id_queue_clear(&r->queue);
}

void reconcile_up(struct reconcile *r, const char *boot_id, uint64_t applied, bool held,
		  int64_t now_ms)
{
	r->up = true;
	r->head = applied;
	r->in_flight = 0;
	r->in_snapshot = false;
	r->wants_snapshot = !held;
	r->quiet_since_ms = now_ms;
	id_queue_clear(&r->queue); /* held, or part of the snapshot */
	if (strcmp(r->boot_id, boot_id) != 0) {
		snprintf(r->boot_id, sizeof(r->boot_id), "%s", boot_id);
		r->next_snapshot_ms = now_ms;
	}
}

void reconcile_down(struct reconcile *r)
{
	r->up = false;
	r->in_flight = 0;
	r->in_snapshot = false;
	r->wants_snapshot = false;
	id_queue_clear(&r->queue);
}

void reconcile_changed(struct reconcile *r, const char *id, int64_t now_ms)
{
	r->quiet_since_ms = now_ms;
	/* Otherwise the next snapshot has it. */
	if (!r->up || r->wants_snapshot)
		return;
	if (id_queue_put(&r->queue, id) != NP_OK)
		reconcile_repair(r, now_ms, 0);
}

void reconcile_repair(struct reconcile *r, int64_t now_ms, int64_t wait_ms)
{
	r->wants_snapshot = true;
	id_queue_clear(&r->queue);
	if (r->next_snapshot_ms < now_ms + wait_ms)
		r->next_snapshot_ms = now_ms + wait_ms;
}

enum reconcile_action reconcile_next(struct reconcile *r, uint64_t desired, int64_t now_ms,
				     char id[RECONCILE_ID_MAX + 1], int64_t *wait_ms)
{
	*wait_ms = -1;
	if (!r->up || r->in_snapshot)
		return RECONCILE_WAIT;
	if (r->wants_snapshot) {
		/* What is on its way is answered first: its outcome is not mixed with the other's.
		 */
		if (r->in_flight > 0)
			return RECONCILE_WAIT;
		if (now_ms >= r->next_snapshot_ms)
			return RECONCILE_SNAPSHOT;
		*wait_ms = r->next_snapshot_ms - now_ms;
		return RECONCILE_WAIT;
	}
	if (id_queue_take(&r->queue, id))
		return RECONCILE_CHANGE;
	if (r->in_flight > 0 || r->head >= desired)
		return RECONCILE_WAIT;
	if (now_ms - r->quiet_since_ms >= RECONCILE_SETTLE_MS)
		return RECONCILE_NUMBER;
	*wait_ms = RECONCILE_SETTLE_MS - (now_ms - r->quiet_since_ms);
	return RECONCILE_WAIT;
}

static void step_to(struct reconcile *r, uint64_t revision, struct reconcile_step *step)
{
	*step = (struct reconcile_step){.base = r->head, .revision = revision};
	r->head = revision;
	r->in_flight++;
}

bool reconcile_change(struct reconcile *r, uint64_t revision, struct reconcile_step *step)
{
	if (revision <= r->head) {
		r->wants_snapshot = true;
		id_queue_clear(&r->queue);
		return false;
	}
	step_to(r, revision, step);
	return true;
}

/*
 * The revision of a removal is not known any more, but it lies above all that came before it and
 * below all that comes after. The smallest such number leaves room for those; what is missing to
 * the desired one is told after some quiet.
 */
void reconcile_removal(struct reconcile *r, struct reconcile_step *step)
{
	step_to(r, r->head + 1, step);
}

bool reconcile_number(struct reconcile *r, uint64_t desired, struct reconcile_step *step)
{
	return reconcile_change(r, desired, step);
}

uint64_t reconcile_snapshot(struct reconcile *r, uint64_t desired, int64_t now_ms)
{
	/* A node that is ahead (the store was set back) would call an older one stale. */
	r->head = desired > r->head ? desired : r->head;
	r->wants_snapshot = false;
	r->in_snapshot = true;
	r->next_snapshot_ms = now_ms + RECONCILE_SNAPSHOT_MS;
	id_queue_clear(&r->queue);
	return r->head;
}

void reconcile_step_end(struct reconcile *r, enum reconcile_outcome o, int64_t now_ms)
{
	if (r->in_flight > 0)
		r->in_flight--;
	r->quiet_since_ms = now_ms;
	if (o == RECONCILE_LOST)
		reconcile_repair(r, now_ms, 0);
}

void reconcile_snapshot_end(struct reconcile *r, enum reconcile_outcome o, int64_t now_ms)
{
	r->in_snapshot = false;
	r->quiet_since_ms = now_ms;
	if (o == RECONCILE_LOST)
		reconcile_repair(r, now_ms, 0);
}

bool reconcile_is_idle(const struct reconcile *r)
{
	return r->up && !r->wants_snapshot && !r->in_snapshot && r->in_flight == 0 &&
	       r->queue.head == NULL;
}
