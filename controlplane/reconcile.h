/*
 * reconcile.h - what a node is told next: nothing, a snapshot of all, one change, or only a number.
 *
 * Pure: no clock, no sockets. The caller asks reconcile_next, does it, and reports. Changes wait in
 * the order of their revisions; each request is one step of the node's counter from base to
 * revision, so that one that is lost makes all later ones be refused and a snapshot repair it.
 */
#ifndef CP_RECONCILE_H
#define CP_RECONCILE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define RECONCILE_ID_MAX      64
#define RECONCILE_SNAPSHOT_MS 5000 /* between two snapshots to the same boot of a node */
#define RECONCILE_SETTLE_MS   100  /* of quiet before the last number is told */

/* Ids, each once, in the order in which they were last put, with a number each. */
struct id_queue {
	struct id_entry *head; /* owned; a uthash table */
	size_t max;
};

/* id_queue_put - moved to the end when it is there. Errors: NP_ENOMEM, NP_ELIMIT. */
enum np_err id_queue_put(struct id_queue *q, const char *id, uint64_t value) NP_MUST_CHECK;
/* id_queue_take - the first one; false: empty. */
bool id_queue_take(struct id_queue *q, char id[RECONCILE_ID_MAX + 1]);
bool id_queue_has(const struct id_queue *q, const char *id);
/* id_queue_value - 0: not there. */
uint64_t id_queue_value(const struct id_queue *q, const char *id);
size_t id_queue_count(const struct id_queue *q);
void id_queue_clear(struct id_queue *q);

enum reconcile_action {
	RECONCILE_WAIT = 0, /* until something happens, or for *wait_ms */
	RECONCILE_SNAPSHOT, /* reconcile_snapshot, then all chunks */
	RECONCILE_CHANGE,   /* the id was taken: reconcile_change or reconcile_removal */
	RECONCILE_NUMBER,   /* any change that changes nothing, reconcile_number */
};

enum reconcile_outcome {
	RECONCILE_DONE = 0, /* taken or refused for good: the node's counter went on */
	RECONCILE_LOST,	    /* a gap, no answer, not now */
};

struct reconcile {
	struct id_queue queue; /* changes that wait */
	struct id_queue told;  /* revision of each spec that was sent in this session */
	bool up, wants_snapshot, in_snapshot, after_hello;
	char boot_id[33];
	uint64_t head; /* the node's counter after all that is on its way */
	unsigned in_flight;
	int64_t next_snapshot_ms; /* not before */
	int64_t quiet_since_ms;
};

/* One step of the node's counter. */
struct reconcile_step {
	uint64_t base, revision;
};

void reconcile_init(struct reconcile *r, size_t queue_max);
void reconcile_release(struct reconcile *r);

/* reconcile_up - the node said Hello. @applied: its counter. @held: it holds the desired state. */
void reconcile_up(struct reconcile *r, const char *boot_id, uint64_t applied, bool held,
		  int64_t now_ms);
void reconcile_down(struct reconcile *r);
void reconcile_changed(struct reconcile *r, const char *id, int64_t now_ms);
/* reconcile_repair - the node and we disagree: a snapshot as soon as one is allowed, and not
 * before @wait_ms. */
void reconcile_repair(struct reconcile *r, int64_t now_ms, int64_t wait_ms);

/* reconcile_next - @desired: revision of the desired state. @wait_ms: -1 = for ever. */
enum reconcile_action reconcile_next(struct reconcile *r, uint64_t desired, int64_t now_ms,
				     char id[RECONCILE_ID_MAX + 1], int64_t *wait_ms);

/* reconcile_change - the step that the spec of @id takes. False: it was told already, or it cannot
 * be told as a step any more and a snapshot will. */
bool reconcile_change(struct reconcile *r, const char *id, uint64_t revision,
		      struct reconcile_step *step);
void reconcile_removal(struct reconcile *r, struct reconcile_step *step);
void reconcile_number(struct reconcile *r, uint64_t desired, struct reconcile_step *step);
/* reconcile_told - part of a snapshot. */
void reconcile_told(struct reconcile *r, const char *id, uint64_t revision);
/* reconcile_snapshot - its revision; begins it. */
uint64_t reconcile_snapshot(struct reconcile *r, uint64_t desired, int64_t now_ms);

/* The ends of a step and of a snapshot (of all its chunks). */
void reconcile_step_end(struct reconcile *r, enum reconcile_outcome o, int64_t now_ms);
void reconcile_snapshot_end(struct reconcile *r, enum reconcile_outcome o, int64_t now_ms);
/* reconcile_is_idle - nothing waits, nothing is on its way: the node was told all. */
bool reconcile_is_idle(const struct reconcile *r);

#endif
