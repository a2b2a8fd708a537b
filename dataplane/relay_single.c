/*
 * relay_single.c - bytes of a single-end session: between its two sockets, both directions, through
 * the worker's scratch buffer or a pipe. See relay_copy.c for what waits where.
 */
#include "relay_priv.h"

#include "base/assert.h"

struct way {
	struct side *from, *to;
	struct np_buf *pending;
	struct pipe *pipe;
	enum np_dir dir;
};

static struct way way_of(struct session *s, enum np_dir dir)
{
	return (struct way){
	    .from = dir == NP_DIR_UP ? &s->outer : &s->inner,
	    .to = dir == NP_DIR_UP ? &s->inner : &s->outer,
	    .pending = &s->pending[dir],
	    .pipe = &s->pipe[dir],
	    .dir = dir,
	};
}

/* The rate counts the visitor's side: up is read from it, down is written to it. */
static int rate_dir(enum np_dir dir)
{
	return dir == NP_DIR_UP ? RATE_RX : RATE_TX;
}

/* A failure shows as a reset of the socket, by its event. */
static void shut_side(struct side *side)
{
	side->shut_due = stream_shutdown_write(&side->stream) == STREAM_AGAIN;
	if (side->shut_due)
		side->writable = false;
}

/* Obeys the half-close machine. false: the session is over. */
static bool single_event(struct session *s, const struct way *w, enum np_hc_event ev)
{
	bool waiting = np_buf_len(w->pending) > 0 || w->pipe->len > 0;
	unsigned act = np_halfclose_event(&s->half, w->dir, ev, waiting);

	/* The close that follows says it as well, but for TLS. */
	if ((act & NP_HC_SHUTDOWN) != 0 &&
	    ((act & NP_HC_FINISHED) == 0 || w->to->stream.ssl != NULL))
		shut_side(w->to);
	if ((act & NP_HC_RESET_OTHER) != 0) {
		session_end(s,
			    w->from == &s->outer ? NP_REASON_VISITOR_RESET : NP_REASON_TARGET_RESET,
			    true);
		return false;
	}
	if ((act & NP_HC_FINISHED) != 0) {
		session_end(s, NP_REASON_DONE, false);
		return false;
	}
	return true;
}

/* The destination is gone: its own direction is reset. */
static void single_gone(struct session *s, const struct way *w)
{
	session_end(s, w->to == &s->outer ? NP_REASON_VISITOR_RESET : NP_REASON_TARGET_RESET, true);
}

/*
 * Writes as much as goes: of @p, or with @p NULL of the pipe. *done: so many. false: the session is
 * over.
 */
static bool single_write(struct session *s, const struct way *w, const uint8_t *p, size_t len,
			 size_t *done)
{
	*done = 0;
	while (*done < len && w->to->writable) {
		enum stream_status status;
		size_t n = 0;

		status = p != NULL ? stream_write(&w->to->stream, p + *done, len - *done, &n)
				   : pipe_drain(w->pipe, &w->to->stream, len - *done, &n);
		if (status == STREAM_OK) {
			*done += n;
		} else if (status == STREAM_AGAIN) {
			w->to->writable = false;
		} else {
			single_gone(s, w);
			return false;
		}
	}
	if (w->dir == NP_DIR_DOWN && *done > 0)
		relay_note_tx(s, *done);
	return true;
}

/* What was read before and waits. false: it still does, or the session is over. */
static bool single_waiting(struct session *s, const struct way *w)
{
	size_t done;

	if (np_buf_len(w->pending) == 0 && w->pipe->len == 0)
		return true;
	if (np_buf_len(w->pending) > 0) {
		if (!single_write(s, w, np_buf_ptr(w->pending), np_buf_len(w->pending), &done))
			return false;
		np_buf_consume(w->pending, done);
		if (np_buf_len(w->pending) > 0)
			return false;
		np_buf_release(w->pending);
	}
	if (w->pipe->len > 0 &&
	    (!single_write(s, w, NULL, w->pipe->len, &done) || w->pipe->len > 0))
		return false;
	if (w->from->eof)
		return single_event(s, w, NP_HC_DRAINED);
	return true;
}

/* @n bytes were read, into @buf or (NULL) the pipe. false: nothing more to do now. */
static bool single_took(struct session *s, const struct way *w, const uint8_t *buf, size_t n)
{
	size_t done = 0;

	if (w->dir == NP_DIR_UP)
		relay_note_rx(s, n);
	else
		s->last_active = worker_pass_now(s->shard->worker);
	if (!single_write(s, w, buf, n, &done))
		return false;
	if (done == n)
		return true;
	if (buf != NULL) {
		np_buf_put(w->pending, buf + done, n - done);
		if (w->pending->err != NP_OK)
			session_end(s, NP_REASON_NO_MEMORY, true);
	}
	return false;
}

/* One read and write. false: nothing more to do now in this direction (or at all). */
static bool single_once(struct session *s, const struct way *w)
{
	uint8_t *buf = s->shard->worker->scratch;
	int dir = rate_dir(w->dir);
	enum stream_status status;
	size_t grant, n = 0;
	bool splice;

	if (!single_waiting(s, w) || w->from->eof || !w->from->readable)
		return false;
	splice = relay_begin_splice(s, dir, &w->from->stream, &w->to->stream, w->pipe);
	grant = relay_grant(s, dir, splice ? w->pipe->size : relay_read_max());
	if (grant == 0)
		return false;
	status = splice ? pipe_fill(w->pipe, &w->from->stream, grant, &n)
			: stream_read(&w->from->stream, buf, grant, &n);
	relay_refund(s, dir, grant - (status == STREAM_OK ? n : 0));
	switch (status) {
	case STREAM_OK:
		relay_note_read(s, dir, n);
		if (!splice && stream_drained(&w->from->stream, n, grant))
			side_read_short(w->from);
		return single_took(s, w, splice ? NULL : buf, n);
	case STREAM_AGAIN:
		w->from->readable = false;
		break;
	case STREAM_EOF:
		w->from->eof = true;
		single_event(s, w, NP_HC_EOF);
		break;
	case STREAM_FAILED:
		single_event(s, w, NP_HC_RESET);
		break;
	}
	return false;
}

/* false: the session is over. */
static bool single_way(struct session *s, enum np_dir dir)
{
	struct way w = way_of(s, dir);
	unsigned rounds = 0;
	bool more = true;

	if (w.to->shut_due && w.to->writable)
		shut_side(w.to);
	while (more && rounds++ < RELAY_ROUNDS)
		more = single_once(s, &w);
	if (s->state == SESSION_ENDED)
		return false;
	if (w.pipe->len == 0)
		pipe_give(s->shard->worker, w.pipe);
	if (more)
		worker_defer(s->shard->worker, &s->task);
	return true;
}

void relay_single(struct session *s)
{
	if (s->state != SESSION_RUNNING)
		return;
	if (single_way(s, NP_DIR_UP))
		single_way(s, NP_DIR_DOWN);
}
