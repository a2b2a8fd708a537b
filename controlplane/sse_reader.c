/*
 * sse_reader.c - one reader of the event stream: opening, what it missed, what happens. See
 * sse_priv.h.
 *
 * A stream gets no more than SSE_MARK bytes; what waits above that are references in the queue.
 */
#include "sse_priv.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

#include "base/banned.h"

#define READER_MAGIC	 0x55ea4d01
#define READER_BURST_MAX 64 /* events of one loop pass that are sent without coalescing */

static void reader_on_close(void *arg)
{
	struct sse_reader *rd = arg;

	NP_CHECK_MAGIC(rd, READER_MAGIC);
	rd->stream = NULL;
	if (!rd->busy)
		sse_reader_free(rd);
}

static void reader_on_drained(void *arg)
{
	struct sse_reader *rd = arg;

	NP_CHECK_MAGIC(rd, READER_MAGIC);
	if (rd->behind || rd->ending)
		sse_reader_mark(rd);
}

static void send_bytes(struct sse_reader *rd, const void *p, size_t n)
{
	rd->busy = true; /* the stream may end inside of the call */
	http_stream_send(rd->stream, p, n);
	rd->busy = false;
	rd->sent += n;
}

static void read_last_id(struct sse_reader *rd, struct http_req *r)
{
	const char *text = http_req_header(r, "Last-Event-ID");
	char buf[SSE_ID_TEXT_MAX + 1];

	if (text == NULL && http_req_query_value(r, "last_event_id", buf, sizeof(buf)))
		text = buf;
	rd->has_last = text != NULL && sse_id_parse(rd->sse->boot, text, &rd->last);
}

struct sse_reader *sse_reader_new(struct sse *s, struct http_req *r)
{
	static const char retry[] = "retry: 3000\n\n";
	struct sse_reader *rd = np_calloc(1, sizeof(*rd));

	if (rd == NULL) {
		http_reply_error(r, 503, "Service Unavailable: %s", np_err_text(NP_ENOMEM));
		return NULL;
	}
	rd->magic = READER_MAGIC;
	rd->sse = s;
	sse_queue_init(&rd->queue, SSE_SUBSCRIBER_MAX, &s->figures);
	read_last_id(rd, r);
	rd->stream = http_stream_open(r, "text/event-stream", reader_on_close, rd);
	if (rd->stream == NULL) {
		np_free(rd);
		return NULL;
	}
	http_stream_on_drained(rd->stream, reader_on_drained);
	rd->progress = np_mono_now();
	DL_APPEND(s->readers, rd);
	s->nreaders++;
	s->nwaiting++;
	sse_reader_mark(rd);
	send_bytes(rd, retry, sizeof(retry) - 1);
	if (rd->stream != NULL)
		return rd;
	sse_reader_free(rd);
	return NULL;
}

static void set_state(struct sse_reader *rd, enum sse_reader_state state)
{
	if (rd->state == SSE_READER_WAITING)
		rd->sse->nwaiting--;
	rd->state = state;
}

void sse_reader_skip_opening(struct sse_reader *rd)
{
	if (rd->state == SSE_READER_WAITING)
		set_state(rd, SSE_READER_LIVE);
}

void sse_reader_free(struct sse_reader *rd)
{
	struct sse *s = rd->sse;
	bool ending = rd->ending;

	set_state(rd, SSE_READER_LIVE);
	DL_DELETE(s->readers, rd);
	s->nreaders--;
	if (rd->dirty)
		DL_DELETE2(s->dirty, rd, dprev, dnext);
	sse_queue_release(&rd->queue);
	sse_opening_put(s, rd->opening);
	rd->magic = 0;
	np_free(rd);
	sse_reader_gone(s, ending);
}

void sse_reader_abort(struct sse_reader *rd)
{
	struct http_stream *stream = rd->stream;

	rd->stream = NULL;
	http_stream_abort(stream);
	rd->sse->figures.evicted++;
	sse_reader_free(rd);
}

void sse_reader_mark(struct sse_reader *rd)
{
	static const struct timeval now = {0};
	struct sse *s = rd->sse;

	if (!rd->dirty) {
		rd->dirty = true;
		DL_APPEND2(s->dirty, rd, dprev, dnext);
	}
	/* A timer of no time: the loop looks at the sockets in between. */
	if (!s->flush_set && event_add(s->flush, &now) == 0)
		s->flush_set = true;
}

void sse_reader_push(struct sse_reader *rd, struct sse_block *b)
{
	bool coalesce = rd->behind;

	if (rd->ending || rd->doomed || rd->state == SSE_READER_WAITING)
		return;
	if (rd->queue.list != NULL &&
	    rd->queue.list->prev->seq - rd->queue.list->seq >= READER_BURST_MAX)
		coalesce = true;
	if (sse_queue_push(&rd->queue, b, coalesce, rd->sse->nslots) != NP_OK) {
		rd->doomed = true;
		sse_queue_release(&rd->queue);
	}
	if (!rd->behind || rd->doomed)
		sse_reader_mark(rd);
}

/* The opening, and what happened behind it or behind what the reader saw last. */
static enum np_err attach(struct sse_reader *rd)
{
	struct sse *s = rd->sse;
	bool resume = rd->has_last && sse_ring_has(&s->ring, rd->last, s->seq);
	enum np_err err = sse_opening_get(s, resume ? rd->last : 0, &rd->opening);

	if (err != NP_OK)
		return err;
	set_state(rd, SSE_READER_OPENING);
	rd->behind = true;
	rd->from = rd->opening->seq;
	if (resume && rd->last < rd->from)
		rd->from = rd->last;
	for (struct sse_block *b = sse_ring_after(&s->ring, rd->from); b != NULL; b = b->next)
		sse_reader_push(rd, b);
	return NP_OK;
}

static void put_id(const struct sse_reader *rd, uint64_t seq, struct np_buf *out)
{
	np_buf_putf(out, "id: %s-%" PRIu64 "\n\n", rd->sse->boot, seq);
}

/* Without an id: the reader's position stays. */
static void put_loss(struct sse_reader *rd, struct np_buf *out)
{
	struct sse_queue *q = &rd->queue;
	char text[96];
	size_t unused;

	(void)snprintf(text, sizeof(text),
		       "%" PRIu64 " log lines were dropped: this reader is too slow", q->dropped);
	sse_render(out, SSE_LOG, q->sample->data + q->sample->json_off, q->sample->json_len, text,
		   &unused);
	np_buf_put_u8(out, '\n');
	sse_queue_said(q);
}

static void fill_opening(struct sse_reader *rd, struct np_buf *out, size_t room)
{
	const struct np_buf *text = &rd->opening->text;
	size_t n = np_buf_len(text) - rd->opened;

	if (n > room)
		n = room;
	np_buf_put(out, np_buf_ptr(text) + rd->opened, n);
	if (out->err == NP_OK)
		rd->opened += n;
	if (rd->opened < np_buf_len(text))
		return;
	if (np_buf_len(text) > 0)
		put_id(rd, rd->from, out);
	sse_opening_put(rd->sse, rd->opening);
	rd->opening = NULL;
	set_state(rd, SSE_READER_LIVE);
}

/* What is to be sent next, about @room bytes. */
static void fill(struct sse_reader *rd, struct np_buf *out, size_t room)
{
	struct sse_queue *q = &rd->queue;

	if (rd->state == SSE_READER_OPENING)
		fill_opening(rd, out, room);
	while (rd->state == SSE_READER_LIVE && q->list != NULL && np_buf_len(out) < room &&
	       out->err == NP_OK) {
		const struct sse_entry *e = q->list;

		if (q->dropped > 0 && e->block->type == SSE_LOG)
			put_loss(rd, out);
		np_buf_put(out, e->block->data, e->block->len);
		put_id(rd, e->seq, out);
		sse_queue_pop(q);
	}
	if (rd->state == SSE_READER_LIVE && q->list == NULL && q->dropped > 0)
		put_loss(rd, out);
}

static bool is_done(const struct sse_reader *rd)
{
	return rd->state == SSE_READER_LIVE && rd->queue.list == NULL;
}

/* A clean end, once the kernel has everything. */
static void end(struct sse_reader *rd)
{
	struct http_stream *stream = rd->stream;

	rd->stream = NULL;
	http_stream_end(stream);
	sse_reader_free(rd);
}

size_t sse_reader_pump(struct sse_reader *rd)
{
	struct np_buf *out = &rd->sse->out;
	size_t sent = 0;
	enum np_err err = NP_OK;

	if (rd->state == SSE_READER_WAITING)
		err = attach(rd);
	if (err == NP_EAGAIN)
		return 0;
	while (err == NP_OK && !rd->doomed && !is_done(rd)) {
		size_t queued = http_stream_queued(rd->stream);

		if (queued >= SSE_MARK) {
			rd->behind = true; /* goes on when it is drained */
			return sent;
		}
		np_buf_consume(out, np_buf_len(out));
		fill(rd, out, SSE_MARK - queued);
		err = out->err;
		if (err != NP_OK)
			break;
		send_bytes(rd, np_buf_ptr(out), np_buf_len(out));
		sent += np_buf_len(out);
		if (rd->stream == NULL) {
			sse_reader_free(rd);
			return sent;
		}
	}
	if (err != NP_OK || rd->doomed) {
		np_buf_wipe(out); /* clears its error, too */
		out->err = NP_OK;
		sse_reader_abort(rd);
		return sent;
	}
	rd->behind = false;
	if (rd->ending && http_stream_queued(rd->stream) == 0)
		end(rd);
	return sent;
}

void sse_reader_sweep(struct sse_reader *rd, struct np_mono now, bool ping)
{
	static const char text[] = ": ping\n\n";
	size_t queued = http_stream_queued(rd->stream);
	int64_t taken = (int64_t)rd->sent - (int64_t)queued;

	if (queued == 0 || taken > rd->taken)
		rd->progress = now;
	rd->taken = taken;
	if (np_mono_diff_ms(now, rd->progress) >= rd->sse->stall_ms) {
		np_log(NP_LOG_WARN, NULL, "event stream aborted: its reader takes nothing");
		sse_reader_abort(rd);
		return;
	}
	/* Inside of an opening a slice may end in the middle of a block. */
	if (!ping || queued > 0 || rd->ending || rd->state == SSE_READER_OPENING)
		return;
	send_bytes(rd, text, sizeof(text) - 1);
	if (rd->stream == NULL)
		sse_reader_free(rd);
}
