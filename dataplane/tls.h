/*
 * tls.h - TLS contexts of tunnels: identities, ALPN, tickets, verification, exporters. TLS 1.3
 * only.
 */
#ifndef NP_TLS_H
#define NP_TLS_H

#include "base/err.h"
#include "core/pem.h"
#include "core/proof.h"

#include <openssl/ssl.h>

#define TLS_ALPN_CONTROL "nodepass-control/2"
#define TLS_ALPN_DATA	 "nodepass-data/2"

/* A certificate chain and its private key. */
struct tls_identity {
	X509 *cert;				 /* owned */
	STACK_OF(X509) * chain;			 /* owned, may be NULL */
	EVP_PKEY *key;				 /* owned */
	uint8_t fingerprint[NP_FINGERPRINT_LEN]; /* SHA-256 of the certificate's DER */
};

/* tls_identity_make - in memory, ECDSA P-256, self-signed, ten years. Errors: NP_ECRYPTO,
 * NP_ENOMEM. */
enum np_err tls_identity_make(struct tls_identity *out) NP_MUST_CHECK;
/*
 * tls_identity_load - PEM files. @diag names the file and the reason (unreadable, no PEM, key does
 * not match). Blocks: file reads; at start or on a helper thread. Errors: NP_EINVAL, NP_ESYS,
 * NP_ENOMEM.
 */
enum np_err tls_identity_load(const char *crt, const char *key, struct tls_identity *out,
			      struct np_diag *diag) NP_MUST_CHECK;
/* tls_identity_read - the same from memory. Errors: NP_EINVAL, NP_ENOMEM. */
enum np_err tls_identity_read(const struct np_pem *crt, const struct np_pem *key,
			      struct tls_identity *out, struct np_diag *diag) NP_MUST_CHECK;
void tls_identity_release(struct tls_identity *id);
/* tls_use_identity - what a client's @ctx shows a server that asks for it. Errors: NP_ECRYPTO. */
enum np_err tls_use_identity(SSL_CTX *ctx, const struct tls_identity *id) NP_MUST_CHECK;

/*
 * tls_server_ctx - for a tunnel port: ALPN control or data is selected (none offered: tls_alpn
 * gives NONE and the caller closes); session tickets with keys that rotate every 12 h; one ticket
 * on control connections; none on data connections, but for those that came without a ticket or
 * with one of the previous key; no early data. Errors: NP_ECRYPTO. tls_visitor_ctx - for visitors
 * of a single-end client: no ALPN, TLS 1.2 and 1.3, no tickets kept in a cache. tls_client_ctx - a
 * client's: verification is done by tls_verify_peer, not by the handshake; sessions handed to the
 * callback of tls_on_session. @ca: PEM file, NULL = the system store (honours SSL_CERT_FILE/_DIR).
 * @diag names an unreadable ca.
 */
enum np_err tls_server_ctx(const struct tls_identity *id, SSL_CTX **out) NP_MUST_CHECK;
enum np_err tls_visitor_ctx(const struct tls_identity *id, SSL_CTX **out) NP_MUST_CHECK;
enum np_err tls_client_ctx(const char *ca, SSL_CTX **out, struct np_diag *diag) NP_MUST_CHECK;

/* tls_trust_load - the part of tls_client_ctx that reads @ca. Errors: NP_ESYS, NP_EINVAL. */
enum np_err tls_trust_load(SSL_CTX *ctx, const char *ca, struct np_diag *diag) NP_MUST_CHECK;
/* tls_trust_read - trust anchors from memory. Errors: NP_EINVAL, NP_ENOMEM. */
enum np_err tls_trust_read(SSL_CTX *ctx, const struct np_pem *ca,
			   struct np_diag *diag) NP_MUST_CHECK;
/*
 * tls_ask_clients - a server's @ctx takes only clients with a certificate of an authority that it
 * trusts. A resumed session was checked when it was made, by the same context. tls_client_refused - did the handshake fail for the certificate of a client of
 * ours? @why: one line.
 */
void tls_ask_clients(SSL_CTX *ctx);
bool tls_client_refused(SSL *ssl, struct np_diag *why);
/* tls_is_certificate_alert - is @error, of OpenSSL's queue, the peer's word that it does not take our
 * certificate? */
bool tls_is_certificate_alert(unsigned long error);
/*
 * tls_trust_preload - loads the system's trust store, once. Blocks: 17 ms; not on a loop.
 * tls_trust_ready - would tls_verify_peer with @ctx not have to load it?
 * tls_exit - gives it back; at the end of the process.
 */
void tls_trust_preload(void);
bool tls_trust_ready(SSL_CTX *ctx);
void tls_exit(void);
/* tls_tickets_rotate - new ticket keys for a server's @ctx now, not after 12 h; those in use become
 * the previous ones. Errors: NP_ENOTFOUND (no server's context), NP_ECRYPTO. */
enum np_err tls_tickets_rotate(SSL_CTX *ctx) NP_MUST_CHECK;

enum tls_alpn { TLS_NO_ALPN = 0, TLS_CONTROL, TLS_DATA };
enum tls_alpn tls_alpn(const SSL *ssl);

/*
 * tls_client_new - a client SSL for @which, SNI @name (NULL or an IP literal: none sent), resuming
 * @session (NULL = full handshake; a duplicate is used, @session stays the caller's).
 */
SSL *tls_client_new(SSL_CTX *ctx, enum tls_alpn which, const char *name, SSL_SESSION *session);
/* tls_on_session - @fn gets every new ticket of @ssl, on the thread that reads from it; it owns the
 * session. */
void tls_on_session(SSL *ssl, void (*fn)(void *arg, SSL_SESSION *s), void *arg);

/* tls_ready - OpenSSL has what all its functions need; without memory at its first use it has not,
 * for good, and would crash. */
bool tls_ready(void);
/* tls_exporter - 32 bytes; only when the handshake is finished and the version is 1.3. Errors:
 * NP_ESTATE, NP_ECRYPTO. */
enum np_err tls_exporter(SSL *ssl, const char *label, uint8_t out[NP_EXPORTER_LEN]) NP_MUST_CHECK;
/* tls_peer_fingerprint - SHA-256 of the peer's certificate (also after resumption). Errors:
 * NP_ENOTFOUND. */
enum np_err tls_peer_fingerprint(SSL *ssl, uint8_t out[NP_FINGERPRINT_LEN]) NP_MUST_CHECK;
/* tls_peer_pin - SHA-256 of the peer's public key (SubjectPublicKeyInfo). Errors: NP_ENOTFOUND. */
enum np_err tls_peer_pin(SSL *ssl, uint8_t out[NP_FINGERPRINT_LEN]) NP_MUST_CHECK;
/*
 * tls_verify_peer - chain (trust store of @ctx), time and name (DNS name or IP literal @name) of
 * the certificate the peer showed. @why (may be NULL) gets one line. Blocks: the first call of the
 * process for a context without ca reads the system's store. Errors: NP_EINVAL.
 */
enum np_err tls_verify_peer(SSL_CTX *ctx, SSL *ssl, const char *name,
			    struct np_diag *why) NP_MUST_CHECK;

#endif
