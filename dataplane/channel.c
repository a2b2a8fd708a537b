/*
 * channel.c - frames over one stream: life, liveness, what is done after an event. Frames are written
 * in channel_write.c, read in channel_read.c, and spliced in channel_splice.c; what they mean to a
 * session is in channel_turn.c, what they mean to datagram flows in udp_channel.c.
 */
#include "channel.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "channel_priv.h"
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

/* -- life -- */

static void channel_task(struct worker *w, struct task *t)
{
	struct channel *ch = (struct channel *)((char *)t - offsetof(struct channel, task));

	(void)w;
	NP_CHECK_MAGIC(ch, CHANNEL_MAGIC);
	ch->held = false;
	channel_run(ch);
}

static void channel_free(struct grave *g)
{
	struct channel *ch = (struct channel *)((char *)g - offsetof(struct channel, grave));

	udp_flows_free(ch->flows);
	ch->magic = 0;
	np_free(ch);
}

void channel_user_timeout(int fd, int ms)
{
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

static void set_socket_options(int fd, enum np_channel_kind kind)
{
	const int on = 1, lowat = 64 * 1024;

	/* Failures cost speed or a late notice, never correctness. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	channel_user_timeout(fd, CHANNEL_USER_TIMEOUT_MS);
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
	ch->grave.release = channel_free;
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

static int64_t ping_ms(const struct channel *ch)
{
	uint32_t ms = atomic_load_explicit(&ch->peer->ping_ms, memory_order_relaxed);

	return ms != 0 ? ms : CHANNEL_PING_MS;
}

/* ± 25 %, so that the pings of a pool do not come in step. */
static struct np_mono next_ping(struct channel *ch, struct np_mono now)
{
	int64_t ms = ping_ms(ch), spread = ms / 2;

	return np_mono_add_ms(now, ms - spread / 2 + worker_random(ch->shard->worker) % spread);
}

/*
 * A NAT or firewall forgets flows, and drops what belongs to none: the next ping must come sooner
 * than that, at half of the silence that was too long. After less than CHANNEL_PING_MIN_MS it was
 * something else. A new session begins with CHANNEL_PING_MS again, as the way
 * may be another one.
 */
void channel_was_silent(struct channel *ch, int64_t ms)
{
	int64_t half = ms / 2 > CHANNEL_PING_MIN_MS ? ms / 2 : CHANNEL_PING_MIN_MS;

	if (ms < CHANNEL_PING_MIN_MS || half >= ping_ms(ch))
		return;
	atomic_store_explicit(&ch->peer->ping_ms, (uint32_t)half, memory_order_relaxed);
	INSTANCE_LOG(
	    ch->shard->inst, INFO,
	    "idle channels are pinged every %.1f s now: one was dead after %.1f s of silence",
	    (double)half / 1000, (double)ms / 1000);
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

/* -- work -- */

/* The ingress reads no more of its visitor until it has the STATUS that is held. */
static bool ingress_waits(const struct channel *ch)
{
	return ch->session != NULL && (ch->blocked || ch->session->tx >= VISITOR_KEEP_MAX);
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
	if (ch->held && ingress_waits(ch))
		channel_release(ch);
	channel_flush(ch);
	if (ch->state == CHANNEL_CLOSED)
		return;
	if (ch->retire_asked && !ch->turn.retired && ch->state == CHANNEL_IDLE &&
	    channel_waiting(ch) == 0)
		channel_close(ch, "not needed any more");
	else if (ch->session != NULL && channel_waiting(ch) == 0)
		relay_from_outer(ch->session);
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
		channel_was_silent(ch, np_mono_diff_ms(ch->ping_sent, ch->last_rx));
		channel_close(ch, "ping timeout");
		return;
	}
	if (np_mono_diff_ms(ch->ping_due, now) >
	    ping_ms(ch) * 5 / 4) /* another one was lost meanwhile */
		ch->ping_due = next_ping(ch, now);
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
		channel_close(ch, ch->kind == NP_CHANNEL_DATAGRAM ? "not needed"
								  : "the turn did not settle");
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
