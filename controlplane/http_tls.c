/*
 * http_tls.c - the one TLS context of the API. New files are tried in a context of their own, which
 * takes the place of the old one only when certificate and key fit.
 */
#include "http_tls.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/mono.h"

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

#define OWN_DAYS       365
#define OWN_RENEW_DAYS 335 /* a certificate that lives on in memory is made anew before its end */

struct http_tls {
	SSL_CTX *ctx;	 /* owned */
	char *crt, *key; /* owned; NULL = own certificate */
	int64_t reload_ms;
	struct np_mono loaded;
	void (*on_reload)(void *arg);
	void *arg;
};

static const char *openssl_reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_error());

	return text != NULL ? text : "unknown reason";
}

/* --- certificates ------------------------------------------------------------------------------ */

static bool self_sign(X509 *x, EVP_PKEY *key)
{
	static const unsigned char org[] = "NodePass v" NP_VERSION;
	X509_NAME *name = X509_get_subject_name(x);
	uint64_t serial;

	return RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1 &&
	       X509_set_version(x, X509_VERSION_3) == 1 &&
	       ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1 | 1) == 1 &&
	       X509_gmtime_adj(X509_getm_notBefore(x), -86400) != NULL && /* clocks differ */
	       X509_time_adj_ex(X509_getm_notAfter(x), OWN_DAYS, 0, NULL) != NULL &&
	       X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, org, -1, -1, 0) == 1 &&
	       X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, key) == 1 &&
	       X509_sign(x, key, EVP_sha256()) > 0;
}

static enum np_err use_own(SSL_CTX *ctx, struct np_diag *diag)
{
	X509 *x = X509_new();
	EVP_PKEY *key = EVP_EC_gen("P-256");
	bool ok = x != NULL && key != NULL && self_sign(x, key) &&
		  SSL_CTX_use_certificate(ctx, x) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1;

	X509_free(x);
	EVP_PKEY_free(key);
	if (!ok)
		return np_diag_set(diag, NP_ECRYPTO, "tls", "certificate: %s", openssl_reason());
	return NP_OK;
}

/* A passphrase would be asked for on a terminal that a service does not have. */
static int no_passphrase(char *buf, int size, int rw, void *arg)
{
	(void)buf;
	(void)size;
	(void)rw;
	(void)arg;
	return -1;
}

static enum np_err use_files(SSL_CTX *ctx, const char *crt, const char *key, struct np_diag *diag)
{
	char text[128];

	if (access(crt, R_OK) == -1)
		return np_diag_set(diag, NP_EINVAL, "crt", "crt=%s: %s", crt,
				   strerror_r(errno, text, sizeof(text)));
	if (access(key, R_OK) == -1)
		return np_diag_set(diag, NP_EINVAL, "key", "key=%s: %s", key,
				   strerror_r(errno, text, sizeof(text)));
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	if (SSL_CTX_use_certificate_chain_file(ctx, crt) != 1)
		return np_diag_set(diag, NP_EINVAL, "crt", "crt=%s: %s", crt, openssl_reason());
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ctx) != 1)
		return np_diag_set(diag, NP_EINVAL, "key", "key=%s: %s (crt=%s)", key,
				   openssl_reason(), crt);
	return NP_OK;
}

/* --- context ----------------------------------------------------------------------------------- */

/* http/1.1 if it is offered; a client that offers other protocols alone goes on without ALPN. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		       const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/*
 * A client that speaks plain HTTP gets an answer that it understands. It goes past the TLS layer:
 * nothing was sent on the connection yet, so the kernel takes it whole. What the client sent is read
 * away first, else closing would reset the connection and the answer with it.
 */
static void answer_plain(SSL *ssl)
{
	static const char text[] = "HTTP/1.0 400 Bad Request\r\n\r\n"
				   "Client sent an HTTP request to an HTTPS server.\n";
	char sink[4096];
	int fd = SSL_get_fd(ssl);

	if (fd == -1)
		return;
	for (int i = 0; i < 32 && recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0; i++)
		;
	(void)!send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
}

static void ctx_on_info(const SSL *ssl, int where, int ret)
{
	unsigned long e;

	if (where != SSL_CB_ACCEPT_EXIT || ret > 0)
		return;
	e = ERR_peek_last_error();
	if (ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_HTTP_REQUEST)
		answer_plain((SSL *)(uintptr_t)ssl);
}

static enum np_err ctx_new(const struct http_tls *t, SSL_CTX **out, struct np_diag *diag)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	enum np_err err;

	if (ctx == NULL)
		return NP_ENOMEM;
	ERR_clear_error();
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
	SSL_CTX_set_info_callback(ctx, ctx_on_info);
	err = t->crt != NULL ? use_files(ctx, t->crt, t->key, diag) : use_own(ctx, diag);
	if (err != NP_OK) {
		SSL_CTX_free(ctx);
		ERR_clear_error();
		return err;
	}
	*out = ctx;
	return NP_OK;
}

enum np_err http_tls_new(const char *crt, const char *key, int64_t reload_ms,
			 void (*on_reload)(void *arg), void *arg, struct http_tls **out,
			 struct np_diag *diag)
{
	struct http_tls *t = np_calloc(1, sizeof(*t));
	enum np_err err = NP_ENOMEM;

	if (t == NULL)
		return NP_ENOMEM;
	t->reload_ms = crt != NULL ? reload_ms : (int64_t)OWN_RENEW_DAYS * 86400 * 1000;
	if (crt != NULL) {
		t->crt = np_strdup(crt);
		t->key = np_strdup(key != NULL ? key : crt);
	}
	if (crt == NULL || (t->crt != NULL && t->key != NULL))
		err = ctx_new(t, &t->ctx, diag);
	if (err != NP_OK) {
		http_tls_free(t);
		return err;
	}
	t->loaded = np_mono_now();
	t->on_reload = on_reload;
	t->arg = arg;
	*out = t;
	return NP_OK;
}

enum np_err http_tls_pin(const struct http_tls *t, char out[HTTP_PIN_SIZE])
{
	unsigned char digest[SHA256_DIGEST_LENGTH], *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(SSL_CTX_get0_certificate(t->ctx)), &der);
	bool ok =
	    len > 0 && EVP_Digest(der, (size_t)len, digest, NULL, EVP_sha256(), NULL) == 1 &&
	    EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest)) == HTTP_PIN_SIZE - 1;

	OPENSSL_free(der);
	return ok ? NP_OK : NP_ECRYPTO;
}

void http_tls_reload(struct http_tls *t)
{
	struct np_diag diag = {.text = "out of memory"};
	SSL_CTX *ctx;

	t->loaded = np_mono_now();
	if (ctx_new(t, &ctx, &diag) != NP_OK) {
		np_log(NP_LOG_ERROR, NULL, "api: the certificate stays as it was: %s", diag.text);
		return;
	}
	SSL_CTX_free(t->ctx);
	t->ctx = ctx;
	if (t->on_reload != NULL)
		t->on_reload(t->arg);
}

struct bufferevent *http_tls_bufferevent(struct http_tls *t, struct event_base *base)
{
	struct bufferevent *bev;
	SSL *ssl;

	if (np_mono_diff_ms(np_mono_now(), t->loaded) >= t->reload_ms)
		http_tls_reload(t);
	ssl = SSL_new(t->ctx);
	if (ssl == NULL)
		return NULL;
	bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
					     BEV_OPT_CLOSE_ON_FREE);
	if (bev == NULL)
		SSL_free(ssl);
	return bev;
}

void http_tls_free(struct http_tls *t)
{
	if (t == NULL)
		return;
	SSL_CTX_free(t->ctx);
	np_free(t->crt);
	np_free(t->key);
	np_free(t);
}
