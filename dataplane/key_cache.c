/*
 * key_cache.c - derived tunnel keys by the digest of what they come from. See key_cache.h.
 *
 * Helper threads meet here: the lock guards the table and is never held while a key is derived.
 */
#include "key_cache.h"

#include "base/alloc.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define DIGEST_LEN 32

struct derived {
	uint8_t digest[DIGEST_LEN]; /* SHA-256 of the kind and the key */
	uint8_t salt[NP_SALT_LEN], k[NP_K_LEN];
	bool ready; /* else a thread derives it just now */
	UT_hash_handle hh;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct derived *table;

static enum np_err digest_of(enum np_key_kind kind, const char *key, size_t len,
			     uint8_t out[DIGEST_LEN])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	const uint8_t byte = (uint8_t)kind;
	unsigned n = DIGEST_LEN;
	bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
		  EVP_DigestUpdate(md, &byte, 1) == 1 && EVP_DigestUpdate(md, key, len) == 1 &&
		  EVP_DigestFinal_ex(md, out, &n) == 1;

	EVP_MD_CTX_free(md);
	return ok ? NP_OK : NP_ECRYPTO;
}

static void derived_free(struct derived *d)
{
	np_wipe(d, sizeof(*d));
	np_free(d);
}

static enum np_err derive_fresh(enum np_key_kind kind, const char *key, size_t len,
				uint8_t salt[NP_SALT_LEN], uint8_t k[NP_K_LEN])
{
	enum np_err err = np_random(salt, NP_SALT_LEN);

	return err == NP_OK ? np_key_derive(kind, key, len, salt, k) : err;
}

/* The entry of @digest when it is ready; NULL: *own is a new one that the caller fills, or NULL
 * when there is no room. Called with the lock held. */
static struct derived *find(const uint8_t digest[DIGEST_LEN], struct derived **own)
{
	struct derived *d;

	*own = NULL;
	for (;;) {
		HASH_FIND(hh, table, digest, DIGEST_LEN, d);
		if (d == NULL || d->ready)
			break;
		pthread_cond_wait(&changed, &lock);
	}
	if (d != NULL || HASH_COUNT(table) >= KEY_CACHE_MAX)
		return d;
	d = np_calloc(1, sizeof(*d));
	if (d == NULL)
		return NULL;
	memcpy(d->digest, digest, DIGEST_LEN);
	HASH_ADD(hh, table, digest, DIGEST_LEN, d);
	if (d->hh.tbl == NULL)
		np_free(d);
	else
		*own = d;
	return NULL;
}

enum np_err key_cache_derive(enum np_key_kind kind, const char *key, size_t len,
			     uint8_t salt[NP_SALT_LEN], uint8_t k[NP_K_LEN])
{
	uint8_t digest[DIGEST_LEN];
	struct derived *d, *own;
	enum np_err err = digest_of(kind, key, len, digest);

	if (err != NP_OK)
		return err;
	pthread_mutex_lock(&lock);
	d = find(digest, &own);
	if (d != NULL) {
		memcpy(salt, d->salt, NP_SALT_LEN);
		memcpy(k, d->k, NP_K_LEN);
	}
	pthread_mutex_unlock(&lock);
	if (d != NULL)
		return NP_OK;
	err = derive_fresh(kind, key, len, salt, k);
	if (own == NULL)
		return err;
	pthread_mutex_lock(&lock);
	if (err == NP_OK) {
		memcpy(own->salt, salt, NP_SALT_LEN);
		memcpy(own->k, k, NP_K_LEN);
		own->ready = true;
	} else {
		HASH_DEL(table, own);
		derived_free(own);
	}
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return err;
}

void key_cache_exit(void)
{
	struct derived *d, *next;

	pthread_mutex_lock(&lock);
	HASH_ITER (hh, table, d, next) {
		if (!d->ready) /* a helper that was not waited for writes to it yet */
			continue;
		HASH_DEL(table, d);
		derived_free(d);
	}
	pthread_mutex_unlock(&lock);
}
