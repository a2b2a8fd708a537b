/*
 * visitor.c - from accept to session. See visitor.h for the way.
 */
#include "visitor.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "core/sniff.h"
#include "runtime.h"
#include "session.h"
#include "shard.h"
#include "single.h"
#include "tls_files.h"

#include <string.h>
#include <unistd.h>
#include <utlist.h>

static void visitor_release(struct grave *g)
{
	struct visitor *v = (struct visitor *)((char *)g - offsetof(struct visitor, grave));

	v->magic = 0;
	np_free(v);
}

void visitor_init(struct visitor *v, struct instance *inst, struct shard *sh)
{
	v->magic = VISITOR_MAGIC;
	v->grave.release = visitor_release;
	v->inst = inst;
	v->shard = sh;
	v->state = VISITOR_HANDED;
	v->attempt = 1;
	v->target_fd = -1;
	stream_init(&v->stream, -1);
	np_buf_init(&v->first, VISITOR_KEEP_MAX);
	v->start = v->payload_from = np_mono_now();
}

/* Off the loop and the shard's list; ready to be handed on. */
static void visitor_leave(struct visitor *v)
{
	if (v->wait != NULL) {
		event_del(&v->wait->ev);
		event_del(&v->wait->sniff_end);
		np_free(v->wait);
	}
	v->wait = NULL;
	if (v->state == VISITOR_HEADER || v->state == VISITOR_HANDSHAKE ||
	    v->state == VISITOR_SNIFF)
		DL_DELETE(v->shard->visitors, v);
	v->state = VISITOR_HANDED;
}

void visitor_free(struct visitor *v)
{
	visitor_leave(v);
	stream_close(&v->stream, true);
	SSL_free(v->ssl);
	v->ssl = NULL;
	np_buf_release(&v->first);
	if (v->target_fd != -1)
		close(v->target_fd);
	v->target_fd = -1;
	worker_bury(worker_self(), &v->grave);
}

void visitor_drop(struct visitor *v)
{
	stream_close(&v->stream, true);
	np_buf_release(&v->first);
	v->magic = 0;
	np_free(v);
}

void visitor_adopt(struct visitor *v, struct instance *inst)
{
	v->inst = inst;
	v->shard = instance_shard(inst, inst->home);
	v->has_slot = instance_slot_take(inst);
	if (!v->has_slot)
		visitor_refuse(v, NP_REASON_SLOT_LIMIT);
	else if (inst->mode == MODE_SINGLE && inst->single != NULL)
		session_start_single(v);
	else if (inst->pool.timer != NULL && inst->state != INSTANCE_ERROR)
		pool_visitor(inst, v, false);
	else
		visitor_refuse(v, NP_REASON_INSTANCE_STOPPED);
}

void visitor_refuse(struct visitor *v, enum np_reason reason)
{
	struct shard *sh = v->shard;
	struct session_record r = {
	    .reason = reason, .visitor = &v->peer, .target = "-", .rx = v->rx};

	NP_CHECK_MAGIC(v, VISITOR_MAGIC);
	r.ms = np_mono_diff_ms(np_mono_now(), v->start);
	shard_record(sh, &r);
	if (v->has_slot)
		instance_slot_give(sh->inst);
	visitor_leave(v); /* off the loop first: the descriptor's number may be another's at once */
	/* A reset only where bytes are lost; who has sent none sees the end of the connection. */
	stream_close(&v->stream, np_buf_len(&v->first) > 0);
	visitor_free(v);
}

static void on_home_mail(struct worker *w, struct mail *m)
{
	struct visitor *v = (struct visitor *)((char *)m - offsetof(struct visitor, mail));

	(void)w;
	NP_CHECK_MAGIC(v, VISITOR_MAGIC);
	pool_visitor(v->inst, v, true);
}

void visitor_to_home(struct visitor *v)
{
	v->mail.deliver = on_home_mail;
	worker_post(v->inst->home, &v->mail);
}

static void visitor_route(struct visitor *v)
{
	visitor_leave(v);
	if (v->inst->mode == MODE_SINGLE)
		session_start_single(v);
	else
		pool_visitor(v->inst, v, false);
}

static void visitor_took(struct visitor *v, size_t n)
{
	v->rx += n;
	counter_add(&v->shard->counters, COUNTER_TCP_RX, n);
}

static bool visitor_is_blocked(const struct visitor *v, enum np_sniff kind)
{
	return kind > NP_SNIFF_OTHER && (instance_cfg(v->inst)->block & (1U << kind)) != 0;
}

enum sniff_step { SNIFF_MORE, SNIFF_WAIT, SNIFF_OVER /* the visitor is another's now */ };

static enum sniff_step visitor_sniff_read(struct visitor *v)
{
	uint8_t buf[NP_SNIFF_MAX];
	size_t n = 0;

	switch (stream_read(&v->stream, buf, sizeof(buf) - np_buf_len(&v->first), &n)) {
	case STREAM_OK:
		np_buf_put(&v->first, buf, n);
		visitor_took(v, n);
		if (v->first.err == NP_OK)
			return SNIFF_MORE;
		visitor_refuse(v, NP_REASON_NO_MEMORY);
		break;
	case STREAM_AGAIN:
		return SNIFF_WAIT;
	case STREAM_EOF: /* is found again by who relays */
		visitor_route(v);
		break;
	case STREAM_FAILED:
		visitor_refuse(v, NP_REASON_VISITOR_RESET);
		break;
	}
	return SNIFF_OVER;
}

static enum sniff_step visitor_sniff(struct visitor *v)
{
	for (;;) {
		/* What came with a PROXY header is there already. */
		enum np_sniff kind = np_sniff(np_buf_ptr(&v->first), np_buf_len(&v->first));
		enum np_sniff may = np_sniff_may(np_buf_ptr(&v->first), np_buf_len(&v->first));
		enum sniff_step step;

		if (visitor_is_blocked(v, kind)) {
			visitor_refuse(v, NP_REASON_BLOCKED);
			return SNIFF_OVER;
		}
		/* More bytes matter while they can make it one that is refused. */
		if (kind != NP_SNIFF_MORE ||
		    (may != NP_SNIFF_MORE && !visitor_is_blocked(v, may))) {
			visitor_route(v);
			return SNIFF_OVER;
		}
		step = visitor_sniff_read(v);
		if (step != SNIFF_MORE)
			return step;
	}
}

/*
 * Silence passes, the server may be the one to speak first. Who has sent nothing but the beginning
 * of a protocol that is refused is taken for one that speaks it: it could have sent the rest.
 */
static void visitor_sniff_expired(struct visitor *v)
{
	if (visitor_sniff(v) == SNIFF_OVER) /* what came in this moment counts */
		return;
	if (np_buf_len(&v->first) > 0)
		visitor_refuse(v, NP_REASON_BLOCKED);
	else
		visitor_route(v);
}

static void visitor_on_sniff_end(evutil_socket_t fd, short what, void *arg)
{
	struct visitor *v = arg;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(v, VISITOR_MAGIC);
	visitor_sniff_expired(v);
}

static void visitor_sniff_begin(struct visitor *v)
{
	struct np_mono now = np_mono_now();
	struct timeval tv;

	v->deadline = np_mono_add_ms(v->payload_from, VISITOR_SNIFF_MS);
	v->state = VISITOR_SNIFF;
	tv = tv_of_ms(np_mono_before(now, v->deadline) ? np_mono_diff_ms(v->deadline, now) : 0);
	/* Without memory for it the tick decides, a moment later. */
	(void)evtimer_add(&v->wait->sniff_end, &tv);
	(void)visitor_sniff(v);
}

static void visitor_next(struct visitor *v);

static void visitor_handshake(struct visitor *v)
{
	char why[128];

	switch (stream_handshake(&v->stream)) {
	case STREAM_OK:
		v->payload_from = np_mono_now();
		visitor_next(v);
		break;
	case STREAM_AGAIN:
		break;
	case STREAM_EOF:
	case STREAM_FAILED:
		INSTANCE_LOG(v->inst, DEBUG, "visitor's TLS handshake failed: %s",
			     stream_handshake_error(&v->stream, why, sizeof(why)));
		visitor_refuse(v, NP_REASON_TLS_FAILED);
		break;
	}
}

static void visitor_handshake_begin(struct visitor *v)
{
	SSL *ssl = v->ssl;

	if (stream_init_tls(&v->stream, v->stream.fd, ssl, np_buf_ptr(&v->first),
			    np_buf_len(&v->first)) != NP_OK) {
		visitor_refuse(v, NP_REASON_NO_MEMORY);
		return;
	}
	v->ssl = NULL;
	np_buf_release(&v->first); /* TLS has them */
	SSL_set_accept_state(ssl);
	v->state = VISITOR_HANDSHAKE;
	visitor_handshake(v);
}

/* -- a balancer's header -- */

/* The visitor is who the header says; a header without addresses (the balancer's own check) leaves
 * those of the connection. */
static void visitor_announced(struct visitor *v, const struct np_proxy_info *info)
{
	v->header_due = false;
	v->payload_from = np_mono_now();
	if (!info->local) {
		v->peer = info->src;
		v->local = info->dst;
		np_addr_unmap(&v->peer);
		np_addr_unmap(&v->local);
	}
	if (!instance_admits(v->inst, &v->peer)) {
		visitor_refuse(v, NP_REASON_DENIED);
		return;
	}
	if (v->ssl == NULL)
		visitor_took(v, np_buf_len(&v->first));
	visitor_next(v);
}

static void visitor_header(struct visitor *v)
{
	struct np_proxy_info info;
	uint8_t buf[NP_PROXY_V2_MAX];
	enum np_err err = NP_EAGAIN;
	size_t used = 0, n = 0;

	while (err == NP_EAGAIN) {
		switch (stream_read(&v->stream, buf, sizeof(buf), &n)) {
		case STREAM_OK:
			break;
		case STREAM_AGAIN:
			return;
		case STREAM_EOF:
			visitor_refuse(v, NP_REASON_BAD_HEADER);
			return;
		case STREAM_FAILED:
			visitor_refuse(v, NP_REASON_VISITOR_RESET);
			return;
		}
		np_buf_put(&v->first, buf, n);
		if (v->first.err != NP_OK) {
			visitor_refuse(v, NP_REASON_NO_MEMORY);
			return;
		}
		/* Past NP_PROXY_READ_MAX no beginning is valid any more. */
		err = np_proxy_read(np_buf_ptr(&v->first), np_buf_len(&v->first), &info, &used);
	}
	if (err != NP_OK || info.udp) {
		visitor_refuse(v, NP_REASON_BAD_HEADER);
		return;
	}
	np_buf_consume(&v->first, used);
	visitor_announced(v, &info);
}

/* -- steps -- */

/* Begins what is still to be done before it is served; then it is. */
static void visitor_next(struct visitor *v)
{
	if (v->header_due) {
		v->state = VISITOR_HEADER;
		visitor_header(v);
	} else if (v->ssl != NULL) {
		visitor_handshake_begin(v);
	} else if (instance_cfg(v->inst)->block != 0) {
		visitor_sniff_begin(v);
	} else {
		visitor_route(v);
	}
}

static void visitor_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct visitor *v = arg;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(v, VISITOR_MAGIC);
	switch (v->state) {
	case VISITOR_HEADER:
		visitor_header(v);
		break;
	case VISITOR_HANDSHAKE:
		visitor_handshake(v);
		break;
	case VISITOR_SNIFF:
		(void)visitor_sniff(v);
		break;
	case VISITOR_WAITING:
	case VISITOR_HANDED:
		break;
	}
}

static bool visitor_watch(struct visitor *v)
{
	struct event_base *base = v->shard->worker->base;

	v->wait = np_calloc(1, sizeof(*v->wait));
	if (v->wait == NULL)
		return false;
	event_assign(&v->wait->ev, base, v->stream.fd, EV_READ | EV_WRITE | EV_ET | EV_PERSIST,
		     visitor_on_event, v);
	evtimer_assign(&v->wait->sniff_end, base, visitor_on_sniff_end, v);
	return event_add(&v->wait->ev, NULL) == 0;
}

void visitor_tick(struct visitor *v, struct np_mono now)
{
	if (np_mono_before(now, v->deadline))
		return;
	if (v->state == VISITOR_HEADER)
		visitor_refuse(v, NP_REASON_BAD_HEADER);
	else if (v->state == VISITOR_HANDSHAKE)
		visitor_refuse(v, NP_REASON_TLS_FAILED);
	else
		visitor_sniff_expired(v);
}

void visitor_begin(struct visitor *v)
{
	struct shard *sh = v->shard;

	if (sh->stopping) {
		visitor_refuse(v, (enum np_reason)atomic_load(&v->inst->end_reason));
		return;
	}
	if (!v->header_due && v->ssl == NULL && instance_cfg(v->inst)->block == 0) {
		visitor_route(v);
		return;
	}
	v->state =
	    v->header_due ? VISITOR_HEADER : (v->ssl != NULL ? VISITOR_HANDSHAKE : VISITOR_SNIFF);
	DL_APPEND(sh->visitors, v);
	shard_wake(sh);
	if (!visitor_watch(v)) {
		visitor_refuse(v, NP_REASON_NO_MEMORY);
		return;
	}
	v->deadline = np_mono_add_ms(v->start, runtime.env.handshake_timeout_ms);
	visitor_next(v);
}

/* Only the home worker may ask for the context. */
static enum np_err visitor_make_ssl(struct visitor *v)
{
	SSL_CTX *ctx = tls_files_ctx(v->inst->tls_files);

	if (v->inst->mode != MODE_SINGLE || ctx == NULL)
		return NP_OK;
	v->ssl = SSL_new(ctx);
	return v->ssl != NULL ? NP_OK : NP_ENOMEM;
}

/* May who connected be here? With accept= it must be a balancer; its header says who comes. */
static bool visitor_may_come(struct visitor *v)
{
	const struct np_config *cfg = instance_cfg(v->inst);

	v->header_due = cfg->accept.n > 0;
	return v->header_due ? np_netlist_has(&cfg->accept, &v->peer)
			     : instance_admits(v->inst, &v->peer);
}

void visitor_local(int fd, struct np_addr *out)
{
	out->len = sizeof(out->in6);
	if (getsockname(fd, &out->sa, &out->len) == -1)
		out->len = 0;
	np_addr_unmap(out);
}

void visitor_accept(struct instance *inst, int fd, const struct np_addr *peer)
{
	struct worker *w = inst->mode == MODE_SINGLE
			       ? arrivals_turn(&inst->arrivals, worker_pass_now(inst->home))
			       : inst->home;
	struct shard *home = instance_shard(inst, inst->home), *sh = instance_shard(inst, w);
	struct visitor *v = np_calloc(1, sizeof(*v));

	if (v == NULL || home == NULL || sh == NULL) {
		struct session_record r = {
		    .reason = NP_REASON_NO_MEMORY, .visitor = peer, .target = "-"};

		if (home != NULL)
			shard_record(home, &r);
		np_free(v);
		close(fd);
		return;
	}
	visitor_init(v, inst, home);
	v->peer = *peer;
	np_addr_unmap(&v->peer);
	if (inst->mode != MODE_SINGLE)
		visitor_local(fd, &v->local);
	stream_init(&v->stream, fd);
	if (inst->mode != MODE_SINGLE &&
	    v->local.len == 0) { /* without it no OPEN can be written */
		visitor_refuse(v, NP_REASON_ERROR);
		return;
	}
	if (!visitor_may_come(v)) {
		visitor_refuse(v, NP_REASON_DENIED);
		return;
	}
	v->has_slot = instance_slot_take(inst);
	if (!v->has_slot) {
		visitor_refuse(v, NP_REASON_SLOT_LIMIT);
		return;
	}
	if (visitor_make_ssl(v) != NP_OK) {
		visitor_refuse(v, NP_REASON_NO_MEMORY);
		return;
	}
	v->shard = sh;
	if (inst->mode != MODE_SINGLE) {
		visitor_begin(v);
		return;
	}
	single_take(inst, v);
	arrivals_add(inst, v);
}
