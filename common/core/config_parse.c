/*
 * config_parse.c - URL text to struct np_config: defaults, key, addresses, parameters, and the
 * checks that need more than one parameter. Opens no file, resolves no name, never quotes the key.
 */
#include "core/config_table.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define DEFAULT_PREFIX "/api"
#define NAME_SHOWN_MAX 48
#define HINT_MAX       32 /* longer names are no misspelling of ours */

struct parser {
	const char *url;
	struct np_url parts;
	struct np_config *c;
	struct np_diag *diag;
	bool seen[NP_PARAM_COUNT];
};

static size_t offset_of(const struct parser *p, const char *at)
{
	return (size_t)(at - p->url);
}

static enum np_err at_offset(const struct parser *p, enum np_err err, size_t offset)
{
	if (p->diag != NULL)
		p->diag->offset = offset;
	return err;
}

static enum np_err no_memory(const struct parser *p)
{
	return np_diag_set(p->diag, NP_ENOMEM, "url", "%s", np_err_text(NP_ENOMEM));
}

/* ---- addresses ---- */

/* Inside brackets a URL writes %25 for the % of a scope. @out holds in.len + 1 bytes. */
static size_t plain_scopes(struct np_slice in, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < in.len; i++) {
		out[n++] = in.s[i];
		if (in.len - i > 2 && memcmp(in.s + i, "%25", 3) == 0)
			i += 2;
	}
	out[n] = '\0';
	return n;
}

static enum np_err parse_tunnel(const struct parser *p)
{
	const char *field = p->c->role == NP_ROLE_MASTER ? "API address" : "tunnel address";
	struct np_slice host = p->parts.host;
	char text[NP_URL_MAX + 1];
	size_t len = plain_scopes(host, text), base = offset_of(p, host.s);
	enum np_err err = np_hostport_parse(text, len, field, &p->c->tunnel, p->diag);

	if (err == NP_OK)
		return NP_OK;
	/* The key of a URL like server://a/b@host:1/... would be taken for an address. */
	if (len > 0 && strchr(host.s, '@') != NULL)
		np_diag_set(p->diag, err, field,
			    "%s: no host:port in front of the first / ? or #; in a key they are "
			    "written %%2F, %%3F, %%23",
			    field);
	else if (p->diag != NULL)
		base += p->diag->offset;
	return at_offset(p, err, base);
}

static enum np_err parse_targets(const struct parser *p)
{
	struct np_slice path = p->parts.path;
	char text[NP_URL_MAX + 1];
	size_t len = plain_scopes(path, text);
	struct np_hostport *list;
	enum np_err err;

	list = np_calloc(NP_TARGETS_MAX, sizeof(*list));
	if (list == NULL)
		return no_memory(p);
	err = np_hostport_list_parse(text, len, "target address", list, NP_TARGETS_MAX,
				     &p->c->ntargets, p->diag);
	if (err != NP_OK) {
		np_free(list);
		return at_offset(p, err,
				 offset_of(p, path.s) + (p->diag != NULL ? p->diag->offset : 0));
	}
	p->c->targets = list;
	return NP_OK;
}

static enum np_err parse_prefix(const struct parser *p)
{
	struct np_slice path = p->parts.path;
	char text[NP_URL_MAX + 2] = "/";
	size_t len = 0, bad = 0;

	if (np_percent_decode(path, false, text + 1, &len, &bad) != NP_OK) {
		np_diag_set(p->diag, NP_EINVAL, "prefix", "API prefix: bad percent escape \"%.*s\"",
			    (int)(path.len - bad < 3 ? path.len - bad : 3), path.s + bad);
		return at_offset(p, NP_EINVAL, offset_of(p, path.s) + bad);
	}
	len++;
	while (len > 0 && text[len - 1] == '/')
		text[--len] = '\0';
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
			np_diag_set(p->diag, NP_EINVAL, "prefix",
				    "API prefix: a control character");
			return at_offset(p, NP_EINVAL, offset_of(p, path.s));
		}
	}
	p->c->prefix = np_strdup(len > 0 ? text : DEFAULT_PREFIX);
	return p->c->prefix != NULL ? NP_OK : no_memory(p);
}

/* ---- key ---- */

static enum np_err set_key(const struct parser *p, const char *key, size_t len)
{
	p->c->key = np_malloc(len + 1);
	if (p->c->key == NULL)
		return no_memory(p);
	memcpy(p->c->key, key, len);
	p->c->key[len] = '\0';
	p->c->key_len = len;
	return NP_OK;
}

static enum np_err derive_key(const struct parser *p)
{
	char hex[8];
	int n = snprintf(hex, sizeof(hex), "%x", p->c->tunnel.port);

	return set_key(p, hex, (size_t)n);
}

static enum np_err parse_key(const struct parser *p)
{
	struct np_slice user = p->parts.user;
	char text[NP_URL_MAX + 1];
	size_t len = 0, bad = 0;
	enum np_err err;

	if (user.len == 0)
		return derive_key(p);
	if (np_percent_decode(user, false, text, &len, &bad) != NP_OK) {
		err = np_diag_set(
		    p->diag, NP_EINVAL, "key",
		    "tunnel key: bad percent escape at byte %zu of the URL (a %% that is "
		    "meant is written %%25)",
		    offset_of(p, user.s) + bad);
		at_offset(p, err, offset_of(p, user.s) + bad);
	} else if (len > NP_KEY_MAX) {
		err = np_diag_set(p->diag, NP_ERANGE, "key", "tunnel key: longer than %d bytes",
				  NP_KEY_MAX);
		at_offset(p, err, offset_of(p, user.s));
	} else {
		p->c->key_given = true;
		err = set_key(p, text, len);
	}
	explicit_bzero(text, sizeof(text));
	return err;
}

/* ---- parameters ---- */

/* Letters to insert, remove or replace to get from @a to @b. */
static unsigned distance(struct np_slice a, const char *b)
{
	unsigned row[HINT_MAX + 1];
	size_t n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= a.len; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= n; j++) {
			unsigned best = diagonal + (a.s[i - 1] != b[j - 1] ? 1 : 0);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

/* The name that was meant, NULL when none is near. */
static const char *nearest_name(struct np_slice name, enum np_role role)
{
	unsigned best = name.len > 4 ? 3 : 2, d;
	const char *found = NULL;

	if (name.len == 0 || name.len > HINT_MAX)
		return NULL;
	for (unsigned i = 0; i < NP_PARAM_COUNT; i++) {
		const struct np_param_row *row = np_param_row((enum np_param)i);

		if (!np_param_is_of(row, role) || row->type == NP_TYPE_OTHER)
			continue;
		d = distance(name, row->name);
		if (d < best) {
			best = d;
			found = row->name;
		}
	}
	return found;
}

static enum np_err refuse_unknown(const struct parser *p, struct np_slice name)
{
	const char *near = nearest_name(name, p->c->role), *mark = "";
	char known[256] = "";
	size_t shown = 0, used = 0;

	/* A piece of a key with an unescaped '?' may stand here: what no name has is not shown. */
	while (shown < name.len && shown < NAME_SHOWN_MAX && name.s[shown] > ' ' &&
	       strchr("/@:%#?\"\\", name.s[shown]) == NULL && name.s[shown] < 0x7f)
		shown++;
	for (unsigned i = 0; i < NP_PARAM_COUNT; i++) {
		const struct np_param_row *row = np_param_row((enum np_param)i);

		if (!np_param_is_of(row, p->c->role) || row->type == NP_TYPE_OTHER)
			continue;
		used +=
		    (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", mark, row->name);
		NP_ASSERT(used < sizeof(known));
		mark = ", ";
	}
	np_diag_set(p->diag, NP_EINVAL, "query", "unknown parameter \"%.*s\"%s%s%s; a %s knows %s",
		    (int)shown, name.s, near != NULL ? ", did you mean " : "",
		    near != NULL ? near : "", near != NULL ? "?" : "", np_role_name(p->c->role),
		    known);
	return at_offset(p, NP_EINVAL, offset_of(p, name.s));
}

static enum np_err parse_pair(struct parser *p, struct np_slice name, struct np_slice value)
{
	enum np_param id = np_param_by_name(name);
	const struct np_param_row *row;
	char text[NP_URL_MAX + 1];
	size_t len = 0, bad = 0;
	enum np_err err;

	if (id == NP_PARAM_COUNT)
		return refuse_unknown(p, name);
	row = np_param_row(id);
	if (p->seen[id]) {
		np_diag_set(p->diag, NP_EINVAL, row->name, "parameter %s is given more than once",
			    row->name);
		return at_offset(p, NP_EINVAL, offset_of(p, name.s));
	}
	p->seen[id] = true;
	if (value.len == 0)
		return NP_OK;
	if (np_percent_decode(value, true, text, &len, &bad) != NP_OK) {
		np_diag_set(p->diag, NP_EINVAL, row->name, "%s: bad percent escape \"%.*s\"",
			    row->name, (int)(value.len - bad < 3 ? value.len - bad : 3),
			    value.s + bad);
		return at_offset(p, NP_EINVAL, offset_of(p, value.s) + bad);
	}
	p->c->given[id] = true;
	/* Of the other core, or of other releases: kept as written, without effect. */
	if (!np_param_is_of(row, p->c->role) || row->type == NP_TYPE_OTHER)
		p->c->inert |= (uint64_t)1 << id;
	if (!np_param_is_of(row, p->c->role))
		return NP_OK;
	err = np_param_set(id, text, p->c, p->diag);
	return err == NP_OK ? NP_OK : at_offset(p, err, offset_of(p, value.s));
}

static enum np_err set_defaults(struct parser *p)
{
	for (unsigned i = 0; i < NP_PARAM_COUNT; i++) {
		const char *def = np_param_row((enum np_param)i)->def;
		enum np_err err;

		if (def == NULL)
			continue;
		err = np_param_set((enum np_param)i, def, p->c, p->diag);
		if (err != NP_OK)
			return err;
	}
	return NP_OK;
}

static enum np_err parse_query(struct parser *p)
{
	struct np_slice rest = p->parts.query, name, value;

	while (np_query_next(&rest, &name, &value)) {
		enum np_err err = parse_pair(p, name, value);

		if (err != NP_OK)
			return err;
	}
	return NP_OK;
}

/* ---- several parameters at once ---- */

/* @why: what needs them. */
static enum np_err need_pair(const struct parser *p, const char *why)
{
	const struct np_config *c = p->c;

	if (c->crt == NULL && c->keyfile == NULL)
		return np_diag_set(p->diag, NP_EINVAL, "crt",
				   "%scrt and key are required, the paths of two PEM files", why);
	if (c->crt == NULL)
		return np_diag_set(p->diag, NP_EINVAL, "crt",
				   "%scrt is required, the path of a PEM file (key is given)", why);
	if (c->keyfile == NULL)
		return np_diag_set(p->diag, NP_EINVAL, "key",
				   "%skey is required, the path of a PEM file (crt is given)", why);
	return NP_OK;
}

static enum np_err check_files(const struct parser *p)
{
	struct np_config *c = p->c;
	bool any = c->crt != NULL || c->keyfile != NULL;

	if (c->role == NP_ROLE_CLIENT && c->mode == 1 && c->ca != NULL)
		c->inert |= (uint64_t)1 << NP_PARAM_CA;
	/* Whoever asks for certificates must not be left without the check. */
	if (c->role == NP_ROLE_SERVER && c->ca != NULL && c->tls != 2)
		return np_diag_set(p->diag, NP_EINVAL, "ca",
				   "ca=%.128s: a server asks its clients for certificates with "
				   "tls=2 only",
				   c->ca);
	/* A client with a server: what it shows when it is asked, whatever its floor is. */
	if (c->role == NP_ROLE_CLIENT && c->mode != 1 && c->tls != 2)
		return any ? need_pair(p, "") : NP_OK;
	if (c->tls != 2) {
		c->inert |= c->crt != NULL ? (uint64_t)1 << NP_PARAM_CRT : 0;
		c->inert |= c->keyfile != NULL ? (uint64_t)1 << NP_PARAM_KEY : 0;
		return NP_OK;
	}
	/* A client's tls is a floor unless it is single-end; which one it is, mode=0 finds out
	 * later. */
	if (c->role == NP_ROLE_CLIENT && c->mode != 1 && !any)
		return NP_OK;
	return need_pair(p, "tls=2: ");
}

static enum np_err check_together(const struct parser *p)
{
	enum np_err err = check_files(p);

	if (err == NP_OK && p->c->notcp && p->c->noudp)
		err = np_diag_set(p->diag, NP_EINVAL, "noudp",
				  "notcp=1 with noudp=1: nothing is left to serve");
	return err == NP_OK ? NP_OK : at_offset(p, err, offset_of(p, p->parts.query.s));
}

static enum np_err parse_all(struct parser *p)
{
	enum np_err err;

	p->c->url = np_strdup(p->url);
	if (p->c->url == NULL)
		return no_memory(p);
	err = set_defaults(p);
	if (err == NP_OK)
		err = parse_tunnel(p);
	if (err == NP_OK)
		err = parse_key(p);
	if (err == NP_OK)
		err = p->c->role == NP_ROLE_MASTER ? parse_prefix(p) : parse_targets(p);
	if (err == NP_OK)
		err = parse_query(p);
	return err == NP_OK ? check_together(p) : err;
}

enum np_err np_config_parse(const char *url, struct np_config *out, struct np_diag *diag)
{
	struct np_config c = {0};
	struct parser p = {.url = url, .c = &c, .diag = diag};
	enum np_err err = np_url_split(url, &p.parts, diag);

	if (err != NP_OK)
		return err;
	NP_ASSERT(np_role_from_scheme(p.parts.scheme, &c.role));
	err = parse_all(&p);
	if (err != NP_OK) {
		np_config_release(&c);
		return err;
	}
	*out = c;
	return NP_OK;
}
