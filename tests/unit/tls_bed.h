/*
 * tls_bed.h - for tests of TLS: a small PKI in a folder, connections over a socket pair.
 */
#ifndef NP_TEST_TLS_BED_H
#define NP_TEST_TLS_BED_H

#include "tls.h"

#include "stream.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct tls_identity self_signed, signed_id, expired_id;
static X509 *ca_cert;
static EVP_PKEY *ca_key;
static char dir[] = "/tmp/np-test-tls-XXXXXX";

/* -- a small PKI -- */

static inline void add_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(ext);
	assert_int_equal(X509_add_ext(x, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

static inline X509 *make_cert(EVP_PKEY *key, const char *cn, const char *san,
			      const char *constraints, long until)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);
	static long serial = 1;

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(x), -7200);
	X509_gmtime_adj(X509_getm_notAfter(x), until);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, ca_cert == NULL ? name : X509_get_subject_name(ca_cert));
	X509_set_pubkey(x, key);
	add_ext(x, ca_cert == NULL ? x : ca_cert, NID_basic_constraints, constraints);
	if (san != NULL)
		add_ext(x, ca_cert, NID_subject_alt_name, san);
	assert_true(X509_sign(x, ca_cert == NULL ? key : ca_key, EVP_sha256()) > 0);
	return x;
}

static inline void make_signed(struct tls_identity *id, long until)
{
	memset(id, 0, sizeof(*id));
	id->key = EVP_EC_gen("P-256");
	id->cert =
	    make_cert(id->key, "good.test", "DNS:good.test,DNS:*.wild.test,IP:127.0.0.1,IP:::1",
		      "CA:FALSE", until);
}

static inline char *path_of(const char *name)
{
	static char paths[8][256];
	static unsigned next;
	char *p = paths[next++ % 8];

	snprintf(p, sizeof(paths[0]), "%s/%s", dir, name);
	return p;
}

static inline void write_text(const char *name, const char *text)
{
	FILE *f = fopen(path_of(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static inline void write_certs(const char *name, X509 *a, X509 *b)
{
	FILE *f = fopen(path_of(name), "w");

	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, a), 1);
	if (b != NULL)
		assert_int_equal(PEM_write_X509(f, b), 1);
	fclose(f);
}

static inline void write_key(const char *name, EVP_PKEY *key, const char *password)
{
	FILE *f = fopen(path_of(name), "w");
	int ok;

	assert_non_null(f);
	ok = PEM_write_PrivateKey(f, key, password != NULL ? EVP_aes_128_cbc() : NULL,
				  (const unsigned char *)password,
				  password != NULL ? (int)strlen(password) : 0, NULL, NULL);
	assert_int_equal(ok, 1);
	fclose(f);
}

static inline int set_up(void **state)
{
	EVP_PKEY *weak;
	X509 *weak_cert;

	(void)state;
	if (mkdtemp(dir) == NULL || tls_identity_make(&self_signed) != NP_OK)
		return -1;
	ca_key = EVP_EC_gen("P-256");
	ca_cert = make_cert(ca_key, "Test CA", NULL, "critical,CA:TRUE", 86400);
	make_signed(&signed_id, 86400);
	make_signed(&expired_id, -3600);
	write_certs("ca.pem", ca_cert, NULL);
	write_certs("other.pem", self_signed.cert, NULL);
	setenv("SSL_CERT_FILE", path_of("ca.pem"), 1);
	write_certs("good.crt", signed_id.cert, ca_cert);
	write_key("good.key", signed_id.key, NULL);
	write_key("other.key", self_signed.key, NULL);
	write_key("locked.key", signed_id.key, "secret");
	weak = EVP_RSA_gen(512);
	weak_cert = make_cert(weak, "weak.test", NULL, "CA:FALSE", 86400);
	write_certs("weak.crt", weak_cert, NULL);
	write_key("weak.key", weak, NULL);
	X509_free(weak_cert);
	EVP_PKEY_free(weak);
	write_text("text.crt", "hello\n");
	write_text("empty.crt", "");
	write_text("damaged.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	return 0;
}

static inline int tear_down(void **state)
{
	static const char *const files[] = {"ca.pem",	 "other.pem",  "good.crt",   "good.key",
					    "other.key", "locked.key", "weak.crt",   "weak.key",
					    "text.crt",	 "empty.crt",  "damaged.crt"};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlink(path_of(files[i]));
	rmdir(dir);
	tls_identity_release(&self_signed);
	tls_identity_release(&signed_id);
	tls_identity_release(&expired_id);
	X509_free(ca_cert);
	EVP_PKEY_free(ca_key);
	return 0;
}

/* -- connections over a socket pair -- */

struct pair {
	struct stream client, server;
	SSL_SESSION *ticket; /* the last one that came */
	unsigned tickets;
};

static inline void pair_on_session(void *arg, SSL_SESSION *s)
{
	struct pair *p = arg;

	SSL_SESSION_free(p->ticket);
	p->ticket = s;
	p->tickets++;
}

static inline void pair_init(struct pair *p, SSL_CTX *server, SSL *client)
{
	SSL *ssl = SSL_new(server);
	int fd[2];

	memset(p, 0, sizeof(*p));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	SSL_set_accept_state(ssl);
	assert_non_null(client);
	tls_on_session(client, pair_on_session, p);
	assert_int_equal(stream_init_tls(&p->client, fd[0], client, NULL, 0), NP_OK);
	assert_int_equal(stream_init_tls(&p->server, fd[1], ssl, NULL, 0), NP_OK);
}

/* pair_shake - one thread drives both ends; true when both are through. */
static inline bool pair_shake(struct pair *p)
{
	enum stream_status c = STREAM_AGAIN, s = STREAM_AGAIN;
	char byte;
	size_t n;

	for (int i = 0; i < 20 && (c == STREAM_AGAIN || s == STREAM_AGAIN); i++) {
		if (c == STREAM_AGAIN)
			c = stream_handshake(&p->client);
		if (s == STREAM_AGAIN)
			s = stream_handshake(&p->server);
		if (c == STREAM_FAILED && s == STREAM_AGAIN)
			s = stream_handshake(&p->server);
	}
	if (c == STREAM_OK && s == STREAM_OK) /* takes the tickets */
		return stream_read(&p->client, &byte, 1, &n) == STREAM_AGAIN;
	return false;
}

static inline void pair_close(struct pair *p)
{
	stream_close(&p->client, false);
	stream_close(&p->server, false);
	SSL_SESSION_free(p->ticket);
	p->ticket = NULL;
}

static inline SSL_CTX *server_ctx(const struct tls_identity *id)
{
	SSL_CTX *ctx = NULL;

	assert_int_equal(tls_server_ctx(id, &ctx), NP_OK);
	return ctx;
}

static inline SSL_CTX *client_ctx(const char *ca)
{
	SSL_CTX *ctx = NULL;
	struct np_diag diag;

	assert_int_equal(tls_client_ctx(ca, &ctx, &diag), NP_OK);
	return ctx;
}

static inline void check_exporters(struct pair *p)
{
	uint8_t c[NP_EXPORTER_LEN], s[NP_EXPORTER_LEN], d[NP_EXPORTER_LEN];

	assert_int_equal(tls_exporter(p->client.ssl, NP_EXPORTER_CONTROL, c), NP_OK);
	assert_int_equal(tls_exporter(p->server.ssl, NP_EXPORTER_CONTROL, s), NP_OK);
	assert_int_equal(tls_exporter(p->server.ssl, NP_EXPORTER_DATA, d), NP_OK);
	assert_memory_equal(c, s, sizeof(c));
	assert_memory_not_equal(c, d, sizeof(c));
}

static inline void check_fingerprint(struct pair *p, const struct tls_identity *id)
{
	uint8_t f[NP_FINGERPRINT_LEN];

	assert_int_equal(tls_peer_fingerprint(p->client.ssl, f), NP_OK);
	assert_memory_equal(f, id->fingerprint, sizeof(f));
	assert_int_equal(tls_peer_fingerprint(p->server.ssl, f), NP_ENOTFOUND);
}

/* pair_again - a handshake with @ticket (NULL = full). pair_end - closes it; a ticket that came
 * replaces *ticket. */
static inline void pair_again(struct pair *p, SSL_CTX *server, SSL_CTX *client, const char *name,
			      SSL_SESSION *ticket)
{
	pair_init(p, server, tls_client_new(client, TLS_CONTROL, name, ticket));
	assert_true(pair_shake(p));
}

static inline void pair_end(struct pair *p, SSL_SESSION **ticket)
{
	if (p->ticket != NULL) {
		SSL_SESSION_free(*ticket);
		*ticket = p->ticket;
		p->ticket = NULL;
	}
	pair_close(p);
}

/* connect_once - one handshake; @ticket in and out (NULL in = full). Reports resumption and
 * tickets. */
static inline bool connect_once(SSL_CTX *server, SSL_CTX *client, enum tls_alpn which,
				SSL_SESSION **ticket, unsigned *tickets)
{
	struct pair p;
	bool resumed;

	pair_init(&p, server, tls_client_new(client, which, "good.test", *ticket));
	assert_true(pair_shake(&p));
	assert_int_equal(tls_alpn(p.server.ssl), which);
	assert_int_equal(tls_alpn(p.client.ssl), which);
	check_exporters(&p);
	check_fingerprint(&p, &self_signed);
	resumed = SSL_session_reused(p.client.ssl) != 0;
	assert_int_equal(SSL_session_reused(p.server.ssl) != 0, resumed);
	*tickets = p.tickets;
	pair_end(&p, ticket);
	return resumed;
}

#endif
