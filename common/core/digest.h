/*
 * digest.h - SHA-256 of several parts, each with its length, so that what stands in one part is never
 * taken for the beginning of the next. Pure.
 */
#ifndef NP_CORE_DIGEST_H
#define NP_CORE_DIGEST_H

#include "base/err.h"

#include <stdint.h>

#define NP_DIGEST_LEN 32

struct np_part {
	const void *data;
	size_t len;
};

/* np_digest - Errors: NP_ECRYPTO. */
enum np_err np_digest(const struct np_part *parts, size_t n,
		      uint8_t out[NP_DIGEST_LEN]) NP_MUST_CHECK;

/*
 * np_crypto_thread_end - gives back what libcrypto keeps for the calling thread. For threads that
 * nobody joins, before they say that they are gone: their own end may come after the process's.
 */
void np_crypto_thread_end(void);

#endif
