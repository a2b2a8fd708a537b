/*
 * config_value.c - one value of one parameter: checked by the type and range of its row, stored in
 * its field. A refusal names the parameter, the value and what is allowed.
 */
#include "core/config_table.h"

#include "base/alloc.h"
#include "base/num.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define SHOWN_MAX 128

struct setter {
	const struct np_param_row *row;
	const char *value;
	void *field;
	struct np_config *c;
	struct np_diag *diag;
};

static enum np_err refuse(const struct setter *s, enum np_err err)
{
	char values[NP_VALUES_MAX];

	np_param_values(s->row, values);
	return np_diag_set(s->diag, err, s->row->name, "%s=%.*s: expected %s", s->row->name,
			   SHOWN_MAX, s->value, values);
}

static enum np_err refuse_unavailable(const struct setter *s)
{
	return np_diag_set(s->diag, NP_EUNSUPPORTED, s->row->name, "%s=%.*s: %s", s->row->name,
			   SHOWN_MAX, s->value, np_err_text(NP_EUNSUPPORTED));
}

static enum np_err set_level(const struct setter *s)
{
	static const struct {
		const char *name;
		enum np_log_level level;
	} levels[] = {
	    {"none", NP_LOG_NONE}, {"debug", NP_LOG_DEBUG}, {"info", NP_LOG_INFO},
	    {"warn", NP_LOG_WARN}, {"error", NP_LOG_ERROR}, {"event", NP_LOG_EVENT},
	};

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(s->value, levels[i].name) == 0) {
			*(enum np_log_level *)s->field = levels[i].level;
			return NP_OK;
		}
	}
	return refuse(s, NP_EINVAL);
}

static enum np_err set_number(const struct setter *s)
{
	uint64_t v;
	enum np_err err = np_parse_u64(s->value, strlen(s->value), (uint64_t)s->row->min,
				       (uint64_t)s->row->max, &v);

	if (err != NP_OK)
		return refuse(s, err);
	switch (s->row->type) {
	case NP_TYPE_INT:
		*(int *)s->field = (int)v;
		return NP_OK;
	case NP_TYPE_U32:
		*(uint32_t *)s->field = (uint32_t)v;
		return NP_OK;
	case NP_TYPE_U64:
		*(uint64_t *)s->field = v;
		return NP_OK;
	case NP_TYPE_BOOL:
		*(bool *)s->field = v == 1;
		return NP_OK;
	case NP_TYPE_COMPAT:
	case NP_TYPE_OTHER:
		return v == 0 ? NP_OK : refuse_unavailable(s);
	case NP_TYPE_LEVEL:
	case NP_TYPE_DURATION:
	case NP_TYPE_TEXT:
	case NP_TYPE_NAME:
	case NP_TYPE_SOURCE:
	case NP_TYPE_KINDS:
	case NP_TYPE_HASH:
	case NP_TYPE_CIDRS:
	case NP_TYPE_STORE:
		break;
	}
	return NP_EINVAL;
}

/* Release 1.11 wrote name servers here. */
static bool is_address_list(const char *value)
{
	char first[NP_HOST_MAX + 1];
	size_t len = strcspn(value, ",");
	struct np_addr a;

	if (len >= sizeof(first))
		return false;
	memcpy(first, value, len);
	first[len] = '\0';
	return np_addr_from_literal(first, 0, &a);
}

static enum np_err set_duration(const struct setter *s)
{
	int64_t ms;
	enum np_err err = np_parse_duration(s->value, strlen(s->value), s->row->max, &ms);

	if (err != NP_OK && s->field == &s->c->dns_ms && is_address_list(s->value))
		return np_diag_set(s->diag, NP_EINVAL, s->row->name,
				   "dns=%.*s: name servers cannot be given, the system's are used; "
				   "dns is how long a resolved name is used, a duration such as 5m",
				   SHOWN_MAX, s->value);
	if (err != NP_OK)
		return refuse(s, err);
	*(int64_t *)s->field = ms;
	return NP_OK;
}

static enum np_err no_memory(const struct setter *s)
{
	return np_diag_set(s->diag, NP_ENOMEM, s->row->name, "%s: %s", s->row->name,
			   np_err_text(NP_ENOMEM));
}

static enum np_err set_text(const struct setter *s, const char *value)
{
	char *copy = np_strdup(value);

	if (copy == NULL)
		return no_memory(s);
	np_free(*(char **)s->field);
	*(char **)s->field = copy;
	return NP_OK;
}

static enum np_err set_name(const struct setter *s)
{
	static const char bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-_.";
	size_t len = strlen(s->value);

	if (strcmp(s->value, "none") == 0)
		return NP_OK;
	if (len > NP_HOST_MAX || strspn(s->value, bytes) != len)
		return refuse(s, NP_EINVAL);
	return set_text(s, s->value);
}

static enum np_err set_source(const struct setter *s)
{
	size_t len = strlen(s->value);
	bool bracketed = len > 2 && s->value[0] == '[' && s->value[len - 1] == ']';
	char host[NP_HOST_MAX + 1];
	struct np_addr a;

	if (strcmp(s->value, "auto") == 0) {
		s->c->dial_auto = true;
		return NP_OK;
	}
	if (len >= sizeof(host))
		return refuse(s, NP_EINVAL);
	snprintf(host, sizeof(host), "%.*s", (int)(bracketed ? len - 2 : len),
		 s->value + (bracketed ? 1 : 0));
	if (!np_addr_from_literal(host, 0, &a) || (bracketed && a.sa.sa_family != AF_INET6))
		return refuse(s, NP_EINVAL);
	s->c->dial_auto = false;
	*(struct np_addr *)s->field = a;
	return NP_OK;
}

static enum np_err set_kinds(const struct setter *s)
{
	unsigned kinds = 0;

	if (strcmp(s->value, "0") != 0) {
		for (const char *d = s->value; *d != '\0'; d++) {
			if (*d < '1' || *d > '3' || (kinds & 1u << (*d - '0')) != 0)
				return refuse(s, NP_EINVAL);
			kinds |= 1u << (*d - '0');
		}
	}
	*(unsigned *)s->field = kinds;
	return NP_OK;
}

static enum np_err set_hash(const struct setter *s)
{
	enum np_err err = np_parse_hex(s->value, strlen(s->value), s->field, NP_PIN_LEN);

	if (err != NP_OK)
		return refuse(s, err);
	s->c->has_pin = true;
	return NP_OK;
}

static enum np_err set_networks(const struct setter *s)
{
	enum np_err err = np_netlist_parse(s->value, s->field);

	if (err == NP_OK)
		return NP_OK;
	return err == NP_ENOMEM ? no_memory(s) : refuse(s, err);
}

static enum np_err check_store(const struct setter *s)
{
	static const char sqlite[] = "sqlite:", etcd[] = "etcd://";
	struct np_hostport places[NP_TARGETS_MAX];
	const char *at = s->value + sizeof(etcd) - 1;
	size_t n;

	if (strncmp(s->value, sqlite, sizeof(sqlite) - 1) == 0)
		return s->value[sizeof(sqlite) - 1] != '\0' ? set_text(s, s->value)
							    : refuse(s, NP_EINVAL);
	if (strncmp(s->value, etcd, sizeof(etcd) - 1) != 0 ||
	    np_hostport_list_parse(at, strcspn(at, "/"), "store", places, NP_TARGETS_MAX, &n,
				   NULL) != NP_OK)
		return refuse(s, NP_EINVAL);
	return refuse_unavailable(s);
}

enum np_err np_param_set(enum np_param p, const char *value, struct np_config *c,
			 struct np_diag *diag)
{
	const struct np_param_row *row = np_param_row(p);
	struct setter s = {row, value, (char *)c + row->offset, c, diag};

	switch (row->type) {
	case NP_TYPE_LEVEL:
		return set_level(&s);
	case NP_TYPE_INT:
	case NP_TYPE_U32:
	case NP_TYPE_U64:
	case NP_TYPE_BOOL:
	case NP_TYPE_COMPAT:
	case NP_TYPE_OTHER:
		return set_number(&s);
	case NP_TYPE_DURATION:
		return set_duration(&s);
	case NP_TYPE_TEXT:
		return set_text(&s, value);
	case NP_TYPE_NAME:
		return set_name(&s);
	case NP_TYPE_SOURCE:
		return set_source(&s);
	case NP_TYPE_KINDS:
		return set_kinds(&s);
	case NP_TYPE_HASH:
		return set_hash(&s);
	case NP_TYPE_CIDRS:
		return set_networks(&s);
	case NP_TYPE_STORE:
		return check_store(&s);
	}
	return NP_EINVAL;
}
