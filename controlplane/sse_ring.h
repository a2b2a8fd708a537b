/*
 * sse_ring.h - events as blocks that are made once and shared, and the ring of the last of them.
 *
 * Pure: no sockets, no clock. Thread: the loop's. A block is text up to and without its "id:" line,
 * which says the reader's position and is therefore put at the time of sending.
 */
#ifndef CP_SSE_RING_H
#define CP_SSE_RING_H

#include "sse.h"

#define SSE_SLOT_NONE	UINT32_MAX
#define SSE_BOOT_LEN	16 /* hexadecimal digits */
#define SSE_ID_TEXT_MAX (SSE_BOOT_LEN + 1 + 20 + 1)

struct sse_block {
	unsigned refs;
	enum sse_type type;
	uint64_t seq;		   /* 1, 2, 3, ... */
	uint32_t slot;		   /* of its instance */
	struct sse_block *next;	   /* in the ring */
	size_t json_off, json_len; /* the instance inside of data; 0 bytes = null */
	size_t len;
	char data[];
};

/* sse_block_new - a copy of @data with one reference. NULL without memory. */
struct sse_block *sse_block_new(const void *data, size_t len);
struct sse_block *sse_block_ref(struct sse_block *b);
void sse_block_unref(struct sse_block *b); /* NULL is fine */

struct sse_ring {
	struct sse_block *head, *tail; /* a reference each; oldest first, no seq is left out */
	size_t bytes, max;
};

void sse_ring_init(struct sse_ring *r, size_t max);
void sse_ring_release(struct sse_ring *r);
/* sse_ring_put - takes a reference of its own; the oldest go while the ring is past its maximum. */
void sse_ring_put(struct sse_ring *r, struct sse_block *b);
/* sse_ring_after - the first block behind @seq; NULL: none. sse_ring_has - are all of the blocks
 * behind @seq still here, @last being the newest that was made? */
struct sse_block *sse_ring_after(const struct sse_ring *r, uint64_t seq);
bool sse_ring_has(const struct sse_ring *r, uint64_t seq, uint64_t last);

/* sse_id_parse - "<boot>-<seq>" of this @boot; false: anything else. */
bool sse_id_parse(const char *boot, const char *text, uint64_t *seq);

#endif
