/*
 * tls.c - TLS contexts of tunnels and visitors, ALPN, session tickets, exporters. Identities are in
 * tls_identity.c, checks of the peer's certificate in tls_verify.c.
 *
 * Several workers share a context: it is complete before the first connection and does not change
 * afterwards, but for the ticket keys (see tickets_lock).
 */
#include "tls.h"

#include "base/alloc.h"
#include "base/mono.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>

/* X25519 first: a handshake costs a quarter less than with P-256, and its keys, which OpenSSL keeps
 * for the life of a connection, 7 KiB less. */
#define GROUPS	      "X25519:P-256"
#define CIPHERSUITES  "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CIPHERS_1_2   "ECDHE+AESGCM:ECDHE+CHACHA20"

#define TICKET_KEY_MS ((int64_t)12 * 3600 * 1000)
/* A ticket lives as long as the key that opens it can: one period as current, one as previous key.
 */
#define TICKET_LIFE_S (2 * TICKET_KEY_MS / 1000)

struct ticket_key {
	uint8_t name[16];
	uint8_t aes[32];
	uint8_t hmac[32];
};

/* Owned by its SSL_CTX (ex_data), freed with it. */
struct tickets {
	/*
	 * All workers that share the context pass here once per handshake, for the copy of 80
	 * bytes; a handshake costs a thousand times as much. A set published by pointer would need
	 * a grace period before it can be freed.
	 */
	pthread_mutex_t lock;
	struct np_mono born; /* of current */
	bool has_previous;
	struct ticket_key current, previous;
};

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int tickets_index = -1; /* SSL_CTX: struct tickets */
static int renew_index = -1; /* SSL: not NULL = the ticket it came with was made with an old key */
static int session_index = -1; /* SSL: struct session_sink */

/* Whom tls_on_session registered; owned by its SSL. */
struct session_sink {
	void (*fn)(void *arg, SSL_SESSION *s);
	void *arg;
};

static void tickets_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl,
			 void *argp)
{
	struct tickets *t = ptr;

	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (t == NULL)
		return;
	pthread_mutex_destroy(&t->lock);
	np_wipe(t, sizeof(*t));
	np_free(t);
}

static void sink_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	np_free(ptr);
}

static void indexes_make(void)
{
	tickets_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, tickets_free);
	renew_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	session_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, sink_free);
}

/* -- tickets -- */

static bool ticket_key_make(struct ticket_key *k)
{
	return RAND_bytes(k->name, sizeof(k->name)) == 1 &&
	       RAND_priv_bytes(k->aes, sizeof(k->aes)) == 1 &&
	       RAND_priv_bytes(k->hmac, sizeof(k->hmac)) == 1;
}

static bool tickets_attach(SSL_CTX *ctx)
{
	struct tickets *t = np_calloc(1, sizeof(*t));

	if (t == NULL)
		return false;
	t->born = np_mono_now();
	if (!ticket_key_make(&t->current) || SSL_CTX_set_ex_data(ctx, tickets_index, t) != 1) {
		np_wipe(t, sizeof(*t));
		np_free(t);
		return false;
	}
	pthread_mutex_init(&t->lock, NULL);
	return true;
}

/* With the lock held. When no randomness can be had the keys stay as they are. */
static bool tickets_rotate(struct tickets *t, struct np_mono now)
{
	struct ticket_key fresh;
	int64_t age_ms = np_mono_diff_ms(now, t->born);

	if (!ticket_key_make(&fresh))
		return false;
	t->previous = t->current;
	t->has_previous = age_ms < 2 * TICKET_KEY_MS;
	t->current = fresh;
	t->born = now;
	np_wipe(&fresh, sizeof(fresh));
	return true;
}

enum np_err tls_tickets_rotate(SSL_CTX *ctx)
{
	struct tickets *t = SSL_CTX_get_ex_data(ctx, tickets_index);
	bool ok;

	if (t == NULL)
		return NP_ENOTFOUND;
	pthread_mutex_lock(&t->lock);
	ok = tickets_rotate(t, np_mono_now());
	pthread_mutex_unlock(&t->lock);
	return ok ? NP_OK : NP_ECRYPTO;
}

/* tickets_find - 0 unknown, 1 current, 2 previous. @name NULL: the current one. */
static int tickets_find(SSL *ssl, const uint8_t *name, struct ticket_key *out)
{
	struct tickets *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), tickets_index);
	struct np_mono now = np_mono_now();
	int found = 0;

	if (t == NULL)
		return 0;
	pthread_mutex_lock(&t->lock);
	if (np_mono_diff_ms(now, t->born) >= TICKET_KEY_MS)
		(void)tickets_rotate(t, now);
	if (name == NULL || memcmp(name, t->current.name, sizeof(t->current.name)) == 0) {
		*out = t->current;
		found = 1;
	} else if (t->has_previous &&
		   memcmp(name, t->previous.name, sizeof(t->previous.name)) == 0) {
		*out = t->previous;
		found = 2;
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}

/* OpenSSL's contract: -1 error, 0 no such key (full handshake), 1 ok, 2 ok and give a new ticket.
 */
static int ticket_key_cb(SSL *ssl, unsigned char name[16], unsigned char *iv,
			 EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int enc)
{
	struct ticket_key k;
	OSSL_PARAM params[3];
	int found = tickets_find(ssl, enc ? NULL : name, &k), ok;

	if (found == 0)
		return enc ? -1 : 0;
	params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k.hmac, sizeof(k.hmac));
	params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0);
	params[2] = OSSL_PARAM_construct_end();
	ok = EVP_MAC_CTX_set_params(mac, params) == 1;
	if (ok && enc) {
		memcpy(name, k.name, sizeof(k.name));
		ok = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
		     EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.aes, iv) == 1;
	} else if (ok) {
		ok = EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.aes, iv) == 1;
	}
	np_wipe(&k, sizeof(k));
	if (!ok)
		return -1;
	if (found == 2)
		(void)SSL_set_ex_data(ssl, renew_index, &renew_index);
	/* In TLS 1.3 the number of tickets alone says whether one is sent: see alpn_select_cb. */
	return !enc && SSL_version(ssl) == TLS1_3_VERSION ? 2 : found;
}

/* -- ALPN -- */

static bool alpn_is(const unsigned char *p, size_t n, const char *name)
{
	return n == strlen(name) && memcmp(p, name, n) == 0;
}

static enum tls_alpn alpn_of(const unsigned char *p, size_t n)
{
	if (alpn_is(p, n, TLS_ALPN_CONTROL))
		return TLS_CONTROL;
	if (alpn_is(p, n, TLS_ALPN_DATA))
		return TLS_DATA;
	return TLS_NO_ALPN;
}

/*
 * Called after the ticket, if any, was opened. A data connection gets a ticket only when the client
 * has none that will serve the next one: it came without, or with one of the previous key.
 * Otherwise a session that outlives its first ticket would make full handshakes for ever.
 */
static int alpn_select_cb(SSL *ssl, const unsigned char **out, unsigned char *outlen,
			  const unsigned char *in, unsigned inlen, void *arg)
{
	bool due = SSL_session_reused(ssl) == 0 || SSL_get_ex_data(ssl, renew_index) != NULL;
	enum tls_alpn which;
	unsigned i = 0, n;

	(void)arg;
	for (; i < inlen; i += n) {
		n = in[i++];
		if (n > inlen - i)
			break;
		which = alpn_of(in + i, n);
		if (which == TLS_NO_ALPN)
			continue;
		*out = in + i;
		*outlen = (unsigned char)n;
		SSL_set_num_tickets(ssl, which == TLS_CONTROL || due ? 1 : 0);
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

enum tls_alpn tls_alpn(const SSL *ssl)
{
	const unsigned char *p = NULL;
	unsigned n = 0;

	SSL_get0_alpn_selected(ssl, &p, &n);
	return p == NULL ? TLS_NO_ALPN : alpn_of(p, n);
}

/* -- contexts -- */

bool tls_ready(void)
{
	return OSSL_LIB_CTX_get0_global_default() != NULL;
}

static SSL_CTX *ctx_new(const SSL_METHOD *method, int min_version)
{
	SSL_CTX *ctx;

	pthread_once(&index_once, indexes_make);
	if (tickets_index == -1 || renew_index == -1 || session_index == -1 || !tls_ready())
		return NULL;
	ERR_clear_error();
	ctx = SSL_CTX_new(method);
	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION |
				     SSL_OP_NO_RENEGOTIATION);
	/* psk_ke stays off: without SSL_OP_ALLOW_NO_DHE_KEX each resumption has its own ECDHE. */
	SSL_CTX_clear_options(ctx, SSL_OP_ALLOW_NO_DHE_KEX);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_early_data(ctx, 0);
	SSL_CTX_set_recv_max_early_data(ctx, 0);
	if (SSL_CTX_set_min_proto_version(ctx, min_version) != 1 ||
	    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, CIPHERSUITES) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) != 1 ||
	    SSL_CTX_set1_groups_list(ctx, GROUPS) != 1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

static bool ctx_use_identity(SSL_CTX *ctx, const struct tls_identity *id)
{
	static const unsigned char name[] = "nodepass";

	return SSL_CTX_use_cert_and_key(ctx, id->cert, id->key, id->chain, 1) == 1 &&
	       SSL_CTX_set_session_id_context(ctx, name, sizeof(name) - 1) == 1 &&
	       tickets_attach(ctx) && SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key_cb) == 1;
}

enum np_err tls_server_ctx(const struct tls_identity *id, SSL_CTX **out)
{
	SSL_CTX *ctx = ctx_new(TLS_server_method(), TLS1_3_VERSION);

	if (ctx == NULL || !ctx_use_identity(ctx, id) || SSL_CTX_set_num_tickets(ctx, 0) != 1) {
		SSL_CTX_free(ctx);
		return NP_ECRYPTO;
	}
	SSL_CTX_set_timeout(ctx, TICKET_LIFE_S);
	SSL_CTX_set_alpn_select_cb(ctx, alpn_select_cb, NULL);
	*out = ctx;
	return NP_OK;
}

enum np_err tls_visitor_ctx(const struct tls_identity *id, SSL_CTX **out)
{
	SSL_CTX *ctx = ctx_new(TLS_server_method(), TLS1_2_VERSION);

	if (ctx == NULL || !ctx_use_identity(ctx, id)) {
		SSL_CTX_free(ctx);
		return NP_ECRYPTO;
	}
	*out = ctx;
	return NP_OK;
}

/* -- the client's side -- */

static int session_new_cb(SSL *ssl, SSL_SESSION *session)
{
	struct session_sink *sink = SSL_get_ex_data(ssl, session_index);

	if (sink == NULL)
		return 0;
	sink->fn(sink->arg, session);
	return 1;
}

enum np_err tls_client_ctx(const char *ca, SSL_CTX **out, struct np_diag *diag)
{
	SSL_CTX *ctx = ctx_new(TLS_client_method(), TLS1_3_VERSION);
	enum np_err err;

	if (ctx == NULL)
		return np_diag_set(diag, NP_ECRYPTO, "tls", "no TLS context can be made");
	err = tls_trust_load(ctx, ca, diag);
	if (err != NP_OK) {
		SSL_CTX_free(ctx);
		return err;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, session_new_cb);
	*out = ctx;
	return NP_OK;
}

/* @session itself is not used: OpenSSL marks a session as used after one resumption. */
static bool client_resume(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION *copy = SSL_SESSION_dup(session);
	bool ok = copy != NULL && SSL_set_session(ssl, copy) == 1;

	SSL_SESSION_free(copy);
	return ok;
}

static bool client_set_alpn(SSL *ssl, enum tls_alpn which)
{
	static const unsigned char control[] = "\x12" TLS_ALPN_CONTROL;
	static const unsigned char data[] = "\x0f" TLS_ALPN_DATA;

	_Static_assert(sizeof(TLS_ALPN_CONTROL) - 1 == 0x12, "length byte");
	_Static_assert(sizeof(TLS_ALPN_DATA) - 1 == 0x0f, "length byte");
	switch (which) { /* 0 is success here */
	case TLS_CONTROL:
		return SSL_set_alpn_protos(ssl, control, sizeof(control) - 1) == 0;
	case TLS_DATA:
		return SSL_set_alpn_protos(ssl, data, sizeof(data) - 1) == 0;
	case TLS_NO_ALPN:
		break;
	}
	return true;
}

static bool is_ip_literal(const char *name)
{
	struct in6_addr any;

	return inet_pton(AF_INET, name, &any) == 1 || inet_pton(AF_INET6, name, &any) == 1 ||
	       strchr(name, '%') != NULL;
}

SSL *tls_client_new(SSL_CTX *ctx, enum tls_alpn which, const char *name, SSL_SESSION *session)
{
	SSL *ssl = SSL_new(ctx);

	if (ssl == NULL)
		return NULL;
	SSL_set_connect_state(ssl);
	if (!client_set_alpn(ssl, which) ||
	    (name != NULL && *name != '\0' && !is_ip_literal(name) &&
	     SSL_set_tlsext_host_name(ssl, name) != 1) ||
	    (session != NULL && !client_resume(ssl, session))) {
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}

void tls_on_session(SSL *ssl, void (*fn)(void *arg, SSL_SESSION *s), void *arg)
{
	struct session_sink *sink = SSL_get_ex_data(ssl, session_index);
	bool is_new = sink == NULL;

	if (is_new)
		sink = np_calloc(1, sizeof(*sink));
	if (sink == NULL)
		return;
	*sink = (struct session_sink){.fn = fn, .arg = arg};
	if (is_new && SSL_set_ex_data(ssl, session_index, sink) != 1)
		np_free(sink);
}

enum np_err tls_exporter(SSL *ssl, const char *label, uint8_t out[NP_EXPORTER_LEN])
{
	uint8_t e[NP_EXPORTER_LEN];

	if (SSL_is_init_finished(ssl) == 0 || SSL_version(ssl) != TLS1_3_VERSION)
		return NP_ESTATE;
	if (SSL_export_keying_material(ssl, e, sizeof(e), label, strlen(label), NULL, 0, 0) != 1)
		return NP_ECRYPTO;
	memcpy(out, e, sizeof(e));
	np_wipe(e, sizeof(e));
	return NP_OK;
}
