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

#include <stdio.h>
#include <string.h>

static void client_failed(struct client *c, enum np_client_event ev, const char *fmt, ...)
    NP_PRINTF(3, 4);
static void control_on_message(struct control *ctl, const struct np_msg *m);
static void control_on_lost(struct control *ctl, const char *why);

static const struct control_ops client_ops = {control_on_message, control_on_lost};

/* A key that is being derived on a helper thread. */
struct derive_job {
	struct offload_job job;
	struct client *client; /* NULL: it is gone */
	enum np_key_kind kind;
	char *key; /* owned; wiped */
	size_t len;
	uint8_t salt[NP_SALT_LEN], k[NP_K_LEN];
	enum np_err err;
};

static struct timeval tv_of_ms(int64_t ms)
{
	return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* -- failures: said once, and again when the text changes -- */

static void client_failed(struct client *c, enum np_client_event ev, const char *fmt, ...)
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

const char *client_server_name(const struct client *c)
{
	if (c->inst->cfg.sni != NULL)
		return c->inst->cfg.sni;
	return c->inst->cfg.tunnel.host[0] != '\0' ? c->inst->cfg.tunnel.host : "localhost";
}

/* true: the URL asks for verification of any kind. */
static bool wants_verification(const struct np_config *cfg)
{
	return cfg->tls == 2 || cfg->ca != NULL || cfg->sni != NULL || cfg->has_pin;
}

static bool verify(struct client *c, SSL *ssl, struct np_diag *why)
{
	const struct np_config *cfg = &c->inst->cfg;
	uint8_t pin[NP_FINGERPRINT_LEN];

	c->verified = true;
	if (cfg->has_pin) {
		if (tls_peer_pin(ssl, pin) != NP_OK || !np_equal_ct(pin, cfg->pin, sizeof(pin))) {
			np_diag_set(why, NP_EINVAL, "pin",
				    "the server's public key is not the one of pin=");
			return false;
		}
		if (cfg->tls != 2 && cfg->ca == NULL && cfg->sni == NULL)
			return true; /* the key itself is known: nothing else can say more */
	}
	return tls_verify_peer(c->ctx, ssl, client_server_name(c), why) == NP_OK;
}

static void handshake_done(struct client *c)
{
	struct np_diag why = {.text = ""};

	if (tls_alpn(c->handshake.ssl) != TLS_CONTROL) {
		client_failed(c, NP_CLIENT_EV_FAILED, "the server does not speak this protocol");
		return;
	}
	c->verified = false;
	if (wants_verification(&c->inst->cfg) && !verify(c, c->handshake.ssl, &why)) {
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
	ssl = tls_client_new(c->ctx, TLS_CONTROL, client_server_name(c), NULL);
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
	const struct np_config *cfg = &c->inst->cfg;
	struct dial_options o = {
	    .targets = &cfg->tunnel,
	    .ntargets = 1,
	    .dns_ms = cfg->dns_ms,
	    .timeout_ms = runtime.env.tcp_dial_timeout_ms,
	};
	struct timeval tv =
	    tv_of_ms(runtime.env.tcp_dial_timeout_ms + runtime.env.handshake_timeout_ms);

	c->has_welcome = false;
	c->dialed_at = np_mono_now();
	SSL_SESSION_free(c->ticket); /* tickets belong to a session */
	c->ticket = NULL;
	evtimer_add(c->deadline, &tv);
	if (dial_start(c->inst->home, &o, on_dialed, c, &c->dial) != NP_OK)
		client_failed(c, NP_CLIENT_EV_FAILED, "out of memory");
}

/* -- the key -- */

static void job_free(struct derive_job *j)
{
	if (j->key != NULL)
		np_wipe(j->key, j->len);
	np_free(j->key);
	np_wipe(j->k, sizeof(j->k));
	np_free(j);
}

static void on_derived(struct worker *w, struct mail *m)
{
	struct derive_job *j = (struct derive_job *)m;
	struct client *c = j->client;

	(void)w;
	if (c == NULL) {
		job_free(j);
		return;
	}
	c->job = NULL;
	if (j->err == NP_OK) {
		memcpy(c->k, j->k, sizeof(c->k));
		memcpy(c->salt, j->salt, sizeof(c->salt));
		c->has_k = true;
	}
	if (j->err == NP_OK && c->state == NP_CLIENT_DERIVING &&
	    memcmp(c->hello_salt, j->salt, NP_SALT_LEN) != 0) {
		/* an answer to an older question; the present one is asked again by the retry */
		job_free(j);
		client_failed(c, NP_CLIENT_EV_FAILED, "the server changed its salt meanwhile");
		return;
	}
	job_free(j);
	client_event(c, NP_CLIENT_EV_DERIVED);
}

static void run_derive(struct offload_job *job)
{
	struct derive_job *j = (struct derive_job *)job;

	j->err = np_key_derive(j->kind, j->key, j->len, j->salt, j->k);
}

/* A new salt costs 45 ms of a core: a hostile server may not ask for it all the time. */
static bool salt_allowed(struct client *c)
{
	struct np_mono now = np_mono_now();

	while (c->salts < CLIENT_NEW_SALTS && np_mono_diff_ms(now, c->salts_at) >= CLIENT_SALT_MS) {
		c->salts++;
		c->salts_at = np_mono_add_ms(c->salts_at, CLIENT_SALT_MS);
	}
	if (c->salts == 0)
		return false;
	if (c->salts-- == CLIENT_NEW_SALTS)
		c->salts_at = now;
	return true;
}

static void derive_offloaded(struct client *c)
{
	const struct np_config *cfg = &c->inst->cfg;
	struct derive_job *j;

	if (c->job != NULL) { /* one at a time; its answer fits or leads to a retry */
		return;
	}
	j = np_calloc(1, sizeof(*j));
	if (j != NULL)
		j->key = np_malloc(cfg->key_len);
	if (j == NULL || j->key == NULL) {
		np_free(j);
		client_failed(c, NP_CLIENT_EV_FAILED, "out of memory");
		return;
	}
	memcpy(j->key, cfg->key, cfg->key_len);
	j->len = cfg->key_len;
	j->kind = c->key_kind;
	j->client = c;
	memcpy(j->salt, c->hello_salt, NP_SALT_LEN);
	j->job.class = OFFLOAD_HEAVY;
	j->job.run = run_derive;
	j->job.done.deliver = on_derived;
	j->job.reply_to = c->inst->home;
	if (offload_submit(&j->job) != NP_OK) {
		job_free(j);
		client_failed(c, NP_CLIENT_EV_FAILED, "no helper thread for the key");
		return;
	}
	c->job = j;
}

static void do_derive(struct client *c)
{
	const struct np_config *cfg = &c->inst->cfg;
	bool same = c->has_k && memcmp(c->salt, c->hello_salt, NP_SALT_LEN) == 0;

	if (c->key_kind == NP_KEY_WORD && !same) {
		if (salt_allowed(c))
			derive_offloaded(c);
		else
			client_failed(c, NP_CLIENT_EV_FAILED,
				      "the server changes its salt too often");
		return;
	}
	if (!same &&
	    np_key_derive(c->key_kind, cfg->key, cfg->key_len, c->hello_salt, c->k) != NP_OK) {
		client_failed(c, NP_CLIENT_EV_FAILED, "the key cannot be derived");
		return;
	}
	memcpy(c->salt, c->hello_salt, NP_SALT_LEN);
	c->has_k = true;
	client_event(c, NP_CLIENT_EV_DERIVED);
}

/* -- Auth and Welcome -- */

static void do_send_auth(struct client *c)
{
	struct control *ctl = c->control;
	struct np_msg m = {.kind = NP_MSG_AUTH}, proof = {.kind = NP_MSG_PROOF};
	struct np_msg_auth *a = &m.auth;

	a->method = 1;
	a->version = NP_MSG_VERSION;
	memcpy(a->instance_id, c->instance_id, NP_INSTANCE_ID_LEN);
	memcpy(a->boot_id, runtime.boot_id, NP_BOOT_ID_LEN);
	a->dial_budget_ms = (uint32_t)runtime.env.tcp_dial_timeout_ms;
	snprintf(a->label, sizeof(a->label), "%s", c->inst->id);
	if (c->last != NULL &&
	    np_takeover_make(c->last->d, c->last->session_id, ctl->e, a->takeover) == NP_OK) {
		a->has_takeover = true;
		memcpy(a->takeover_session, c->last->session_id, NP_SESSION_ID_LEN);
	}
	control_send(ctl, &m);
	if (np_proof_make(NP_PROOF_CLIENT, c->k, ctl->e, np_buf_ptr(&ctl->transcript),
			  np_buf_len(&ctl->transcript), proof.proof.proof) != NP_OK) {
		client_failed(c, NP_CLIENT_EV_FAILED, "no proof could be made");
		return;
	}
	control_send(ctl, &proof);
}

/* The server has proved the key: is what it offers acceptable? NULL = yes. */
static const char *welcome_refused(struct client *c, char *text, size_t max)
{
	const struct np_config *cfg = &c->inst->cfg;
	const struct np_msg_welcome *w = &c->welcome;
	struct np_diag why = {.text = ""};

	if (cfg->given[NP_PARAM_TLS] && w->tls < (uint32_t)cfg->tls) {
		snprintf(text, max, "tls_too_low: the server's tls=%u is below tls=%d", w->tls,
			 cfg->tls);
		return text;
	}
	if (w->tls == 2 && !c->verified && !verify(c, c->control->stream.ssl, &why)) {
		snprintf(text, max, "certificate refused: %.160s", why.text);
		return text;
	}
	if (w->flow == NP_FLOW_FORWARD && cfg->ntargets > 1)
		return "in the forward flow the client listens on one target address, it has "
		       "several";
	return NULL;
}

static void on_welcome_proof(struct client *c, const struct np_msg *m)
{
	struct control *ctl = c->control;
	uint8_t want[NP_PROOF_LEN];
	char text[200];
	const char *why;

	if (!c->has_welcome ||
	    np_proof_make(NP_PROOF_SERVER, c->k, ctl->e, np_buf_ptr(&ctl->transcript),
			  np_buf_len(&ctl->transcript), want) != NP_OK ||
	    !np_equal_ct(want, m->proof.proof, NP_PROOF_LEN)) {
		client_failed(c, NP_CLIENT_EV_FAILED, "the server did not prove the key");
		return;
	}
	why = welcome_refused(c, text, sizeof(text));
	if (why != NULL) {
		client_failed(c, NP_CLIENT_EV_FAILED, "%s", why);
		return;
	}
	client_event(c, NP_CLIENT_EV_WELCOME);
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
		on_welcome_proof(c, m);
	} else {
		client_failed(c, NP_CLIENT_EV_FAILED, "the server broke the protocol: %s",
			      np_msg_name(m->kind));
	}
}

static void control_on_lost(struct control *ctl, const char *why)
{
	struct client *c = ctl->arg;

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
	memcpy(p->boot_id, c->welcome.boot_id, NP_BOOT_ID_LEN);
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
	np_backoff_reset(&c->backoff);
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
	atomic_store_explicit(&c->inst->ping_us, -1, memory_order_relaxed);
	if (p == NULL)
		return;
	/* The session outlives its control channel: visitors may use its idle channels. */
	p->control = NULL;
	c->peer = NULL;
	c->last = p;
	peer_event(p, NP_PEER_EV_LOST);
}

static void do_backoff(struct client *c)
{
	int64_t ms = np_backoff_next(&c->backoff, worker_random(c->inst->home),
				     c->host_refused ? CLIENT_REFUSED_CAP_MS : 0);
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
		do_derive(c);
	if ((act & NP_CLIENT_DO_SEND_AUTH) != 0)
		do_send_auth(c);
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

enum np_err client_new(struct instance *inst, struct client **out, struct np_diag *diag)
{
	const struct np_config *cfg = &inst->cfg;
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
		err = tls_client_ctx(cfg->ca, &c->ctx, diag);
	if (err != NP_OK) {
		client_free(c);
		return err;
	}
	*out = c;
	return NP_OK;
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
	if (c->job != NULL)
		c->job->client = NULL;
	client_fill_release(c);
	handshake_release(c);
	if (c->deadline != NULL)
		event_free(c->deadline);
	if (c->retry != NULL)
		event_free(c->retry);
	SSL_SESSION_free(c->ticket);
	SSL_CTX_free(c->ctx);
	np_wipe(c->k, sizeof(c->k));
	np_free(c);
}
