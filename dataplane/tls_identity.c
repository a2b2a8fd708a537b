/*
 * tls_identity.c - certificates and keys: made in memory, or loaded from PEM files.
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

enum np_err tls_use_identity(SSL_CTX *ctx, const struct tls_identity *id)
{
	return SSL_CTX_use_cert_and_key(ctx, id->cert, id->key, id->chain, 1) == 1 ? NP_OK
										   : NP_ECRYPTO;
}

/* -- made here -- */

/*
 * public_key_set - as X509_set_pubkey does, which first makes all of OpenSSL's encoders of keys: a
 * sixth of what a server does until it runs. @x knows the key when it was read again: read_again.
 */
static bool public_key_set(X509 *x, EVP_PKEY *key)
{
	unsigned char *point = NULL;
	size_t len = EVP_PKEY_get1_encoded_public_key(key, &point);

	if (len > 0 && X509_PUBKEY_set0_param(
			   X509_get_X509_PUBKEY(x), OBJ_nid2obj(NID_X9_62_id_ecPublicKey),
			   V_ASN1_OBJECT, OBJ_nid2obj(NID_X9_62_prime256v1), point, (int)len) == 1)
		return true;
	OPENSSL_free(point);
	return false;
}

/* read_again - @x, as one reads it who gets it. */
static bool read_again(X509 **x)
{
	unsigned char *der = NULL;
	int len = i2d_X509(*x, &der);
	const unsigned char *p = der;
	X509 *read = len > 0 ? d2i_X509(NULL, &p, len) : NULL;

	OPENSSL_free(der);
	if (read == NULL)
		return false;
	X509_free(*x);
	*x = read;
	return true;
}

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
	       X509_set_issuer_name(x, name) == 1 && public_key_set(x, key) &&
	       X509_sign(x, key, EVP_sha256()) > 0;
}

enum np_err tls_identity_make(struct tls_identity *out)
{
	struct tls_identity id = {.cert = NULL};

	if (!tls_ready())
		return NP_ECRYPTO;
	id.cert = X509_new();
	id.key = EVP_EC_gen("P-256");
	if (id.cert == NULL || id.key == NULL || !self_sign(id.cert, id.key) ||
	    !read_again(&id.cert) || !fingerprint_of(id.cert, id.fingerprint)) {
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

static enum np_err file_read(const char *field, const char *path, BIO **bio, struct np_pem *out,
			     struct np_diag *diag)
{
	char *data;

	*bio = pem_file_read(path);
	if (*bio == NULL)
		return open_failed(field, path, diag);
	*out = (struct np_pem){.name = path, .len = (size_t)BIO_get_mem_data(*bio, &data)};
	out->data = (const uint8_t *)data;
	return NP_OK;
}

enum np_err tls_identity_read(const struct np_pem *crt, const struct np_pem *key,
			      struct tls_identity *out, struct np_diag *diag)
{
	struct tls_identity id = {.cert = NULL};
	struct np_pem_pair pair;
	enum np_err err = np_pem_pair_read(crt, key, &pair, diag);

	if (err != NP_OK)
		return err;
	id.cert = pair.cert;
	id.chain = pair.chain;
	id.key = pair.key;
	if (!fingerprint_of(id.cert, id.fingerprint)) {
		tls_identity_release(&id);
		return np_diag_set(diag, NP_ENOMEM, "crt", "crt=%s: out of memory", crt->name);
	}
	*out = id;
	return NP_OK;
}

enum np_err tls_identity_load(const char *crt, const char *key, struct tls_identity *out,
			      struct np_diag *diag)
{
	BIO *crt_bio = NULL, *key_bio = NULL;
	struct np_pem crt_pem, key_pem;
	enum np_err err = file_read("crt", crt, &crt_bio, &crt_pem, diag);

	if (err == NP_OK)
		err = file_read("key", key, &key_bio, &key_pem, diag);
	if (err == NP_OK)
		err = tls_identity_read(&crt_pem, &key_pem, out, diag);
	BIO_free(crt_bio);
	BIO_free(key_bio);
	return err;
}
