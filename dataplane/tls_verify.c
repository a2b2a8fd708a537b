/*
 * tls_verify.c - what the peer's certificate is worth: fingerprint, pin, chain and name.
 *
 * All of it works on the certificate that the SSL or, after a resumption, its session holds. Such a
 * session was duplicated in memory and has the whole chain; one that was read from its ASN.1 form
 * would have the leaf only, and verify only where that leaf is signed by an anchor.
 */
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/*
 * The system's trust store, one for the process: a bundle takes 17 ms and 0.8 MB to load, and most
 * tunnels verify nothing. Loaded at the first verification that needs it.
 */
static pthread_once_t system_once = PTHREAD_ONCE_INIT;
static X509_STORE *system_store;
static _Atomic bool system_loaded;

static void system_store_load(void)
{
	system_store = X509_STORE_new();
	/* A system without one is no error: verification will say what is missing. */
	if (system_store != NULL)
		(void)X509_STORE_set_default_paths(system_store);
	ERR_clear_error();
	atomic_store(&system_loaded, true);
}

void tls_trust_preload(void)
{
	pthread_once(&system_once, system_store_load);
}

bool tls_trust_ready(SSL_CTX *ctx)
{
	X509_STORE *own = SSL_CTX_get_cert_store(ctx);

	return atomic_load(&system_loaded) || sk_X509_OBJECT_num(X509_STORE_get0_objects(own)) > 0;
}

void tls_exit(void)
{
	X509_STORE_free(system_store);
	system_store = NULL;
}

/* A context without anchors of its own was made without ca=. */
static X509_STORE *store_of(SSL_CTX *ctx)
{
	X509_STORE *own = SSL_CTX_get_cert_store(ctx);

	if (sk_X509_OBJECT_num(X509_STORE_get0_objects(own)) > 0)
		return own;
	pthread_once(&system_once, system_store_load);
	return system_store;
}

enum np_err tls_trust_load(SSL_CTX *ctx, const char *ca, struct np_diag *diag)
{
	const char *why;
	unsigned long e;
	char text[128];

	if (ca == NULL)
		return NP_OK;
	ERR_clear_error();
	if (access(ca, R_OK) == -1)
		return np_diag_set(diag, NP_ESYS, "ca", "ca=%s: %s", ca,
				   strerror_r(errno, text, sizeof(text)));
	if (SSL_CTX_load_verify_file(ctx, ca) == 1)
		return NP_OK;
	e = ERR_peek_last_error();
	why = ERR_SYSTEM_ERROR(e) ? strerror_r(ERR_GET_REASON(e), text, sizeof(text))
				  : "no certificate in PEM form";
	ERR_clear_error();
	return np_diag_set(diag, NP_EINVAL, "ca", "ca=%s: %s", ca, why);
}

enum np_err tls_trust_read(SSL_CTX *ctx, const struct np_pem *ca, struct np_diag *diag)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	STACK_OF(X509) *list = NULL;
	enum np_err err = np_pem_certs_read(ca, &list, diag);

	for (int i = 0; err == NP_OK && i < sk_X509_num(list); i++)
		if (X509_STORE_add_cert(store, sk_X509_value(list, i)) != 1)
			err = np_diag_set(diag, NP_ENOMEM, "ca", "ca=%s: out of memory", ca->name);
	np_pem_certs_free(list);
	ERR_clear_error();
	return err;
}

void tls_ask_clients(SSL_CTX *ctx)
{
	/* The names of the authorities are not sent: a stranger learns nothing that way. */
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

bool tls_client_refused(SSL *ssl, struct np_diag *why)
{
	long code = SSL_get_verify_result(ssl);

	if ((SSL_get_verify_mode(ssl) & SSL_VERIFY_FAIL_IF_NO_PEER_CERT) == 0 ||
	    tls_alpn(ssl) != TLS_CONTROL)
		return false;
	if (code != X509_V_OK) {
		np_diag_set(why, NP_EINVAL, "certificate", "its certificate is not valid: %s",
			    X509_verify_cert_error_string(code));
		return true;
	}
	/* It had seen that a certificate is wanted: everything before is somebody else's failure. */
	if (SSL_get_state(ssl) != TLS_ST_SR_CERT)
		return false;
	np_diag_set(why, NP_EINVAL, "certificate", "it showed no certificate");
	return true;
}

bool tls_is_certificate_alert(unsigned long error)
{
	if (ERR_GET_LIB(error) != ERR_LIB_SSL)
		return false;
	switch (ERR_GET_REASON(error)) {
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		return true;
	default:
		return false;
	}
}

enum np_err tls_peer_fingerprint(SSL *ssl, uint8_t out[NP_FINGERPRINT_LEN])
{
	X509 *x = SSL_get1_peer_certificate(ssl);
	uint8_t md[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	bool ok = x != NULL && X509_digest(x, EVP_sha256(), md, &n) == 1 && n == NP_FINGERPRINT_LEN;

	X509_free(x);
	if (!ok)
		return NP_ENOTFOUND;
	memcpy(out, md, NP_FINGERPRINT_LEN);
	return NP_OK;
}

enum np_err tls_peer_pin(SSL *ssl, uint8_t out[NP_FINGERPRINT_LEN])
{
	X509 *x = SSL_get1_peer_certificate(ssl);
	uint8_t md[EVP_MAX_MD_SIZE];
	unsigned char *der = NULL;
	unsigned n = 0;
	int len = x == NULL ? -1 : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	bool ok = len > 0 && EVP_Digest(der, (size_t)len, md, &n, EVP_sha256(), NULL) == 1 &&
		  n == NP_FINGERPRINT_LEN;

	OPENSSL_free(der);
	X509_free(x);
	if (!ok)
		return NP_ENOTFOUND;
	memcpy(out, md, NP_FINGERPRINT_LEN);
	return NP_OK;
}

static bool set_name(X509_VERIFY_PARAM *param, const char *name)
{
	struct in6_addr a;

	if (inet_pton(AF_INET, name, &a) == 1 || inet_pton(AF_INET6, name, &a) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

static enum np_err verify(X509_STORE_CTX *sc, SSL_CTX *ctx, SSL *ssl, X509 *leaf, const char *name,
			  struct np_diag *why)
{
	X509_VERIFY_PARAM *param;
	int code;

	if (X509_STORE_CTX_init(sc, store_of(ctx), leaf, SSL_get_peer_cert_chain(ssl)) != 1 ||
	    X509_STORE_CTX_set_default(sc, "ssl_server") != 1)
		return np_diag_set(why, NP_EINVAL, "certificate", "out of memory");
	param = X509_STORE_CTX_get0_param(sc);
	X509_VERIFY_PARAM_set_auth_level(param, SSL_get_security_level(ssl));
	if (!set_name(param, name))
		return np_diag_set(why, NP_EINVAL, "certificate", "%s is no name to verify", name);
	if (X509_verify_cert(sc) == 1)
		return NP_OK;
	code = X509_STORE_CTX_get_error(sc);
	return np_diag_set(why, NP_EINVAL, "certificate", "the certificate is not valid for %s: %s",
			   name, X509_verify_cert_error_string(code));
}

enum np_err tls_verify_peer(SSL_CTX *ctx, SSL *ssl, const char *name, struct np_diag *why)
{
	X509_STORE_CTX *sc;
	X509 *leaf;
	enum np_err err;

	/* OpenSSL takes an empty name for "check none". */
	if (name == NULL || *name == '\0')
		return np_diag_set(why, NP_EINVAL, "certificate", "no name to verify it against");
	leaf = SSL_get1_peer_certificate(ssl);
	if (leaf == NULL)
		return np_diag_set(why, NP_EINVAL, "certificate", "the peer showed none");
	ERR_clear_error();
	sc = X509_STORE_CTX_new();
	err = sc == NULL ? np_diag_set(why, NP_EINVAL, "certificate", "out of memory")
			 : verify(sc, ctx, ssl, leaf, name, why);
	X509_STORE_CTX_free(sc);
	X509_free(leaf);
	ERR_clear_error();
	return err;
}
