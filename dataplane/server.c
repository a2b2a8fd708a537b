/*
 * server.c - proofs, sessions of clients, their data channels. First bytes and handshakes are in
 * newcomer.c.
 */
#include "server.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "channel.h"
#include "key_cache.h"
#include "listener.h"
#include "newcomer.h"
#include "runtime.h"
#include "tls_files.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

static void newcomer_on_message(struct control *c, const struct np_msg *m);
static void newcomer_on_lost(struct control *c, const char *why);
static void peer_on_message(struct control *c, const struct np_msg *m);
static void peer_on_lost(struct control *c, const char *why);

static const struct control_ops newcomer_ops = {newcomer_on_message, newcomer_on_lost};
static const struct control_ops peer_ops = {peer_on_message, peer_on_lost};

static struct counters *server_counters(struct instance *inst)
{
	return &instance_shard(inst, inst->home)->counters;
}

/* -- authentication -- */

enum np_err server_prepare(struct instance *inst, const struct instance_auth *auth)
{
	const struct np_config *cfg = instance_cfg(inst);
	enum np_key_kind kind =
	    np_key_kind(cfg->key, cfg->key_len, cfg->key_given, cfg->tunnel.port);

	if (auth == NULL)
		return key_cache_derive(kind, cfg->key, cfg->key_len, inst->salt, inst->k);
	memcpy(inst->salt, auth->salt, sizeof(inst->salt));
	memcpy(inst->k, auth->k, sizeof(inst->k));
	return NP_OK;
}

void server_hello(struct newcomer *nc)
{
	struct instance *inst = nc->server->inst;
	struct np_msg m = {.kind = NP_MSG_HELLO,
			   .hello = {.min_version = NP_MSG_VERSION, .max_version = NP_MSG_VERSION}};
	int64_t ms = runtime.env.handshake_timeout_ms;

	if (control_new(inst, &nc->stream, &nc->addr, &newcomer_ops, nc, &nc->control) != NP_OK) {
		newcomer_close(nc, "no control channel", false);
		return;
	}
	memcpy(m.hello.salt, inst->salt, NP_SALT_LEN);
	(void)snprintf(m.hello.software, sizeof(m.hello.software), "nodepass/%s", NP_VERSION);
	nc->state = NEWCOMER_AUTH;
	nc->deadline =
	    np_mono_add_ms(np_mono_now(), ms > AUTH_DEADLINE_MIN_MS ? ms : AUTH_DEADLINE_MIN_MS);
	control_send(nc->control, &m);
}

static void newcomer_on_lost(struct control *c, const char *why)
{
	newcomer_close(c->arg, why, false);
}

/* Strangers cause these lines: so many a second, the rest in one. */
void server_say_refused(struct instance *inst, const char *why, const char *name)
{
	if (inst->strangers_said++ < STRANGER_LINES_PER_S)
		INSTANCE_LOG(inst, WARN, "client refused: %s peer=%s", why, name);
	else
		inst->strangers_more++;
}

static void reject(struct newcomer *nc, enum np_reject reason)
{
	struct np_msg m = {.kind = NP_MSG_REJECT, .reject = {.reason = reason}};

	server_say_refused(nc->server->inst, np_reject_text(reason), nc->control->name);
	control_send(nc->control, &m);
	control_close(nc->control, false);
	nc->control = NULL;
	newcomer_close(nc, "rejected", true);
}

static void wrong_proof(struct newcomer *nc)
{
	struct instance *inst = nc->server->inst;

	counter_add(server_counters(inst), COUNTER_AUTH_FAILED, 1);
	server_say_refused(inst, "wrong key", nc->control->name);
	nc->state = NEWCOMER_REJECT;
	nc->deadline = np_mono_add_ms(np_mono_now(), REJECT_DELAY_MS);
}

static bool over_limits(const struct server *sv, uint64_t source)
{
	const struct peer *p;
	unsigned all = 0, same = 0;

	DL_FOREACH (sv->inst->pool.peers, p) {
		all += p->state == NP_PEER_LIVE;
		same += p->state == NP_PEER_LIVE && p->source == source;
	}
	return all >= PEERS_MAX || same >= PEERS_PER_SOURCE_MAX;
}

/* A client that is back replaces its old session, if it can prove that it was its own. */
static void takeover(struct newcomer *nc)
{
	const struct np_msg_auth *a = &nc->auth;
	uint8_t want[NP_PROOF_LEN];
	struct peer *p;

	if (!a->has_takeover)
		return;
	DL_FOREACH (nc->server->inst->pool.peers, p)
		if (memcmp(p->session_id, a->takeover_session, NP_SESSION_ID_LEN) == 0)
			break;
	if (p == NULL || p->state == NP_PEER_ENDED ||
	    np_takeover_make(p->d, p->session_id, nc->control->e, want) != NP_OK ||
	    !np_equal_ct(want, a->takeover, NP_PROOF_LEN))
		return;
	if (p->control != NULL)
		control_close(p->control, true);
	p->control = NULL;
	peer_event(p, NP_PEER_EV_TAKEOVER);
}

static struct peer *peer_admit(struct newcomer *nc)
{
	struct instance *inst = nc->server->inst;
	struct peer *p = peer_new(inst);

	if (p == NULL)
		return NULL;
	p->replay = np_calloc(1, sizeof(*p->replay));
	if (p->replay == NULL || np_random(p->session_id, sizeof(p->session_id)) != NP_OK) {
		p->state = NP_PEER_ENDED;
		peer_maybe_free(p);
		return NULL;
	}
	memcpy(p->d, nc->control->d, sizeof(p->d));
	memcpy(p->origin, nc->auth.boot_id, NP_BOOT_ID_LEN);
	memcpy(p->origin + NP_BOOT_ID_LEN, nc->auth.instance_id, NP_INSTANCE_ID_LEN);
	memcpy(p->name, nc->control->name, sizeof(p->name));
	p->dial_budget_ms = nc->auth.dial_budget_ms;
	p->source = nc->source;
	return p;
}

static bool send_welcome(struct control *c, const struct peer *p)
{
	const struct instance *inst = p->inst;
	struct np_msg m = {.kind = NP_MSG_WELCOME}, proof = {.kind = NP_MSG_PROOF};

	memcpy(m.welcome.session_id, p->session_id, NP_SESSION_ID_LEN);
	m.welcome.flow = inst->flow;
	m.welcome.max = instance_cfg(inst)->max;
	m.welcome.tls = (uint32_t)instance_cfg(inst)->tls;
	tls_files_fingerprints(inst->tls_files, &m.welcome.fingerprints);
	m.welcome.report_interval_ms = (uint32_t)runtime.env.report_interval_ms;
	m.welcome.dial_rate = SERVER_DIAL_RATE;
	memcpy(m.welcome.boot_id, runtime.boot_id, NP_BOOT_ID_LEN);
	m.welcome.dial_budget_ms = (uint32_t)runtime.env.tcp_dial_timeout_ms;
	control_send(c, &m);
	if (np_proof_make(NP_PROOF_SERVER, inst->k, c->e, np_buf_ptr(&c->transcript),
			  np_buf_len(&c->transcript), proof.proof.proof) != NP_OK)
		return false;
	control_send(c, &proof);
	return true;
}

static void admit(struct newcomer *nc)
{
	struct instance *inst = nc->server->inst;
	struct control *c = nc->control;
	struct peer *p;

	if (nc->server->draining) {
		reject(nc, NP_REJECT_SHUTDOWN);
		return;
	}
	takeover(nc);
	if (over_limits(nc->server, nc->source) || (p = peer_admit(nc)) == NULL) {
		reject(nc, NP_REJECT_LIMIT);
		return;
	}
	if (!send_welcome(c, p)) {
		p->state = NP_PEER_ENDED;
		peer_maybe_free(p);
		newcomer_close(nc, "no proof could be made", true);
		return;
	}
	counter_took(server_counters(inst), HISTOGRAM_HANDSHAKE,
		     np_mono_diff_us(np_mono_now(), nc->accepted));
	nc->control = NULL;
	newcomer_leave(nc);
	p->control = c;
	control_set_owner(c, &peer_ops, p);
	INSTANCE_LOG(inst, INFO, "client connected peer=%s flow=%s tls=%d", p->name,
		     inst->flow == NP_FLOW_REVERSE ? "reverse" : "forward",
		     instance_cfg(inst)->tls);
	control_authenticated(c);
	pool_kick(inst);
}

static void newcomer_on_message(struct control *c, const struct np_msg *m)
{
	struct newcomer *nc = c->arg;
	struct instance *inst = nc->server->inst;
	uint8_t want[NP_PROOF_LEN];

	if (nc->state == NEWCOMER_AUTH && m->kind == NP_MSG_AUTH) {
		if (m->auth.version != NP_MSG_VERSION || m->auth.method != 1) {
			reject(nc, NP_REJECT_VERSION);
			return;
		}
		nc->auth = m->auth;
		nc->state = NEWCOMER_PROOF;
		return;
	}
	if (nc->state != NEWCOMER_PROOF || m->kind != NP_MSG_PROOF) {
		newcomer_close(nc, "a message out of turn", false);
		return;
	}
	if (np_proof_make(NP_PROOF_CLIENT, inst->k, c->e, np_buf_ptr(&c->transcript),
			  np_buf_len(&c->transcript), want) != NP_OK ||
	    !np_equal_ct(want, m->proof.proof, NP_PROOF_LEN)) {
		wrong_proof(nc);
		return;
	}
	admit(nc);
}

/* -- peers -- */

static void peer_on_lost(struct control *c, const char *why)
{
	struct peer *p = c->arg;

	INSTANCE_LOG(p->inst, WARN, "client lost: %s peer=%s", why, p->name);
	p->control = NULL;
	control_close(c, true);
	peer_event(p, NP_PEER_EV_LOST);
}

static void peer_on_message(struct control *c, const struct np_msg *m)
{
	struct peer *p = c->arg;

	switch (m->kind) {
	case NP_MSG_POOL_TARGET:
		p->idle_target = m->count.n;
		pool_kick(p->inst);
		return;
	case NP_MSG_DRAIN:
		INSTANCE_LOG(p->inst, INFO, "client drains peer=%s", p->name);
		p->draining = true;
		return;
	case NP_MSG_BYE:
		INSTANCE_LOG(p->inst, INFO, "client left peer=%s", p->name);
		p->control = NULL;
		control_close(c, false);
		peer_event(p, NP_PEER_EV_BYE);
		return;
	case NP_MSG_UPDATE:
	case NP_MSG_POOL_DEMAND: /* a server does not dial */
		return;
	case NP_MSG_HELLO:
	case NP_MSG_AUTH:
	case NP_MSG_PROOF:
	case NP_MSG_WELCOME:
	case NP_MSG_REJECT:
	case NP_MSG_CERTIFICATE:
	case NP_MSG_PING:
	case NP_MSG_PONG:
		break;
	}
	counter_add(server_counters(p->inst), COUNTER_VIOLATIONS, 1);
	peer_on_lost(c, "protocol violation");
}

/* -- data channels -- */

static struct peer *peer_of_session(struct instance *inst, const uint8_t id[NP_SESSION_ID_LEN])
{
	struct peer *p;

	DL_FOREACH (inst->pool.peers, p)
		if (memcmp(p->session_id, id, NP_SESSION_ID_LEN) == 0)
			return p->state == NP_PEER_LIVE ? p : NULL;
	return NULL;
}

/* Does this preamble open a channel of @p? NULL: yes, and its conn_id is used up; else why not. */
static const char *preamble_check(struct newcomer *nc, const struct np_preamble *pre,
				  struct peer *p)
{
	uint8_t x[NP_EXPORTER_LEN];
	bool tls = nc->stream.ssl != NULL, right;
	uint32_t busy;

	if (p == NULL)
		return "unknown session";
	if (tls && tls_exporter(nc->stream.ssl, NP_EXPORTER_DATA, x) != NP_OK)
		return "no exporter";
	right = np_preamble_verify(nc->first, p->d, tls ? x : NULL);
	np_wipe(x, sizeof(x));
	if (!right)
		return "wrong preamble";
	if (!np_replay_check(p->replay, pre->conn_id))
		return "connection id used before or out of the window";
	np_replay_mark(p->replay, pre->conn_id);
	busy = atomic_load_explicit(&p->busy, memory_order_relaxed);
	if (pre->kind == NP_CHANNEL_STREAM &&
	    p->nchannels >= instance_cfg(p->inst)->max + busy + CHANNELS_EXTRA)
		return "too many channels";
	if (pre->kind == NP_CHANNEL_DATAGRAM && p->ndatagram >= PEER_DATAGRAM_CHANNELS)
		return "too many datagram channels";
	return NULL;
}

static void on_adopt(struct worker *w, struct mail *m)
{
	struct channel *ch = (struct channel *)((char *)m - offsetof(struct channel, idle_mail));

	(void)w;
	channel_adopt(ch, true);
}

void server_preamble(struct newcomer *nc)
{
	struct instance *inst = nc->server->inst;
	struct np_preamble pre;
	struct peer *p = NULL;
	struct worker *w;
	struct shard *sh;
	struct channel *ch;
	const char *why = "no preamble";

	if (np_preamble_read(nc->first, &pre) == NP_OK) {
		p = peer_of_session(inst, pre.session_id);
		why = preamble_check(nc, &pre, p);
	}
	if (why != NULL) {
		counter_add(server_counters(inst), COUNTER_AUTH_FAILED, 1);
		newcomer_close(nc, why, p != NULL);
		return;
	}
	w = pre.kind == NP_CHANNEL_DATAGRAM ? inst->home : worker_pick();
	sh = instance_shard(inst, w);
	newcomer_detach(nc);
	if (sh == NULL || channel_new(sh, p, pre.kind, inst->flow == NP_FLOW_REVERSE, &nc->stream,
				      &ch) != NP_OK) {
		newcomer_close(nc, "out of memory", true);
		return;
	}
	newcomer_leave(nc);
	peer_add_channel(p, ch);
	if (w == inst->home) {
		channel_adopt(ch, true);
		return;
	}
	ch->idle_mail.deliver = on_adopt;
	worker_post(w, &ch->idle_mail);
}

/* -- life -- */

static void server_on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	newcomer_tick(arg);
}

static void on_pause(void *arg, int err)
{
	const struct server *sv = arg;

	instance_accept_pauses(sv->inst, err);
}

enum np_err server_new(struct instance *inst, const int *fds, unsigned n, struct server **out)
{
	struct server *sv = np_calloc(1, sizeof(*sv));
	enum np_err err = NP_OK;

	if (sv == NULL) {
		for (unsigned i = 0; i < n; i++)
			close(fds[i]);
		return NP_ENOMEM;
	}
	sv->inst = inst;
	sv->task.run = newcomer_run_ready;
	sv->tick = evtimer_new(inst->home->base, server_on_tick, sv);
	if (sv->tick == NULL)
		err = NP_ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		if (err == NP_OK)
			err = listener_new(inst->home, fds[i], newcomer_accept, on_pause, sv,
					   &sv->listeners[i]);
		if (sv->listeners[i] == NULL)
			close(fds[i]);
	}
	if (err != NP_OK) {
		server_free(sv);
		return err;
	}
	*out = sv;
	return NP_OK;
}

void server_announce_certificate(struct instance *inst)
{
	struct np_msg m = {.kind = NP_MSG_CERTIFICATE};
	struct peer *p;

	tls_files_fingerprints(inst->tls_files, &m.certificate);
	DL_FOREACH (inst->pool.peers, p)
		if (p->control != NULL)
			control_send(p->control, &m);
}

void server_tell_max(struct server *sv)
{
	struct np_msg m = {.kind = NP_MSG_UPDATE, .update = {.has_max = true}};
	struct peer *p;

	m.update.max = instance_cfg(sv->inst)->max;
	DL_FOREACH (sv->inst->pool.peers, p)
		if (p->control != NULL)
			control_send(p->control, &m);
}

int server_listener_fd(const struct server *sv, int i)
{
	return sv->listeners[i] != NULL ? listener_fd(sv->listeners[i]) : -1;
}

void server_drain(struct server *sv, int64_t ms)
{
	struct np_msg m = {.kind = NP_MSG_DRAIN, .drain = {(uint32_t)ms}};
	struct peer *p;

	sv->draining = true;
	DL_FOREACH (sv->inst->pool.peers, p)
		if (p->control != NULL)
			control_send(p->control, &m);
}

/* Nobody comes in any more. */
static void close_door(struct server *sv)
{
	server_close(sv);
	while (sv->newcomers != NULL)
		newcomer_close(sv->newcomers, "the instance stops", true);
}

void server_close(struct server *sv)
{
	sv->draining = true;
	for (int i = 0; i < INSTANCE_LISTENERS_MAX; i++) {
		listener_free(sv->listeners[i]);
		sv->listeners[i] = NULL;
	}
}

void server_bye(struct server *sv)
{
	close_door(sv);
	server_leave(sv);
}

void server_leave(struct server *sv)
{
	struct np_msg m = {.kind = NP_MSG_BYE, .bye = {.reason = NP_REJECT_SHUTDOWN}};
	struct peer *p, *next;

	DL_FOREACH_SAFE (sv->inst->pool.peers, p, next) {
		if (p->control != NULL) {
			control_send(p->control, &m);
			control_close(p->control, false);
			p->control = NULL;
		}
		if (p->state != NP_PEER_ENDED)
			peer_event(p, NP_PEER_EV_BYE);
	}
}

void server_free(struct server *sv)
{
	if (sv == NULL)
		return;
	close_door(sv);
	worker_undefer(sv->inst->home, &sv->task);
	if (sv->tick != NULL)
		event_free(sv->tick);
	np_free(sv);
}
