/*
 * relay_copy.c - bytes of a tunnel's end: from the outer socket into frames, and back, through the
 * worker's scratch buffer (or, for bulk, the channel's pipes: relay_splice.c).
 *
 * A byte is read and written to its destination at once; only what the destination does not take is
 * kept, in a buffer that exists only while bytes wait. Reading stops while the destination has
 * bytes waiting, so a stalled reader costs at most one scratch buffer a direction. Work per call is
 * bounded by RELAY_ROUNDS.
 */
#include "relay_priv.h"

#include "base/assert.h"
#include "channel_turn.h"

#define OPEN_FRAME_MAX (NP_FRAME_HEADER + NP_OPEN_MAX)

/* How much may be read from the outer side now; 0 = wait. */
static size_t outer_want(const struct session *s)
{
	size_t waiting = channel_waiting(s->channel);

	/* OPEN may wait for the first bytes, so that both go in one write. */
	if (waiting > (s->state == SESSION_OPENING ? OPEN_FRAME_MAX : 0) && !s->channel->held)
		return 0;
	if (s->state == SESSION_OPENING)
		return VISITOR_KEEP_MAX - np_buf_len(&s->kept);
	return relay_read_max();
}

static void outer_ended(struct session *s)
{
	struct channel *ch = s->channel;

	s->outer.eof = true;
	channel_send(ch, NP_FRAME_FIN, NULL, 0);
	channel_maybe_done(ch);
	channel_flush(ch);
}

static bool outer_took(struct session *s, uint8_t *buf, size_t n)
{
	struct channel *ch = s->channel;

	relay_note_rx(s, n);
	if (s->state == SESSION_OPENING) {
		np_buf_put(&s->kept, buf + NP_FRAME_HEADER, n);
		if (s->kept.err != NP_OK) {
			session_abort(s, NP_REASON_NO_MEMORY);
			return false;
		}
		s->data_given = true;
	}
	if (!np_turn_tx(&ch->turn, NP_FRAME_DATA, 0))
		return false;
	channel_send_data(ch, buf, n);
	return s->state != SESSION_ENDED;
}

/* What the pipe of the channel holds becomes a frame; too little for one is copied out of it. */
static bool outer_spliced(struct session *s, size_t n)
{
	struct channel *ch = s->channel;
	uint8_t *buf = s->shard->worker->scratch;

	if (n < relay_splice_min()) {
		bool whole = pipe_read(&ch->out, buf + NP_FRAME_HEADER, n);

		pipe_give(s->shard->worker, &ch->out);
		if (whole)
			return outer_took(s, buf, n);
		session_abort(s, NP_REASON_ERROR);
		return false;
	}
	relay_note_rx(s, n);
	if (!np_turn_tx(&ch->turn, NP_FRAME_DATA, 0)) {
		pipe_give(s->shard->worker, &ch->out);
		return false;
	}
	channel_send_piped(ch);
	return s->state != SESSION_ENDED;
}

/* One read. false: nothing more to do now. */
static bool from_outer_once(struct session *s)
{
	uint8_t *buf = s->shard->worker->scratch;
	struct channel *ch = s->channel;
	size_t want = outer_want(s), grant, n = 0;
	enum stream_status status;
	bool splice;

	if (want == 0)
		return false;
	/* What is spliced goes before what is in tx. */
	splice = s->state == SESSION_RUNNING && channel_waiting(ch) == 0 &&
		 relay_begin_splice(s, RATE_RX, &s->outer.stream, &ch->stream, &ch->out);
	if (splice)
		want = ch->out.size;
	grant = relay_grant(s, RATE_RX, want);
	if (grant == 0)
		status = STREAM_AGAIN;
	else if (splice)
		status = pipe_fill(&ch->out, &s->outer.stream, grant, &n);
	else
		status = stream_read(&s->outer.stream, buf + NP_FRAME_HEADER, grant, &n);
	if (status == STREAM_OK) {
		relay_refund(s, RATE_RX, grant - n);
		relay_note_read(s, RATE_RX, n);
		if (splice)
			return outer_spliced(s, n);
		if (stream_drained(&s->outer.stream, n, grant))
			side_read_short(&s->outer);
		return outer_took(s, buf, n);
	}
	if (splice)
		pipe_give(s->shard->worker, &ch->out);
	if (grant == 0)
		return false;
	relay_refund(s, RATE_RX, grant);
	if (status == STREAM_AGAIN)
		s->outer.readable = false;
	else if (status == STREAM_EOF)
		outer_ended(s);
	else
		session_abort(s, session_outer_reset(s));
	return false;
}

void relay_from_outer(struct session *s)
{
	unsigned rounds = 0;

	if (s->state != SESSION_OPENING && s->state != SESSION_RUNNING)
		return;
	while (s->outer.readable && !s->outer.eof && rounds++ < RELAY_ROUNDS)
		if (!from_outer_once(s))
			return;
	if (s->outer.readable && !s->outer.eof)
		worker_defer(s->shard->worker, &s->task);
}

size_t relay_to_outer(struct session *s, const uint8_t *p, size_t len)
{
	size_t taken = 0;

	if (s->state == SESSION_DIALING)
		return 0;
	while (taken < len && s->outer.writable) {
		size_t grant = relay_grant(s, RATE_TX, len - taken), n = 0;
		enum stream_status status;

		if (grant == 0)
			break;
		status = stream_write(&s->outer.stream, p + taken, grant, &n);
		if (status != STREAM_OK)
			n = 0;
		relay_refund(s, RATE_TX, grant - n);
		if (status == STREAM_AGAIN) {
			s->outer.writable = false;
		} else if (status != STREAM_OK) {
			session_abort(s, session_outer_reset(s));
			break;
		} else {
			relay_note_tx(s, n);
			s->delivered = true;
			taken += n;
		}
	}
	return taken;
}
