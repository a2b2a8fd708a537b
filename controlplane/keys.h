/*
 * keys.h - K of tunnel keys that are words, derived once for each word: a data plane that is started
 * again gets salt and K with the instance. Two helper threads derive (45 ms and 16 MiB each), in the
 * order in which they were asked. Thread: the loop's.
 */
#ifndef CP_KEYS_H
#define CP_KEYS_H

#include "core/digest.h"
#include "core/proof.h"

#include <event2/event.h>

#define KEYS_MAX     20000 /* words that are remembered or waited for */
#define KEYS_THREADS 2

struct keys;

struct key_auth {
	uint8_t salt[NP_SALT_LEN], k[NP_K_LEN]; /* k is a secret */
};

struct keys_callbacks {
	/* Does anybody still want it? Asked before it is derived. */
	bool (*wanted)(void *arg, const uint8_t digest[NP_DIGEST_LEN]);
	void (*derived)(void *arg, const uint8_t digest[NP_DIGEST_LEN]);
	void (*failed)(void *arg); /* some word was given up: want it again, later */
};

enum np_err keys_new(struct event_base *base, const struct keys_callbacks *cb, void *arg,
		     struct keys **out) NP_MUST_CHECK;
/* keys_digest - what a word is known by here. Errors: NP_ECRYPTO. */
enum np_err keys_digest(const char *word, size_t len, uint8_t out[NP_DIGEST_LEN]) NP_MUST_CHECK;
/* keys_find - salt and K if they are known. */
bool keys_find(const struct keys *k, const uint8_t digest[NP_DIGEST_LEN], struct key_auth *out);
/* keys_put - from the store; what is known already stays. */
void keys_put(struct keys *k, const uint8_t digest[NP_DIGEST_LEN], const struct key_auth *auth);
/* keys_want - derived is called when it is known; once, however often it was wanted. Errors: NP_ENOMEM,
 * NP_ELIMIT, NP_ESYS. */
enum np_err keys_want(struct keys *k, const uint8_t digest[NP_DIGEST_LEN], const char *word,
		      size_t len) NP_MUST_CHECK;
void keys_free(struct keys *k);

#endif
