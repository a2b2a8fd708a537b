/*
 * channel_turn.c - what the frames of a turn do to its session, and a channel's talk with its home
 * worker.
 *
 * The turn machine (core/turn.h) says what follows from a frame; here it is done. Never decides
 * legality itself.
 */
#include "channel_turn.h"

#include "base/assert.h"
#include "session.h"
#include "udp.h"

#include <string.h>

static void settle(struct channel *ch)
{
	if (!np_mono_is_set(ch->settle_deadline))
		ch->settle_deadline =
		    np_mono_add_ms(worker_now(ch->shard->worker), CHANNEL_SETTLE_MS);
	ch->blocked = false; /* from here on it is dropped */
}

/* -- mail -- */

static struct channel *channel_of(struct mail *m, size_t offset)
{
	struct channel *ch = (struct channel *)((char *)m - offset);

	NP_CHECK_MAGIC(ch, CHANNEL_MAGIC);
	return ch;
}

static void on_idle_mail(struct worker *w, struct mail *m)
{
	(void)w;
	pool_idle(channel_of(m, offsetof(struct channel, idle_mail)));
}

/* Home let go: every mail of home for this channel was posted before this one. */
static void on_free_mail(struct worker *w, struct mail *m)
{
	worker_bury(w, &channel_of(m, offsetof(struct channel, gone_mail))->grave);
}

static void on_gone_mail(struct worker *w, struct mail *m)
{
	struct channel *ch = channel_of(m, offsetof(struct channel, gone_mail));
	struct worker *owner = ch->shard->worker;

	(void)w;
	pool_gone(ch);
	m->deliver = on_free_mail;
	worker_post(owner, m);
}

static void on_outcome_mail(struct worker *w, struct mail *m)
{
	struct channel *ch = channel_of(m, offsetof(struct channel, outcome_mail));

	bool ok = ch->outcome_ok;

	(void)w;
	atomic_fetch_add(&ch->outcome_seen, 1);
	pool_outcome(ch->peer, ok);
}

/*
 * An egress that was replaced cannot be asked again by a second attempt, which goes to where the first
 * one was: so an OPEN may not be lost with the channel. RETIRE leaves the closing to the ingress.
 */
static bool channel_retire(struct channel *ch)
{
	if (ch->ingress || ch->kind != NP_CHANNEL_STREAM || !ch->shard->inst->retiring ||
	    ch->shard->stopping)
		return false;
	if (ch->turn.retired)
		return true;
	channel_send(ch, NP_FRAME_RETIRE, NULL, 0);
	if (ch->state == CHANNEL_IDLE)
		settle(ch);
	return true;
}

/*
 * A session that ends while both processes live: what is on its way is taken, datagrams and answers to
 * them. Closed by the ingress, by the egress only if that does not come.
 */
static bool channel_linger(struct channel *ch)
{
	int64_t ms = ch->ingress ? UDP_LEAVE_MS : 2 * UDP_LEAVE_MS;

	if (ch->kind != NP_CHANNEL_DATAGRAM || ch->state == CHANNEL_CLOSED || ch->shard->stopping ||
	    !udp_flows_leave(ch->flows))
		return false;
	ch->settle_deadline = np_mono_add_ms(worker_now(ch->shard->worker), ms);
	return true;
}

static void on_close_command(struct worker *w, struct mail *m)
{
	struct channel *ch = channel_of(m, offsetof(struct channel, command_mail));

	(void)w;
	/* A busy one finishes its turn first. */
	if (ch->state == CHANNEL_BUSY)
		ch->retire_asked = true;
	else if (channel_linger(ch))
		return;
	else if (!channel_retire(ch))
		channel_close(ch, "not needed");
	else
		channel_flush(ch);
}

static void post_home(struct channel *ch, struct mail *m, mail_fn fn)
{
	struct worker *home = ch->shard->inst->home;

	m->deliver = fn;
	worker_post(home, m);
}

void channel_post_idle(struct channel *ch)
{
	if (ch->shard->inst->home == ch->shard->worker)
		pool_idle(ch);
	else
		post_home(ch, &ch->idle_mail, on_idle_mail);
}

void channel_post_idle_later(struct channel *ch)
{
	post_home(ch, &ch->idle_mail, on_idle_mail);
}

/* Always by mail, on the home worker too: callers on the stack may hold the channel or walk its
 * lists. */
void channel_post_gone(struct channel *ch)
{
	post_home(ch, &ch->gone_mail, on_gone_mail);
}

/*
 * The outcome of an open. One mail: while it is on its way a further outcome is dropped, which can
 * only happen when home is busier than a whole turn takes.
 */
void channel_post_outcome(struct channel *ch, bool ok)
{
	if (ch->shard->inst->home == ch->shard->worker) {
		pool_outcome(ch->peer, ok);
		return;
	}
	if (ok && atomic_load_explicit(&ch->peer->failures, memory_order_relaxed) == 0)
		return; /* home would learn nothing */
	if (ch->outcome_sent != atomic_load(&ch->outcome_seen))
		return;
	ch->outcome_ok = ok;
	ch->outcome_sent++;
	post_home(ch, &ch->outcome_mail, on_outcome_mail);
}

void channel_command_close(struct channel *ch)
{
	if (ch->h_closing) /* one mail, once */
		return;
	ch->h_closing = true;
	ch->command_mail.deliver = on_close_command;
	worker_post(ch->shard->worker, &ch->command_mail);
}

/* -- turns -- */

void channel_set_busy(struct channel *ch)
{
	NP_ASSERT(ch->state == CHANNEL_IDLE);
	ch->state = CHANNEL_BUSY;
	ch->discarded = 0;
	ch->pinging = false;
	atomic_fetch_add_explicit(&ch->peer->busy, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&ch->peer->opens, 1, memory_order_relaxed);
}

void channel_set_idle(struct channel *ch)
{
	NP_ASSERT(ch->state == CHANNEL_BUSY && ch->session == NULL);
	ch->state = CHANNEL_IDLE;
	ch->settle_deadline = (struct np_mono){0};
	atomic_fetch_sub_explicit(&ch->peer->busy, 1, memory_order_relaxed);
	ch->pinging = false;
	if (ch->ingress && (ch->retire_asked || ch->turn.retired)) {
		channel_close(ch, "not needed any more");
	} else if (ch->retire_asked && !channel_retire(ch)) {
		/* DONE goes before the end of the connection: channel_run closes. */
		worker_defer(ch->shard->worker, &ch->task);
	} else if (ch->ingress) {
		channel_post_idle(ch);
	}
}

void channel_reset(struct channel *ch, enum np_reason reason)
{
	uint8_t code = (uint8_t)reason;

	ch->session = NULL;
	if (ch->state != CHANNEL_BUSY)
		return;
	channel_send(ch, NP_FRAME_RESET, &code, 1);
	if (ch->state != CHANNEL_BUSY)
		return;
	settle(ch);
	channel_maybe_done(ch);
	if (ch->state == CHANNEL_CLOSED)
		return;
	if (!ch->parsing)
		worker_defer(ch->shard->worker, &ch->task);
}

void channel_maybe_done(struct channel *ch)
{
	if (ch->ingress || ch->state != CHANNEL_BUSY || !np_turn_is_through(&ch->turn))
		return;
	if (ch->session != NULL)
		session_end(ch->session, NP_REASON_DONE, false);
	channel_send(ch, NP_FRAME_DONE, NULL, 0);
	if (ch->state == CHANNEL_BUSY)
		channel_set_idle(ch);
}

static void frame_open(struct channel *ch, const uint8_t *payload, size_t len)
{
	struct np_proxy_info info;
	uint8_t code = NP_REASON_RETIRED;

	channel_set_busy(ch);
	ch->has_last_trace = false;
	if ((ch->actions & NP_TURN_SEND_STATUS_RETIRED) != 0) {
		channel_send(ch, NP_FRAME_STATUS, &code, 1);
		settle(ch);
		return;
	}
	if (payload[0] < 1 || payload[0] > 2 || payload[1] != 0 || payload[2] != 0 ||
	    payload[3] != 0 || np_proxy_read_strict(payload + 4, len - 4, false, &info) != NP_OK ||
	    !info.has_trace) {
		channel_violation(ch, "bad OPEN");
		return;
	}
	session_start_egress(ch, payload[0], &info);
}

static void frame_status(struct channel *ch, const uint8_t *payload, size_t len)
{
	if (ch->session != NULL && (ch->actions & NP_TURN_DELIVER) != 0)
		session_status(ch->session, payload[0], (const char *)payload + 1, len - 1);
}

static void frame_reset(struct channel *ch, const uint8_t *payload)
{
	enum np_reason reason = np_reason_of(payload[0]);

	/* What a person stopped ends in order at both ends. */
	if (ch->session != NULL && (ch->actions & NP_TURN_ABORT) != 0)
		session_end(ch->session, reason, reason != NP_REASON_INSTANCE_STOPPED);
}

/* What the machine asked for, after the frame itself was dealt with. */
static void after_frame(struct channel *ch, unsigned actions)
{
	uint8_t code = NP_REASON_PEER_ABORT;

	if (ch->state == CHANNEL_CLOSED)
		return;
	if ((actions & NP_TURN_SEND_RESET) != 0)
		channel_send(ch, NP_FRAME_RESET, &code, 1);
	if (ch->state == CHANNEL_BUSY && (actions & NP_TURN_ABORT) != 0)
		settle(ch);
	if ((actions & NP_TURN_SEND_DONE) != 0)
		channel_maybe_done(ch);
	if ((actions & NP_TURN_IDLE) != 0 && ch->state == CHANNEL_BUSY) {
		if (ch->session != NULL)
			session_end(ch->session, NP_REASON_DONE, false);
		channel_set_idle(ch);
	}
	if ((actions & NP_TURN_RETIRED) != 0 && ch->state == CHANNEL_IDLE)
		channel_close(ch, "retired by the peer");
}

void channel_turn_frame(struct channel *ch, const struct np_frame *f, const uint8_t *payload)
{
	unsigned actions = ch->actions;

	switch (f->type) {
	case NP_FRAME_OPEN:
		frame_open(ch, payload, f->len);
		break;
	case NP_FRAME_STATUS:
		frame_status(ch, payload, f->len);
		break;
	case NP_FRAME_FIN:
		if (ch->session != NULL && (actions & NP_TURN_HALF_CLOSE) != 0)
			session_half_close(ch->session);
		break;
	case NP_FRAME_RESET:
		frame_reset(ch, payload);
		break;
	case NP_FRAME_DONE:
	case NP_FRAME_RETIRE:
	case NP_FRAME_DATA:
	case NP_FRAME_PING:
	case NP_FRAME_PONG:
	case NP_FRAME_DOPEN:
	case NP_FRAME_DGRAM:
	case NP_FRAME_DCLOSE:
		break;
	}
	after_frame(ch, actions);
}
