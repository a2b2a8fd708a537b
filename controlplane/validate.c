/*
 * validate.c - URLs of instances: scheme, form, what they inherit. See validate.h.
 */
#include "validate.h"

#include "base/alloc.h"
#include "core/config_table.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

/* A path of a file keeps its slashes, so that people can read it. */
#define PATH_KEEP "/-_.~+:@,"

static enum np_err check_scheme(const char *given, struct np_diag *diag)
{
	const char *end = strstr(given, "://");
	size_t n = end == NULL ? 0 : (size_t)(end - given);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)given[i]) && strchr("+-.", given[i]) == NULL)
			n = 0;
	if (n == 0) /* no scheme at all: the parser says what is wrong */
		return NP_OK;
	if ((n == 6 && strncasecmp(given, "server", n) == 0) ||
	    (n == 6 && strncasecmp(given, "client", n) == 0))
		return NP_OK;
	return np_diag_set(diag, NP_EINVAL, "scheme",
			   "Invalid URL scheme: \"%.*s\" is neither server nor client",
			   n > 32 ? 32 : (int)n, given);
}

static enum np_err parse(const char *url, struct np_config *cfg, struct np_diag *diag)
{
	struct np_diag inner = {.text = "out of memory"};
	enum np_err err = np_config_parse(url, cfg, &inner);

	if (err == NP_OK || err == NP_ENOMEM)
		return err;
	return np_diag_set(diag, NP_EINVAL, inner.field, "Invalid URL format: %.480s", inner.text);
}

static void put_param(struct np_buf *b, char *mark, const char *name, const char *value,
		      const char *keep)
{
	np_buf_putf(b, "%c%s=", *mark, name);
	np_percent_encode(b, value, strlen(value), keep);
	*mark = '&';
}

/* The normal form with what the master hands down at its end, not yet in order. */
static enum np_err put_inherited(const struct np_config *cfg, const struct validate_defaults *d,
				 struct np_buf *b)
{
	char mark, tls[2] = {(char)('0' + d->tls), '\0'};
	const char *text;
	enum np_err err = np_config_normal(cfg, b);

	if (err != NP_OK)
		return err;
	text = np_buf_cstr(b);
	if (text == NULL)
		return NP_ENOMEM;
	mark = strchr(text, '?') != NULL ? '&' : '?';
	if (d->log != NULL && !cfg->given[NP_PARAM_LOG])
		put_param(b, &mark, "log", d->log, "");
	if (cfg->role != NP_ROLE_SERVER || d->tls == 0)
		return b->err;
	if (!cfg->given[NP_PARAM_TLS])
		put_param(b, &mark, "tls", tls, "");
	if (d->tls != 2 || (cfg->given[NP_PARAM_TLS] && cfg->tls != 2))
		return b->err;
	if (d->crt != NULL && !cfg->given[NP_PARAM_CRT])
		put_param(b, &mark, "crt", d->crt, PATH_KEEP);
	if (d->key != NULL && !cfg->given[NP_PARAM_KEY])
		put_param(b, &mark, "key", d->key, PATH_KEEP);
	return b->err;
}

static enum np_err take_text(struct np_buf *b, char **out)
{
	const char *text = np_buf_cstr(b);

	*out = text == NULL ? NULL : np_strdup(text);
	return *out == NULL ? NP_ENOMEM : NP_OK;
}

static enum np_err print_forms(const struct np_config *cfg, struct validated *v)
{
	struct np_buf url, config;
	enum np_err err;

	np_buf_init(&url, NP_URL_MAX * 2);
	np_buf_init(&config, NP_URL_MAX * 4);
	err = np_config_normal(cfg, &url);
	if (err == NP_OK)
		err = np_config_canonical(cfg, true, &config);
	if (err == NP_OK)
		err = take_text(&url, &v->url);
	if (err == NP_OK)
		err = take_text(&config, &v->config);
	np_buf_wipe(&url);
	np_buf_wipe(&config);
	return err;
}

enum np_err validate_url(const char *given, const struct validate_defaults *d,
			 struct validated *out, struct np_diag *diag)
{
	struct validated v = {0};
	struct np_config cfg;
	struct np_buf b;
	enum np_err err = check_scheme(given, diag);

	if (err == NP_OK)
		err = parse(given, &cfg, diag);
	if (err != NP_OK)
		return err;
	np_buf_init(&b, NP_URL_MAX * 3);
	err = put_inherited(&cfg, d, &b);
	np_config_release(&cfg);
	if (err == NP_OK && np_buf_cstr(&b) == NULL)
		err = NP_ENOMEM;
	if (err == NP_OK)
		err = parse(np_buf_cstr(&b), &cfg, diag);
	np_buf_wipe(&b);
	if (err != NP_OK)
		return err;
	v.role = cfg.role;
	err = print_forms(&cfg, &v);
	np_config_release(&cfg);
	if (err == NP_OK && strlen(v.url) > NP_URL_MAX)
		err = np_diag_set(diag, NP_EINVAL, "url",
				  "Invalid URL format: longer than %d bytes", NP_URL_MAX);
	if (err != NP_OK) {
		validated_release(&v);
		return err;
	}
	*out = v;
	return NP_OK;
}

void validated_release(struct validated *v)
{
	if (v->url != NULL)
		explicit_bzero(v->url, strlen(v->url));
	if (v->config != NULL)
		explicit_bzero(v->config, strlen(v->config));
	np_free(v->url);
	np_free(v->config);
	*v = (struct validated){0};
}
