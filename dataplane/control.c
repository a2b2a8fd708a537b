/*
 * control.c - frames of the control channel in and out. Knows lengths, pings and limits; what a
 * message means is its owner's business.
 */
#include "control.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "instance.h"
#include "runtime.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#define CONTROL_MAGIC  0x4354524cu
#define LENGTH_BYTES   4
#define TRANSCRIPT_MAX (3 * (LENGTH_BYTES + NP_MSG_MAX_UNAUTH))

static void control_wipe_free(struct control *c)
{
	c->magic = 0;
	np_wipe(c->e, sizeof(c->e));
	np_wipe(c->d, sizeof(c->d));
	np_free(c);
}

static void control_release(struct grave *g)
{
	control_wipe_free((struct control *)((char *)g - offsetof(struct control, grave)));
}

static void control_lose(struct control *c, const char *why)
{
	if (c->closed || c->lost)
		return;
	c->lost = true;
	event_del(&c->ev);
	evtimer_del(c->ping_timer);
	c->ops->on_lost(c, why);
}

static void control_flush(struct control *c)
{
	while (!c->closed && !c->lost && np_buf_len(&c->tx) > 0) {
		size_t n = 0;

		switch (stream_write(&c->stream, np_buf_ptr(&c->tx), np_buf_len(&c->tx), &n)) {
		case STREAM_OK:
			np_buf_consume(&c->tx, n);
			break;
		case STREAM_AGAIN:
			return;
		case STREAM_EOF:
		case STREAM_FAILED:
			/* Reading finds the same and reports it, outside of the caller's stack. */
			event_active(&c->ev, EV_READ, 0);
			return;
		}
	}
	if (np_buf_len(&c->tx) == 0)
		np_buf_release(&c->tx);
}

static bool is_transcribed(enum np_msg_kind kind)
{
	return kind == NP_MSG_HELLO || kind == NP_MSG_AUTH || kind == NP_MSG_WELCOME;
}

void control_send(struct control *c, const struct np_msg *m)
{
	size_t before = np_buf_len(&c->tx);
	enum np_err err;

	if (c->closed || c->lost)
		return;
	err = np_msg_pack(m, &c->tx);
	if (err != NP_OK) {
		c->tx.err = err;
		event_active(&c->ev, EV_WRITE, 0); /* reported by the event: tx.err is set */
		return;
	}
	if (!c->authenticated && is_transcribed(m->kind))
		np_buf_put(&c->transcript, np_buf_ptr(&c->tx) + before,
			   np_buf_len(&c->tx) - before);
	control_flush(c);
}

static void handle_ping(struct control *c, const struct np_msg *m)
{
	struct np_msg pong = {.kind = NP_MSG_PONG, .ping = m->ping};

	control_send(c, &pong);
}

static void handle_pong(struct control *c, const struct np_msg *m)
{
	int64_t rtt = np_mono_now().us - (int64_t)m->ping.time_us;

	if (rtt >= 0 && rtt < 3600000000)
		instance_measured(c->inst, &c->inst->ping_us, rtt);
}

static void control_message(struct control *c, const struct np_msg *m)
{
	if (np_mono_diff_ms(c->last_rx, c->window) >= 1000) {
		c->window = c->last_rx;
		c->frames_in_window = 0;
	}
	if (++c->frames_in_window > CONTROL_FRAMES_PER_S) {
		counter_add(&instance_shard(c->inst, c->inst->home)->counters, COUNTER_VIOLATIONS,
			    1);
		control_lose(c, "too many frames");
		return;
	}
	if (c->authenticated && m->kind == NP_MSG_PING)
		handle_ping(c, m);
	else if (c->authenticated && m->kind == NP_MSG_PONG)
		handle_pong(c, m);
	else
		c->ops->on_message(c, m);
}

/* One frame out of rx. false: there is none, or nothing more to do. */
static bool control_next(struct control *c)
{
	const uint8_t *p = np_buf_ptr(&c->rx);
	size_t have = np_buf_len(&c->rx), max = c->authenticated ? NP_MSG_MAX : NP_MSG_MAX_UNAUTH;
	struct np_reader r = np_reader_of(p, have);
	struct np_msg m;
	uint32_t len = np_reader_u32(&r);

	if (have < LENGTH_BYTES)
		return false;
	if (len == 0 || len > max) {
		control_lose(c, "a frame of a wrong length");
		return false;
	}
	if (have < LENGTH_BYTES + len)
		return false;
	if (np_msg_unpack(p + LENGTH_BYTES, len, &m) != NP_OK) {
		control_lose(c, "a frame that does not parse");
		return false;
	}
	if (!c->authenticated && is_transcribed(m.kind))
		np_buf_put(&c->transcript, p, LENGTH_BYTES + len);
	np_buf_consume(&c->rx, LENGTH_BYTES + len);
	control_message(c, &m);
	return !c->closed && !c->lost && !c->paused;
}

static void control_read(struct control *c)
{
	for (int round = 0; round < 8 && !c->closed && !c->lost && !c->paused; round++) {
		uint8_t *to = np_buf_reserve(&c->rx, 4096);
		size_t n = 0;
		char why[128];

		if (to == NULL) {
			control_lose(c, np_err_text(c->rx.err));
			return;
		}
		switch (stream_read(&c->stream, to, 4096, &n)) {
		case STREAM_OK:
			break;
		case STREAM_AGAIN:
			return;
		case STREAM_EOF:
			control_lose(c, "the peer closed it");
			return;
		case STREAM_FAILED:
			control_lose(c, stream_handshake_error(&c->stream, why, sizeof(why)));
			return;
		}
		np_buf_commit(&c->rx, n);
		c->last_rx = np_mono_now();
		while (control_next(c))
			;
	}
	if (!c->closed && !c->lost &&
	    !c->paused) /* edge-triggered: the rest is read in the next pass */
		event_active(&c->ev, EV_READ, 0);
}

void control_pause(struct control *c)
{
	c->paused = true;
}

void control_resume(struct control *c)
{
	c->paused = false;
	while (!c->closed && !c->lost && control_next(c))
		;
	if (!c->closed && !c->lost) /* edge-triggered: an edge may have passed */
		event_active(&c->ev, EV_READ, 0);
}

static void control_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;

	(void)fd;
	NP_CHECK_MAGIC(c, CONTROL_MAGIC);
	if (c->closed || c->lost)
		return;
	if (c->tx.err != NP_OK) {
		control_lose(c, np_err_text(c->tx.err));
		return;
	}
	if ((what & EV_WRITE) != 0)
		control_flush(c);
	control_read(c);
}

static void control_arm_ping(struct control *c)
{
	struct timeval tv = tv_of_ms(runtime.env.report_interval_ms);

	evtimer_add(c->ping_timer, &tv);
}

static void control_on_ping_timer(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	struct np_mono now = np_mono_now();
	struct np_msg ping = {.kind = NP_MSG_PING, .ping = {(uint64_t)now.us}};

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(c, CONTROL_MAGIC);
	/* Sent at 0, 1, 2 intervals after the last sign of life, all unanswered. */
	if (np_mono_diff_ms(now, c->last_rx) >=
	    CONTROL_SILENT_INTERVALS * runtime.env.report_interval_ms - 50) {
		control_lose(c, "the peer is silent");
		return;
	}
	control_send(c, &ping);
	control_arm_ping(c);
}

void control_authenticated(struct control *c)
{
	struct np_msg ping = {.kind = NP_MSG_PING, .ping = {(uint64_t)np_mono_now().us}};

	c->authenticated = true;
	np_buf_wipe(&c->transcript);
	control_send(c, &ping);
	control_arm_ping(c);
}

void control_set_owner(struct control *c, const struct control_ops *ops, void *arg)
{
	c->ops = ops;
	c->arg = arg;
}

static enum np_err control_exporters(struct control *c, SSL *ssl)
{
	enum np_err err = tls_exporter(ssl, NP_EXPORTER_CONTROL, c->e);

	return err != NP_OK ? err : tls_exporter(ssl, NP_EXPORTER_DATA, c->d);
}

enum np_err control_new(struct instance *inst, struct stream *stream, const struct np_addr *peer,
			const struct control_ops *ops, void *arg, struct control **out)
{
	struct control *c = np_calloc(1, sizeof(*c));
	const int on = 1, user_timeout = 30000;
	enum np_err err;

	if (c == NULL)
		return NP_ENOMEM;
	err = control_exporters(c, stream->ssl);
	if (err != NP_OK) {
		control_wipe_free(c);
		return err;
	}
	c->magic = CONTROL_MAGIC;
	c->grave.release = control_release;
	c->inst = inst;
	c->ops = ops;
	c->arg = arg;
	c->peer = *peer;
	c->last_rx = np_mono_now();
	np_addr_format(peer, c->name);
	np_buf_init(&c->rx, LENGTH_BYTES + NP_MSG_MAX + 8192);
	np_buf_init(&c->tx, CONTROL_TX_MAX);
	np_buf_init(&c->transcript, TRANSCRIPT_MAX);
	c->ping_timer = evtimer_new(inst->home->base, control_on_ping_timer, c);
	if (c->ping_timer == NULL ||
	    event_assign(&c->ev, inst->home->base, stream->fd,
			 EV_READ | EV_WRITE | EV_ET | EV_PERSIST, control_on_event, c) != 0 ||
	    event_add(&c->ev, NULL) != 0) {
		if (c->ping_timer != NULL)
			event_free(c->ping_timer);
		control_wipe_free(c);
		return NP_ENOMEM;
	}
	(void)setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(stream->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout,
			 sizeof(user_timeout));
	stream_move(&c->stream, stream);
	*out = c;
	return NP_OK;
}

void control_close(struct control *c, bool abort)
{
	if (c == NULL || c->closed)
		return;
	c->closed = true;
	event_del(&c->ev);
	event_free(c->ping_timer);
	c->ping_timer = NULL;
	stream_close(&c->stream, abort);
	np_buf_release(&c->rx);
	np_buf_release(&c->tx);
	np_buf_wipe(&c->transcript);
	worker_bury(c->inst->home, &c->grave);
}
