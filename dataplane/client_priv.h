/*
 * client_priv.h - inside of client: its state, shared by client.c (connection) and client_fill.c
 * (channels).
 */
#ifndef NP_CLIENT_PRIV_H
#define NP_CLIENT_PRIV_H

#include "client.h"
#include "control.h"
#include "core/backoff.h"
#include "core/pool_fill.h"
#include "dial.h"
#include "offload.h"

struct derive_job;
struct trust_job;

struct client {
	struct instance *inst;
	enum np_client_state state;
	SSL_CTX *ctx;		 /* owned; NULL: that of the files */
	struct tls_files *files; /* owned until the instance takes them */
	/* the connection */
	struct dial *dial;
	struct stream handshake; /* TLS of the control connection, until it is one */
	struct event handshake_ev;
	bool handshake_added;
	struct event *deadline; /* of everything before UP */
	struct event *retry;
	struct np_backoff backoff;
	struct np_mono up_at;	     /* when the session began */
	struct np_mono connected_at; /* the same, when it had a connection */
	struct np_mono dialed_at;    /* when the last attempt began */
	bool host_refused;	     /* the last dial was answered with a refusal */
	struct control *control;
	struct np_addr server;
	struct trust_job *trust_job;
	bool proved;   /* the server's proof was right */
	bool verified; /* chain or pin was checked */
	bool said_failure;
	char last_failure[200];
	/* the key */
	enum np_key_kind key_kind;
	bool has_k;
	uint8_t salt[NP_SALT_LEN], k[NP_K_LEN]; /* k belongs to salt */
	uint8_t hello_salt[NP_SALT_LEN];
	struct derive_job *job;
	unsigned salts; /* new ones that may be taken now */
	struct np_mono salts_at;
	struct np_msg_welcome welcome;
	bool has_welcome;
	uint8_t instance_id[NP_INSTANCE_ID_LEN];
	/* the session */
	struct peer *peer; /* of the current one; NULL when not UP */
	struct peer *last; /* the one before it, for the takeover; borrowed from the pool */
	uint64_t conn_id;
	struct np_msg_fingerprints fingerprints;
	SSL_SESSION *ticket;   /* owned; template for data channels */
	unsigned certificates; /* how often ours changed: a ticket belongs to one */
	/* the channels */
	struct np_pool_fill fill;
	struct event *fill_timer;
	int64_t fill_ms;
	uint32_t opens_seen, told_target;
	struct np_mono told_at;
	unsigned dialing, dialing_datagram;
	unsigned failures; /* makers in a row that the server closed early */
	struct np_backoff make_backoff;
	struct np_mono make_after; /* no dials before */
	bool draining;
};

/* client_event - the machine's one door; carries out what it says. */
void client_event(struct client *c, enum np_client_event ev);
/* client_ctx - for new connections to the server. Thread: home. */
SSL_CTX *client_ctx(const struct client *c);
/* client_server_name - what the certificate must be for: sni=, else the host of the URL. */
const char *client_server_name(const struct client *c);
/* client_failed - @ev with a reason for the log: said once, and again when it changes. */
void client_failed(struct client *c, enum np_client_event ev, const char *fmt, ...) NP_PRINTF(3, 4);

/* client_auth.c: K for hello_salt (ends in DERIVED); Auth and its proof; the server's proof (ends
 * in WELCOME). */
void client_derive(struct client *c);
void client_send_auth(struct client *c);
void client_on_proof(struct client *c, const struct np_msg *m);
/* client_wants_verification - does the URL ask for it? client_verify - pin, chain and name, as the
 * URL says. */
bool client_wants_verification(const struct np_config *cfg);
bool client_verify(struct client *c, SSL *ssl, struct np_diag *why);
void client_auth_forget(struct client *c);

/* client_fill.c */
void client_fill_begin(struct client *c);
void client_fill_end(struct client *c);
void client_fill_run(struct client *c);
enum np_err client_fill_init(struct client *c) NP_MUST_CHECK;
void client_fill_release(struct client *c);

#endif
