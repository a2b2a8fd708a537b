/*
 * session.c - life of a session: begin at an ingress, an egress, or both in one; deadlines; the one
 * way out. Bytes are moved in relay_copy.c.
 */
#include "session.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "channel_turn.h"
#include "dial_order.h"
#include "relay.h"
#include "session_priv.h"
#include "shard.h"
#include "single.h"
#include "trace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

static const char *const state_names[] = {"dialing", "opening", "running", "ended"};

const char *session_state_name(enum session_state state)
{
	return state_names[state];
}

void session_set_state(struct session *s, enum session_state state)
{
	NP_ASSERT(s->state != SESSION_ENDED);
	INSTANCE_LOG(s->shard->inst, DEBUG, "session %s -> %s", session_state_name(s->state),
		     session_state_name(state));
	s->state = state;
}

/* -- sides -- */

enum np_err side_attach(struct side *side, struct worker *w, event_callback_fn fn, void *arg)
{
	/* What a plain socket has already is said by its first event. */
	side->readable = side->stream.ssl != NULL;
	side->writable = true;
	if (event_assign(&side->ev, w->base, side->stream.fd,
			 EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, fn, arg) != 0)
		return NP_ENOMEM;
	if (event_add(&side->ev, NULL) != 0)
		return NP_ENOMEM;
	side->added = true;
	return NP_OK;
}

void side_close(struct side *side, bool abort)
{
	if (side->added)
		event_del(&side->ev);
	side->added = false;
	stream_close(&side->stream, abort);
}

void side_event(struct side *side, short what)
{
	stream_event(&side->stream, what, &side->readable, &side->writable);
	if ((what & EV_CLOSED) != 0)
		side->ending = true;
}

static int side_errno(const struct side *side)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (side->stream.fd == -1 ||
	    getsockopt(side->stream.fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
		return 0;
	return err;
}

int side_error(const struct side *side, short what)
{
	/* libevent says of an error that all may be tried, and never that the peer ended. */
	if ((what & (EV_READ | EV_WRITE | EV_CLOSED)) != (EV_READ | EV_WRITE) ||
	    (!side->eof && !side->readable))
		return 0;
	return side_errno(side);
}

int side_error_late(struct side *side)
{
	if (!side->unsure)
		return 0;
	side->unsure = false;
	return side_errno(side);
}

static void session_release(struct grave *g)
{
	struct session *s = (struct session *)((char *)g - offsetof(struct session, grave));

	s->magic = 0;
	np_free(s);
}

void session_pump(struct session *s)
{
	if (s->state == SESSION_ENDED)
		return;
	if (s->role == SESSION_SINGLE)
		relay_single(s);
	else
		relay_from_outer(s);
}

static void session_task(struct worker *w, struct task *t)
{
	struct session *s = (struct session *)((char *)t - offsetof(struct session, task));

	(void)w;
	NP_CHECK_MAGIC(s, SESSION_MAGIC);
	session_pump(s);
}

static void init_by_role(struct session *s)
{
	if (s->role != SESSION_SINGLE) {
		s->attempt = 1;
		np_buf_init(&s->kept, VISITOR_KEEP_MAX);
		return;
	}
	stream_init(&s->inner.stream, -1);
	np_halfclose_init(&s->half);
	for (int dir = 0; dir < 2; dir++) {
		np_buf_init(&s->pending[dir], WORKER_SCRATCH);
		pipe_init(&s->pipe[dir]);
	}
}

struct session *session_new(struct shard *sh, enum session_role role)
{
	struct session *s = np_calloc(
	    1, role == SESSION_SINGLE ? sizeof(*s) : offsetof(struct session, tunnel_end));

	if (s == NULL)
		return NULL;
	s->magic = SESSION_MAGIC;
	s->grave.release = session_release;
	s->shard = sh;
	s->role = role;
	s->task.run = session_task;
	stream_init(&s->outer.stream, -1);
	init_by_role(s);
	s->wait[RATE_RX].dir = RATE_RX;
	s->wait[RATE_TX].dir = RATE_TX;
	s->start = s->last_active = worker_pass_now(sh->worker);
	DL_APPEND(sh->sessions, s);
	shard_wake(sh);
	atomic_fetch_add_explicit(&sh->worker->load, 1, memory_order_relaxed);
	counter_begins(&sh->counters, &sh->counters.tcps);
	return s;
}

static void leave_tunnel(struct session *s)
{
	struct channel *ch = s->channel;

	ch->session = NULL;
	pipe_give(s->shard->worker, &ch->in); /* bytes in it are nobody's now */
	if (s->role == SESSION_EGRESS) {
		ch->has_last_trace = true;
		ch->last_delivered = s->delivered;
		memcpy(ch->last_trace, s->trace, NP_TRACE_LEN);
	}
	if (s->role == SESSION_INGRESS) {
		np_free(s->target_text);
		s->target_text = NULL;
	}
	s->channel = NULL;
	trace_forget(s);
	dial_order_forget(s);
	np_buf_release(&s->kept);
}

static void leave_target(struct session *s, bool abort)
{
	side_close(&s->inner, abort);
	for (int dir = 0; dir < 2; dir++) {
		np_buf_release(&s->pending[dir]);
		pipe_give(s->shard->worker, &s->pipe[dir]);
	}
}

/* Everything but the record and the slot: what a session holds. Sockets are closed or have been
 * moved away. */
static void session_let_go(struct session *s, bool abort)
{
	struct shard *sh = s->shard;

	session_set_state(s, SESSION_ENDED);
	if (s->dial != NULL)
		dial_cancel(s->dial);
	s->dial = NULL;
	if (s->role == SESSION_SINGLE)
		leave_target(s, abort);
	else
		leave_tunnel(s);
	relay_forget(s);
	worker_undefer(sh->worker, &s->task);
	side_close(&s->outer, abort);
	DL_DELETE(sh->sessions, s);
	atomic_fetch_sub_explicit(&sh->worker->load, 1, memory_order_relaxed);
	counter_ends(&sh->counters, &sh->counters.tcps);
	worker_bury(sh->worker, &s->grave);
}

void session_target(const struct session *s, char out[SESSION_TARGET_MAX])
{
	out[0] = '\0';
	if (s->role == SESSION_INGRESS) {
		if (s->target_text != NULL)
			snprintf(out, SESSION_TARGET_MAX, "%s", s->target_text);
	} else if (s->target.len > 0) {
		np_addr_format(&s->target, out);
	} else if (s->dial != NULL) {
		dial_targets(s->dial, out, SESSION_TARGET_MAX);
	}
}

void session_end_as(struct session *s, enum np_reason reason, bool abort, const char *target)
{
	struct shard *sh = s->shard;
	struct np_mono now = worker_now(sh->worker);
	struct session_record r = {
	    .reason = reason,
	    .visitor = &s->visitor,
	    .target = target == NULL || target[0] != '\0' ? target : "-",
	    .target_addr = &s->target,
	    .rx = s->rx,
	    .tx = s->tx,
	    .ms = np_mono_diff_ms(now, s->start),
	};

	NP_CHECK_MAGIC(s, SESSION_MAGIC);
	session_let_go(s, abort);
	shard_record(sh, &r);
	instance_slot_give(sh->inst);
}

void session_end(struct session *s, enum np_reason reason, bool abort)
{
	char target[SESSION_TARGET_MAX];

	if (s->role != SESSION_INGRESS && s->target.len > 0) {
		session_end_as(s, reason, abort, NULL);
		return;
	}
	session_target(s, target);
	session_end_as(s, reason, abort, target);
}

void session_abort(struct session *s, enum np_reason reason)
{
	struct channel *ch = s->role == SESSION_SINGLE ? NULL : s->channel;

	/* What a person stopped ends in order at both ends. */
	session_end(s, reason, reason != NP_REASON_INSTANCE_STOPPED);
	if (ch == NULL)
		return;
	channel_reset(ch, reason);
	channel_flush(ch);
}

/* -- ingress -- */

void session_on_outer(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	NP_CHECK_MAGIC(s, SESSION_MAGIC);
	if (s->state == SESSION_ENDED)
		return;
	side_event(&s->outer, what);
	if (s->channel->blocked && s->outer.writable && s->state == SESSION_RUNNING)
		channel_resume(s->channel);
	session_pump(s);
	if (s->state != SESSION_ENDED && side_error(&s->outer, what) != 0)
		session_abort(s, session_outer_reset(s));
}

/* The visitor goes back to the pool, first in the line; the session was none. */
static void session_requeue(struct session *s, bool same_boot, uint8_t attempt)
{
	struct shard *sh = s->shard;
	struct visitor *v = np_calloc(1, sizeof(*v));
	const struct channel *ch = s->channel;

	if (v == NULL) {
		session_end(s, NP_REASON_NO_MEMORY, true);
		return;
	}
	visitor_init(v, sh->inst, sh);
	if (s->outer.added)
		event_del(&s->outer.ev);
	s->outer.added = false;
	stream_move(&v->stream, &s->outer.stream);
	v->peer = s->visitor;
	v->local = s->listener;
	v->start = s->start;
	v->first = s->kept;
	np_buf_init(&s->kept, 0);
	v->has_slot = true;
	v->attempt = attempt;
	memcpy(v->trace, s->trace, NP_TRACE_LEN);
	v->has_trace = true;
	v->same_boot = same_boot;
	memcpy(v->origin, ch->origin, sizeof(v->origin));
	v->rx = s->rx;
	counter_add(&sh->counters, COUNTER_RETRIES, 1);
	session_let_go(s, false);
	visitor_to_home(v);
}

void session_channel_lost(struct session *s)
{
	struct shard *sh = s->shard;

	if (s->role == SESSION_EGRESS)
		trace_lost(sh, s->trace, s->delivered);
	if (s->role == SESSION_INGRESS && s->state == SESSION_OPENING && s->attempt < 2 &&
	    !sh->stopping) {
		session_requeue(s, s->data_given, 2);
		return;
	}
	session_end(s, NP_REASON_CHANNEL_LOST, true);
}

static void send_open(struct session *s)
{
	struct np_proxy_info info = {.src = s->visitor, .dst = s->listener, .has_trace = true};
	uint8_t payload[4 + NP_PROXY_V2_MAX] = {s->attempt, 0, 0, 0};
	size_t n;

	memcpy(info.trace, s->trace, NP_TRACE_LEN);
	n = np_proxy_v2_write(&info, payload + 4, sizeof(payload) - 4);
	NP_ASSERT(n > 0);
	if (!channel_send(s->channel, NP_FRAME_OPEN, payload, 4 + n))
		return;
	if (np_buf_len(&s->kept) > 0) {
		s->data_given = true;
		channel_send(s->channel, NP_FRAME_DATA, np_buf_ptr(&s->kept), np_buf_len(&s->kept));
	}
}

void session_start_ingress(struct channel *ch, struct visitor *v)
{
	struct shard *sh = ch->shard;
	struct session *s;

	if (ch->state != CHANNEL_IDLE || ch->turn.retired || ch->retire_asked) {
		v->channel = NULL;
		visitor_to_home(v);
		return;
	}
	s = session_new(sh, SESSION_INGRESS);
	if (s == NULL) {
		v->shard = sh;
		visitor_refuse(v, NP_REASON_NO_MEMORY);
		channel_post_idle_later(ch);
		return;
	}
	stream_move(&s->outer.stream, &v->stream);
	s->visitor = v->peer;
	s->listener = v->local;
	s->start = v->start;
	s->kept = v->first;
	np_buf_init(&v->first, 0);
	s->attempt = v->attempt;
	s->same_boot = v->same_boot;
	s->rx = v->rx;
	memcpy(s->trace, v->trace, NP_TRACE_LEN);
	visitor_free(v);
	s->channel = ch;
	ch->session = s;
	if (s->attempt == 1)
		counter_add(&sh->counters, COUNTER_TCP_SESSIONS, 1);
	channel_set_busy(ch);
	session_set_state(s, SESSION_OPENING);
	s->status_deadline =
	    np_mono_add_ms(s->last_active, (int64_t)ch->dial_budget_ms + STATUS_GRACE_MS);
	send_open(s);
	if (s->state == SESSION_ENDED)
		return;
	if (side_attach(&s->outer, sh->worker, session_on_outer, s) != NP_OK) {
		session_abort(s, NP_REASON_NO_MEMORY);
		return;
	}
	/* OPEN waits in the buffer for the visitor's first bytes: one write for both. */
	worker_defer(sh->worker, &ch->task);
}

void session_status(struct session *s, uint8_t code, const char *text, size_t len)
{
	char target[SESSION_TARGET_MAX];

	NP_ASSERT(s->role == SESSION_INGRESS);
	if (code == NP_REASON_RETIRED) {
		/* Promised: no dial took place. The turn still settles without a session. */
		s->channel->retire_asked = true; /* whatever it does about it */
		session_requeue(s, s->same_boot, s->attempt);
		return;
	}
	channel_post_outcome(s->channel, code == 0);
	np_log_escape(text, len, target, sizeof(target));
	if (code != 0) {
		/* A reset only where bytes are lost. */
		session_end_as(s, np_reason_of(code), np_buf_len(&s->kept) > 0, target);
		return;
	}
	s->target_text = np_strdup(target); /* without memory its line in the log lacks it */
	session_set_state(s, SESSION_RUNNING);
	np_buf_release(&s->kept);
	s->last_active = worker_pass_now(s->shard->worker);
	/* channel_run goes on with the visitor's bytes when the frames are through. */
}

void session_half_close(struct session *s)
{
	if (s->state == SESSION_DIALING) {
		s->half_close_due = true;
		return;
	}
	/* AGAIN is for TLS only, which the outer side of a tunnel never is. */
	(void)stream_shutdown_write(&s->outer.stream);
}

/* -- time -- */

void session_tick(struct session *s, struct np_mono now)
{
	int64_t read_ms = instance_cfg(s->shard->inst)->read_ms;

	if (side_error_late(&s->outer) != 0)
		session_abort(s, session_outer_reset(s));
	else if (s->role == SESSION_SINGLE && side_error_late(&s->inner) != 0)
		session_abort(s, NP_REASON_TARGET_RESET);
	else if (s->state == SESSION_OPENING && np_mono_before(s->status_deadline, now)) {
		struct channel *ch = s->channel;
		int64_t waited = (int64_t)ch->dial_budget_ms + STATUS_GRACE_MS;

		channel_was_silent(ch, np_mono_diff_ms(s->status_deadline, ch->last_rx) - waited);
		channel_post_outcome(ch, false);
		session_abort(s, NP_REASON_NO_STATUS);
	} else if (s->state == SESSION_RUNNING && read_ms > 0 &&
		   np_mono_diff_ms(now, s->last_active) >= read_ms) {
		session_abort(s, NP_REASON_IDLE_TIMEOUT);
	}
}
