/*
 * test_tls.c - contexts, ALPN, resumption, exporters, verification, identities from files.
 */
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

static void add_ext(X509 *x, X509 *issuer, int nid, const char *value)
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

static X509 *make_cert(EVP_PKEY *key, const char *cn, const char *san, const char *constraints,
		       long until)
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

static void make_signed(struct tls_identity *id, long until)
{
	memset(id, 0, sizeof(*id));
	id->key = EVP_EC_gen("P-256");
	id->cert =
	    make_cert(id->key, "good.test", "DNS:good.test,DNS:*.wild.test,IP:127.0.0.1,IP:::1",
		      "CA:FALSE", until);
}

static char *path_of(const char *name)
{
	static char paths[8][256];
	static unsigned next;
	char *p = paths[next++ % 8];

	snprintf(p, sizeof(paths[0]), "%s/%s", dir, name);
	return p;
}

static void write_text(const char *name, const char *text)
{
	FILE *f = fopen(path_of(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void write_certs(const char *name, X509 *a, X509 *b)
{
	FILE *f = fopen(path_of(name), "w");

	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, a), 1);
	if (b != NULL)
		assert_int_equal(PEM_write_X509(f, b), 1);
	fclose(f);
}

static void write_key(const char *name, EVP_PKEY *key, const char *password)
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

static int set_up(void **state)
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

static int tear_down(void **state)
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

static void pair_on_session(void *arg, SSL_SESSION *s)
{
	struct pair *p = arg;

	SSL_SESSION_free(p->ticket);
	p->ticket = s;
	p->tickets++;
}

static void pair_init(struct pair *p, SSL_CTX *server, SSL *client)
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
static bool pair_shake(struct pair *p)
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

static void pair_close(struct pair *p)
{
	stream_close(&p->client, false);
	stream_close(&p->server, false);
	SSL_SESSION_free(p->ticket);
	p->ticket = NULL;
}

static SSL_CTX *server_ctx(const struct tls_identity *id)
{
	SSL_CTX *ctx = NULL;

	assert_int_equal(tls_server_ctx(id, &ctx), NP_OK);
	return ctx;
}

static SSL_CTX *client_ctx(const char *ca)
{
	SSL_CTX *ctx = NULL;
	struct np_diag diag;

	assert_int_equal(tls_client_ctx(ca, &ctx, &diag), NP_OK);
	return ctx;
}

static void check_exporters(struct pair *p)
{
	uint8_t c[NP_EXPORTER_LEN], s[NP_EXPORTER_LEN], d[NP_EXPORTER_LEN];

	assert_int_equal(tls_exporter(p->client.ssl, NP_EXPORTER_CONTROL, c), NP_OK);
	assert_int_equal(tls_exporter(p->server.ssl, NP_EXPORTER_CONTROL, s), NP_OK);
	assert_int_equal(tls_exporter(p->server.ssl, NP_EXPORTER_DATA, d), NP_OK);
	assert_memory_equal(c, s, sizeof(c));
	assert_memory_not_equal(c, d, sizeof(c));
}

static void check_fingerprint(struct pair *p, const struct tls_identity *id)
{
	uint8_t f[NP_FINGERPRINT_LEN];

	assert_int_equal(tls_peer_fingerprint(p->client.ssl, f), NP_OK);
	assert_memory_equal(f, id->fingerprint, sizeof(f));
	assert_int_equal(tls_peer_fingerprint(p->server.ssl, f), NP_ENOTFOUND);
}

/* connect_once - one handshake; @ticket in and out (NULL in = full). Reports resumption and
 * tickets. */
static bool connect_once(SSL_CTX *server, SSL_CTX *client, enum tls_alpn which,
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
	if (p.ticket != NULL) {
		SSL_SESSION_free(*ticket);
		*ticket = p.ticket;
		p.ticket = NULL;
	}
	pair_close(&p);
	return resumed;
}

static void tls__control_then_many_data__one_ticket_serves_all(void **state)
{
	SSL_CTX *server = server_ctx(&self_signed), *client = client_ctx(NULL);
	SSL_SESSION *ticket = NULL;
	unsigned tickets;

	(void)state;
	assert_false(connect_once(server, client, TLS_CONTROL, &ticket, &tickets));
	assert_int_equal(tickets, 1);
	for (int i = 0; i < 64; i++) {
		assert_true(connect_once(server, client, TLS_DATA, &ticket, &tickets));
		assert_int_equal(tickets, 0);
	}
	assert_true(connect_once(server, client, TLS_CONTROL, &ticket, &tickets));
	assert_int_equal(tickets, 1);
	SSL_SESSION_free(ticket);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void tls__data_without_ticket__gets_one(void **state)
{
	SSL_CTX *server = server_ctx(&self_signed), *client = client_ctx(NULL);
	SSL_SESSION *ticket = NULL;
	unsigned tickets;

	(void)state;
	assert_false(connect_once(server, client, TLS_DATA, &ticket, &tickets));
	assert_int_equal(tickets, 1);
	assert_true(connect_once(server, client, TLS_DATA, &ticket, &tickets));
	assert_int_equal(tickets, 0);
	SSL_SESSION_free(ticket);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void tls_tickets_rotate__previous_key__taken_and_renewed(void **state)
{
	SSL_CTX *server = server_ctx(&self_signed), *client = client_ctx(NULL);
	SSL_SESSION *ticket = NULL, *old;
	unsigned tickets;

	(void)state;
	assert_false(connect_once(server, client, TLS_CONTROL, &ticket, &tickets));
	old = SSL_SESSION_dup(ticket);
	assert_int_equal(tls_tickets_rotate(server), NP_OK);
	assert_true(connect_once(server, client, TLS_DATA, &ticket, &tickets));
	assert_int_equal(tickets, 1); /* the renewed one */
	assert_true(connect_once(server, client, TLS_DATA, &ticket, &tickets));
	assert_int_equal(tickets, 0);
	assert_int_equal(tls_tickets_rotate(server), NP_OK);
	assert_false(connect_once(server, client, TLS_DATA, &old, &tickets)); /* two keys ago */
	assert_true(connect_once(server, client, TLS_DATA, &ticket, &tickets));
	assert_int_equal(tls_tickets_rotate(client), NP_ENOTFOUND);
	SSL_SESSION_free(ticket);
	SSL_SESSION_free(old);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

struct hammer {
	SSL_CTX *server, *client;
	unsigned done, resumed;
};

/* On threads of its own: no assertions here. */
static void *hammer_main(void *arg)
{
	struct hammer *h = arg;
	SSL_SESSION *ticket = NULL;

	for (int i = 0; i < 25; i++) {
		struct pair p;

		pair_init(&p, h->server, tls_client_new(h->client, TLS_DATA, NULL, ticket));
		h->done += pair_shake(&p);
		h->resumed += SSL_session_reused(p.client.ssl) != 0;
		if (p.ticket != NULL) {
			SSL_SESSION_free(ticket);
			ticket = p.ticket;
			p.ticket = NULL;
		}
		pair_close(&p);
	}
	SSL_SESSION_free(ticket);
	return NULL;
}

static void tls__contexts_shared_by_threads__all_handshakes_succeed(void **state)
{
	SSL_CTX *server = server_ctx(&self_signed), *client = client_ctx(NULL);
	struct hammer h[3] = {
	    {server, client, 0, 0}, {server, client, 0, 0}, {server, client, 0, 0}};
	pthread_t thread[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, hammer_main, &h[i]), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(tls_tickets_rotate(server), NP_OK);
	for (int i = 0; i < 3; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(h[i].done, 25);
		assert_in_range(h[i].resumed, 15, 24);
	}
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void tls__ticket_of_another_context__full_handshake(void **state)
{
	SSL_CTX *server = server_ctx(&self_signed), *other = server_ctx(&self_signed);
	SSL_CTX *client = client_ctx(NULL);
	SSL_SESSION *ticket = NULL;
	unsigned tickets;

	(void)state;
	assert_false(connect_once(server, client, TLS_CONTROL, &ticket, &tickets));
	assert_false(connect_once(other, client, TLS_DATA, &ticket, &tickets));
	SSL_SESSION_free(ticket);
	SSL_CTX_free(server);
	SSL_CTX_free(other);
	SSL_CTX_free(client);
}

static void tls__no_alpn__handshake_succeeds_and_says_so(void **state)
{
	SSL_CTX *server = server_ctx(&self_signed), *client = client_ctx(NULL);
	struct pair p;

	(void)state;
	pair_init(&p, server, tls_client_new(client, TLS_NO_ALPN, NULL, NULL));
	assert_true(pair_shake(&p));
	assert_int_equal(tls_alpn(p.server.ssl), TLS_NO_ALPN);
	assert_int_equal(p.tickets, 0);
	pair_close(&p);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void refuse(SSL_CTX *server, SSL *client, const char *at_client)
{
	struct pair p;
	char text[128];

	pair_init(&p, server, client);
	assert_false(pair_shake(&p));
	assert_string_equal(stream_handshake_error(&p.client, text, sizeof(text)), at_client);
	pair_close(&p);
}

static void tls__other_alpn__alert(void **state)
{
	static const unsigned char h2[] = "\x02h2\x08http/1.1";
	SSL_CTX *server = server_ctx(&self_signed), *client = client_ctx(NULL);
	SSL *ssl = tls_client_new(client, TLS_NO_ALPN, NULL, NULL);

	(void)state;
	assert_int_equal(SSL_set_alpn_protos(ssl, h2, sizeof(h2) - 1), 0);
	refuse(server, ssl, "tlsv1 alert no application protocol");
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void tls__alpn_among_others__selected(void **state)
{
	static const unsigned char list[] = "\x02h2\x0fnodepass-data/2";
	SSL_CTX *server = server_ctx(&self_signed), *client = client_ctx(NULL);
	SSL *ssl = tls_client_new(client, TLS_NO_ALPN, NULL, NULL);
	struct pair p;

	(void)state;
	assert_int_equal(SSL_set_alpn_protos(ssl, list, sizeof(list) - 1), 0);
	pair_init(&p, server, ssl);
	assert_true(pair_shake(&p));
	assert_int_equal(tls_alpn(p.server.ssl), TLS_DATA);
	pair_close(&p);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void tls__client_of_1_2__refused(void **state)
{
	SSL_CTX *server = server_ctx(&self_signed), *client = SSL_CTX_new(TLS_client_method());
	SSL *ssl;

	(void)state;
	SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION);
	SSL_CTX_set_min_proto_version(client, TLS1_2_VERSION);
	ssl = SSL_new(client);
	SSL_set_connect_state(ssl);
	refuse(server, ssl, "tlsv1 alert protocol version");
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

/* A server that asks, and trusts self_signed alone. */
static SSL_CTX *asking_ctx(void)
{
	SSL_CTX *ctx = server_ctx(&self_signed);
	struct np_diag diag;

	assert_int_equal(tls_trust_load(ctx, path_of("other.pem"), &diag), NP_OK);
	tls_ask_clients(ctx);
	return ctx;
}

static void tls_ask_clients__right_certificate__taken_and_resumed(void **state)
{
	SSL_CTX *server = asking_ctx(), *client = client_ctx(NULL);
	SSL_SESSION *ticket = NULL;

	(void)state;
	assert_int_equal(tls_use_identity(client, &self_signed), NP_OK);
	for (int i = 0; i < 3; i++) {
		uint8_t shown[NP_FINGERPRINT_LEN];
		struct np_diag why;
		struct pair p;

		pair_init(&p, server, tls_client_new(client, TLS_CONTROL, NULL, ticket));
		assert_true(pair_shake(&p));
		assert_int_equal(SSL_session_reused(p.server.ssl) != 0, i > 0);
		assert_int_equal(tls_peer_fingerprint(p.server.ssl, shown), NP_OK);
		assert_memory_equal(shown, self_signed.fingerprint, sizeof(shown));
		assert_int_equal(SSL_get_verify_result(p.server.ssl), X509_V_OK);
		assert_false(tls_client_refused(p.server.ssl, &why));
		SSL_SESSION_free(ticket);
		ticket = p.ticket;
		p.ticket = NULL;
		pair_close(&p);
	}
	SSL_SESSION_free(ticket);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void check_refused(const struct tls_identity *shown, const char *text)
{
	SSL_CTX *server = asking_ctx(), *client = client_ctx(NULL);
	struct np_diag why = {.text = ""};
	struct pair p;

	if (shown != NULL)
		assert_int_equal(tls_use_identity(client, shown), NP_OK);
	pair_init(&p, server, tls_client_new(client, TLS_CONTROL, NULL, NULL));
	assert_false(pair_shake(&p));
	assert_true(tls_client_refused(p.server.ssl, &why));
	assert_non_null(strstr(why.text, text));
	pair_close(&p);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void tls_ask_clients__none_or_a_foreign_one__refused_and_named(void **state)
{
	(void)state;
	check_refused(NULL, "it showed no certificate");
	check_refused(&signed_id, "its certificate is not valid: ");
	check_refused(&expired_id, "its certificate is not valid: ");
}

static void tls_client_ctx__server_of_1_2__refused(void **state)
{
	SSL_CTX *server = NULL, *client = client_ctx(NULL);

	(void)state;
	assert_int_equal(tls_visitor_ctx(&self_signed, &server), NP_OK);
	SSL_CTX_set_max_proto_version(server, TLS1_2_VERSION);
	refuse(server, tls_client_new(client, TLS_NO_ALPN, NULL, NULL),
	       "tlsv1 alert protocol version");
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void tls_visitor_ctx__1_2_and_1_3__taken(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	SSL_CTX *server = NULL;

	(void)state;
	assert_int_equal(tls_visitor_ctx(&self_signed, &server), NP_OK);
	for (int i = 0; i < 2; i++) {
		static const unsigned char h2[] = "\x02h2";
		SSL_CTX *client = SSL_CTX_new(TLS_client_method());
		uint8_t e[NP_EXPORTER_LEN];
		struct pair p;
		SSL *ssl;

		SSL_CTX_set_max_proto_version(client, versions[i]);
		ssl = SSL_new(client);
		SSL_set_connect_state(ssl);
		assert_int_equal(SSL_set_alpn_protos(ssl, h2, sizeof(h2) - 1), 0);
		pair_init(&p, server, ssl);
		assert_true(pair_shake(&p));
		assert_int_equal(SSL_version(p.server.ssl), versions[i]);
		assert_int_equal(tls_alpn(p.server.ssl), TLS_NO_ALPN);
		assert_int_equal(tls_exporter(p.server.ssl, NP_EXPORTER_DATA, e),
				 versions[i] == TLS1_3_VERSION ? NP_OK : NP_ESTATE);
		pair_close(&p);
		SSL_CTX_free(client);
	}
	SSL_CTX_free(server);
}

static void tls_exporter__handshake_unfinished__refused(void **state)
{
	SSL_CTX *server = server_ctx(&self_signed), *client = client_ctx(NULL);
	uint8_t e[NP_EXPORTER_LEN] = {1}, f[NP_FINGERPRINT_LEN];
	struct pair p;

	(void)state;
	pair_init(&p, server, tls_client_new(client, TLS_DATA, NULL, NULL));
	assert_int_equal(stream_handshake(&p.client), STREAM_AGAIN);
	assert_int_equal(stream_handshake(&p.server), STREAM_AGAIN);
	assert_int_equal(tls_exporter(p.server.ssl, NP_EXPORTER_DATA, e), NP_ESTATE);
	assert_int_equal(tls_exporter(p.client.ssl, NP_EXPORTER_DATA, e), NP_ESTATE);
	assert_int_equal(e[0], 1);
	assert_int_equal(tls_peer_fingerprint(p.client.ssl, f), NP_ENOTFOUND);
	pair_close(&p);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void tls_client_new__names__sni_for_names_only(void **state)
{
	static const struct {
		const char *name, *sni;
	} cases[] = {{"good.test", "good.test"}, {"10.0.0.1", NULL}, {"::1", NULL},
		     {"fe80::1%lo", NULL},	 {"", NULL},	     {NULL, NULL}};
	SSL_CTX *client = client_ctx(NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		SSL *ssl = tls_client_new(client, TLS_CONTROL, cases[i].name, NULL);
		const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

		assert_non_null(ssl);
		if (cases[i].sni == NULL)
			assert_null(sni);
		else
			assert_string_equal(sni, cases[i].sni);
		SSL_free(ssl);
	}
	SSL_CTX_free(client);
}

/* -- verification -- */

/* verify_with - what tls_verify_peer says, on a full handshake and on a resumed one. */
static void verify_with(const struct tls_identity *id, const char *ca, const char *name,
			const char *expected)
{
	SSL_CTX *server = server_ctx(id), *client = client_ctx(ca);
	SSL_SESSION *ticket = NULL;

	for (int i = 0; i < 2; i++) {
		struct np_diag why = {.text = ""};
		enum np_err err;
		struct pair p;

		pair_init(&p, server, tls_client_new(client, TLS_CONTROL, name, ticket));
		assert_true(pair_shake(&p));
		assert_int_equal(SSL_session_reused(p.client.ssl), i);
		err = tls_verify_peer(client, p.client.ssl, name, &why);
		assert_int_equal(err, expected == NULL ? NP_OK : NP_EINVAL);
		if (expected != NULL)
			assert_string_equal(why.text, expected);
		SSL_SESSION_free(ticket);
		ticket = p.ticket;
		p.ticket = NULL;
		pair_close(&p);
	}
	SSL_SESSION_free(ticket);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void tls_verify_peer__good__accepted_by_name_and_address(void **state)
{
	const char *ca = path_of("ca.pem");

	(void)state;
	verify_with(&signed_id, ca, "good.test", NULL);
	verify_with(&signed_id, ca, "GOOD.test", NULL);
	verify_with(&signed_id, ca, "a.wild.test", NULL);
	verify_with(&signed_id, ca, "127.0.0.1", NULL);
	verify_with(&signed_id, ca, "::1", NULL);
	verify_with(&signed_id, NULL, "good.test", NULL); /* SSL_CERT_FILE, see set_up */
}

static void tls_verify_peer__bad__refused_with_the_reason(void **state)
{
	char ca[256];

	(void)state;
	snprintf(ca, sizeof(ca), "%s", path_of("ca.pem"));
	verify_with(&signed_id, ca, "bad.test",
		    "the certificate is not valid for bad.test: hostname mismatch");
	verify_with(&signed_id, ca, "127.0.0.2",
		    "the certificate is not valid for 127.0.0.2: IP address mismatch");
	verify_with(&signed_id, ca, "", "no name to verify it against");
	verify_with(&expired_id, ca, "good.test",
		    "the certificate is not valid for good.test: certificate has expired");
	verify_with(&self_signed, ca, "nodepass",
		    "the certificate is not valid for nodepass: self-signed certificate");
	verify_with(&signed_id, path_of("other.pem"), "good.test",
		    "the certificate is not valid for good.test: unable to get local issuer "
		    "certificate");
}

static void tls_peer_pin__key__of_the_public_key_alone(void **state)
{
	SSL_CTX *server = server_ctx(&self_signed), *client = client_ctx(NULL);
	uint8_t pin[NP_FINGERPRINT_LEN], expected[NP_FINGERPRINT_LEN], none[NP_FINGERPRINT_LEN];
	unsigned char *der = NULL;
	struct pair p;
	int len = i2d_PUBKEY(self_signed.key, &der);

	(void)state;
	assert_true(len > 0);
	assert_int_equal(EVP_Digest(der, (size_t)len, expected, NULL, EVP_sha256(), NULL), 1);
	OPENSSL_free(der);
	pair_init(&p, server, tls_client_new(client, TLS_CONTROL, NULL, NULL));
	assert_true(pair_shake(&p));
	assert_int_equal(tls_peer_pin(p.client.ssl, pin), NP_OK);
	assert_memory_equal(pin, expected, sizeof(pin));
	assert_memory_not_equal(pin, self_signed.fingerprint, sizeof(pin));
	assert_int_equal(tls_peer_pin(p.server.ssl, none), NP_ENOTFOUND);
	pair_close(&p);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

/* -- files -- */

static void tls_client_ctx__bad_ca__named(void **state)
{
	struct np_diag diag;
	char expected[512];
	SSL_CTX *ctx = NULL;

	(void)state;
	assert_int_equal(tls_client_ctx(path_of("none.pem"), &ctx, &diag), NP_ESYS);
	snprintf(expected, sizeof(expected), "ca=%s: No such file or directory",
		 path_of("none.pem"));
	assert_string_equal(diag.text, expected);
	assert_int_equal(tls_client_ctx(path_of("text.crt"), &ctx, &diag), NP_EINVAL);
	snprintf(expected, sizeof(expected), "ca=%s: no certificate in PEM form",
		 path_of("text.crt"));
	assert_string_equal(diag.text, expected);
	assert_int_equal(tls_client_ctx(dir, &ctx, &diag), NP_EINVAL);
	assert_null(ctx);
}

static void tls_identity_load__good__with_its_chain(void **state)
{
	struct tls_identity id;
	struct np_diag diag;
	uint8_t f[NP_FINGERPRINT_LEN];
	SSL_CTX *ctx;

	(void)state;
	assert_int_equal(tls_identity_load(path_of("good.crt"), path_of("good.key"), &id, &diag),
			 NP_OK);
	assert_int_equal(X509_cmp(id.cert, signed_id.cert), 0);
	assert_int_equal(sk_X509_num(id.chain), 1);
	assert_int_equal(X509_digest(id.cert, EVP_sha256(), f, NULL), 1);
	assert_memory_equal(f, id.fingerprint, sizeof(f));
	ctx = server_ctx(&id);
	SSL_CTX_free(ctx);
	tls_identity_release(&id);
	assert_null(id.cert);
}

static void tls_identity_load__bad_files__named_with_the_reason(void **state)
{
	static const struct {
		const char *crt, *key;
		enum np_err err;
		const char *text; /* %1$s = folder */
	} cases[] = {
	    {"none.crt", "good.key", NP_ESYS, "crt=%s/none.crt: No such file or directory"},
	    {"good.crt", "none.key", NP_ESYS, "key=%s/none.key: No such file or directory"},
	    {".", "good.key", NP_ESYS, "crt=%s/.: Is a directory"},
	    {"text.crt", "good.key", NP_EINVAL, "crt=%s/text.crt: no certificate in PEM form"},
	    {"empty.crt", "good.key", NP_EINVAL, "crt=%s/empty.crt: no certificate in PEM form"},
	    {"good.key", "good.key", NP_EINVAL, "crt=%s/good.key: no certificate in PEM form"},
	    {"damaged.crt", "good.key", NP_EINVAL,
	     "crt=%s/damaged.crt: the certificate is damaged"},
	    {"good.crt", "good.crt", NP_EINVAL, "key=%s/good.crt: no private key in PEM form"},
	    {"good.crt", "empty.crt", NP_EINVAL, "key=%s/empty.crt: no private key in PEM form"},
	    {"good.crt", "locked.key", NP_EINVAL,
	     "key=%s/locked.key: the key is encrypted, give one without passphrase"},
	    {"weak.crt", "weak.key", NP_EINVAL, "crt=%s/weak.crt: ee key too small"},
	};
	struct tls_identity id = {.cert = NULL};
	char crt[256], key[256], expected[512];
	struct np_diag diag;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *mark = strstr(cases[i].text, "%s");

		snprintf(crt, sizeof(crt), "%s", path_of(cases[i].crt));
		snprintf(key, sizeof(key), "%s", path_of(cases[i].key));
		snprintf(expected, sizeof(expected), "%.*s%s%s", (int)(mark - cases[i].text),
			 cases[i].text, dir, mark + 2);
		assert_int_equal(tls_identity_load(crt, key, &id, &diag), cases[i].err);
		assert_string_equal(diag.text, expected);
		assert_string_equal(diag.field, cases[i].text[0] == 'c' ? "crt" : "key");
		assert_null(id.cert);
	}
	snprintf(expected, sizeof(expected),
		 "key=%s/other.key does not belong to the certificate in %s/good.crt", dir, dir);
	assert_int_equal(tls_identity_load(path_of("good.crt"), path_of("other.key"), &id, &diag),
			 NP_EINVAL);
	assert_string_equal(diag.text, expected);
}

/* Cut or changed anywhere, a file is taken or refused with one line. */
static void tls_identity_load__mutated_files__refused_in_one_line(void **state)
{
	char whole[8192], key[256];
	struct tls_identity id;
	struct np_diag diag;
	FILE *f = fopen(path_of("good.crt"), "r");
	size_t n = fread(whole, 1, sizeof(whole), f), refused = 0;

	(void)state;
	fclose(f);
	snprintf(key, sizeof(key), "%s", path_of("good.key"));
	for (size_t i = 0; i < n; i += 7) {
		FILE *out = fopen(path_of("damaged.crt"), "w");
		char saved = whole[i];

		whole[i] = (char)(whole[i] ^ (1 << i % 7));
		fwrite(whole, 1, i % 2 ? n : i + 1, out);
		fclose(out);
		whole[i] = saved;
		diag.text[0] = '\0';
		if (tls_identity_load(path_of("damaged.crt"), key, &id, &diag) == NP_OK) {
			tls_identity_release(&id);
			continue;
		}
		assert_true(strlen(diag.text) > 0);
		assert_null(strchr(diag.text, '\n'));
		refused++;
	}
	assert_true(refused > n / 7 / 2);
}

static void tls_identity_make__two__differ_and_last(void **state)
{
	struct tls_identity other;

	(void)state;
	assert_int_equal(tls_identity_make(&other), NP_OK);
	assert_memory_not_equal(other.fingerprint, self_signed.fingerprint, NP_FINGERPRINT_LEN);
	assert_int_equal(X509_check_private_key(other.cert, other.key), 1);
	assert_int_equal(X509_cmp_current_time(X509_get0_notBefore(other.cert)), -1);
	time_t nine_years = time(NULL) + (time_t)9 * 365 * 86400;
	assert_int_equal(X509_cmp_time(X509_get0_notAfter(other.cert), &nine_years), 1);
	tls_identity_release(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tls__control_then_many_data__one_ticket_serves_all),
	    cmocka_unit_test(tls__data_without_ticket__gets_one),
	    cmocka_unit_test(tls_tickets_rotate__previous_key__taken_and_renewed),
	    cmocka_unit_test(tls__contexts_shared_by_threads__all_handshakes_succeed),
	    cmocka_unit_test(tls__ticket_of_another_context__full_handshake),
	    cmocka_unit_test(tls__no_alpn__handshake_succeeds_and_says_so),
	    cmocka_unit_test(tls__other_alpn__alert),
	    cmocka_unit_test(tls__alpn_among_others__selected),
	    cmocka_unit_test(tls__client_of_1_2__refused),
	    cmocka_unit_test(tls_ask_clients__right_certificate__taken_and_resumed),
	    cmocka_unit_test(tls_ask_clients__none_or_a_foreign_one__refused_and_named),
	    cmocka_unit_test(tls_client_ctx__server_of_1_2__refused),
	    cmocka_unit_test(tls_visitor_ctx__1_2_and_1_3__taken),
	    cmocka_unit_test(tls_exporter__handshake_unfinished__refused),
	    cmocka_unit_test(tls_client_new__names__sni_for_names_only),
	    cmocka_unit_test(tls_verify_peer__good__accepted_by_name_and_address),
	    cmocka_unit_test(tls_verify_peer__bad__refused_with_the_reason),
	    cmocka_unit_test(tls_peer_pin__key__of_the_public_key_alone),
	    cmocka_unit_test(tls_client_ctx__bad_ca__named),
	    cmocka_unit_test(tls_identity_load__good__with_its_chain),
	    cmocka_unit_test(tls_identity_load__bad_files__named_with_the_reason),
	    cmocka_unit_test(tls_identity_load__mutated_files__refused_in_one_line),
	    cmocka_unit_test(tls_identity_make__two__differ_and_last),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
