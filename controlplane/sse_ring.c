/*
 * sse_ring.c - shared blocks and the ring of the last of them. See sse_ring.h.
 */
#include "sse_ring.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/num.h"

#include <string.h>

#include "base/banned.h"

struct sse_block *sse_block_new(const void *data, size_t len)
{
	struct sse_block *b = np_malloc(sizeof(*b) + len);

	if (b == NULL)
		return NULL;
	*b = (struct sse_block){.refs = 1, .slot = SSE_SLOT_NONE, .len = len};
	memcpy(b->data, data, len);
	return b;
}

struct sse_block *sse_block_ref(struct sse_block *b)
{
	b->refs++;
	return b;
}

void sse_block_unref(struct sse_block *b)
{
	if (b == NULL)
		return;
	NP_ASSERT(b->refs > 0);
	if (--b->refs > 0)
		return;
	explicit_bzero(b->data, b->len); /* URLs with tunnel keys */
	np_free(b);
}

void sse_ring_init(struct sse_ring *r, size_t max)
{
	*r = (struct sse_ring){.max = max};
}

static void drop_oldest(struct sse_ring *r)
{
	struct sse_block *b = r->head;

	r->head = b->next;
	if (r->head == NULL)
		r->tail = NULL;
	b->next = NULL;
	r->bytes -= b->len;
	sse_block_unref(b);
}

void sse_ring_release(struct sse_ring *r)
{
	while (r->head != NULL)
		drop_oldest(r);
}

void sse_ring_put(struct sse_ring *r, struct sse_block *b)
{
	NP_ASSERT(r->tail == NULL || b->seq == r->tail->seq + 1);
	b->next = NULL;
	if (r->tail != NULL)
		r->tail->next = sse_block_ref(b);
	else
		r->head = sse_block_ref(b);
	r->tail = b;
	r->bytes += b->len;
	while (r->bytes > r->max && r->head != r->tail)
		drop_oldest(r);
}

struct sse_block *sse_ring_after(const struct sse_ring *r, uint64_t seq)
{
	struct sse_block *b = r->head;

	while (b != NULL && b->seq <= seq)
		b = b->next;
	return b;
}

bool sse_ring_has(const struct sse_ring *r, uint64_t seq, uint64_t last)
{
	if (seq == last)
		return true;
	return seq < last && r->head != NULL && r->tail->seq == last && r->head->seq <= seq + 1;
}

bool sse_id_parse(const char *boot, const char *text, uint64_t *seq)
{
	uint64_t v;

	if (strncmp(text, boot, SSE_BOOT_LEN) != 0 || text[SSE_BOOT_LEN] != '-')
		return false;
	text += SSE_BOOT_LEN + 1;
	if (np_parse_u64(text, strlen(text), 0, UINT64_MAX, &v) != NP_OK)
		return false;
	*seq = v;
	return true;
}
