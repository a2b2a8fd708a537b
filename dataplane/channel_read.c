/*
 * channel_read.c - frames from a channel's socket: whole ones but for DATA, whose payload is passed on
 * as it comes. What the outer side does not take stays in ch->rx, and nothing more is read.
 */
#include "base/assert.h"
#include "channel_priv.h"
#include "channel_turn.h"
#include "relay.h"
#include "shard.h"
#include "udp.h"

#include <string.h>

static void handle_ping(struct channel *ch, const uint8_t *payload)
{
	struct np_mono now = ch->last_rx;

	if (np_mono_diff_ms(now, ch->ping_window) >= 1000) {
		ch->ping_window = now;
		ch->pings_in_window = 0;
	}
	if (++ch->pings_in_window > CHANNEL_PINGS_PER_S) {
		channel_violation(ch, "too many pings");
		return;
	}
	/* One may wait for a peer that does not read. */
	if (ch->pong_waits && channel_waiting(ch) > 0)
		return;
	ch->pong_waits = true;
	channel_put(ch, NP_FRAME_PONG, payload, 8);
}

/* One whole frame that is no DATA. */
static void channel_frame(struct channel *ch, const struct np_frame *f, const uint8_t *payload)
{
	if (f->type == NP_FRAME_PING) {
		handle_ping(ch, payload);
		return;
	}
	if (f->type == NP_FRAME_PONG) {
		ch->pinging = false;
		return;
	}
	if (ch->kind == NP_CHANNEL_DATAGRAM)
		udp_flows_frame(ch->flows, f, payload);
	else
		channel_turn_frame(ch, f, payload);
}

/* A header and, unless it is DATA, all of its payload. Returns the bytes used, 0 = wait for more.
 */
static size_t parse_header(struct channel *ch, const uint8_t *p, size_t len)
{
	struct np_frame f;
	uint8_t code;
	size_t need;

	if (len < NP_FRAME_HEADER)
		return 0;
	if (np_frame_read(p, ch->kind, &f) != NP_OK) {
		channel_violation(ch, "bad frame header");
		return 0;
	}
	ch->bulk = f.type == NP_FRAME_DATA && f.len >= relay_splice_min() && channel_may_splice(ch);
	need = NP_FRAME_HEADER + (f.type == NP_FRAME_DATA ? 0 : f.len);
	if (len < need)
		return 0;
	code = f.type == NP_FRAME_STATUS ? p[NP_FRAME_HEADER] : 0;
	ch->actions = NP_TURN_DELIVER;
	if (ch->kind == NP_CHANNEL_STREAM)
		ch->actions = np_turn_rx(&ch->turn, &f, code);
	if ((ch->actions & NP_TURN_VIOLATION) != 0) {
		channel_violation(ch, np_frame_name(f.type));
		return 0;
	}
	if (f.type == NP_FRAME_DATA) {
		ch->in_frame = true;
		ch->left = f.len;
	} else {
		channel_frame(ch, &f, p + NP_FRAME_HEADER);
	}
	return need;
}

/* Payload of DATA. Returns the bytes taken; sets blocked when the outer side takes no more. */
static size_t parse_data(struct channel *ch, const uint8_t *p, size_t len)
{
	size_t n = ch->left < len ? ch->left : len, taken = n;

	if ((ch->actions & NP_TURN_DROP) == 0 && ch->session != NULL) {
		taken = relay_to_outer(ch->session, p, n);
		if (taken < n && ch->session != NULL && ch->state != CHANNEL_CLOSED)
			ch->blocked = true;
	} else {
		ch->discarded += (uint32_t)n;
		if (ch->discarded > CHANNEL_SETTLE_BYTES) {
			channel_close(ch, "too much after a reset");
			return 0;
		}
	}
	ch->left -= (uint32_t)taken;
	if (ch->left == 0)
		ch->in_frame = false;
	return taken;
}

static size_t parse(struct channel *ch, const uint8_t *p, size_t len)
{
	size_t used = 0;

	ch->parsing = true;
	while (ch->state != CHANNEL_CLOSED && !ch->blocked && used < len) {
		size_t n = ch->in_frame ? parse_data(ch, p + used, len - used)
					: parse_header(ch, p + used, len - used);

		used += n;
		if (n == 0)
			break;
	}
	ch->parsing = false;
	if (ch->flows != NULL)
		udp_flows_parsed(ch->flows);
	return used;
}

/* What is in the pipe or in rx already. false: no reading now. */
static bool parse_buffered(struct channel *ch)
{
	if (ch->in.len > 0 && !channel_deliver_piped(ch))
		return false;
	if (ch->state == CHANNEL_CLOSED)
		return false;
	if (np_buf_len(&ch->rx) > 0) {
		size_t used = parse(ch, np_buf_ptr(&ch->rx), np_buf_len(&ch->rx));

		if (ch->state == CHANNEL_CLOSED)
			return false;
		np_buf_consume(&ch->rx, used);
		if (np_buf_len(&ch->rx) == 0)
			np_buf_release(&ch->rx);
	}
	return !ch->blocked;
}

static size_t read_limit(const struct channel *ch)
{
	bool running = ch->session != NULL && ch->session->state == SESSION_RUNNING;

	if (ch->kind == NP_CHANNEL_STREAM && !ch->ingress && !running)
		return CHANNEL_DIAL_AHEAD;
	if (ch->bulk) /* not a byte of the next frame's payload */
		return NP_FRAME_HEADER + (ch->in_frame ? ch->left : 0);
	return WORKER_SCRATCH;
}

/* false: nothing more to do now. */
bool channel_read_stopped(struct channel *ch, enum stream_status status)
{
	if (status == STREAM_AGAIN)
		ch->readable = false;
	else if (status == STREAM_EOF)
		channel_close(ch, "the peer closed it");
	else
		channel_close(ch, ch->stream.sys_errno != 0 ? strerror(ch->stream.sys_errno)
							    : "read failed");
	return false;
}

/*
 * Datagrams: behind what is left of a frame, in the scratch, so that its rest is not moved as often
 * as something comes. false: nothing more to do now.
 */
static bool channel_read_datagrams(struct channel *ch)
{
	uint8_t *to = ch->shard->worker->scratch;
	size_t left = np_buf_len(&ch->rx), n = 0, used;
	enum stream_status status;

	NP_ASSERT(left <= NP_FRAME_HEADER + 4 + NP_DGRAM_MAX);
	status = stream_read(&ch->stream, to + left, WORKER_SCRATCH - left, &n);
	if (status != STREAM_OK)
		return channel_read_stopped(ch, status);
	if (stream_drained(&ch->stream, n, WORKER_SCRATCH - left) && !ch->ending) {
		ch->readable = false;
		ch->unsure = true;
	}
	ch->last_rx = worker_pass_now(ch->shard->worker);
	if (left > 0)
		memcpy(to, np_buf_ptr(&ch->rx), left);
	np_buf_release(&ch->rx);
	used = parse(ch, to, left + n);
	if (ch->state == CHANNEL_CLOSED)
		return false;
	if (used < left + n)
		np_buf_put(&ch->rx, to + used, left + n - used);
	if (ch->rx.err != NP_OK)
		channel_close(ch, np_err_text(ch->rx.err));
	return ch->state != CHANNEL_CLOSED;
}

/* One read and what follows from it. false: nothing more to do now. */
static bool channel_read_once(struct channel *ch)
{
	uint8_t *to = ch->shard->worker->scratch;
	size_t max = read_limit(ch), n = 0, used = 0;
	bool buffered = np_buf_len(&ch->rx) > 0;
	enum stream_status status;

	if (ch->kind == NP_CHANNEL_DATAGRAM)
		return channel_read_datagrams(ch);
	if (!buffered && channel_begin_splice(ch))
		return channel_splice_once(ch);
	max = max < WORKER_SCRATCH ? max : WORKER_SCRATCH;
	if (buffered) { /* the rest of a frame that has begun */
		max = max < 32768 ? max : 32768;
		to = np_buf_reserve(&ch->rx, max);
		if (to == NULL) {
			channel_close(ch, np_err_text(ch->rx.err));
			return false;
		}
	}
	status = stream_read(&ch->stream, to, max, &n);
	if (status != STREAM_OK)
		return channel_read_stopped(ch, status);
	if (stream_drained(&ch->stream, n, max) && !ch->ending) {
		/* That was all; what comes later is an event. See struct side. */
		ch->readable = false;
		ch->unsure = true;
	}
	ch->last_rx = worker_pass_now(ch->shard->worker);
	if (buffered) {
		np_buf_commit(&ch->rx, n);
		return parse_buffered(ch);
	}
	used = parse(ch, to, n);
	if (ch->state == CHANNEL_CLOSED)
		return false;
	if (used < n) {
		np_buf_put(&ch->rx, to + used, n - used);
		if (ch->rx.err != NP_OK) {
			channel_close(ch, np_err_text(ch->rx.err));
			return false;
		}
	}
	return !ch->blocked;
}

void channel_pump(struct channel *ch)
{
	unsigned rounds = 0;

	if (ch->blocked || !parse_buffered(ch))
		return;
	while (ch->readable && rounds < CHANNEL_ROUNDS) {
		rounds += !ch->bulk || ch->in_frame; /* headers are not counted */
		if (!channel_read_once(ch))
			return;
	}
	if (ch->readable)
		worker_defer(ch->shard->worker, &ch->task);
}
