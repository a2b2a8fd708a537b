/*
 * test_tls_files.c - verification of a peer, identities from files.
 */
#include "tls_bed.h"

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

		pair_again(&p, server, client, name, ticket);
		assert_int_equal(SSL_session_reused(p.client.ssl), i);
		err = tls_verify_peer(client, p.client.ssl, name, &why);
		assert_int_equal(err, expected == NULL ? NP_OK : NP_EINVAL);
		if (expected != NULL)
			assert_string_equal(why.text, expected);
		pair_end(&p, &ticket);
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
	assert_int_equal(X509_verify(other.cert, other.key), 1);
	assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(other.cert), other.key), 1);
	assert_int_equal(X509_cmp_current_time(X509_get0_notBefore(other.cert)), -1);
	time_t nine_years = time(NULL) + (time_t)9 * 365 * 86400;
	assert_int_equal(X509_cmp_time(X509_get0_notAfter(other.cert), &nine_years), 1);
	tls_identity_release(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
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
