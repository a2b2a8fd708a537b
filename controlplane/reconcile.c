/*
 * reconcile.c - see reconcile.h.
 */
#include "reconcile.h"

#include "base/alloc.h"

#include <string.h>

#define uthash_malloc(n)  np_malloc(n)
#define uthash_free(p, n) np_free(p)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/banned.h"

struct id_entry {
	char id[RECONCILE_ID_MAX + 1];
	uint64_t value;
	UT_hash_handle hh; /* keeps the order in which they were added */
};

static struct id_entry *entry_find(const struct id_queue *q, const char *id)
{
	struct id_entry *e = NULL;

	HASH_FIND_STR(q->head, id, e);
	return e;
}

enum np_err id_queue_put(struct id_queue *q, const char *id, uint64_t value)
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
		memcpy(e->id, id, strlen(id) + 1);
	}
	e->value = value;
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

uint64_t id_queue_value(const struct id_queue *q, const char *id)
{
	struct id_entry *e = entry_find(q, id);

	return e == NULL ? 0 : e->value;
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
	*r = (struct reconcile){.queue = {.max = queue_max}, .told = {.max = queue_max}};
}

void reconcile_release(struct reconcile *r)
{
	id_queue_clear(&r->queue);
	id_queue_clear(&r->told);
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
	r->after_hello = true;
	id_queue_clear(&r->queue); /* held, or part of the snapshot */
	id_queue_clear(&r->told);
	if (strncmp(r->boot_id, boot_id, sizeof(r->boot_id) - 1) != 0) {
		memset(r->boot_id, 0, sizeof(r->boot_id));
		memcpy(r->boot_id, boot_id, strnlen(boot_id, sizeof(r->boot_id) - 1));
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
	if (id_queue_put(&r->queue, id, 0) != NP_OK)
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

void reconcile_told(struct reconcile *r, const char *id, uint64_t revision)
{
	/* Without memory it is told once more than needed. */
	if (id_queue_put(&r->told, id, revision) != NP_OK)
		return;
}

bool reconcile_change(struct reconcile *r, const char *id, uint64_t revision,
		      struct reconcile_step *step)
{
	if (revision == id_queue_value(&r->told, id))
		return false;
	if (revision <= r->head) {
		r->wants_snapshot = true;
		id_queue_clear(&r->queue);
		return false;
	}
	step_to(r, revision, step);
	reconcile_told(r, id, revision);
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

void reconcile_number(struct reconcile *r, uint64_t desired, struct reconcile_step *step)
{
	step_to(r, desired, step);
}

uint64_t reconcile_snapshot(struct reconcile *r, uint64_t desired, int64_t now_ms)
{
	/* A node that is ahead (the store was set back) calls an older one stale, but takes it
	 * right after Hello. */
	if (r->after_hello || desired > r->head)
		r->head = desired;
	r->after_hello = false;
	r->wants_snapshot = false;
	r->in_snapshot = true;
	r->next_snapshot_ms = now_ms + RECONCILE_SNAPSHOT_MS;
	id_queue_clear(&r->queue);
	id_queue_clear(&r->told);
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
