/*
 * sse_queue.h - what waits for one reader of the event stream: references to shared blocks.
 *
 * An update takes the place of the one of the same instance that waits already. create, delete and
 * shutdown are never given up: a reader whose share of them passes the bound has to go. Logs are:
 * the oldest first, counted. Pure; thread: the loop's.
 */
#ifndef CP_SSE_QUEUE_H
#define CP_SSE_QUEUE_H

#include "sse_ring.h"

struct sse_entry {
	struct sse_entry *prev, *next;
	struct sse_entry *next_log; /* among the logs of the queue */
	struct sse_block *block;    /* a reference */
	uint64_t seq;		    /* position in the stream; the block may be newer */
};

struct sse_queue {
	struct sse_entry *list;		   /* owned, oldest first */
	struct sse_entry *logs, *last_log; /* those of the list that are logs */
	size_t bytes;			   /* of all but updates; at most max */
	size_t max;
	struct sse_entry **updates; /* owned; by slot: the update that waits, or NULL */
	uint32_t nupdates;
	uint64_t dropped;	     /* logs given up and not said yet */
	struct sse_block *sample;    /* the last of them; a reference */
	struct sse_figures *figures; /* borrowed: dropped_logs and coalesced are counted there */
};

void sse_queue_init(struct sse_queue *q, size_t max, struct sse_figures *figures);
void sse_queue_release(struct sse_queue *q);
/*
 * sse_queue_push - @b behind all others, or with @coalesce in the place of an update of the same
 * instance. @slots: how many there are at present. Errors: NP_ELIMIT (create, delete or shutdown
 * past the bound), NP_ENOMEM: the reader has missed what it must not miss.
 */
enum np_err sse_queue_push(struct sse_queue *q, struct sse_block *b, bool coalesce,
			   uint32_t slots) NP_MUST_CHECK;
/* sse_queue_pop - removes the first entry, the caller has sent it. */
void sse_queue_pop(struct sse_queue *q);
/* sse_queue_said - the loss of logs was told to the reader. */
void sse_queue_said(struct sse_queue *q);

#endif
