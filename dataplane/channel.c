/*
 * channel.c - frames over one stream: reading, writing, liveness, life. What a frame means to a
 * session is in channel_turn.c, what it means to datagram flows in udp_channel.c.
 */
#include "channel.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "channel_turn.h"
#include "relay.h"
#include "shard.h"
#include "trace.h"
#include "udp.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

static void channel_run(struct channel *ch);
static size_t channel_parse(struct channel *ch, const uint8_t *p, size_t len);

/* -- life -- */

static void channel_task(struct worker *w, struct task *t)
{
	struct channel *ch = (struct channel *)((char *)t - offsetof(struct channel, task));

	(void)w;
	NP_CHECK_MAGIC(ch, CHANNEL_MAGIC);
	ch->held = false;
	channel_run(ch);
}

static void channel_release(struct grave *g)
{
	struct channel *ch = (struct channel *)((char *)g - offsetof(struct channel, grave));

	udp_flows_free(ch->flows);
	ch->magic = 0;
	np_free(ch);
}

static void set_user_timeout(int fd, int ms)
{
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

static void set_socket_options(int fd, enum np_channel_kind kind)
{
	const int on = 1, lowat = 64 * 1024;

	/* Failures cost speed or a late notice, never correctness. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	set_user_timeout(fd, CHANNEL_USER_TIMEOUT_MS);
	if (kind == NP_CHANNEL_DATAGRAM)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
}

enum np_err channel_new(struct shard *sh, struct peer *peer, enum np_channel_kind kind,
			bool ingress, struct stream *stream, struct channel **out)
{
	struct channel *ch = np_calloc(1, sizeof(*ch));

	if (ch == NULL)
		return NP_ENOMEM;
	if (kind == NP_CHANNEL_DATAGRAM && (ch->flows = udp_flows_new(ch, ingress)) == NULL) {
		np_free(ch);
		return NP_ENOMEM;
	}
	ch->magic = CHANNEL_MAGIC;
	ch->grave.release = channel_release;
	ch->shard = sh;
	ch->kind = kind;
	ch->ingress = ingress;
	ch->task.run = channel_task;
	ch->peer = peer;
	memcpy(ch->origin, peer->origin, sizeof(ch->origin));
	ch->dial_budget_ms = peer->dial_budget_ms;
	np_turn_init(&ch->turn, ingress ? NP_TURN_INGRESS : NP_TURN_EGRESS);
	np_buf_init(&ch->rx, CHANNEL_RX_MAX);
	np_buf_init(&ch->tx, kind == NP_CHANNEL_DATAGRAM ? DATAGRAM_TX_MAX : CHANNEL_TX_MAX);
	pipe_init(&ch->out);
	pipe_init(&ch->in);
	stream_move(&ch->stream, stream);
	set_socket_options(ch->stream.fd, kind);
	*out = ch;
	return NP_OK;
}

/* ± 25 %, so that the pings of a pool do not come in step. */
static struct np_mono next_ping(struct channel *ch, struct np_mono now)
{
	int64_t spread = CHANNEL_PING_MS / 2;

	return np_mono_add_ms(now, CHANNEL_PING_MS - spread / 2 +
				       worker_random(ch->shard->worker) % spread);
}

/* true: the socket had an error, the channel is closed. */
static bool closed_by_error(struct channel *ch)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(ch->stream.fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err == 0)
		return false;
	channel_close(ch, strerror(err));
	return true;
}

static void channel_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct channel *ch = arg;

	(void)fd;
	NP_CHECK_MAGIC(ch, CHANNEL_MAGIC);
	if (ch->state == CHANNEL_CLOSED)
		return;
	stream_event(&ch->stream, what, &ch->readable, &ch->writable);
	if ((what & EV_CLOSED) != 0)
		ch->ending = true;
	/* Reading is paused; a reset must be noticed all the same. */
	if ((what & EV_READ) == 0 || !ch->blocked || !closed_by_error(ch))
		channel_run(ch);
}

static void channel_send_ping(struct channel *ch, struct np_mono now)
{
	uint8_t payload[8];

	for (int i = 0; i < 8; i++)
		payload[i] = (uint8_t)((uint64_t)now.us >> (56 - 8 * i));
	ch->pinging = true;
	ch->ping_sent = now;
	channel_put(ch, NP_FRAME_PING, payload, sizeof(payload));
}

void channel_adopt(struct channel *ch, bool ping_first)
{
	struct shard *sh = ch->shard;
	struct np_mono now = worker_now(sh->worker);

	NP_CHECK_MAGIC(ch, CHANNEL_MAGIC);
	NP_ASSERT(worker_self() == sh->worker);
	DL_APPEND(sh->channels, ch);
	shard_wake(sh);
	ch->readable = ch->writable = true;
	ch->last_rx = now;
	ch->ping_due = next_ping(ch, now);
	counter_add(&sh->counters, COUNTER_CHANNELS_MADE, 1);
	if (event_assign(&ch->ev, sh->worker->base, ch->stream.fd,
			 EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, channel_on_event,
			 ch) != 0 ||
	    event_add(&ch->ev, NULL) != 0) {
		channel_close(ch, "no memory for its events");
		return;
	}
	if (sh->stopping) {
		channel_close(ch, "the instance stops");
		return;
	}
	if (ping_first) {
		channel_send_ping(ch, now);
		channel_flush(ch);
	}
	if (ch->state != CHANNEL_CLOSED && (ch->ingress || ch->kind == NP_CHANNEL_DATAGRAM))
		channel_post_idle(ch);
	if (ch->state != CHANNEL_CLOSED)
		worker_defer(sh->worker, &ch->task);
}

void channel_close(struct channel *ch, const char *why)
{
	struct shard *sh = ch->shard;
	bool busy = ch->state == CHANNEL_BUSY;

	if (ch->state == CHANNEL_CLOSED)
		return;
	INSTANCE_LOG(sh->inst, DEBUG, "channel closed: %s fd=%d turn=%u%s", why, ch->stream.fd,
		     ch->turn.number, busy ? " busy" : "");
	ch->state = CHANNEL_CLOSED;
	if (event_initialized(&ch->ev))
		event_del(&ch->ev);
	worker_undefer(sh->worker, &ch->task);
	/* An unfinished turn must not look like a clean end to the other side. */
	stream_close(&ch->stream, busy || ch->kind == NP_CHANNEL_DATAGRAM);
	np_buf_release(&ch->rx);
	np_buf_release(&ch->tx);
	pipe_give(sh->worker, &ch->out);
	pipe_give(sh->worker, &ch->in);
	DL_DELETE(sh->channels, ch);
	if (ch->flows != NULL)
		udp_flows_close(ch->flows);
	if (ch->has_last_trace) /* its DONE may not have arrived */
		trace_lost(sh, ch->last_trace, ch->last_delivered);
	if (busy) {
		counter_add(&sh->counters, COUNTER_CHANNELS_LOST, 1);
		atomic_fetch_sub_explicit(&ch->peer->busy, 1, memory_order_relaxed);
		if (ch->session != NULL)
			session_channel_lost(ch->session);
	}
	channel_post_gone(ch);
}

void channel_violation(struct channel *ch, const char *what)
{
	counter_add(&ch->shard->counters, COUNTER_VIOLATIONS, 1);
	INSTANCE_LOG(ch->shard->inst, WARN, "protocol violation on a channel, closed: %s turn=%u",
		     what, ch->turn.number);
	channel_close(ch, "violation");
}

/* -- writing -- */

void channel_put(struct channel *ch, enum np_frame_type type, const void *payload, size_t len)
{
	bool stream_frame = type <= NP_FRAME_DONE;
	struct np_frame f = {type, stream_frame ? ch->turn.number : 0, (uint32_t)len};
	uint8_t header[NP_FRAME_HEADER];

	if (ch->state == CHANNEL_CLOSED)
		return;
	np_frame_write(&f, header);
	np_buf_put(&ch->tx, header, sizeof(header));
	if (len > 0)
		np_buf_put(&ch->tx, payload, len);
	if (ch->tx.err != NP_OK)
		channel_close(ch, np_err_text(ch->tx.err));
}

bool channel_send(struct channel *ch, enum np_frame_type type, const void *payload, size_t len)
{
	uint8_t code = type == NP_FRAME_STATUS ? *(const uint8_t *)payload : 0;

	if (ch->state == CHANNEL_CLOSED || !np_turn_tx(&ch->turn, type, code))
		return false;
	channel_put(ch, type, payload, len);
	return true;
}

static void channel_write_failed(struct channel *ch)
{
	channel_close(ch,
		      ch->stream.sys_errno != 0 ? strerror(ch->stream.sys_errno) : "write failed");
}

static void write_blocked(struct channel *ch)
{
	ch->writable = false;
	if (ch->state != CHANNEL_BUSY || ch->stalled)
		return;
	ch->stalled = true;
	set_user_timeout(ch->stream.fd, 0);
}

static void write_drained(struct channel *ch)
{
	ch->pong_waits = false;
	if (!ch->stalled)
		return;
	ch->stalled = false;
	set_user_timeout(ch->stream.fd, CHANNEL_USER_TIMEOUT_MS);
}

/* As much of @p as the socket takes now. The channel may be closed on return. */
static size_t write_some(struct channel *ch, const uint8_t *p, size_t len)
{
	size_t done = 0;

	while (ch->state != CHANNEL_CLOSED && ch->writable && done < len) {
		size_t n = 0;

		switch (stream_write(&ch->stream, p + done, len - done, &n)) {
		case STREAM_OK:
			done += n;
			break;
		case STREAM_AGAIN:
			write_blocked(ch);
			break;
		case STREAM_EOF:
		case STREAM_FAILED:
			channel_write_failed(ch);
			break;
		}
	}
	return done;
}

/* The header stays in the socket's last segment, as its payload follows at once. */
static enum stream_status write_header(struct channel *ch, size_t *n)
{
	size_t len;
	const uint8_t *p = np_frame_out_header(&ch->owed, &len);
	ssize_t w;

	do {
		w = send(ch->stream.fd, p, len, MSG_NOSIGNAL | MSG_MORE);
	} while (w == -1 && errno == EINTR);
	if (w > 0) {
		*n = (size_t)w;
		return STREAM_OK;
	}
	if (w == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return STREAM_AGAIN;
	ch->stream.sys_errno = errno;
	return STREAM_FAILED;
}

/* As much of the spliced frame as the socket takes now. The channel may be closed on return. */
static void write_owed(struct channel *ch)
{
	while (ch->writable && np_frame_out_owed(&ch->owed) > 0) {
		size_t n = 0;
		enum stream_status status =
		    ch->owed.header_left > 0
			? write_header(ch, &n)
			: pipe_drain(&ch->out, &ch->stream, ch->owed.payload_left, &n);

		if (status == STREAM_AGAIN) {
			write_blocked(ch);
		} else if (status != STREAM_OK) {
			channel_write_failed(ch);
			return;
		} else {
			np_frame_out_wrote(&ch->owed, n);
		}
	}
	if (np_frame_out_owed(&ch->owed) == 0)
		pipe_give(ch->shard->worker, &ch->out);
}

void channel_flush(struct channel *ch)
{
	size_t done;

	if (ch->state == CHANNEL_CLOSED || ch->held)
		return;
	if (np_frame_out_owed(&ch->owed) > 0) {
		write_owed(ch);
		if (ch->state == CHANNEL_CLOSED || np_frame_out_owed(&ch->owed) > 0)
			return;
	}
	if (np_buf_len(&ch->tx) > 0) {
		done = write_some(ch, np_buf_ptr(&ch->tx), np_buf_len(&ch->tx));
		if (ch->state == CHANNEL_CLOSED)
			return;
		np_buf_consume(&ch->tx, done);
	}
	if (np_buf_len(&ch->tx) > 0)
		return;
	write_drained(ch);
	np_buf_release(&ch->tx); /* buffers exist only while bytes wait */
}

void channel_send_data(struct channel *ch, uint8_t *buf, size_t len)
{
	struct np_frame f = {NP_FRAME_DATA, ch->turn.number, (uint32_t)len};

	np_frame_write(&f, buf);
	channel_send_frames(ch, buf, NP_FRAME_HEADER + len);
}

void channel_send_frames(struct channel *ch, const uint8_t *buf, size_t len)
{
	size_t done = 0;

	if (ch->held && len > CHANNEL_HELD_MAX) {
		ch->held = false;
		channel_flush(ch);
	}
	if (ch->state != CHANNEL_CLOSED && channel_waiting(ch) == 0)
		done = write_some(ch, buf, len);
	if (ch->state == CHANNEL_CLOSED)
		return;
	ch->held = false;
	if (done < len) {
		np_buf_put(&ch->tx, buf + done, len - done);
		if (ch->tx.err != NP_OK)
			channel_close(ch, np_err_text(ch->tx.err));
		else if (ch->writable)
			channel_flush(ch);
	}
}

void channel_send_piped(struct channel *ch)
{
	struct np_frame f = {NP_FRAME_DATA, ch->turn.number, ch->out.len};

	np_frame_out_begin(&ch->owed, &f);
	channel_flush(ch);
}

/* -- reading -- */

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

/* Are large frames of this turn to be spliced? */
static bool may_splice(const struct channel *ch)
{
	const struct session *s = ch->session;

	return relay_splice_min() > 0 && ch->stream.ssl == NULL && s != NULL &&
	       s->state == SESSION_RUNNING && s->outer.stream.ssl == NULL;
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
	ch->bulk = f.type == NP_FRAME_DATA && f.len >= relay_splice_min() && may_splice(ch);
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

static size_t channel_parse(struct channel *ch, const uint8_t *p, size_t len)
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

/* What lies in the pipe to the outer socket. false: some of it stays there. */
static bool deliver_piped(struct channel *ch)
{
	ch->parsing = true;
	if (ch->session != NULL)
		relay_pipe_to_outer(ch->session, &ch->in);
	ch->parsing = false;
	if (ch->state != CHANNEL_CLOSED && ch->in.len > 0)
		ch->blocked = true;
	return ch->in.len == 0;
}

/* What is in the pipe or in rx already. false: no reading now. */
static bool parse_buffered(struct channel *ch)
{
	if (ch->in.len > 0 && !deliver_piped(ch))
		return false;
	if (ch->state == CHANNEL_CLOSED)
		return false;
	if (np_buf_len(&ch->rx) > 0) {
		size_t used = channel_parse(ch, np_buf_ptr(&ch->rx), np_buf_len(&ch->rx));

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
static bool read_stopped(struct channel *ch, enum stream_status status)
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

/* Payload of a large frame goes through the pipe. false: nothing more to do now. */
static bool channel_splice_once(struct channel *ch)
{
	size_t n = 0;
	enum stream_status status = pipe_fill(&ch->in, &ch->stream, ch->left, &n);

	if (status != STREAM_OK) {
		pipe_give(ch->shard->worker, &ch->in);
		return read_stopped(ch, status);
	}
	ch->last_rx = worker_pass_now(ch->shard->worker);
	ch->left -= (uint32_t)n;
	ch->in_frame = ch->left > 0;
	return deliver_piped(ch) && ch->state != CHANNEL_CLOSED;
}

static bool begin_splice(struct channel *ch)
{
	return ch->in_frame && ch->bulk && ch->left >= relay_splice_min() &&
	       (ch->actions & NP_TURN_DROP) == 0 && may_splice(ch) &&
	       pipe_take(ch->shard->worker, &ch->in);
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
		return read_stopped(ch, status);
	if (n < WORKER_SCRATCH - left && ch->stream.ssl == NULL && !ch->ending) {
		ch->readable = false;
		ch->unsure = true;
	}
	ch->last_rx = worker_pass_now(ch->shard->worker);
	if (left > 0)
		memcpy(to, np_buf_ptr(&ch->rx), left);
	np_buf_release(&ch->rx);
	used = channel_parse(ch, to, left + n);
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
	if (!buffered && begin_splice(ch))
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
		return read_stopped(ch, status);
	if (n < max && ch->stream.ssl == NULL && !ch->ending) {
		/* That was all; what comes later is an event. See struct side. */
		ch->readable = false;
		ch->unsure = true;
	}
	ch->last_rx = worker_pass_now(ch->shard->worker);
	if (buffered) {
		np_buf_commit(&ch->rx, n);
		return parse_buffered(ch);
	}
	used = channel_parse(ch, to, n);
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

static void channel_pump(struct channel *ch)
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

static void channel_run(struct channel *ch)
{
	if (ch->state == CHANNEL_CLOSED)
		return;
	channel_flush(ch);
	if (ch->state == CHANNEL_CLOSED)
		return;
	channel_pump(ch);
	if (ch->state == CHANNEL_CLOSED)
		return;
	channel_flush(ch);
	if (ch->state == CHANNEL_CLOSED)
		return;
	if (ch->retire_asked && !ch->turn.retired && ch->state == CHANNEL_IDLE &&
	    channel_waiting(ch) == 0)
		channel_close(ch, "not needed any more");
	else if (ch->session != NULL && channel_waiting(ch) == 0)
		relay_from_outer(ch->session);
}

void channel_hold(struct channel *ch)
{
	if (ch->state == CHANNEL_CLOSED)
		return;
	ch->held = true;
	worker_defer(ch->shard->worker, &ch->task);
}

void channel_resume(struct channel *ch)
{
	if (ch->state == CHANNEL_CLOSED)
		return;
	ch->blocked = false;
	/* Inside parsing the loop goes on by itself. */
	if (!ch->parsing)
		channel_run(ch);
}

/* -- time -- */

/*
 * Only idle channels have a deadline for PONG: on a busy one the answer may wait behind megabytes
 * that a slow reader is not taking, and the ping behind our own. There a ping only keeps NAT
 * entries alive.
 */
static void tick_liveness(struct channel *ch, struct np_mono now)
{
	bool idle = ch->state == CHANNEL_IDLE;

	if (!idle || np_mono_before(ch->ping_sent, ch->last_rx))
		ch->pinging = false; /* any frame proves life */
	if (ch->pinging && np_mono_diff_ms(now, ch->ping_sent) > CHANNEL_PING_TIMEOUT_MS) {
		channel_close(ch, "ping timeout");
		return;
	}
	if (!ch->pinging && np_mono_before(ch->ping_due, now)) {
		ch->ping_due = next_ping(ch, now);
		if (channel_waiting(ch) > 0)
			return;
		channel_send_ping(ch, now);
		channel_flush(ch);
	}
}

/*
 * While a reader at the other end is stalled, TCP_USER_TIMEOUT is off: the kernel counts an
 * acknowledged zero window as time without an answer. A peer that does not even acknowledge window
 * probes is gone.
 */
static void tick_stalled(struct channel *ch)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);

	if (!ch->stalled || getsockopt(ch->stream.fd, IPPROTO_TCP, TCP_INFO, &ti, &len) != 0)
		return;
	if (ti.tcpi_last_ack_recv > CHANNEL_USER_TIMEOUT_MS &&
	    (ti.tcpi_retransmits > 0 || ti.tcpi_probes >= 2))
		channel_close(ch, "the peer does not answer");
}

void channel_tick(struct channel *ch, struct np_mono now)
{
	if (np_mono_is_set(ch->settle_deadline) && np_mono_before(ch->settle_deadline, now)) {
		channel_close(ch, "the turn did not settle");
		return;
	}
	if (ch->unsure) {
		ch->unsure = false;
		if (closed_by_error(ch))
			return;
	}
	tick_liveness(ch, now);
	if (ch->state != CHANNEL_CLOSED)
		tick_stalled(ch);
	if (ch->state != CHANNEL_CLOSED && ch->kind == NP_CHANNEL_DATAGRAM)
		udp_flows_tick(ch->flows, now);
}
