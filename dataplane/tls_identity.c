/*
 * tls_identity.c - certificates and keys: made in memory, or loaded from PEM files with a diagnosis
 * that names the file and the reason. Never asks for a passphrase.
 */
#include "tls.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

#define PEM_FILE_MAX	 (1024 * 1024)
#define CHAIN_MAX	 32
#define SELF_SIGNED_DAYS (10 * 365)

static bool fingerprint_of(const X509 *cert, uint8_t out[NP_FINGERPRINT_LEN])
{
	unsigned n = NP_FINGERPRINT_LEN;

	return X509_digest(cert, EVP_sha256(), out, &n) == 1 && n == NP_FINGERPRINT_LEN;
}

void tls_identity_release(struct tls_identity *id)
{
	X509_free(id->cert);
	sk_X509_pop_free(id->chain, X509_free);
	EVP_PKEY_free(id->key);
	*id = (struct tls_identity){.cert = NULL};
}

/* -- made here -- */

static bool self_sign(X509 *x, EVP_PKEY *key)
{
	static const unsigned char cn[] = "nodepass";
	X509_NAME *name = X509_get_subject_name(x);
	uint64_t serial;

	if (np_random(&serial, sizeof(serial)) != NP_OK)
		return false;
	return X509_set_version(x, X509_VERSION_3) == 1 &&
	       ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1 | 1) == 1 &&
	       X509_gmtime_adj(X509_getm_notBefore(x), -86400) != NULL && /* clocks differ */
	       X509_time_adj_ex(X509_getm_notAfter(x), SELF_SIGNED_DAYS, 0, NULL) != NULL &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, cn, -1, -1, 0) == 1 &&
	       X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, key) == 1 &&
	       X509_sign(x, key, EVP_sha256()) > 0;
}

enum np_err tls_identity_make(struct tls_identity *out)
{
	struct tls_identity id = {.cert = X509_new(), .key = EVP_EC_gen("P-256")};

	if (id.cert == NULL || id.key == NULL || !self_sign(id.cert, id.key) ||
	    !fingerprint_of(id.cert, id.fingerprint)) {
		tls_identity_release(&id);
		return NP_ECRYPTO;
	}
	*out = id;
	return NP_OK;
}

/* -- loaded -- */

/* pem_file_read - the file's bytes; errno says why not. */
static BIO *pem_file_read(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	BIO *mem = fd == -1 ? NULL : BIO_new(BIO_s_secmem());
	char part[4096];
	size_t total = 0;
	ssize_t n = -1;

	if (fd == -1)
		return NULL;
	while (mem != NULL && (n = read(fd, part, sizeof(part))) != 0) {
		if (n == -1 && errno == EINTR)
			continue;
		total += n > 0 ? (size_t)n : 0;
		if (n == -1 || total > PEM_FILE_MAX) {
			err = n == -1 ? errno : EFBIG;
			break;
		}
		if (BIO_write(mem, part, (int)n) != n) {
			err = ENOMEM;
			break;
		}
	}
	np_wipe(part, sizeof(part));
	close(fd);
	if (err != 0) {
		BIO_free(mem);
		mem = NULL;
	}
	errno = err != 0 ? err : ENOMEM;
	return mem;
}

static enum np_err open_failed(const char *field, const char *path, struct np_diag *diag)
{
	enum np_err err = errno == ENOMEM ? NP_ENOMEM : NP_ESYS;
	char text[128];

	return np_diag_set(diag, err, field, "%s=%s: %s", field, path,
			   strerror_r(errno, text, sizeof(text)));
}

/* pem_end - did reading stop at the end of the file's certificates, or inside a broken one? */
static bool pem_end(void)
{
	unsigned long e = ERR_peek_last_error();

	return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

static enum np_err read_chain(BIO *bio, const char *path, struct tls_identity *id,
			      struct np_diag *diag)
{
	int n = 0;

	ERR_clear_error();
	id->cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	if (id->cert == NULL)
		return np_diag_set(diag, NP_EINVAL, "crt",
				   pem_end() ? "crt=%s: no certificate in PEM form"
					     : "crt=%s: the certificate is damaged",
				   path);
	id->chain = sk_X509_new_null();
	if (id->chain == NULL)
		return np_diag_set(diag, NP_ENOMEM, "crt", "crt=%s: out of memory", path);
	for (;;) {
		X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);

		if (x == NULL)
			break;
		if (++n > CHAIN_MAX || sk_X509_push(id->chain, x) == 0) {
			X509_free(x);
			return np_diag_set(diag, NP_EINVAL, "crt",
					   "crt=%s: more than %d certificates", path, CHAIN_MAX);
		}
	}
	if (!pem_end())
		return np_diag_set(diag, NP_EINVAL, "crt", "crt=%s: certificate %d is damaged",
				   path, n + 2);
	ERR_clear_error();
	return NP_OK;
}

/* Nobody can be asked: notes that the key is encrypted, and fails. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag;
	*(bool *)arg = true;
	return -1;
}

static enum np_err read_key(BIO *bio, const char *path, struct tls_identity *id,
			    struct np_diag *diag)
{
	bool encrypted = false;

	ERR_clear_error();
	id->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &encrypted);
	ERR_clear_error();
	if (id->key != NULL)
		return NP_OK;
	if (encrypted)
		return np_diag_set(diag, NP_EINVAL, "key",
				   "key=%s: the key is encrypted, give one without passphrase",
				   path);
	return np_diag_set(diag, NP_EINVAL, "key", "key=%s: no private key in PEM form", path);
}

/* Does OpenSSL take the pair (key size, algorithm)? Asked now, when the file can still be named. */
static enum np_err check_usable(const char *path, const struct tls_identity *id,
				struct np_diag *diag)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	const char *why = NULL;
	enum np_err err = NP_OK;

	if (ctx == NULL)
		return np_diag_set(diag, NP_ENOMEM, "crt", "crt=%s: out of memory", path);
	ERR_clear_error();
	if (SSL_CTX_use_cert_and_key(ctx, id->cert, id->key, id->chain, 1) != 1) {
		why = ERR_reason_error_string(ERR_peek_error());
		err = np_diag_set(diag, NP_EINVAL, "crt", "crt=%s: %s", path,
				  why != NULL ? why : "not usable for TLS");
	}
	ERR_clear_error();
	SSL_CTX_free(ctx);
	return err;
}

static enum np_err load(const char *crt, const char *key, struct tls_identity *id,
			struct np_diag *diag)
{
	enum np_err err;
	BIO *bio = pem_file_read(crt);

	if (bio == NULL)
		return open_failed("crt", crt, diag);
	err = read_chain(bio, crt, id, diag);
	BIO_free(bio);
	if (err != NP_OK)
		return err;
	bio = pem_file_read(key);
	if (bio == NULL)
		return open_failed("key", key, diag);
	err = read_key(bio, key, id, diag);
	BIO_free(bio);
	if (err != NP_OK)
		return err;
	if (X509_check_private_key(id->cert, id->key) != 1) {
		ERR_clear_error();
		return np_diag_set(diag, NP_EINVAL, "key",
				   "key=%s does not belong to the certificate in %s", key, crt);
	}
	if (!fingerprint_of(id->cert, id->fingerprint))
		return np_diag_set(diag, NP_ENOMEM, "crt", "crt=%s: out of memory", crt);
	return check_usable(crt, id, diag);
}

enum np_err tls_identity_load(const char *crt, const char *key, struct tls_identity *out,
			      struct np_diag *diag)
{
	struct tls_identity id = {.cert = NULL};
	enum np_err err = load(crt, key, &id, diag);

	if (err != NP_OK) {
		tls_identity_release(&id);
		return err;
	}
	*out = id;
	return NP_OK;
}
