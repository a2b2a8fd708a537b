/*
 * pem.h - certificates and keys in PEM form, from memory: read, checked, with a diagnosis that names
 * the file they came from and the reason. Pure; never asks for a passphrase. Keys that are encrypted
 * are refused.
 *
 * Who uses this links OpenSSL::SSL (both planes do): what TLS takes is asked of a TLS context.
 */
#ifndef NP_CORE_PEM_H
#define NP_CORE_PEM_H

#include "base/err.h"

#include <openssl/safestack.h>
#include <openssl/types.h>
#include <stdint.h>

struct stack_st_X509;

/* Borrowed. @name: the path, for diagnoses. */
struct np_pem {
	const char *name;
	const uint8_t *data;
	size_t len;
};

/* Owned by the caller; np_pem_pair_release. */
struct np_pem_pair {
	X509 *cert;
	struct stack_st_X509 *chain; /* may be NULL */
	EVP_PKEY *key;
};

/*
 * np_pem_pair_read - certificate, the chain behind it, and the key that belongs to it; usable for
 * TLS. @diag->field is "crt" or "key". Errors: NP_EINVAL, NP_ENOMEM.
 */
enum np_err np_pem_pair_read(const struct np_pem *crt, const struct np_pem *key,
			     struct np_pem_pair *out, struct np_diag *diag) NP_MUST_CHECK;
void np_pem_pair_release(struct np_pem_pair *pair);
/* np_pem_certs_read - trust anchors: one certificate or more. Errors: NP_EINVAL (@diag: "ca"),
 * NP_ENOMEM. np_pem_certs_free - NULL is fine. */
enum np_err np_pem_certs_read(const struct np_pem *ca, struct stack_st_X509 **out,
			      struct np_diag *diag) NP_MUST_CHECK;
void np_pem_certs_free(struct stack_st_X509 *certs);

#endif
