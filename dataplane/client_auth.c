/*
 * client_auth.c - what client and server prove to each other: the key on helper threads, Auth, the
 * server's proof and certificate. Says what is wrong through client_failed; changes the state
 * through client_event alone.
 */
#include "client_priv.h"

#include "base/alloc.h"
#include "runtime.h"

#include <stdio.h>
#include <string.h>

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

/* The system's trust store, being loaded. */
struct trust_job {
	struct offload_job job;
	struct client *client; /* NULL: it is gone */
};

/* true: the URL asks for verification of any kind. */
bool client_wants_verification(const struct np_config *cfg)
{
	return cfg->tls == 2 || cfg->ca != NULL || cfg->sni != NULL || cfg->has_pin;
}

bool client_verify(struct client *c, SSL *ssl, struct np_diag *why)
{
	const struct np_config *cfg = instance_cfg(c->inst);
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
	return tls_verify_peer(client_ctx(c), ssl, client_server_name(c), why) == NP_OK;
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
	if (c->state != NP_CLIENT_DERIVING) { /* nobody waits for it */
		job_free(j);
		return;
	}
	if (j->err != NP_OK || memcmp(c->hello_salt, j->salt, NP_SALT_LEN) != 0) {
		bool bad = j->err != NP_OK;

		job_free(j);
		client_failed(c, NP_CLIENT_EV_FAILED, "%s",
			      bad ? "the key cannot be derived"
				  : "the server changed its salt meanwhile");
		return;
	}
	memcpy(c->k, j->k, sizeof(c->k));
	memcpy(c->salt, j->salt, sizeof(c->salt));
	c->has_k = true;
	job_free(j);
	client_event(c, NP_CLIENT_EV_DERIVED);
}

/* Never sent with a K that is not of this salt. */
static bool has_key(const struct client *c)
{
	return c->has_k && memcmp(c->salt, c->hello_salt, NP_SALT_LEN) == 0;
}

static void drop_derive(struct offload_job *job)
{
	job_free((struct derive_job *)job);
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
	const struct np_config *cfg = instance_cfg(c->inst);
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
	j->job.drop = drop_derive;
	j->job.done.deliver = on_derived;
	j->job.reply_to = c->inst->home;
	if (offload_submit(&j->job) != NP_OK) {
		job_free(j);
		client_failed(c, NP_CLIENT_EV_FAILED, "no helper thread for the key");
		return;
	}
	c->job = j;
}

void client_derive(struct client *c)
{
	const struct np_config *cfg = instance_cfg(c->inst);
	bool same = has_key(c);

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

void client_send_auth(struct client *c)
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
	if (!has_key(c) ||
	    np_proof_make(NP_PROOF_CLIENT, c->k, ctl->e, np_buf_ptr(&ctl->transcript),
			  np_buf_len(&ctl->transcript), proof.proof.proof) != NP_OK) {
		client_failed(c, NP_CLIENT_EV_FAILED, "no proof could be made");
		return;
	}
	control_send(ctl, &proof);
}

/* The server has proved the key: is what it offers acceptable? NULL = yes. */
static const char *welcome_refused(struct client *c, char *text, size_t max)
{
	const struct np_config *cfg = instance_cfg(c->inst);
	const struct np_msg_welcome *w = &c->welcome;
	struct np_diag why = {.text = ""};

	if (cfg->given[NP_PARAM_TLS] && w->tls < (uint32_t)cfg->tls) {
		snprintf(text, max, "tls_too_low: the server's tls=%u is below tls=%d", w->tls,
			 cfg->tls);
		return text;
	}
	if (w->tls == 2 && !c->verified && !client_verify(c, c->control->stream.ssl, &why)) {
		snprintf(text, max, "certificate refused: %.160s", why.text);
		return text;
	}
	if (w->flow == NP_FLOW_FORWARD && cfg->ntargets > 1)
		return "in the forward flow the client listens on one target address, it has "
		       "several";
	return NULL;
}

/* The server's proof was right: is the rest? */
static void welcome_decide(struct client *c)
{
	char text[200];
	const char *why = welcome_refused(c, text, sizeof(text));

	if (why != NULL)
		client_failed(c, NP_CLIENT_EV_FAILED, "%s", why);
	else
		client_event(c, NP_CLIENT_EV_WELCOME);
}

static void on_trust(struct worker *w, struct mail *m)
{
	struct trust_job *j = (struct trust_job *)m;
	struct client *c = j->client;

	(void)w;
	np_free(j);
	if (c == NULL)
		return;
	c->trust_job = NULL;
	if (c->state != NP_CLIENT_AUTH || !c->proved)
		return;
	welcome_decide(c);
	if (c->control != NULL)
		control_resume(c->control);
}

static void run_trust(struct offload_job *job)
{
	(void)job;
	tls_trust_preload();
}

/* The system's trust store is read on a helper thread. */
static void welcome_load_trust(struct client *c)
{
	struct trust_job *j;

	if (c->trust_job != NULL) {
		control_pause(c->control);
		return;
	}
	j = np_calloc(1, sizeof(*j));
	if (j == NULL) {
		client_failed(c, NP_CLIENT_EV_FAILED, "out of memory");
		return;
	}
	j->client = c;
	j->job.run = run_trust;
	j->job.done.deliver = on_trust;
	j->job.reply_to = c->inst->home;
	if (offload_submit(&j->job) != NP_OK) {
		np_free(j);
		client_failed(c, NP_CLIENT_EV_FAILED, "no helper thread for the trust store");
		return;
	}
	c->trust_job = j;
	control_pause(c->control); /* what the server says next belongs to the session */
}

void client_on_proof(struct client *c, const struct np_msg *m)
{
	struct control *ctl = c->control;
	uint8_t want[NP_PROOF_LEN];

	if (!c->has_welcome || c->proved || !has_key(c) ||
	    np_proof_make(NP_PROOF_SERVER, c->k, ctl->e, np_buf_ptr(&ctl->transcript),
			  np_buf_len(&ctl->transcript), want) != NP_OK ||
	    !np_equal_ct(want, m->proof.proof, NP_PROOF_LEN)) {
		client_failed(c, NP_CLIENT_EV_FAILED, "the server did not prove the key");
		return;
	}
	c->proved = true;
	if (c->welcome.tls == 2 && !c->verified && !tls_trust_ready(client_ctx(c)))
		welcome_load_trust(c);
	else
		welcome_decide(c);
}

void client_auth_forget(struct client *c)
{
	if (c->job != NULL)
		c->job->client = NULL;
	if (c->trust_job != NULL)
		c->trust_job->client = NULL;
	c->job = NULL;
	c->trust_job = NULL;
	np_wipe(c->k, sizeof(c->k));
}
