/*
 * url_set.c - the URLs of a process that was started with them. See url_set.h.
 */
#include "url_set.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

static size_t lines_of(const char *text)
{
	size_t n = 1;

	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

static bool complain(const char *origin, const char *text)
{
	fprintf(stderr, "nodepass: %s%s%s\n", origin, origin[0] != '\0' ? ": " : "", text);
	return false;
}

bool url_set_read(char *text, struct url_set *out)
{
	size_t max = lines_of(text);
	struct np_diag diag;
	char *at = text, *url;

	*out = (struct url_set){.text = text};
	out->cfg = np_calloc(max, sizeof(*out->cfg));
	out->origin = np_calloc(max, sizeof(*out->origin));
	if (out->cfg == NULL || out->origin == NULL)
		return complain("", np_err_text(NP_ENOMEM));
	while (np_url_list_next(&at, &url, &out->origin[out->n])) {
		enum np_err err = np_config_parse(url, &out->cfg[out->n], &diag);

		np_wipe(url, strlen(url));
		if (err != NP_OK)
			return complain(out->origin[out->n], diag.text);
		if (out->cfg[out->n++].role == NP_ROLE_MASTER)
			return complain(out->origin[out->n - 1],
					"master:// is not a data plane's URL");
	}
	return out->n > 0 || complain("", "the URL is empty");
}

/* "" for a process with one. */
static const char *id_of(const struct url_set *s, size_t i, char out[INSTANCE_ID_MAX + 1])
{
	out[0] = '\0';
	if (s->n > 1)
		snprintf(out, INSTANCE_ID_MAX + 1, "%zu", i + 1);
	return out;
}

struct warner {
	const char *id;
	enum np_log_level level;
};

static void say_warning(void *arg, const char *text)
{
	const struct warner *w = arg;

	if (np_log_enabled(w->level, NP_LOG_WARN))
		np_log(NP_LOG_WARN, w->id, "%s", text);
}

void url_set_warn(const struct url_set *s)
{
	char id[INSTANCE_ID_MAX + 1];

	for (size_t i = 0; i < s->n; i++) {
		struct warner w = {id_of(s, i, id), s->cfg[i].log};

		np_config_warnings(&s->cfg[i], say_warning, &w);
	}
}

/* Which of them the number in the log is. */
static void introduce(const struct url_set *s, size_t i)
{
	char id[INSTANCE_ID_MAX + 1];
	struct np_buf url;

	if (s->n == 1 || !np_log_enabled(s->cfg[i].log, NP_LOG_INFO))
		return;
	np_buf_init(&url, NP_URL_MAX + 1);
	if (np_config_public_url(&s->cfg[i], &url) == NP_OK && np_buf_cstr(&url) != NULL)
		np_log(NP_LOG_INFO, id_of(s, i, id), "%s: %s", s->origin[i], np_buf_cstr(&url));
	np_buf_release(&url);
}

enum np_err url_set_start(struct url_set *s, struct registry *r, struct np_diag *diag)
{
	char id[INSTANCE_ID_MAX + 1];

	for (size_t i = 0; i < s->n; i++) {
		struct np_diag why = {.text = "out of memory"};
		enum np_err err;

		introduce(s, i);
		err = registry_add(r, id_of(s, i, id), &s->cfg[i], &why);
		if (err == NP_OK)
			memset(&s->cfg[i], 0, sizeof(s->cfg[i])); /* it is the instance's */
		else
			return np_diag_set(diag, err, "url", "%s%s%.200s", s->origin[i],
					   s->origin[i][0] != '\0' ? ": " : "", why.text);
	}
	registry_start(r);
	return NP_OK;
}

void url_set_release(struct url_set *s)
{
	for (size_t i = 0; s->cfg != NULL && i < s->n; i++)
		np_config_release(&s->cfg[i]);
	np_free(s->cfg);
	np_free((void *)s->origin);
	if (s->text != NULL)
		np_free(s->text);
	*s = (struct url_set){.n = 0};
}
