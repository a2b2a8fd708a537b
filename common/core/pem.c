/*
 * pem.c - see pem.h.
 */
#include "core/pem.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdbool.h>

#define CHAIN_MAX   32
#define ANCHORS_MAX 1024

static BIO *bio_of(const struct np_pem *pem)
{
	const void *data = pem->len > 0 ? (const void *)pem->data : "";

	return pem->len > INT_MAX ? NULL : BIO_new_mem_buf(data, (int)pem->len);
}

/* Did reading stop at the end of the certificates, or inside a broken one? */
static bool at_end(void)
{
	unsigned long e = ERR_peek_last_error();

	return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

static enum np_err no_memory(struct np_diag *diag, const char *field, const struct np_pem *pem)
{
	return np_diag_set(diag, NP_ENOMEM, field, "%s=%s: out of memory", field, pem->name);
}

/* All that follow, up to @max. */
static enum np_err read_certs(BIO *bio, const char *field, const struct np_pem *pem, int before,
			      int max, STACK_OF(X509) * list, struct np_diag *diag)
{
	int n = before;
	X509 *x;

	ERR_clear_error();
	while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		if (++n > before + max || sk_X509_push(list, x) == 0) {
			X509_free(x);
			return np_diag_set(diag, NP_EINVAL, field,
					   "%s=%s: more than %d certificates", field, pem->name,
					   max);
		}
	}
	if (!at_end())
		return np_diag_set(diag, NP_EINVAL, field, "%s=%s: certificate %d is damaged",
				   field, pem->name, n + 1);
	ERR_clear_error();
	return NP_OK;
}

static enum np_err read_chain(BIO *bio, const struct np_pem *crt, struct np_pem_pair *pair,
			      struct np_diag *diag)
{
	ERR_clear_error();
	pair->cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	if (pair->cert == NULL)
		return np_diag_set(diag, NP_EINVAL, "crt",
				   at_end() ? "crt=%s: no certificate in PEM form"
					    : "crt=%s: the certificate is damaged",
				   crt->name);
	pair->chain = sk_X509_new_null();
	if (pair->chain == NULL)
		return no_memory(diag, "crt", crt);
	return read_certs(bio, "crt", crt, 1, CHAIN_MAX, pair->chain, diag);
}

/* Nobody can be asked: notes that the key is encrypted, and fails. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag;
	*(bool *)arg = true;
	return -1;
}

static enum np_err read_key(BIO *bio, const struct np_pem *key, struct np_pem_pair *pair,
			    struct np_diag *diag)
{
	bool encrypted = false;

	ERR_clear_error();
	pair->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &encrypted);
	ERR_clear_error();
	if (pair->key != NULL)
		return NP_OK;
	if (encrypted)
		return np_diag_set(diag, NP_EINVAL, "key",
				   "key=%s: the key is encrypted, give one without passphrase",
				   key->name);
	return np_diag_set(diag, NP_EINVAL, "key", "key=%s: no private key in PEM form", key->name);
}

/* Does OpenSSL take the pair (key size, algorithm)? Asked now, when the file can still be named. */
static enum np_err check_usable(const struct np_pem *crt, const struct np_pem_pair *pair,
				struct np_diag *diag)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	const char *why = NULL;
	enum np_err err = NP_OK;

	if (ctx == NULL)
		return no_memory(diag, "crt", crt);
	ERR_clear_error();
	if (SSL_CTX_use_cert_and_key(ctx, pair->cert, pair->key, pair->chain, 1) != 1) {
		why = ERR_reason_error_string(ERR_peek_error());
		err = np_diag_set(diag, NP_EINVAL, "crt", "crt=%s: %s", crt->name,
				  why != NULL ? why : "not usable for TLS");
	}
	ERR_clear_error();
	SSL_CTX_free(ctx);
	return err;
}

static enum np_err read_pair(const struct np_pem *crt, const struct np_pem *key,
			     struct np_pem_pair *pair, struct np_diag *diag)
{
	BIO *bio = bio_of(crt);
	enum np_err err =
	    bio == NULL ? no_memory(diag, "crt", crt) : read_chain(bio, crt, pair, diag);

	BIO_free(bio);
	if (err != NP_OK)
		return err;
	bio = bio_of(key);
	err = bio == NULL ? no_memory(diag, "key", key) : read_key(bio, key, pair, diag);
	BIO_free(bio);
	if (err != NP_OK)
		return err;
	if (X509_check_private_key(pair->cert, pair->key) != 1) {
		ERR_clear_error();
		return np_diag_set(diag, NP_EINVAL, "key",
				   "key=%s does not belong to the certificate in %s", key->name,
				   crt->name);
	}
	return check_usable(crt, pair, diag);
}

enum np_err np_pem_pair_read(const struct np_pem *crt, const struct np_pem *key,
			     struct np_pem_pair *out, struct np_diag *diag)
{
	struct np_pem_pair pair = {.cert = NULL};
	enum np_err err = read_pair(crt, key, &pair, diag);

	if (err != NP_OK) {
		np_pem_pair_release(&pair);
		return err;
	}
	*out = pair;
	return NP_OK;
}

void np_pem_pair_release(struct np_pem_pair *pair)
{
	X509_free(pair->cert);
	sk_X509_pop_free(pair->chain, X509_free);
	EVP_PKEY_free(pair->key);
	*pair = (struct np_pem_pair){.cert = NULL};
}

enum np_err np_pem_certs_read(const struct np_pem *ca, struct stack_st_X509 **out,
			      struct np_diag *diag)
{
	STACK_OF(X509) *list = sk_X509_new_null();
	BIO *bio = bio_of(ca);
	enum np_err err = NP_ENOMEM;

	if (list != NULL && bio != NULL)
		err = read_certs(bio, "ca", ca, 0, ANCHORS_MAX, list, diag);
	else
		no_memory(diag, "ca", ca);
	if (err == NP_OK && sk_X509_num(list) == 0)
		err = np_diag_set(diag, NP_EINVAL, "ca", "ca=%s: no certificate in PEM form",
				  ca->name);
	BIO_free(bio);
	if (err != NP_OK) {
		np_pem_certs_free(list);
		return err;
	}
	*out = list;
	return NP_OK;
}

void np_pem_certs_free(struct stack_st_X509 *certs)
{
	sk_X509_pop_free(certs, X509_free);
}
