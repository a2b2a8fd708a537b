/*
 * session.c - life of a session: begin at an ingress, an egress, or both in one; deadlines; the one
 * way out. Bytes are moved in relay_copy.c.
 */
#include "session.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "channel_turn.h"
#include "relay.h"
#include "runtime.h"
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
	side->readable = side->writable = true;
	if (event_assign(&side->ev, w->base, side->stream.fd,
			 EV_READ | EV_WRITE | EV_ET | EV_PERSIST, fn, arg) != 0)
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

/* A reset that reading would not find, because reading is paused or the side ended its direction.
 */
static int side_error(const struct side *side)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (side->stream.fd == -1 ||
	    getsockopt(side->stream.fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
		return 0;
	return err;
}

static void session_release(struct grave *g)
{
	struct session *s = (struct session *)((char *)g - offsetof(struct session, grave));

	s->magic = 0;
	np_free(s);
}

static void session_pump(struct session *s)
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

static struct session *session_new(struct shard *sh, enum session_role role)
{
	struct session *s = np_calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->magic = SESSION_MAGIC;
	s->grave.release = session_release;
	s->shard = sh;
	s->role = role;
	s->task.run = session_task;
	s->attempt = 1;
	stream_init(&s->outer.stream, -1);
	stream_init(&s->inner.stream, -1);
	s->wait[RATE_RX] = (struct session_wait){.session = s, .dir = RATE_RX};
	s->wait[RATE_TX] = (struct session_wait){.session = s, .dir = RATE_TX};
	np_buf_init(&s->kept, VISITOR_KEEP_MAX);
	np_buf_init(&s->pending[NP_DIR_UP], WORKER_SCRATCH);
	np_buf_init(&s->pending[NP_DIR_DOWN], WORKER_SCRATCH);
	np_halfclose_init(&s->half);
	s->start = s->last_active = worker_now(sh->worker);
	DL_APPEND(sh->sessions, s);
	shard_wake(sh);
	atomic_fetch_add_explicit(&sh->worker->load, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&sh->counters.tcps, 1, memory_order_relaxed);
	counter_add(&sh->counters, COUNTER_TCP_SESSIONS, 1);
	return s;
}

/* Everything but the record and the slot: what a session holds. Sockets are closed or have been
 * moved away. */
static void session_let_go(struct session *s, bool abort)
{
	struct shard *sh = s->shard;

	session_set_state(s, SESSION_ENDED);
	if (s->channel != NULL)
		s->channel->session = NULL;
	s->channel = NULL;
	if (s->dial != NULL)
		dial_cancel(s->dial);
	s->dial = NULL;
	trace_forget(s);
	relay_forget(s);
	worker_undefer(sh->worker, &s->task);
	side_close(&s->outer, abort);
	side_close(&s->inner, abort);
	np_buf_release(&s->kept);
	np_buf_release(&s->pending[NP_DIR_UP]);
	np_buf_release(&s->pending[NP_DIR_DOWN]);
	DL_DELETE(sh->sessions, s);
	atomic_fetch_sub_explicit(&sh->worker->load, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&sh->counters.tcps, 1, memory_order_relaxed);
	worker_bury(sh->worker, &s->grave);
}

void session_end(struct session *s, enum np_reason reason, bool abort)
{
	struct shard *sh = s->shard;
	struct np_mono now = worker_now(sh->worker);
	struct session_record r = {
	    .reason = reason,
	    .visitor = &s->visitor,
	    .target = s->target[0] != '\0' ? s->target : "-",
	    .rx = s->rx,
	    .tx = s->tx,
	    .ms = np_mono_diff_ms(now, s->start),
	};

	NP_CHECK_MAGIC(s, SESSION_MAGIC);
	session_let_go(s, abort);
	shard_record(sh, &r);
	instance_slot_give(sh->inst);
}

void session_abort(struct session *s, enum np_reason reason)
{
	struct channel *ch = s->channel;

	session_end(s, reason, true);
	if (ch == NULL)
		return;
	channel_reset(ch, reason);
	channel_flush(ch);
}

/* -- ingress -- */

static void session_on_outer(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	NP_CHECK_MAGIC(s, SESSION_MAGIC);
	if (s->state == SESSION_ENDED)
		return;
	if ((what & EV_READ) != 0)
		s->outer.readable = true;
	if ((what & EV_WRITE) != 0)
		s->outer.writable = true;
	if ((what & EV_READ) != 0 && s->outer.eof && side_error(&s->outer) != 0) {
		session_abort(s, s->role == SESSION_EGRESS ? NP_REASON_TARGET_RESET
							   : NP_REASON_VISITOR_RESET);
		return;
	}
	if (s->channel->blocked && s->outer.writable && s->state == SESSION_RUNNING)
		channel_resume(s->channel);
	session_pump(s);
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
	v->same_boot = same_boot;
	memcpy(v->boot_id, ch->boot_id, sizeof(v->boot_id));
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
		channel_post_idle(ch);
		return;
	}
	stream_move(&s->outer.stream, &v->stream);
	s->visitor = v->peer;
	s->listener = v->local;
	s->start = v->start;
	s->kept = v->first;
	np_buf_init(&v->first, 0);
	s->attempt = v->attempt;
	memcpy(s->trace, v->trace, NP_TRACE_LEN);
	visitor_free(v);
	s->channel = ch;
	ch->session = s;
	channel_set_busy(ch);
	session_set_state(s, SESSION_OPENING);
	s->status_deadline = np_mono_add_ms(s->last_active, (int64_t)ch->dial_budget_ms + 2000);
	send_open(s);
	if (s->state == SESSION_ENDED)
		return;
	if (side_attach(&s->outer, sh->worker, session_on_outer, s) != NP_OK) {
		session_abort(s, NP_REASON_NO_MEMORY);
		return;
	}
	/* OPEN waits in the buffer for the visitor's first bytes: one write for both. */
	worker_defer(sh->worker, &s->task);
	worker_defer(sh->worker, &ch->task);
}

void session_status(struct session *s, uint8_t code, const char *text, size_t len)
{
	NP_ASSERT(s->role == SESSION_INGRESS);
	if (code == NP_REASON_RETIRED) {
		/* Promised: no dial took place. The turn still settles without a session. */
		session_requeue(s, false, s->attempt);
		return;
	}
	channel_post_outcome(s->channel, code == 0);
	np_log_escape(text, len, s->target, sizeof(s->target));
	if (code != 0) {
		/* A reset only where bytes are lost. */
		session_end(s, np_reason_of(code), np_buf_len(&s->kept) > 0);
		return;
	}
	session_set_state(s, SESSION_RUNNING);
	np_buf_release(&s->kept);
	s->last_active = worker_now(s->shard->worker);
	worker_defer(s->shard->worker, &s->task);
}

void session_half_close(struct session *s)
{
	if (s->state == SESSION_DIALING) {
		s->half_close_due = true;
		return;
	}
	s->outer.shut = true;
	/* AGAIN is for TLS only, which the outer side of a tunnel never is. */
	(void)stream_shutdown_write(&s->outer.stream);
}

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
static void egress_refuse(struct channel *ch, struct session *s, enum np_reason reason)
{
	char target[SESSION_TARGET_MAX] = "";

	if (s != NULL) {
		memcpy(target, s->target, sizeof(target));
		session_end(s, reason, true);
	}
	send_status(ch, reason, target);
	channel_reset(ch, reason); /* already sent as STATUS: the turn settles */
	channel_flush(ch);
}

static bool write_proxy_header(struct session *s, struct stream *to)
{
	const struct np_proxy_info info = {.src = s->visitor, .dst = s->listener};
	uint8_t header[NP_PROXY_V2_MAX];
	int proxy = s->shard->inst->cfg.proxy;
	size_t n, done = 0;

	if (proxy == 0)
		return true;
	n = proxy == 1 ? np_proxy_v1_write(&info, header, sizeof(header))
		       : np_proxy_v2_write(&info, header, sizeof(header));
	/* A fresh socket takes so few bytes at once. */
	return n > 0 && stream_write(to, header, n, &done) == STREAM_OK && done == n;
}

static void egress_on_dialed(void *arg, const struct dial_result *r)
{
	struct session *s = arg;
	struct channel *ch = s->channel;

	s->dial = NULL;
	if (r->fd == -1) {
		INSTANCE_LOG(s->shard->inst, DEBUG, "dial failed: %s", r->text);
		egress_refuse(ch, s, r->reason);
		return;
	}
	stream_init(&s->outer.stream, r->fd);
	np_addr_format(&r->addr, s->target);
	if (!write_proxy_header(s, &s->outer.stream) ||
	    side_attach(&s->outer, s->shard->worker, session_on_outer, s) != NP_OK) {
		egress_refuse(ch, s, NP_REASON_ERROR);
		return;
	}
	atomic_store_explicit(&s->shard->inst->dial_us, r->connect_us, memory_order_relaxed);
	session_set_state(s, SESSION_RUNNING);
	s->last_active = worker_now(s->shard->worker);
	send_status(ch, NP_REASON_DONE, s->target);
	if (s->half_close_due)
		session_half_close(s);
	channel_resume(ch);
	if (s->state != SESSION_ENDED)
		session_pump(s);
	channel_flush(ch);
}

static void target_dial_options(const struct instance *inst, struct dial_options *o)
{
	*o = (struct dial_options){
	    .targets = inst->cfg.targets,
	    .ntargets = inst->cfg.ntargets,
	    .balance = (struct np_balance *)&inst->balance,
	    .source = inst->cfg.dial_auto ? NULL : &inst->cfg.dial,
	    .dns_ms = inst->cfg.dns_ms,
	    .timeout_ms = runtime.env.tcp_dial_timeout_ms,
	};
}

/* For the log, until it is known which one answers. */
static void name_targets(struct session *s)
{
	const struct np_config *cfg = &s->shard->inst->cfg;
	char text[NP_HOST_MAX + 16];

	np_hostport_format(&cfg->targets[0], text, sizeof(text));
	snprintf(s->target, sizeof(s->target), "%.70s%s", text, cfg->ntargets > 1 ? ",..." : "");
}

static void egress_dial(struct session *s)
{
	struct dial_options o;

	name_targets(s);
	target_dial_options(s->shard->inst, &o);
	if (dial_start(s->shard->worker, &o, egress_on_dialed, s, &s->dial) != NP_OK)
		egress_refuse(s->channel, s, NP_REASON_NO_MEMORY);
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

void session_start_egress(struct channel *ch, uint8_t attempt, const struct np_proxy_info *info)
{
	struct shard *sh = ch->shard;
	struct instance *inst = sh->inst;
	struct session *s;

	if (inst->cfg.notcp) {
		egress_refuse(ch, NULL, NP_REASON_NOT_SERVED);
		return;
	}
	if (sh->stopping || atomic_load_explicit(&inst->draining, memory_order_relaxed)) {
		egress_refuse(ch, NULL, NP_REASON_SHUTDOWN);
		return;
	}
	if (!instance_slot_take(inst)) {
		struct session_record r = {
		    .reason = NP_REASON_SLOT_LIMIT, .visitor = &info->src, .target = "-"};

		shard_record(sh, &r);
		egress_refuse(ch, NULL, NP_REASON_SLOT_LIMIT);
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
	if (attempt == 1)
		egress_dial(s);
	else if (trace_ask(s) != NP_OK)
		egress_refuse(ch, s, NP_REASON_NO_MEMORY);
}

/* -- single-end -- */

static void session_on_single(struct session *s, struct side *side, short what)
{
	if (s->state == SESSION_ENDED)
		return;
	if ((what & EV_READ) != 0)
		side->readable = true;
	if ((what & EV_WRITE) != 0)
		side->writable = true;
	if (s->state != SESSION_RUNNING)
		return;
	if ((what & EV_READ) != 0 && side->eof && side_error(side) != 0) {
		session_end(s, side == &s->outer ? NP_REASON_VISITOR_RESET : NP_REASON_TARGET_RESET,
			    true);
		return;
	}
	relay_single(s);
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
	np_addr_format(addr, s->target);
	if (!write_proxy_header(s, &s->inner.stream)) {
		session_end(s, NP_REASON_TARGET_RESET, true);
		return;
	}
	if (side_attach(&s->inner, s->shard->worker, single_on_inner, s) != NP_OK) {
		session_end(s, NP_REASON_NO_MEMORY, true);
		return;
	}
	session_set_state(s, SESSION_RUNNING);
	s->last_active = worker_now(s->shard->worker);
	worker_defer(s->shard->worker, &s->task);
}

static void single_on_dialed(void *arg, const struct dial_result *r)
{
	struct session *s = arg;

	s->dial = NULL;
	if (r->fd == -1) {
		INSTANCE_LOG(s->shard->inst, DEBUG, "dial failed: %s", r->text);
		session_end(s, r->reason, np_buf_len(&s->pending[NP_DIR_UP]) > 0);
		return;
	}
	atomic_store_explicit(&s->shard->inst->dial_us, r->connect_us, memory_order_relaxed);
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
	name_targets(s);
	target_dial_options(sh->inst, &o);
	if (dial_start(sh->worker, &o, single_on_dialed, s, &s->dial) != NP_OK)
		session_end(s, NP_REASON_NO_MEMORY, true);
}

/* -- time -- */

void session_tick(struct session *s, struct np_mono now)
{
	int64_t read_ms = s->shard->inst->cfg.read_ms;

	if (s->state == SESSION_OPENING && np_mono_before(s->status_deadline, now)) {
		channel_post_outcome(s->channel, false);
		session_abort(s, NP_REASON_NO_STATUS);
	} else if (s->state == SESSION_RUNNING && read_ms > 0 &&
		   np_mono_diff_ms(now, s->last_active) >= read_ms) {
		session_abort(s, NP_REASON_IDLE_TIMEOUT);
	}
}
