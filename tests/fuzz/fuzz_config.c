/*
 * fuzz_config.c - URLs from outside: parse, canonical form with and without key, parse again. The
 * two canonical forms are the same bytes, the public form is the URL without its user part, and no
 * text for people quotes a key.
 */
#include "core/config.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MARK "Zq7xysecret"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void canonical(const struct np_config *c, bool with_key, struct np_buf *out)
{
	np_buf_init(out, 10 * NP_URL_MAX);
	NP_ASSERT(np_config_canonical(c, with_key, out) == NP_OK);
}

static void check_round_trip(const struct np_config *c, bool with_key)
{
	struct np_buf first, second;
	struct np_config again;
	struct np_diag diag;

	canonical(c, with_key, &first);
	/* With the defaults filled in a URL may be longer than one may be. */
	if (np_buf_len(&first) <= NP_URL_MAX) {
		NP_ASSERT(np_config_parse(np_buf_cstr(&first), &again, &diag) == NP_OK);
		canonical(&again, with_key, &second);
		NP_ASSERT(strcmp(np_buf_cstr(&first), np_buf_cstr(&second)) == 0);
		NP_ASSERT(c->tunnel.port == again.tunnel.port && c->ntargets == again.ntargets);
		if (with_key)
			NP_ASSERT(c->key_len == again.key_len &&
				  memcmp(c->key, again.key, c->key_len) == 0);
		np_buf_release(&second);
		np_config_release(&again);
	}
	np_buf_release(&first);
}

/* Found anew, by another rule than the parser's: behind the last '@' of what is no path or query.
 */
static const char *without_user(const char *url, enum np_role role)
{
	const char *rest = strstr(url, "://") + 3;
	size_t len = strcspn(rest, role == NP_ROLE_MASTER ? "/?#" : "/");

	for (size_t i = len; i > 0; i--) {
		if (rest[i - 1] == '@')
			return rest + i;
	}
	return rest;
}

static void check_public(const struct np_config *c, const char *url)
{
	const char *rest = without_user(url, c->role), *text;
	struct np_buf out;

	np_buf_init(&out, 2 * NP_URL_MAX);
	NP_ASSERT(np_config_public_url(c, &out) == NP_OK);
	text = np_buf_cstr(&out);
	NP_ASSERT(strncasecmp(text, url, (size_t)(strstr(url, "://") - url) + 3) == 0);
	NP_ASSERT(strcmp(strstr(text, "://") + 3, rest) == 0);
	np_buf_release(&out);
}

static void must_not_tell(void *arg, const char *text)
{
	const char *secret = arg;

	NP_ASSERT(text[0] != '\0' && strchr(text, '\n') == NULL);
	if (secret != NULL)
		NP_ASSERT(strstr(text, secret) == NULL);
}

static void check(const char *url, const char *secret)
{
	char hidden[32] = "";
	struct np_config c;
	struct np_diag diag;

	if (secret != NULL)
		snprintf(hidden, sizeof(hidden), "%s", secret);
	if (np_config_parse(url, &c, &diag) != NP_OK) {
		must_not_tell(secret != NULL ? hidden : NULL, diag.text);
		NP_ASSERT(diag.offset <= strlen(url));
		return;
	}
	check_round_trip(&c, true);
	check_round_trip(&c, false);
	check_public(&c, url);
	np_config_warnings(&c, must_not_tell, secret != NULL ? hidden : NULL);
	NP_ASSERT(np_config_diff(&c, &c) == NP_CHANGE_NONE);
	np_config_release(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const schemes[] = {"server", "client", "master"};
	char *url, *rest;

	if (size > 2 * NP_URL_MAX)
		return 0;
	url = calloc(1, size + 64);
	NP_ASSERT(url != NULL);
	memcpy(url, data, size);
	check(url, NULL);
	/* The same with a key in front of what follows the scheme. */
	rest = strstr(url, "://");
	if (rest != NULL && strstr(rest, "Zq7") == NULL) {
		char *keyed = calloc(1, size + 64);

		NP_ASSERT(keyed != NULL);
		for (size_t i = 0; i < 3; i++) {
			snprintf(keyed, size + 64, "%s://%s@%s", schemes[i], MARK, rest + 3);
			check(keyed, "Zq7");
		}
		free(keyed);
	}
	free(url);
	return 0;
}
