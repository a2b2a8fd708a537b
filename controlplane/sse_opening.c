/*
 * sse_opening.c - the initial events, rendered once for all who connect within a second. See
 * sse_priv.h.
 *
 * With ten thousand instances an opening is several MB: few are kept in memory, and a reader that
 * takes its one slowly holds a reference, not a copy.
 */
#include "sse_priv.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

#include "base/banned.h"

struct emit {
	struct np_buf *text;
	bool any;
};

static void on_emit(void *arg, const char *id, const void *json, size_t len)
{
	struct emit *e = arg;
	size_t unused;

	if (len > SSE_BLOCK_MAX - SSE_ID_TEXT_MAX - 256) { /* readers give up on such a stream */
		np_log(NP_LOG_ERROR, id, "event not published: the instance is too large bytes=%zu",
		       len);
		return;
	}
	if (e->any)
		np_buf_put_u8(e->text, '\n');
	e->any = true;
	sse_render(e->text, SSE_INITIAL, json, len, NULL, &unused);
}

static enum np_err make(struct sse *s, struct sse_opening **out)
{
	struct sse_opening *o = np_calloc(1, sizeof(*o));
	struct emit e = {0};
	enum np_err err;

	if (o == NULL)
		return NP_ENOMEM;
	o->refs = 1;
	o->seq = s->seq;
	o->made = np_mono_now();
	np_buf_init(&o->text, SSE_OPENING_BYTES);
	e.text = &o->text;
	s->initial(s->arg, on_emit, &e);
	err = o->text.err;
	if (err != NP_OK) {
		np_buf_wipe(&o->text);
		np_free(o);
		return err;
	}
	s->nopenings++;
	*out = o;
	return NP_OK;
}

void sse_opening_put(struct sse *s, struct sse_opening *o)
{
	struct sse_reader *rd;

	if (o == NULL)
		return;
	NP_ASSERT(o->refs > 0);
	if (--o->refs > 0)
		return;
	np_buf_wipe(&o->text); /* it holds the API key and tunnel keys */
	np_free(o);
	s->nopenings--;
	if (s->nwaiting == 0)
		return;
	for (rd = s->readers; rd != NULL; rd = rd->next) {
		if (rd->state == SSE_READER_WAITING)
			sse_reader_mark(rd);
	}
}

void sse_opening_forget(struct sse *s)
{
	struct sse_opening *o = s->opening;

	s->opening = NULL;
	sse_opening_put(s, o);
}

enum np_err sse_opening_get(struct sse *s, uint64_t seen, struct sse_opening **out)
{
	struct sse_opening *o = s->opening;
	bool usable = o != NULL && sse_ring_has(&s->ring, o->seq, s->seq);
	bool fresh =
	    usable && o->seq >= seen && np_mono_diff_ms(np_mono_now(), o->made) < SSE_OPENING_MS;
	enum np_err err;

	/* An older one will do: all that happened since follows it. */
	if (fresh || (usable && s->nopenings >= SSE_OPENINGS_MAX)) {
		o->refs++;
		*out = o;
		return NP_OK;
	}
	sse_opening_forget(s);
	if (s->nopenings >= SSE_OPENINGS_MAX)
		return NP_EAGAIN;
	err = make(s, &o);
	if (err != NP_OK)
		return err;
	s->opening = o;
	o->refs++;
	*out = o;
	return NP_OK;
}
