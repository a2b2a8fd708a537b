/*
 * client.c - the control connection of a dual-end client: dial, TLS, proof, session, back-off. See
 * client.h.
 */
#include "client.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "channel.h"
#include "client_priv.h"
#include "runtime.h"
#include "tls_files.h"

#include <stdio.h>
#include <string.h>

static void control_on_message(struct control *ctl, const struct np_msg *m);
static void control_on_lost(struct control *ctl, const char *why);

static const struct control_ops client_ops = {control_on_message, control_on_lost};

/* -- failures: said once, and again when the text changes -- */

void client_failed(struct client *c, enum np_client_event ev, const char *fmt, ...)
{
	char text[sizeof(c->last_failure)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (strcmp(text, c->last_failure) != 0 || !c->said_failure)
		INSTANCE_LOG(c->inst, WARN, "no tunnel: %s", text);
	memcpy(c->last_failure, text, sizeof(text));
	c->said_failure = true;
	client_event(c, ev);
}

/* -- TLS of the control connection -- */

static void handshake_release(struct client *c)
{
	if (c->handshake_added)
		event_del(&c->handshake_ev);
	c->handshake_added = false;
	stream_close(&c->handshake, true);
}

SSL_CTX *client_ctx(const struct client *c)
{
	return c->ctx != NULL ? c->ctx : tls_files_ctx(c->inst->tls_files);
}

const char *client_server_name(const struct client *c)
{
	if (instance_cfg(c->inst)->sni != NULL)
		return instance_cfg(c->inst)->sni;
	return instance_cfg(c->inst)->tunnel.host[0] != '\0' ? instance_cfg(c->inst)->tunnel.host
							     : "localhost";
}

static void handshake_done(struct client *c)
{
	struct np_diag why = {.text = ""};

	if (tls_alpn(c->handshake.ssl) != TLS_CONTROL) {
		client_failed(c, NP_CLIENT_EV_FAILED, "the server does not speak this protocol");
		return;
	}
	c->verified = false;
	if (client_wants_verification(instance_cfg(c->inst)) &&
	    !client_verify(c, c->handshake.ssl, &why)) {
		client_failed(c, NP_CLIENT_EV_FAILED, "certificate refused: %s", why.text);
		return;
	}
	event_del(&c->handshake_ev);
	c->handshake_added = false;
	if (control_new(c->inst, &c->handshake, &c->server, &client_ops, c, &c->control) != NP_OK) {
		client_failed(c, NP_CLIENT_EV_FAILED, "out of memory");
		return;
	}
	client_event(c, NP_CLIENT_EV_CONNECTED);
}

static void handshake_step(struct client *c)
{
	char why[128];

	switch (stream_handshake(&c->handshake)) {
	case STREAM_OK:
		handshake_done(c);
		break;
	case STREAM_AGAIN:
		break;
	case STREAM_EOF:
	case STREAM_FAILED:
		stream_handshake_error(&c->handshake, why, sizeof(why));
		client_failed(c, NP_CLIENT_EV_FAILED, "TLS handshake with the server failed: %s",
			      why);
		break;
	}
}

static void handshake_on_event(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	handshake_step(arg);
}

static void on_ticket(void *arg, SSL_SESSION *session)
{
	struct client *c = arg;

	SSL_SESSION_free(c->ticket);
	c->ticket = session;
}

static void on_dialed(void *arg, const struct dial_result *r)
{
	struct client *c = arg;
	SSL *ssl;

	c->dial = NULL;
	c->host_refused = r->fd == -1 && r->host_answered;
	if (r->fd == -1) {
		client_failed(c, NP_CLIENT_EV_FAILED, "%s", r->text);
		return;
	}
	c->server = r->addr;
	c->connected_at = np_mono_now();
	ssl = tls_client_new(client_ctx(c), TLS_CONTROL, client_server_name(c), NULL);
	if (ssl == NULL || stream_init_tls(&c->handshake, r->fd, ssl, NULL, 0) != NP_OK) {
		SSL_free(ssl);
		stream_init(&c->handshake, r->fd);
		client_failed(c, NP_CLIENT_EV_FAILED, "out of memory");
		return;
	}
	tls_on_session(ssl, on_ticket, c);
	if (event_assign(&c->handshake_ev, c->inst->home->base, r->fd,
			 EV_READ | EV_WRITE | EV_ET | EV_PERSIST, handshake_on_event, c) != 0 ||
	    event_add(&c->handshake_ev, NULL) != 0) {
		client_failed(c, NP_CLIENT_EV_FAILED, "out of memory");
		return;
	}
	c->handshake_added = true;
	handshake_step(c);
}

static void do_dial(struct client *c)
{
	const struct np_config *cfg = instance_cfg(c->inst);
	struct dial_options o = {
	    .targets = &cfg->tunnel,
	    .settings = instance_settings(c->inst),
	    .ntargets = 1,
	    .dns_ms = cfg->dns_ms,
	    .timeout_ms = runtime.env.tcp_dial_timeout_ms,
	};
	struct timeval tv =
	    tv_of_ms(runtime.env.tcp_dial_timeout_ms + runtime.env.handshake_timeout_ms);

	c->has_welcome = c->proved = false;
	c->dialed_at = np_mono_now();
	SSL_SESSION_free(c->ticket); /* tickets belong to a session */
	c->ticket = NULL;
	evtimer_add(c->deadline, &tv);
	if (dial_start(c->inst->home, &o, on_dialed, c, &c->dial) != NP_OK)
		client_failed(c, NP_CLIENT_EV_FAILED, "out of memory");
}

static void on_reject(struct client *c, const struct np_msg *m)
{
	client_failed(c, NP_CLIENT_EV_REJECT, "the server refused: %s",
		      np_reject_text(m->reject.reason));
}

static void on_session_message(struct client *c, const struct np_msg *m)
{
	switch (m->kind) {
	case NP_MSG_POOL_DEMAND:
		client_demand(c, m->count.n);
		return;
	case NP_MSG_CERTIFICATE:
		c->fingerprints = m->certificate;
		SSL_SESSION_free(c->ticket);
		c->ticket = NULL;
		return;
	case NP_MSG_DRAIN:
		INSTANCE_LOG(c->inst, INFO, "the server drains");
		if (c->peer != NULL)
			c->peer->draining = true;
		return;
	case NP_MSG_BYE:
		client_failed(c, NP_CLIENT_EV_BYE, "the server left: %s",
			      np_reject_text((enum np_reject)m->bye.reason));
		return;
	case NP_MSG_UPDATE:
		if (!m->update.has_max || m->update.max == 0)
			return;
		c->welcome.max = m->update.max;
		INSTANCE_LOG(c->inst, INFO, "the server changed max=%u", m->update.max);
		client_configure(c);
		return;
	case NP_MSG_POOL_TARGET:
		return;
	case NP_MSG_HELLO:
	case NP_MSG_AUTH:
	case NP_MSG_PROOF:
	case NP_MSG_WELCOME:
	case NP_MSG_REJECT:
	case NP_MSG_PING:
	case NP_MSG_PONG:
		break;
	}
	client_failed(c, NP_CLIENT_EV_LOST, "the server broke the protocol");
}

static void control_on_message(struct control *ctl, const struct np_msg *m)
{
	struct client *c = ctl->arg;

	if (c->state == NP_CLIENT_UP || c->state == NP_CLIENT_DRAINING) {
		on_session_message(c, m);
	} else if (m->kind == NP_MSG_REJECT) {
		on_reject(c, m);
	} else if (c->state == NP_CLIENT_HELLO && m->kind == NP_MSG_HELLO) {
		if (m->hello.min_version > NP_MSG_VERSION ||
		    m->hello.max_version < NP_MSG_VERSION) {
			client_failed(c, NP_CLIENT_EV_FAILED, "no common protocol version");
			return;
		}
		memcpy(c->hello_salt, m->hello.salt, NP_SALT_LEN);
		client_event(c, NP_CLIENT_EV_HELLO);
	} else if (c->state == NP_CLIENT_AUTH && m->kind == NP_MSG_WELCOME && !c->has_welcome) {
		c->welcome = m->welcome;
		c->has_welcome = true;
	} else if (c->state == NP_CLIENT_AUTH && m->kind == NP_MSG_PROOF) {
		client_on_proof(c, m);
	} else {
		client_failed(c, NP_CLIENT_EV_FAILED, "the server broke the protocol: %s",
			      np_msg_name(m->kind));
	}
}

static void control_on_lost(struct control *ctl, const char *why)
{
	struct client *c = ctl->arg;

	/* In TLS 1.3 the handshake is over for a client before the server has looked at this. */
	if (tls_is_certificate_alert(stream_tls_error(&ctl->stream)))
		client_failed(c, NP_CLIENT_EV_LOST,
			      "the server does not accept this client's certificate (crt=): %s",
			      why);
	else
		client_failed(c, NP_CLIENT_EV_LOST, "the control connection was lost: %s", why);
}

/* -- session -- */

static void session_new_peer(struct client *c)
{
	struct peer *p = peer_new(c->inst);

	c->peer = p;
	if (p == NULL)
		return;
	memcpy(p->session_id, c->welcome.session_id, NP_SESSION_ID_LEN);
	memcpy(p->d, c->control->d, sizeof(p->d));
	memcpy(p->origin, c->welcome.boot_id, NP_BOOT_ID_LEN);
	memcpy(p->name, c->control->name, sizeof(p->name));
	p->dial_budget_ms = c->welcome.dial_budget_ms;
	p->control = c->control;
}

static void do_up(struct client *c)
{
	struct instance *inst = c->inst;
	struct peer *old = c->last;

	evtimer_del(c->deadline);
	inst->flow = c->welcome.flow;
	c->last = NULL;
	if (old != NULL) /* its busy channels finish their turns */
		peer_event(old, NP_PEER_EV_TAKEOVER);
	session_new_peer(c);
	if (c->peer == NULL) {
		client_failed(c, NP_CLIENT_EV_FAILED, "out of memory");
		return;
	}
	c->up_at = np_mono_now();
	counter_took(&instance_shard(inst, inst->home)->counters, HISTOGRAM_HANDSHAKE,
		     np_mono_diff_us(c->up_at, c->connected_at));
	c->said_failure = false;
	c->conn_id = 0;
	c->fingerprints = c->welcome.fingerprints;
	INSTANCE_LOG(inst, INFO, "tunnel up server=%s flow=%s tls=%u max=%u auth=%s", c->peer->name,
		     inst->flow == NP_FLOW_REVERSE ? "reverse" : "forward", c->welcome.tls,
		     c->welcome.max, c->key_kind == NP_KEY_PORT ? "none" : "key");
	control_authenticated(c->control);
	if (inst->flow == NP_FLOW_FORWARD)
		instance_open_visitors(inst);
	else
		instance_close_visitors(inst);
	if (inst->state != INSTANCE_ERROR) {
		instance_set_running(inst);
		client_fill_begin(c);
	}
}

static void do_end_session(struct client *c)
{
	struct peer *p = c->peer != NULL ? c->peer : c->last;

	c->peer = c->last = NULL;
	if (p == NULL)
		return;
	if (np_mono_diff_ms(np_mono_now(), c->up_at) >= CLIENT_LIVED_MS)
		np_backoff_reset(&c->backoff);
	p->control = NULL;
	if (p->state == NP_PEER_LIVE)
		peer_event(p, NP_PEER_EV_BYE);
	else
		peer_event(p, NP_PEER_EV_TAKEOVER); /* at once, not by time */
}

static void do_close(struct client *c)
{
	struct peer *p = c->peer;

	evtimer_del(c->deadline);
	client_fill_end(c);
	if (c->dial != NULL)
		dial_cancel(c->dial);
	c->dial = NULL;
	handshake_release(c);
	control_close(c->control, c->state != NP_CLIENT_STOPPED);
	c->control = NULL;
	instance_measured(c->inst, &c->inst->ping_us, -1);
	if (p == NULL)
		return;
	/* The session outlives its control channel: visitors may use its idle channels. */
	/* One that lived: the next attempt is at once. One that ended at once counts as a failure. */
	if (np_mono_diff_ms(np_mono_now(), c->up_at) >= CLIENT_LIVED_MS)
		np_backoff_reset(&c->backoff);
	p->control = NULL;
	c->peer = NULL;
	c->last = p;
	peer_event(p, NP_PEER_EV_LOST);
}

/* The longest wait after this failure. 0 = that of the back-off. */
static int64_t wait_cap(const struct client *c)
{
	int64_t cap = CLIENT_REFUSED_BASE_MS;

	if (!c->host_refused)
		return 0;
	/* The first wait is none, the second is the base. */
	for (unsigned n = c->backoff.failures; n > 1 && cap < CLIENT_REFUSED_CAP_MS; n--)
		cap *= 2;
	return cap < CLIENT_REFUSED_CAP_MS ? cap : CLIENT_REFUSED_CAP_MS;
}

static void do_backoff(struct client *c)
{
	int64_t ms = np_backoff_next(&c->backoff, worker_random(c->inst->home), wait_cap(c));
	struct timeval tv;

	/* Counted from the start of the attempt: one that waited in vain has waited already. */
	ms -= np_mono_diff_ms(np_mono_now(), c->dialed_at);
	ms = ms > 0 ? ms : 0;
	tv = tv_of_ms(ms);
	INSTANCE_LOG(c->inst, DEBUG, "next attempt in %lld ms", (long long)ms);
	evtimer_add(c->retry, &tv);
}

static void send_simple(struct client *c, enum np_msg_kind kind)
{
	struct np_msg m = {.kind = kind};

	if (kind == NP_MSG_DRAIN)
		m.drain.deadline_ms = (uint32_t)runtime.env.shutdown_timeout_ms;
	else
		m.bye.reason = NP_REJECT_SHUTDOWN;
	if (c->control != NULL)
		control_send(c->control, &m);
}

void client_event(struct client *c, enum np_client_event ev)
{
	enum np_client_state old = c->state;
	unsigned act = np_client_fsm(&c->state, ev);

	if ((act & NP_CLIENT_ILLEGAL) != 0) {
		INSTANCE_LOG(c->inst, DEBUG, "client %s: %s out of place",
			     np_client_state_name(old), np_client_event_name(ev));
		return;
	}
	if (c->state != old)
		INSTANCE_LOG(c->inst, DEBUG, "client %s -> %s", np_client_state_name(old),
			     np_client_state_name(c->state));
	if ((act & NP_CLIENT_DO_SEND_DRAIN) != 0)
		send_simple(c, NP_MSG_DRAIN);
	if ((act & NP_CLIENT_DO_SEND_BYE) != 0)
		send_simple(c, NP_MSG_BYE);
	if ((act & NP_CLIENT_DO_END_SESSION) != 0)
		do_end_session(c);
	if ((act & NP_CLIENT_DO_CLOSE) != 0)
		do_close(c);
	if ((act & NP_CLIENT_DO_BACKOFF) != 0)
		do_backoff(c);
	if ((act & NP_CLIENT_DO_DIAL) != 0)
		do_dial(c);
	if ((act & NP_CLIENT_DO_DERIVE) != 0)
		client_derive(c);
	if ((act & NP_CLIENT_DO_SEND_AUTH) != 0)
		client_send_auth(c);
	if ((act & NP_CLIENT_DO_UP) != 0)
		do_up(c);
}

/* -- life -- */

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	client_failed(arg, NP_CLIENT_EV_FAILED, "the server did not answer in time");
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	client_event(arg, NP_CLIENT_EV_TIMER);
}

bool client_new_blocks(const struct np_config *cfg)
{
	return cfg->ca != NULL || cfg->crt != NULL || client_wants_verification(cfg);
}

enum np_err client_new(struct instance *inst, const struct instance_material *material,
		       struct client **out, struct np_diag *diag)
{
	const struct np_config *cfg = instance_cfg(inst);
	struct client *c = np_calloc(1, sizeof(*c));
	enum np_err err;

	if (c == NULL)
		return NP_ENOMEM;
	c->inst = inst;
	c->salts = CLIENT_NEW_SALTS;
	c->key_kind = np_key_kind(cfg->key, cfg->key_len, cfg->key_given, cfg->tunnel.port);
	stream_init(&c->handshake, -1);
	np_backoff_init(&c->backoff, CLIENT_BACKOFF_BASE_MS, runtime.env.service_cooldown_ms);
	err = np_random(c->instance_id, sizeof(c->instance_id));
	if (err == NP_OK)
		err = cfg->ca != NULL || cfg->crt != NULL
			  ? tls_files_new(inst, TLS_FOR_SERVER, material, &c->files, diag)
			  : tls_client_ctx(NULL, &c->ctx, diag);
	if (err == NP_OK && client_wants_verification(cfg) && cfg->ca == NULL)
		tls_trust_preload();
	if (err != NP_OK) {
		client_free(c);
		return err;
	}
	*out = c;
	return NP_OK;
}

struct tls_files *client_take_files(struct client *c)
{
	struct tls_files *t = c->files;

	c->files = NULL;
	return t;
}

void client_new_certificate(struct instance *inst)
{
	struct client *c = inst->client;

	c->certificates++;
	SSL_SESSION_free(c->ticket); /* it stands for the old one */
	c->ticket = NULL;
}

void client_start(struct client *c)
{
	struct event_base *base = c->inst->home->base;

	c->deadline = evtimer_new(base, on_deadline, c);
	c->retry = evtimer_new(base, on_retry, c);
	if (c->deadline == NULL || c->retry == NULL || client_fill_init(c) != NP_OK) {
		instance_failed(c->inst, "out of memory");
		return;
	}
	client_event(c, NP_CLIENT_EV_START);
}

void client_drain(struct client *c, int64_t ms)
{
	(void)ms; /* NP_SHUTDOWN_TIMEOUT, which Drain carries */
	c->draining = true;
	if (c->retry == NULL)
		return;
	evtimer_del(c->retry);
	client_fill_end(c);
	client_event(c, NP_CLIENT_EV_DRAIN);
}

void client_stop(struct client *c)
{
	if (c->retry == NULL)
		return;
	evtimer_del(c->retry);
	client_event(c, NP_CLIENT_EV_STOP);
}

void client_forget(struct client *c, const struct peer *p)
{
	if (c->peer == p)
		c->peer = NULL;
	if (c->last == p)
		c->last = NULL;
}

void client_free(struct client *c)
{
	if (c == NULL)
		return;
	client_auth_forget(c);
	client_fill_release(c);
	handshake_release(c);
	if (c->deadline != NULL)
		event_free(c->deadline);
	if (c->retry != NULL)
		event_free(c->retry);
	SSL_SESSION_free(c->ticket);
	tls_files_free(c->files);
	SSL_CTX_free(c->ctx);
	np_free(c);
}
