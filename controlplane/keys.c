/*
 * keys.c - see keys.h. Words stand in line here and go to the helpers two at a time, so that those
 * which nobody wants any more cost nothing.
 */
#include "keys.h"

#include "base/alloc.h"
#include "base/log.h"
#include "helpers.h"

#include <string.h>

#define uthash_malloc(n)  np_malloc(n)
#define uthash_free(p, n) np_free(p)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#include "base/banned.h"

struct word {
	uint8_t digest[NP_DIGEST_LEN];
	UT_hash_handle hh;	  /* keys->words */
	struct word *prev, *next; /* keys->line */
	struct key_auth auth;
	bool ready;
	char *text; /* owned; a secret; NULL = with the job, or ready */
	size_t len;
};

struct derive_job {
	struct helper_job job;
	struct keys *keys;
	struct word *word; /* of the loop */
	char *text;	   /* owned; wiped */
	size_t len;
	struct key_auth auth;
	enum np_err err;
};

struct keys {
	struct helpers *helpers; /* owned */
	struct keys_callbacks cb;
	void *arg;
	struct word *words, *line;
	unsigned running;
};

enum np_err keys_digest(const char *word, size_t len, uint8_t out[NP_DIGEST_LEN])
{
	const struct np_part part = {word, len};

	return np_digest(&part, 1, out);
}

static void text_free(char *text, size_t len)
{
	if (text != NULL)
		np_wipe(text, len);
	np_free(text);
}

static void word_free(struct keys *k, struct word *w)
{
	HASH_DEL(k->words, w);
	text_free(w->text, w->len);
	np_wipe(w, sizeof(*w));
	np_free(w);
}

static struct word *word_find(const struct keys *k, const uint8_t digest[NP_DIGEST_LEN])
{
	struct word *w;

	HASH_FIND(hh, k->words, digest, NP_DIGEST_LEN, w);
	return w;
}

/* The oldest one that is known makes room. False: all are waited for. */
static bool make_room(struct keys *k)
{
	struct word *w, *next;

	if (HASH_COUNT(k->words) < KEYS_MAX)
		return true;
	HASH_ITER (hh, k->words, w, next) {
		if (w->ready) {
			word_free(k, w);
			return true;
		}
	}
	return false;
}

static enum np_err word_new(struct keys *k, const uint8_t digest[NP_DIGEST_LEN], struct word **out)
{
	struct word *w;

	if (!make_room(k))
		return NP_ELIMIT;
	w = np_calloc(1, sizeof(*w));
	if (w == NULL)
		return NP_ENOMEM;
	memcpy(w->digest, digest, NP_DIGEST_LEN);
	HASH_ADD(hh, k->words, digest, NP_DIGEST_LEN, w);
	if (w->hh.tbl == NULL) {
		np_free(w);
		return NP_ENOMEM;
	}
	*out = w;
	return NP_OK;
}

bool keys_find(const struct keys *k, const uint8_t digest[NP_DIGEST_LEN], struct key_auth *out)
{
	const struct word *w = word_find(k, digest);

	if (w == NULL || !w->ready)
		return false;
	*out = w->auth;
	return true;
}

void keys_put(struct keys *k, const uint8_t digest[NP_DIGEST_LEN], const struct key_auth *auth)
{
	struct word *w = word_find(k, digest);

	/* Without memory it is derived again when another instance has the same word. */
	if (w != NULL || word_new(k, digest, &w) != NP_OK)
		return;
	w->auth = *auth;
	w->ready = true;
}

/* -- deriving -- */

static void job_run(struct helper_job *job)
{
	struct derive_job *j = (struct derive_job *)job;

	j->err = np_random(j->auth.salt, sizeof(j->auth.salt));
	if (j->err == NP_OK)
		j->err = np_key_derive(NP_KEY_WORD, j->text, j->len, j->auth.salt, j->auth.k);
}

static void job_drop(struct helper_job *job)
{
	struct derive_job *j = (struct derive_job *)job;

	text_free(j->text, j->len);
	np_wipe(j, sizeof(*j));
	np_free(j);
}

static void line_go_on(struct keys *k);

static void job_done(struct helper_job *job)
{
	struct derive_job *j = (struct derive_job *)job;
	struct keys *k = j->keys;
	struct word *w = j->word;
	uint8_t digest[NP_DIGEST_LEN];
	bool ok = j->err == NP_OK;

	k->running--;
	memcpy(digest, w->digest, sizeof(digest));
	if (ok) {
		w->auth = j->auth;
		w->ready = true;
	} else {
		np_log(NP_LOG_ERROR, NULL, "a tunnel key cannot be derived: %s",
		       np_err_text(j->err));
		word_free(k, w);
	}
	job_drop(job);
	line_go_on(k);
	if (ok)
		k->cb.derived(k->arg, digest);
	else
		k->cb.failed(k->arg);
}

static enum np_err word_submit(struct keys *k, struct word *w)
{
	struct derive_job *j = np_calloc(1, sizeof(*j));
	enum np_err err;

	if (j == NULL)
		return NP_ENOMEM;
	*j = (struct derive_job){.job = {.run = job_run, .done = job_done, .drop = job_drop},
				 .keys = k,
				 .word = w,
				 .text = w->text,
				 .len = w->len};
	err = helpers_submit(k->helpers, &j->job);
	if (err != NP_OK) {
		np_free(j);
		return err;
	}
	w->text = NULL;
	k->running++;
	return NP_OK;
}

static void line_go_on(struct keys *k)
{
	struct word *w;

	while (k->running < KEYS_THREADS && (w = k->line) != NULL) {
		DL_DELETE(k->line, w);
		if (!k->cb.wanted(k->arg, w->digest)) {
			word_free(k, w);
		} else if (word_submit(k, w) != NP_OK) {
			word_free(k, w);
			k->cb.failed(k->arg);
		}
	}
}

enum np_err keys_want(struct keys *k, const uint8_t digest[NP_DIGEST_LEN], const char *word,
		      size_t len)
{
	struct word *w = word_find(k, digest);
	enum np_err err;

	if (w != NULL)
		return NP_OK;
	err = word_new(k, digest, &w);
	if (err != NP_OK)
		return err;
	w->text = np_malloc(len);
	if (w->text == NULL) {
		word_free(k, w);
		return NP_ENOMEM;
	}
	memcpy(w->text, word, len);
	w->len = len;
	if (k->running >= KEYS_THREADS) {
		DL_APPEND(k->line, w);
		return NP_OK;
	}
	err = word_submit(k, w);
	if (err != NP_OK)
		word_free(k, w);
	return err;
}

/* -- life -- */

enum np_err keys_new(struct event_base *base, const struct keys_callbacks *cb, void *arg,
		     struct keys **out)
{
	struct keys *k = np_calloc(1, sizeof(*k));
	enum np_err err;

	if (k == NULL)
		return NP_ENOMEM;
	k->cb = *cb;
	k->arg = arg;
	err = helpers_new(base, KEYS_THREADS, &k->helpers);
	if (err != NP_OK) {
		np_free(k);
		return err;
	}
	*out = k;
	return NP_OK;
}

void keys_free(struct keys *k)
{
	struct word *w, *next;

	if (k == NULL)
		return;
	helpers_free(k->helpers);
	HASH_ITER (hh, k->words, w, next)
		word_free(k, w);
	np_free(k);
}
