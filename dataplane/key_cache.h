/*
 * key_cache.h - K of tunnel keys, derived once per key and process: a thousand instances with the
 * same word cost one scrypt. Each key has one salt for the life of the process.
 */
#ifndef NP_KEY_CACHE_H
#define NP_KEY_CACHE_H

#include "core/proof.h"

/* Keys that are remembered; others are derived each time, with a salt of their own. */
#define KEY_CACHE_MAX 10000

/*
 * key_cache_derive - salt and K of @key. Blocks: 45 ms for a new word, or as long as another thread
 * derives the same one. Thread: any but the loops. Errors: NP_ECRYPTO.
 */
enum np_err key_cache_derive(enum np_key_kind kind, const char *key, size_t len,
			     uint8_t salt[NP_SALT_LEN], uint8_t k[NP_K_LEN]) NP_MUST_CHECK;
/* key_cache_exit - wipes it; at the end of the process, and between tests. */
void key_cache_exit(void);

#endif
