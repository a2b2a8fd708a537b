/*
 * digest.c - see digest.h.
 */
#include "core/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>

static bool add(EVP_MD_CTX *md, const struct np_part *part)
{
	uint8_t len[8];

	for (int i = 0; i < 8; i++)
		len[i] = (uint8_t)((uint64_t)part->len >> (56 - 8 * i));
	return EVP_DigestUpdate(md, len, sizeof(len)) == 1 &&
	       EVP_DigestUpdate(md, part->data, part->len) == 1;
}

enum np_err np_digest(const struct np_part *parts, size_t n, uint8_t out[NP_DIGEST_LEN])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned len = NP_DIGEST_LEN;
	bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;

	for (size_t i = 0; ok && i < n; i++)
		ok = add(md, &parts[i]);
	ok = ok && EVP_DigestFinal_ex(md, out, &len) == 1;
	EVP_MD_CTX_free(md);
	return ok ? NP_OK : NP_ECRYPTO;
}

void np_crypto_thread_end(void)
{
	OPENSSL_thread_stop();
}
