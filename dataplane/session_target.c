/*
 * session_target.c - sessions that dial a target: the egress of a tunnel, and single-end
 * forwarding.
 */
#include "session.h"

#include "base/assert.h"
#include "channel_turn.h"
#include "dial_order.h"
#include "relay.h"
#include "runtime.h"
#include "session_priv.h"
#include "trace.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* -- egress -- */

static void send_status(struct channel *ch, enum np_reason reason, const char *text)
{
	uint8_t payload[1 + NP_STATUS_TEXT_MAX];
	size_t n = strlen(text);

	if (n > NP_STATUS_TEXT_MAX)
		n = NP_STATUS_TEXT_MAX;
	payload[0] = (uint8_t)reason;
	memcpy(payload + 1, text, n);
	channel_send(ch, NP_FRAME_STATUS, payload, 1 + n);
}

/* STATUS != 0: ends the turn as a RESET does; then the session, if there is one. */
static void egress_refuse_as(struct channel *ch, struct session *s, enum np_reason reason,
			     const char *target)
{
	if (s != NULL)
		session_end_as(s, reason, true, target);
	send_status(ch, reason, target);
	channel_reset(ch, reason); /* already sent as STATUS: the turn settles */
	channel_flush(ch);
}

static void egress_refuse(struct channel *ch, struct session *s, enum np_reason reason)
{
	char target[SESSION_TARGET_MAX] = "";

	if (s != NULL)
		session_target(s, target);
	egress_refuse_as(ch, s, reason, target);
}

static bool write_proxy_header(struct session *s, struct stream *to)
{
	struct np_proxy_info info = {.src = s->visitor, .dst = s->listener};
	uint8_t header[NP_PROXY_V2_MAX];
	int proxy = instance_cfg(s->shard->inst)->proxy;
	size_t n, done = 0;

	if (proxy == 0)
		return true;
	if (info.dst.len == 0) /* nobody asked for it so far */
		visitor_local(s->outer.stream.fd, &info.dst);
	n = proxy == 1 ? np_proxy_v1_write(&info, header, sizeof(header))
		       : np_proxy_v2_write(&info, header, sizeof(header));
	/* A fresh socket takes so few bytes at once. */
	return n > 0 && stream_write(to, header, n, &done) == STREAM_OK && done == n;
}

static void egress_on_dialed(void *arg, const struct dial_result *r)
{
	struct session *s = arg;
	struct channel *ch = s->channel;
	char target[SESSION_TARGET_MAX];

	if (r->fd == -1) {
		INSTANCE_LOG(s->shard->inst, DEBUG, "dial failed: %s", r->text);
		session_target(s, target);
		s->dial = NULL;
		egress_refuse_as(ch, s, r->reason, target);
		return;
	}
	s->dial = NULL;
	stream_init(&s->outer.stream, r->fd);
	s->target = r->addr;
	np_addr_format(&r->addr, target);
	if (!write_proxy_header(s, &s->outer.stream) ||
	    side_attach(&s->outer, s->shard->worker, session_on_outer, s) != NP_OK) {
		egress_refuse(ch, s, NP_REASON_ERROR);
		return;
	}
	instance_dialed(s->shard, r->connect_us);
	session_set_state(s, SESSION_RUNNING);
	s->last_active = worker_pass_now(s->shard->worker);
	send_status(ch, NP_REASON_DONE, target);
	channel_hold(ch);
	if (s->half_close_due)
		session_half_close(s);
	channel_resume(ch);
	if (s->state != SESSION_ENDED)
		session_pump(s);
	channel_flush(ch);
}

static void egress_dial(struct session *s)
{
	struct dial_options o;

	o = dial_options_of(instance_settings(s->shard->inst), runtime.env.tcp_dial_timeout_ms);
	if (dial_start(s->shard->worker, &o, egress_on_dialed, s, &s->dial) != NP_OK)
		egress_refuse(s->channel, s, NP_REASON_NO_MEMORY);
}

void session_order_go(struct session *s)
{
	struct dial_order *o = &s->channel->peer->order;
	uint8_t trace[NP_TRACE_LEN];

	memcpy(trace, s->trace, sizeof(trace));
	s->order_wait = NULL;
	egress_dial(s);
	dial_order_passed(o, trace); /* connect was called, if the name was known */
}

void session_trace_answer(struct session *s, bool delivered)
{
	if (s->state != SESSION_DIALING)
		return;
	if (delivered)
		egress_refuse(s->channel, s, NP_REASON_MAYBE_DELIVERED);
	else
		egress_dial(s);
}

/* One that never became a session, counted as one that ended. */
static void refuse_visitor(struct channel *ch, const struct np_proxy_info *info,
			   enum np_reason reason)
{
	struct session_record r = {.reason = reason, .visitor = &info->src, .target = "-"};

	shard_record(ch->shard, &r);
	egress_refuse(ch, NULL, reason);
}

void session_start_egress(struct channel *ch, uint8_t attempt, const struct np_proxy_info *info)
{
	struct shard *sh = ch->shard;
	struct instance *inst = sh->inst;
	struct session *s;

	if (instance_cfg(inst)->notcp) {
		egress_refuse(ch, NULL, NP_REASON_NOT_SERVED);
		return;
	}
	if (sh->stopping || atomic_load_explicit(&inst->draining, memory_order_relaxed)) {
		egress_refuse(ch, NULL, (enum np_reason)atomic_load(&inst->end_reason));
		return;
	}
	if (attempt == 1 && trace_seen(sh, info->trace)) {
		egress_refuse(ch, NULL, NP_REASON_CHANNEL_LOST);
		return;
	}
	/* The address is the peer's word; what it says is still refused when it is on the list. */
	if (!instance_admits(inst, &info->src)) {
		refuse_visitor(ch, info, NP_REASON_DENIED);
		return;
	}
	if (!instance_slot_take(inst)) {
		refuse_visitor(ch, info, NP_REASON_SLOT_LIMIT);
		return;
	}
	s = session_new(sh, SESSION_EGRESS);
	if (s == NULL) {
		instance_slot_give(inst);
		egress_refuse(ch, NULL, NP_REASON_NO_MEMORY);
		return;
	}
	s->visitor = info->src;
	s->listener = info->dst;
	s->attempt = attempt;
	memcpy(s->trace, info->trace, NP_TRACE_LEN);
	s->channel = ch;
	ch->session = s;
	counter_add(&sh->counters, COUNTER_TCP_SESSIONS, 1);
	if (attempt == 1) {
		if (dial_order_enter(&ch->peer->order, sh->worker, s))
			session_order_go(s);
	} else if (trace_ask(s) != NP_OK) {
		egress_refuse(ch, s, NP_REASON_NO_MEMORY);
	}
}

/* -- single-end -- */

static void session_on_single(struct session *s, struct side *side, short what)
{
	if (s->state == SESSION_ENDED)
		return;
	side_event(side, what);
	if (s->state == SESSION_DIALING) {
		side->unsure = true; /* a reset ends the dial: nobody waits for it any more */
		return;
	}
	relay_single(s);
	if (s->state != SESSION_ENDED && side_error(side, what) != 0)
		session_end(s, side == &s->outer ? NP_REASON_VISITOR_RESET : NP_REASON_TARGET_RESET,
			    true);
}

static void single_on_outer(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	NP_CHECK_MAGIC(s, SESSION_MAGIC);
	session_on_single(s, &s->outer, what);
}

static void single_on_inner(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	NP_CHECK_MAGIC(s, SESSION_MAGIC);
	session_on_single(s, &s->inner, what);
}

static void single_connected(struct session *s, int fd, const struct np_addr *addr)
{
	stream_init(&s->inner.stream, fd);
	s->target = *addr;
	if (!write_proxy_header(s, &s->inner.stream)) {
		session_end(s, NP_REASON_TARGET_RESET, true);
		return;
	}
	if (side_attach(&s->inner, s->shard->worker, single_on_inner, s) != NP_OK) {
		session_end(s, NP_REASON_NO_MEMORY, true);
		return;
	}
	session_set_state(s, SESSION_RUNNING);
	s->last_active = worker_pass_now(s->shard->worker);
	if (s->outer.readable || np_buf_len(&s->pending[NP_DIR_UP]) > 0)
		relay_single(s);
}

static void single_on_dialed(void *arg, const struct dial_result *r)
{
	struct session *s = arg;
	char target[SESSION_TARGET_MAX];

	if (r->fd == -1) {
		INSTANCE_LOG(s->shard->inst, DEBUG, "dial failed: %s", r->text);
		session_target(s, target);
		s->dial = NULL;
		session_end_as(s, r->reason, np_buf_len(&s->pending[NP_DIR_UP]) > 0, target);
		return;
	}
	s->dial = NULL;
	instance_dialed(s->shard, r->connect_us);
	single_connected(s, r->fd, &r->addr);
}

void session_start_single(struct visitor *v)
{
	struct shard *sh = v->shard;
	struct session *s = session_new(sh, SESSION_SINGLE);
	struct np_addr target = v->target_addr;
	int fd = v->target_fd;
	struct dial_options o;

	if (s == NULL) {
		visitor_refuse(v, NP_REASON_NO_MEMORY);
		return;
	}
	v->target_fd = -1;
	stream_move(&s->outer.stream, &v->stream);
	s->visitor = v->peer;
	s->listener = v->local;
	s->start = v->start;
	s->rx = v->rx;
	counter_add(&sh->counters, COUNTER_TCP_SESSIONS, 1);
	s->pending[NP_DIR_UP] = v->first;
	s->pending[NP_DIR_UP].max = WORKER_SCRATCH;
	np_buf_init(&v->first, 0);
	visitor_free(v);
	if (side_attach(&s->outer, sh->worker, single_on_outer, s) != NP_OK) {
		if (fd != -1)
			close(fd);
		session_end(s, NP_REASON_NO_MEMORY, true);
		return;
	}
	if (fd != -1) {
		single_connected(s, fd, &target);
		return;
	}
	o = dial_options_of(instance_settings(sh->inst), runtime.env.tcp_dial_timeout_ms);
	if (dial_start(sh->worker, &o, single_on_dialed, s, &s->dial) != NP_OK)
		session_end(s, NP_REASON_NO_MEMORY, true);
}
