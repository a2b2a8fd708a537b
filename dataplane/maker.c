/*
 * maker.c - one data channel from connect to its first PING. See maker.h.
 */
#include "maker.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "client.h"
#include "runtime.h"
#include "shard.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

static void maker_step(struct maker *m);

static void maker_release(struct grave *g)
{
	struct maker *m = (struct maker *)((char *)g - offsetof(struct maker, grave));

	m->magic = 0;
	np_wipe(m->d, sizeof(m->d));
	SSL_SESSION_free(m->ticket);
	np_free(m);
}

static void on_made(struct worker *w, struct mail *mail)
{
	struct maker *m = (struct maker *)((char *)mail - offsetof(struct maker, mail));

	NP_CHECK_MAGIC(m, MAKER_MAGIC);
	client_made(m->client, m, m->channel);
	worker_bury(w, &m->grave);
}

static void maker_end(struct maker *m)
{
	struct shard *sh = m->shard;

	m->state = MAKER_DONE;
	if (m->ev_added)
		event_del(&m->ev);
	m->ev_added = false;
	if (m->dial != NULL)
		dial_cancel(m->dial);
	m->dial = NULL;
	SSL_free(m->ssl);
	m->ssl = NULL;
	DL_DELETE(sh->makers, m);
	m->took_us = np_mono_diff_us(np_mono_now(), m->start);
	m->mail.deliver = on_made;
	worker_post(sh->inst->home, &m->mail);
}

void maker_fail(struct maker *m, const char *why)
{
	if (m->state == MAKER_DONE)
		return;
	snprintf(m->why, sizeof(m->why), "%s", why);
	counter_add(&m->shard->counters, COUNTER_CHANNEL_FAILURES, 1);
	if (m->ev_added) /* before the descriptor's number is another's */
		event_del(&m->ev);
	m->ev_added = false;
	stream_close(&m->stream, true);
	maker_end(m);
}

void maker_tick(struct maker *m, struct np_mono now)
{
	if (np_mono_before(m->deadline, now))
		maker_fail(m, "it took too long");
}

static void maker_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct maker *m = arg;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(m, MAKER_MAGIC);
	maker_step(m);
}

/* Is the certificate one that the control channel announced? */
static bool fingerprint_known(struct maker *m)
{
	uint8_t fp[NP_FINGERPRINT_LEN];

	if (tls_peer_fingerprint(m->stream.ssl, fp) != NP_OK)
		return false;
	for (uint32_t i = 0; i < m->fingerprints.n; i++)
		if (np_equal_ct(fp, m->fingerprints.sha256[i], sizeof(fp)))
			return true;
	return false;
}

static bool write_preamble(struct maker *m)
{
	struct np_preamble pre = {.kind = m->kind, .conn_id = m->conn_id};
	uint8_t x[NP_EXPORTER_LEN];
	enum np_err err;
	bool tls = m->stream.ssl != NULL;

	memcpy(pre.session_id, m->session_id, sizeof(pre.session_id));
	if (tls && tls_exporter(m->stream.ssl, NP_EXPORTER_DATA, x) != NP_OK)
		return false;
	m->done = 0;
	m->state = MAKER_PREAMBLE;
	err = np_preamble_write(&pre, m->d, tls ? x : NULL, m->buf);
	np_wipe(x, sizeof(x));
	return err == NP_OK;
}

/* Steps return true when the next state may go on at once. */
static bool step_tls(struct maker *m)
{
	char why[128];

	switch (stream_handshake(&m->stream)) {
	case STREAM_AGAIN:
		return false;
	case STREAM_EOF:
	case STREAM_FAILED:
		maker_fail(m, stream_handshake_error(&m->stream, why, sizeof(why)));
		return false;
	case STREAM_OK:
		break;
	}
	m->resumed = SSL_session_reused(m->stream.ssl) == 1;
	if (tls_alpn(m->stream.ssl) != TLS_DATA) {
		maker_fail(m, "the server did not choose the data protocol");
		return false;
	}
	if (!fingerprint_known(m)) {
		maker_fail(m, "its certificate is not the one that was announced");
		return false;
	}
	if (!write_preamble(m)) {
		maker_fail(m, "no preamble could be made");
		return false;
	}
	return true;
}

static bool step_preamble(struct maker *m)
{
	while (m->done < NP_PREAMBLE_LEN) {
		size_t n = 0;

		switch (stream_write(&m->stream, m->buf + m->done, NP_PREAMBLE_LEN - m->done, &n)) {
		case STREAM_OK:
			m->done += n;
			break;
		case STREAM_AGAIN:
			return false;
		case STREAM_EOF:
		case STREAM_FAILED:
			maker_fail(m, "the server closed it");
			return false;
		}
	}
	m->done = 0;
	m->state = MAKER_HELLO;
	return true;
}

static void drop_ticket(void *arg, SSL_SESSION *session)
{
	(void)arg;
	SSL_SESSION_free(session);
}

static void maker_succeed(struct maker *m)
{
	struct channel *ch;
	uint8_t answer[8];

	if (m->ev_added)
		event_del(&m->ev);
	m->ev_added = false;
	if (m->stream.ssl != NULL) /* the maker is gone when a later one comes */
		tls_on_session(m->stream.ssl, drop_ticket, NULL);
	if (channel_new(m->shard, m->peer, m->kind, m->ingress, &m->stream, &ch) != NP_OK) {
		maker_fail(m, "out of memory");
		return;
	}
	memcpy(answer, m->buf + NP_FRAME_HEADER, sizeof(answer));
	m->channel = ch;
	maker_end(m); /* home hears of the channel before any of its mail; @m is home's now */
	channel_adopt(ch, false);
	channel_put(ch, NP_FRAME_PONG, answer, sizeof(answer));
	channel_flush(ch);
}

static void step_hello(struct maker *m)
{
	struct np_frame f;

	while (m->done < MAKER_HELLO_LEN) {
		size_t n = 0;

		switch (stream_read(&m->stream, m->buf + m->done, MAKER_HELLO_LEN - m->done, &n)) {
		case STREAM_OK:
			m->done += n;
			break;
		case STREAM_AGAIN:
			return;
		case STREAM_EOF:
		case STREAM_FAILED:
			maker_fail(m, "the server closed it");
			return;
		}
	}
	if (np_frame_read(m->buf, m->kind, &f) != NP_OK || f.type != NP_FRAME_PING) {
		maker_fail(m, "the server did not begin with a ping");
		return;
	}
	maker_succeed(m);
}

static void maker_step(struct maker *m)
{
	if (m->state == MAKER_TLS && !step_tls(m))
		return;
	if (m->state == MAKER_PREAMBLE && !step_preamble(m))
		return;
	if (m->state == MAKER_HELLO)
		step_hello(m);
}

static void on_ticket(void *arg, SSL_SESSION *session)
{
	struct maker *m = arg;

	SSL_SESSION_free(m->ticket);
	m->ticket = session;
}

static void maker_on_dialed(void *arg, const struct dial_result *r)
{
	struct maker *m = arg;

	m->dial = NULL;
	if (r->fd == -1) {
		maker_fail(m, r->text);
		return;
	}
	if (m->ssl != NULL) {
		if (stream_init_tls(&m->stream, r->fd, m->ssl, NULL, 0) != NP_OK) {
			stream_init(&m->stream, r->fd);
			maker_fail(m, "out of memory");
			return;
		}
		tls_on_session(m->ssl, on_ticket, m);
		m->ssl = NULL;
		m->state = MAKER_TLS;
	} else {
		stream_init(&m->stream, r->fd);
		if (!write_preamble(m)) {
			maker_fail(m, "no preamble could be made");
			return;
		}
	}
	if (event_assign(&m->ev, m->shard->worker->base, r->fd,
			 EV_READ | EV_WRITE | EV_ET | EV_PERSIST, maker_on_event, m) != 0 ||
	    event_add(&m->ev, NULL) != 0) {
		maker_fail(m, "out of memory");
		return;
	}
	m->ev_added = true;
	maker_step(m);
}

static void on_start(struct worker *w, struct mail *mail)
{
	struct maker *m = (struct maker *)((char *)mail - offsetof(struct maker, mail));
	struct dial_options o = {
	    .fixed = &m->addr,
	    .timeout_ms = runtime.env.tcp_dial_timeout_ms,
	};

	NP_CHECK_MAGIC(m, MAKER_MAGIC);
	DL_APPEND(m->shard->makers, m);
	shard_wake(m->shard);
	m->deadline = np_mono_add_ms(m->start, runtime.env.tcp_dial_timeout_ms +
						   runtime.env.handshake_timeout_ms);
	if (m->shard->stopping)
		maker_fail(m, "the instance stops");
	else if (dial_start(w, &o, maker_on_dialed, m, &m->dial) != NP_OK)
		maker_fail(m, "out of memory");
}

void maker_start(struct maker *m)
{
	m->magic = MAKER_MAGIC;
	m->grave.release = maker_release;
	m->start = np_mono_now();
	stream_init(&m->stream, -1);
	m->mail.deliver = on_start;
	worker_post(m->shard->worker, &m->mail);
}
