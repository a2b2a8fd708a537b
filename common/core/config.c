/*
 * config.c - the table of parameters, release, warnings and difference of configurations.
 *
 * Reading a URL is in config_parse.c and config_value.c, writing one in config_print.c.
 */
#include "core/config.h"

#include "base/alloc.h"
#include "core/config_table.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define SHORT_KEY	16 /* characters; below, a key can be guessed */

#define S		(1u << NP_ROLE_SERVER)
#define C		(1u << NP_ROLE_CLIENT)
#define M		(1u << NP_ROLE_MASTER)
#define FIELD(name)	offsetof(struct np_config, name), sizeof(((struct np_config *)0)->name)
#define NO_FIELD	0, 0
#define NP_ROW(id, ...) [NP_PARAM_##id] = NP_ROW_OF(__VA_ARGS__)
#define NP_ROW_OF(name, type, min, max, def, roles, end, change, ...)                         \
	{                                                                                     \
		name, NP_TYPE_##type, min, max, def, roles, NP_END_##end, NP_CHANGE_##change, \
		    __VA_ARGS__                                                               \
	}

static const struct np_param_row rows[NP_PARAM_COUNT] = {
#define NP_PARAM(...) NP_ROW(__VA_ARGS__),
#include "tbl/params.def"
#undef NP_PARAM
};

#undef S
#undef C
#undef M

_Static_assert(NP_PARAM_COUNT <= 64, "np_config.inert has a bit per parameter");

const struct np_param_row *np_param_row(enum np_param p)
{
	return &rows[p];
}

const char *np_param_name(enum np_param p)
{
	return p < NP_PARAM_COUNT ? rows[p].name : "unknown";
}

enum np_end np_param_end(enum np_param p)
{
	return p < NP_PARAM_COUNT ? rows[p].end : NP_END_EITHER;
}

const char *np_role_name(enum np_role role)
{
	switch (role) {
	case NP_ROLE_SERVER:
		return "server";
	case NP_ROLE_CLIENT:
		return "client";
	case NP_ROLE_MASTER:
		return "master";
	}
	return "unknown";
}

void np_param_values(const struct np_param_row *row, char out[NP_VALUES_MAX])
{
	if (row->values != NULL)
		snprintf(out, NP_VALUES_MAX, "%s", row->values);
	else if (row->max == 1)
		snprintf(out, NP_VALUES_MAX, "0 or 1");
	else if (row->max == 2)
		snprintf(out, NP_VALUES_MAX, "0, 1 or 2");
	else
		snprintf(out, NP_VALUES_MAX, "a whole number from %lld to %lld",
			 (long long)row->min, (long long)row->max);
}

static void wipe_text(char *s)
{
	if (s != NULL)
		explicit_bzero(s, strlen(s));
	np_free(s);
}

void np_config_release(struct np_config *c)
{
	if (c->key != NULL)
		explicit_bzero(c->key, c->key_len);
	np_free(c->key);
	wipe_text(c->url);
	np_free(c->targets);
	np_free(c->prefix);
	np_free(c->crt);
	np_free(c->keyfile);
	np_free(c->sni);
	np_free(c->ca);
	np_free(c->store);
	np_netlist_release(&c->allow);
	np_netlist_release(&c->deny);
	np_netlist_release(&c->accept);
	*c = (struct np_config){.role = c->role};
}

static bool is_single_end(const struct np_config *c)
{
	return c->role == NP_ROLE_CLIENT && c->mode == 1;
}

bool np_config_has_pair(const struct np_config *c)
{
	return c->crt != NULL && c->keyfile != NULL &&
	       (c->tls == 2 || (c->role == NP_ROLE_CLIENT && !is_single_end(c)));
}

bool np_config_has_ca(const struct np_config *c)
{
	return c->ca != NULL && !is_single_end(c);
}

static void warn_of_parameters(const struct np_config *c, void (*fn)(void *arg, const char *text),
			       void *arg)
{
	char text[256];

	for (unsigned p = 0; p < NP_PARAM_COUNT; p++) {
		if ((c->inert >> p & 1u) == 0)
			continue;
		if (!np_param_is_of(&rows[p], c->role))
			snprintf(text, sizeof(text),
				 "parameter %s has no effect on a %s and is ignored", rows[p].name,
				 np_role_name(c->role));
		else if (rows[p].type == NP_TYPE_OTHER)
			snprintf(text, sizeof(text),
				 "parameter %s=0 is one of other releases and has no effect",
				 rows[p].name);
		else if (p == NP_PARAM_CA)
			snprintf(
			    text, sizeof(text),
			    "parameter ca has no effect on a client without a server: visitors "
			    "are not asked for certificates");
		else
			snprintf(text, sizeof(text),
				 "parameter %s has no effect with tls=%d and is ignored",
				 rows[p].name, c->tls);
		fn(arg, text);
	}
}

void np_config_warnings(const struct np_config *c, void (*fn)(void *arg, const char *text),
			void *arg)
{
	char text[256];

	warn_of_parameters(c, fn, arg);
	if (c->role == NP_ROLE_MASTER) {
		if (c->key_given)
			fn(arg, "the user part of the URL has no effect on a master");
		return;
	}
	/* A single-end client has nobody to prove anything to. */
	if (is_single_end(c))
		return;
	if (!c->key_given) {
		snprintf(
		    text, sizeof(text),
		    "no tunnel key in the URL: the key is derived from the port and is no secret, "
		    "\"nodepass key\" prints a good one port=%u",
		    c->tunnel.port);
		fn(arg, text);
	} else if (c->key_len < SHORT_KEY) {
		snprintf(
		    text, sizeof(text),
		    "the tunnel key is short and can be guessed, \"nodepass key\" prints a good "
		    "one characters=%zu wanted=%d",
		    c->key_len, SHORT_KEY);
		fn(arg, text);
	}
}

static bool is_same_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

static bool is_same_value(enum np_param p, const struct np_config *a, const struct np_config *b)
{
	const char *x = (const char *)a + rows[p].offset, *y = (const char *)b + rows[p].offset;

	switch (rows[p].type) {
	case NP_TYPE_TEXT:
	case NP_TYPE_NAME:
		return is_same_text(*(char *const *)x, *(char *const *)y);
	case NP_TYPE_SOURCE:
		return a->dial_auto == b->dial_auto && np_addr_equal(&a->dial, &b->dial);
	case NP_TYPE_HASH:
		return a->has_pin == b->has_pin && memcmp(x, y, rows[p].size) == 0;
	case NP_TYPE_LEVEL:
	case NP_TYPE_INT:
	case NP_TYPE_U32:
		/* A min that is written is kept, the default one adapts. */
		if (p == NP_PARAM_MIN && a->given[p] != b->given[p])
			return false;
		return memcmp(x, y, rows[p].size) == 0;
	case NP_TYPE_U64:
	case NP_TYPE_BOOL:
	case NP_TYPE_DURATION:
	case NP_TYPE_KINDS:
		return memcmp(x, y, rows[p].size) == 0;
	case NP_TYPE_CIDRS:
		return np_netlist_equal((const struct np_netlist *)x, (const struct np_netlist *)y);
	case NP_TYPE_COMPAT:
	case NP_TYPE_STORE:
	case NP_TYPE_OTHER:
		return true;
	}
	return false;
}

static bool is_same_place(const struct np_hostport *a, const struct np_hostport *b)
{
	return a->port == b->port && strcmp(a->host, b->host) == 0;
}

static bool is_same_url(const struct np_config *a, const struct np_config *b)
{
	if (a->role != b->role || !is_same_place(&a->tunnel, &b->tunnel) ||
	    !is_same_text(a->prefix, b->prefix))
		return false;
	if (a->key_given != b->key_given || a->key_len != b->key_len ||
	    memcmp(a->key, b->key, a->key_len) != 0)
		return false;
	return true;
}

bool np_config_same_targets(const struct np_config *a, const struct np_config *b)
{
	if (a->ntargets != b->ntargets)
		return false;
	for (size_t i = 0; i < a->ntargets; i++) {
		if (!is_same_place(&a->targets[i], &b->targets[i]))
			return false;
	}
	return true;
}

enum np_change np_config_diff(const struct np_config *a, const struct np_config *b)
{
	enum np_change change = NP_CHANGE_NONE;

	if (!is_same_url(a, b))
		return NP_CHANGE_RESTART;
	/* A client that had no certificate has no files to re-read. */
	if (a->role == NP_ROLE_CLIENT && (a->crt == NULL) != (b->crt == NULL))
		return NP_CHANGE_RESTART;
	if (!np_config_same_targets(a, b))
		change = NP_CHANGE_LIVE;
	for (unsigned p = 0; p < NP_PARAM_COUNT; p++) {
		if (!np_param_is_of(&rows[p], a->role) || is_same_value((enum np_param)p, a, b))
			continue;
		if (rows[p].change > change)
			change = rows[p].change;
	}
	return change;
}
