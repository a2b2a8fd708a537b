/*
 * relay_copy.c - the mover that copies through the worker's scratch buffer.
 *
 * A byte is read into the scratch and written to its destination at once; only what the destination
 * does not take is kept, in a buffer that exists only while bytes wait. Reading stops while the
 * destination has bytes waiting, so a stalled reader costs at most one scratch buffer a direction.
 * Work per call is bounded by RELAY_ROUNDS.
 */
#include "relay.h"

#include "base/assert.h"
#include "channel_turn.h"
#include "runtime.h"
#include "shard.h"

#include <string.h>
#include <utlist.h>

#define RELAY_ROUNDS	 4
#define OPEN_FRAME_MAX	 (NP_FRAME_HEADER + NP_OPEN_MAX)
#define RATE_QUANTUM_MIN 1500
#define THROTTLE_BATCH	 64
#define RATE_QUANTUM_MAX (64 * 1024)

/* -- rate -- */

static int64_t now_ns(void)
{
	return np_mono_now().us * 1000;
}

/* What one direction may take before the next one has its turn: 5 ms of the rate. */
static size_t quantum(uint64_t rate)
{
	uint64_t q = rate / 200;

	if (q < RATE_QUANTUM_MIN)
		return RATE_QUANTUM_MIN;
	return q > RATE_QUANTUM_MAX ? RATE_QUANTUM_MAX : (size_t)q;
}

static void throttle_arm(struct shard *sh, int64_t wait_ns)
{
	/* Less than a millisecond would only be a busy loop. */
	shard_throttle_after(sh, wait_ns > 1000000 ? wait_ns / 1000 : 1000);
}

static void throttle_enqueue(struct session_wait *wait, int64_t wait_ns)
{
	struct shard *sh = wait->session->shard;

	if (!wait->queued) {
		wait->queued = true;
		DL_APPEND(sh->throttled[wait->dir], wait);
	}
	throttle_arm(sh, wait_ns);
}

size_t relay_grant(struct session *s, int dir, size_t want)
{
	struct np_bucket *b = &s->shard->inst->rate[dir];
	uint64_t rate = atomic_load_explicit(&b->rate_bytes_s, memory_order_relaxed);
	struct session_wait *wait = &s->wait[dir];
	int64_t wait_ns = 0;
	size_t q, n;

	if (rate == 0)
		return want;
	if (wait->queued)
		return 0;
	if (s->shard->throttled[dir] != NULL && !wait->granted) {
		throttle_enqueue(wait, 1000000);
		return 0;
	}
	wait->granted = false;
	q = quantum(rate);
	want = want < q ? want : q;
	n = np_bucket_take(b, now_ns(), want, want, &wait_ns);
	if (n == 0)
		throttle_enqueue(wait, wait_ns);
	return n;
}

void relay_refund(struct session *s, int dir, size_t unused)
{
	struct np_bucket *b = &s->shard->inst->rate[dir];

	if (unused > 0 && atomic_load_explicit(&b->rate_bytes_s, memory_order_relaxed) != 0)
		np_bucket_refund(b, unused);
}

void relay_forget(struct session *s)
{
	for (int dir = 0; dir < 2; dir++) {
		if (s->wait[dir].queued)
			DL_DELETE(s->shard->throttled[dir], &s->wait[dir]);
		s->wait[dir].queued = false;
	}
}

static void throttle_go(struct session *s, int dir)
{
	s->wait[dir].granted = true;
	if (s->role == SESSION_SINGLE)
		relay_single(s);
	else if (dir == RATE_RX)
		relay_from_outer(s);
	else if (s->channel != NULL)
		channel_resume(s->channel);
	s->wait[dir].granted = false;
}

/* The first in line first: it keeps its place until the bucket has its share. */
static void throttle_run_dir(struct shard *sh, int dir)
{
	struct np_bucket *b = &sh->inst->rate[dir];

	for (unsigned i = 0; sh->throttled[dir] != NULL; i++) {
		struct session_wait *wait = sh->throttled[dir];
		uint64_t rate = atomic_load_explicit(&b->rate_bytes_s, memory_order_relaxed);
		int64_t wait_ns = 0;

		if (i == THROTTLE_BATCH) { /* the sockets have their turn */
			throttle_arm(sh, 0);
			return;
		}
		if (rate != 0) {
			size_t q = quantum(rate), n = np_bucket_take(b, now_ns(), q, q, &wait_ns);

			if (n == 0) {
				throttle_arm(sh, wait_ns);
				return;
			}
			np_bucket_refund(b, n);
		}
		DL_DELETE(sh->throttled[dir], wait);
		wait->queued = false;
		throttle_go(wait->session, dir);
	}
}

void relay_throttle_run(struct shard *sh)
{
	throttle_run_dir(sh, RATE_RX);
	throttle_run_dir(sh, RATE_TX);
}

/* -- counting -- */

static void note_rx(struct session *s, size_t n)
{
	s->rx += n;
	s->last_active = np_mono_now();
	counter_add(&s->shard->counters, COUNTER_TCP_RX, n);
}

static void note_tx(struct session *s, size_t n)
{
	s->tx += n;
	s->last_active = np_mono_now();
	counter_add(&s->shard->counters, COUNTER_TCP_TX, n);
}

static enum np_reason outer_reset_reason(const struct session *s)
{
	return s->role == SESSION_EGRESS ? NP_REASON_TARGET_RESET : NP_REASON_VISITOR_RESET;
}

/* -- tunnel ends -- */

/* What one read takes: eight buffers, as far as the scratch has them. */
static size_t read_max(void)
{
	size_t n = (size_t)runtime.env.tcp_data_buf_size * 8,
	       max = WORKER_SCRATCH - NP_FRAME_HEADER;

	return n < max ? n : max;
}

/* How much may be read from the outer side now; 0 = wait. */
static size_t outer_want(const struct session *s)
{
	size_t waiting = np_buf_len(&s->channel->tx);

	/* OPEN may wait for the first bytes, so that both go in one write. */
	if (waiting > (s->state == SESSION_OPENING ? OPEN_FRAME_MAX : 0))
		return 0;
	if (s->state == SESSION_OPENING)
		return VISITOR_KEEP_MAX - np_buf_len(&s->kept);
	return read_max();
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

	note_rx(s, n);
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

/* One read. false: nothing more to do now. */
static bool from_outer_once(struct session *s)
{
	uint8_t *buf = s->shard->worker->scratch;
	size_t want = outer_want(s), grant, n = 0;

	if (want == 0 || (grant = relay_grant(s, RATE_RX, want)) == 0)
		return false;
	switch (stream_read(&s->outer.stream, buf + NP_FRAME_HEADER, grant, &n)) {
	case STREAM_OK:
		relay_refund(s, RATE_RX, grant - n);
		return outer_took(s, buf, n);
	case STREAM_AGAIN:
		relay_refund(s, RATE_RX, grant);
		s->outer.readable = false;
		return false;
	case STREAM_EOF:
		relay_refund(s, RATE_RX, grant);
		outer_ended(s);
		return false;
	case STREAM_FAILED:
		relay_refund(s, RATE_RX, grant);
		session_abort(s, outer_reset_reason(s));
		return false;
	}
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
			session_abort(s, outer_reset_reason(s));
			break;
		} else {
			note_tx(s, n);
			s->delivered = true;
			taken += n;
		}
	}
	return taken;
}

/* -- single-end -- */

struct way {
	struct side *from, *to;
	struct np_buf *pending;
	enum np_dir dir;
};

static struct way way_of(struct session *s, enum np_dir dir)
{
	return (struct way){
	    .from = dir == NP_DIR_UP ? &s->outer : &s->inner,
	    .to = dir == NP_DIR_UP ? &s->inner : &s->outer,
	    .pending = &s->pending[dir],
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
	unsigned act = np_halfclose_event(&s->half, w->dir, ev, np_buf_len(w->pending) > 0);

	if ((act & NP_HC_SHUTDOWN) != 0)
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

/* Writes as much of @p as goes. false: the session is over. */
static bool single_write(struct session *s, const struct way *w, const uint8_t *p, size_t len,
			 size_t *done)
{
	*done = 0;
	while (*done < len && w->to->writable) {
		size_t n = 0;

		switch (stream_write(&w->to->stream, p + *done, len - *done, &n)) {
		case STREAM_OK:
			*done += n;
			break;
		case STREAM_AGAIN:
			w->to->writable = false;
			break;
		case STREAM_EOF:
		case STREAM_FAILED:
			/* The destination is gone: its own direction is reset. */
			session_end(s,
				    w->to == &s->outer ? NP_REASON_VISITOR_RESET
						       : NP_REASON_TARGET_RESET,
				    true);
			return false;
		}
	}
	if (w->dir == NP_DIR_DOWN && *done > 0)
		note_tx(s, *done);
	return true;
}

static bool single_pending(struct session *s, const struct way *w)
{
	size_t done;

	if (!single_write(s, w, np_buf_ptr(w->pending), np_buf_len(w->pending), &done))
		return false;
	np_buf_consume(w->pending, done);
	if (np_buf_len(w->pending) > 0)
		return false;
	np_buf_release(w->pending);
	if (w->from->eof)
		return single_event(s, w, NP_HC_DRAINED);
	return true;
}

/* One read and write. false: nothing more to do now in this direction (or at all). */
static bool single_once(struct session *s, const struct way *w)
{
	uint8_t *buf = s->shard->worker->scratch;
	size_t grant, n = 0, done = 0;

	if (np_buf_len(w->pending) > 0 && !single_pending(s, w))
		return false;
	if (w->from->eof || !w->from->readable)
		return false;
	grant = relay_grant(s, rate_dir(w->dir), read_max());
	if (grant == 0)
		return false;
	switch (stream_read(&w->from->stream, buf, grant, &n)) {
	case STREAM_OK:
		break;
	case STREAM_AGAIN:
		w->from->readable = false;
		relay_refund(s, rate_dir(w->dir), grant);
		return false;
	case STREAM_EOF:
		relay_refund(s, rate_dir(w->dir), grant);
		w->from->eof = true;
		single_event(s, w, NP_HC_EOF);
		return false;
	case STREAM_FAILED:
		relay_refund(s, rate_dir(w->dir), grant);
		single_event(s, w, NP_HC_RESET);
		return false;
	}
	relay_refund(s, rate_dir(w->dir), grant - n);
	if (w->dir == NP_DIR_UP)
		note_rx(s, n);
	else
		s->last_active = np_mono_now();
	if (!single_write(s, w, buf, n, &done))
		return false;
	if (done < n) {
		np_buf_put(w->pending, buf + done, n - done);
		if (w->pending->err != NP_OK) {
			session_end(s, NP_REASON_NO_MEMORY, true);
			return false;
		}
		return false;
	}
	return true;
}

/* false: the session is over. */
static bool single_way(struct session *s, enum np_dir dir)
{
	struct way w = way_of(s, dir);
	unsigned rounds = 0;

	if (w.to->shut_due && w.to->writable)
		shut_side(w.to);
	while (rounds++ < RELAY_ROUNDS)
		if (!single_once(s, &w))
			return s->state != SESSION_ENDED;
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
