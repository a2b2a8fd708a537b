/*
 * pick.c - which instances a person means: see pick.h.
 */
#include "pick.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define SHOWN_MAX 4 /* candidates that an error names */

enum rank { RANK_NONE = 0, RANK_PREFIX, RANK_ALIAS, RANK_ID };

static bool begins(const char *text, const char *word)
{
	return word[0] != '\0' && strncmp(text, word, strlen(word)) == 0;
}

static enum rank rank_of(const struct inst *i, const char *word)
{
	if (strcmp(i->id, word) == 0)
		return RANK_ID;
	if (word[0] != '\0' && strcmp(i->alias, word) == 0)
		return RANK_ALIAS;
	return begins(i->id, word) || begins(i->alias, word) ? RANK_PREFIX : RANK_NONE;
}

static enum np_err several(const struct inst_list *l, const char *word, enum rank best,
			   struct np_diag *diag)
{
	char names[SHOWN_MAX * 16] = "";
	size_t used = 0, n = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (rank_of(&l->v[i], word) != best)
			continue;
		if (n++ < SHOWN_MAX)
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%.8s",
						 n > 1 ? ", " : "", l->v[i].id);
	}
	return np_diag_set(diag, NP_EINVAL, "id", "'%s' stands for %zu instances: %s%s", word, n,
			   names, n > SHOWN_MAX ? ", ..." : "");
}

static enum np_err pick_one(const struct inst_list *l, const char *word, bool *chosen,
			    struct np_diag *diag)
{
	enum rank best = RANK_NONE;
	size_t at = 0, n = 0;

	for (size_t i = 0; i < l->n; i++) {
		enum rank r = rank_of(&l->v[i], word);

		if (r == RANK_NONE || r < best)
			continue;
		n = r > best ? 1 : n + 1;
		best = r;
		at = i;
	}
	if (n == 0)
		return np_diag_set(diag, NP_ENOTFOUND, "id", "there is no instance '%s'", word);
	if (n > 1)
		return several(l, word, best, diag);
	chosen[at] = true;
	return NP_OK;
}

enum np_err pick(const struct inst_list *l, char *const *words, size_t n, bool *chosen,
		 struct np_diag *diag)
{
	for (size_t w = 0; w < n; w++) {
		enum np_err err = NP_OK;

		if (strcmp(words[w], "all") == 0) {
			for (size_t i = 0; i < l->n; i++)
				chosen[i] = true;
			continue;
		}
		err = pick_one(l, words[w], chosen, diag);
		if (err != NP_OK)
			return err;
	}
	return NP_OK;
}
