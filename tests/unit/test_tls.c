/*
 * test_tls.c - contexts, ALPN, resumption, exporters, certificates of clients.
 */
#include "tls_bed.h"

#include <pthread.h>

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

		pair_again(&p, server, client, NULL, ticket);
		assert_int_equal(SSL_session_reused(p.server.ssl) != 0, i > 0);
		assert_int_equal(tls_peer_fingerprint(p.server.ssl, shown), NP_OK);
		assert_memory_equal(shown, self_signed.fingerprint, sizeof(shown));
		assert_int_equal(SSL_get_verify_result(p.server.ssl), X509_V_OK);
		assert_false(tls_client_refused(p.server.ssl, &why));
		pair_end(&p, &ticket);
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
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
