/*
 * config_print.c - configurations as URLs: the canonical one with all defaults, the public one.
 *
 * Values that were given stand as written: they are copied from the URL, never made from the
 * fields.
 */
#include "core/config_table.h"

#include "base/assert.h"

#include <string.h>

#include "base/banned.h"

/* What may stand in a user part besides letters and digits. */
#define USER_KEEP "!$&'()*+,;=:"

static void put_slice(struct np_buf *out, struct np_slice s)
{
	np_buf_put(out, s.s, s.len);
}

/* A scope's % is an escape's beginning in a URL. */
static void put_hostport(struct np_buf *out, const struct np_hostport *hp)
{
	char text[NP_HOST_MAX + 9];

	np_hostport_format(hp, text, sizeof(text));
	for (const char *c = text; *c != '\0'; c++) {
		if (*c == '%')
			np_buf_put_str(out, "%25");
		else
			np_buf_put_u8(out, (uint8_t)*c);
	}
}

static void put_value(struct np_buf *out, const struct np_config *c, struct np_slice query,
		      enum np_param p, bool defaults, char *mark)
{
	const struct np_param_row *row = np_param_row(p);
	struct np_slice name, value;

	if (!c->given[p]) {
		if (!defaults || row->def == NULL || !np_param_is_of(row, c->role))
			return;
		np_buf_putf(out, "%c%s=%s", *mark, row->name, row->def);
		*mark = '&';
		return;
	}
	while (np_query_next(&query, &name, &value)) {
		if (np_param_by_name(name) != p)
			continue;
		np_buf_putf(out, "%c%s=", *mark, row->name);
		put_slice(out, value);
		*mark = '&';
	}
}

/* The parameters in the order of their names. */
static void sort_by_name(enum np_param order[NP_PARAM_COUNT])
{
	for (unsigned n = 0; n < NP_PARAM_COUNT; n++) {
		unsigned i = n;

		for (; i > 0 &&
		       strcmp(np_param_name((enum np_param)n), np_param_name(order[i - 1])) < 0;
		     i--)
			order[i] = order[i - 1];
		order[i] = (enum np_param)n;
	}
}

static enum np_err print_url(const struct np_config *c, bool with_key, bool defaults,
			     struct np_buf *out)
{
	enum np_param order[NP_PARAM_COUNT];
	struct np_url u;
	enum np_err err = np_url_split(c->url, &u, NULL);
	char mark = '?';

	NP_ASSERT(err == NP_OK); /* it was parsed from this text */
	np_buf_putf(out, "%s://", np_role_name(c->role));
	if (with_key && c->key_given) {
		np_percent_encode(out, c->key, c->key_len, USER_KEEP);
		np_buf_put_u8(out, '@');
	}
	put_hostport(out, &c->tunnel);
	if (c->role == NP_ROLE_MASTER)
		np_percent_encode(out, c->prefix, strlen(c->prefix), "/" USER_KEEP);
	for (size_t i = 0; i < c->ntargets; i++) {
		np_buf_put_u8(out, i == 0 ? '/' : ',');
		put_hostport(out, &c->targets[i]);
	}
	sort_by_name(order);
	for (unsigned i = 0; i < NP_PARAM_COUNT; i++)
		put_value(out, c, u.query, order[i], defaults, &mark);
	return out->err;
}

enum np_err np_config_canonical(const struct np_config *c, bool with_key, struct np_buf *out)
{
	return print_url(c, with_key, true, out);
}

enum np_err np_config_normal(const struct np_config *c, struct np_buf *out)
{
	return print_url(c, true, false, out);
}

enum np_err np_config_public_url(const struct np_config *c, struct np_buf *out)
{
	struct np_url u;
	enum np_err err = np_url_split(c->url, &u, NULL);

	NP_ASSERT(err == NP_OK);
	np_buf_putf(out, "%s://", np_role_name(c->role));
	/* Host, path and query follow each other in the text that was given. */
	np_buf_put_str(out, u.host.s);
	return out->err;
}
