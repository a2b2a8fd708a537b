/*
 * hostport.c - the parser of "host:port" texts of addr.h. Every refusal quotes what was refused.
 */
#include "core/addr.h"

#include "base/num.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define FORMS	  "host:port, [v6]:port or :port expected"
#define QUOTE_MAX 128 /* of a value in a text for people */

struct slice {
	const char *s;
	size_t len;
};

struct where {
	const char *field;
	struct slice all;
	struct np_diag *diag;
};

static int shown(size_t len)
{
	return (int)(len < QUOTE_MAX ? len : QUOTE_MAX);
}

static enum np_err refuse(const struct where *w, enum np_err err, size_t offset, const char *what)
{
	np_diag_set(w->diag, err, w->field, "%s \"%.*s\": %s", w->field, shown(w->all.len),
		    w->all.s, what);
	if (w->diag != NULL)
		w->diag->offset = offset;
	return err;
}

static bool is_name_byte(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '-' || c == '_' || c == '.';
}

/* An IPv6 literal with or without a scope, whose name is not looked up here. */
static bool is_v6(struct slice host)
{
	const char *percent = memchr(host.s, '%', host.len);
	size_t len = percent != NULL ? (size_t)(percent - host.s) : host.len;
	char text[INET6_ADDRSTRLEN];
	struct in6_addr in6;

	if (len >= sizeof(text))
		return false;
	memcpy(text, host.s, len);
	text[len] = '\0';
	if (strlen(text) != len || inet_pton(AF_INET6, text, &in6) != 1)
		return false;
	if (percent == NULL)
		return true;
	for (size_t i = len + 1; i < host.len; i++) {
		if (!is_name_byte(host.s[i]))
			return false;
	}
	return host.len > len + 1 && host.len - len - 1 < 16;
}

/* Only digits and dots: meant as an IPv4 address, never a name. */
static bool is_meant_as_v4(struct slice host)
{
	for (size_t i = 0; i < host.len; i++) {
		if (host.s[i] != '.' && (host.s[i] < '0' || host.s[i] > '9'))
			return false;
	}
	return host.len > 0;
}

static enum np_err check_name(const struct where *w, struct slice host)
{
	char text[NP_HOST_MAX + 1];
	struct in_addr in;
	size_t label = 0;

	if (host.len > NP_HOST_MAX)
		return refuse(w, NP_EINVAL, 0, "the host is longer than 253 bytes");
	for (size_t i = 0; i < host.len; i++) {
		if (!is_name_byte(host.s[i]))
			return refuse(w, NP_EINVAL, i,
				      host.s[i] == ':'
					  ? "an IPv6 address is written in brackets, [v6]:port"
					  : "the host has a character that no name has; " FORMS);
		label = host.s[i] == '.' ? 0 : label + 1;
		if (label > 63 || (host.s[i] == '.' && (i == 0 || host.s[i - 1] == '.')))
			return refuse(w, NP_EINVAL, i, "the host is no name; " FORMS);
	}
	memcpy(text, host.s, host.len);
	text[host.len] = '\0';
	if (is_meant_as_v4(host) && inet_pton(AF_INET, text, &in) != 1)
		return refuse(w, NP_EINVAL, 0, "the host is no IPv4 address");
	return NP_OK;
}

static enum np_err parse_port(const struct where *w, struct slice port, uint16_t *out)
{
	size_t offset = (size_t)(port.s - w->all.s);
	char what[QUOTE_MAX + 64];
	uint64_t v;
	enum np_err err;

	if (port.len == 0)
		return refuse(w, NP_EINVAL, offset, "the port is missing; " FORMS);
	err = np_parse_u64(port.s, port.len, 1, 65535, &v);
	if (err != NP_OK) {
		snprintf(what, sizeof(what), "port \"%.*s\" is not a number from 1 to 65535",
			 shown(port.len), port.s);
		return refuse(w, err, offset, what);
	}
	*out = (uint16_t)v;
	return NP_OK;
}

/* Splits @all: the host without brackets, the port's digits. */
static enum np_err split(const struct where *w, struct slice *host, struct slice *port)
{
	const char *end = w->all.s + w->all.len, *colon;

	if (w->all.s[0] == '[') {
		const char *close = memchr(w->all.s, ']', w->all.len);

		if (close == NULL)
			return refuse(w, NP_EINVAL, 0, "missing ]");
		*host = (struct slice){w->all.s + 1, (size_t)(close - w->all.s) - 1};
		if (!is_v6(*host))
			return refuse(w, NP_EINVAL, 1, "no IPv6 address between the brackets");
		colon = close + 1;
		if (colon < end && *colon != ':')
			return refuse(w, NP_EINVAL, (size_t)(colon - w->all.s),
				      "after ] a : and the port are expected");
	} else {
		colon = memrchr(w->all.s, ':', w->all.len);
		if (colon == NULL)
			colon = end;
		*host = (struct slice){w->all.s, (size_t)(colon - w->all.s)};
	}
	if (colon == end)
		return refuse(w, NP_EINVAL, w->all.len, "the port is missing; " FORMS);
	*port = (struct slice){colon + 1, (size_t)(end - colon) - 1};
	return NP_OK;
}

enum np_err np_hostport_parse(const char *s, size_t len, const char *field, struct np_hostport *out,
			      struct np_diag *diag)
{
	struct where w = {field, {s, len}, diag};
	struct slice host, port;
	uint16_t number = 0;
	enum np_err err;

	if (len == 0)
		return np_diag_set(diag, NP_EINVAL, field, "%s is empty: " FORMS, field);
	err = split(&w, &host, &port);
	if (err == NP_OK && s[0] != '[')
		err = check_name(&w, host);
	if (err == NP_OK)
		err = parse_port(&w, port, &number);
	if (err != NP_OK)
		return err;
	*out = (struct np_hostport){.port = number};
	memcpy(out->host, host.s, host.len);
	return NP_OK;
}

/* The length of the list member that begins at @s. */
static size_t member_len(const char *s, size_t len)
{
	const char *comma = memchr(s, ',', len);

	return comma != NULL ? (size_t)(comma - s) : len;
}

/* With @out NULL the members are only checked and counted. */
static enum np_err walk_list(const char *s, size_t len, const char *field, struct np_hostport *out,
			     size_t max, size_t *n, struct np_diag *diag)
{
	size_t pos = 0, count = 0;

	for (;;) {
		size_t part = member_len(s + pos, len - pos);
		struct np_hostport hp;
		enum np_err err;

		if (count == max)
			err = np_diag_set(diag, NP_ERANGE, field, "%s: more than %zu members",
					  field, max);
		else if (part == 0 && len > 0)
			err = np_diag_set(diag, NP_EINVAL, field,
					  "%s \"%.*s\": empty member in the list", field,
					  shown(len), s);
		else
			err = np_hostport_parse(s + pos, part, field, &hp, diag);
		if (err != NP_OK) {
			if (diag != NULL)
				diag->offset += pos;
			return err;
		}
		if (out != NULL)
			out[count] = hp;
		count++;
		pos += part;
		if (pos == len)
			break;
		pos++;
	}
	*n = count;
	return NP_OK;
}

enum np_err np_hostport_list_parse(const char *s, size_t len, const char *field,
				   struct np_hostport *out, size_t max, size_t *n,
				   struct np_diag *diag)
{
	enum np_err err = walk_list(s, len, field, NULL, max, n, diag);

	if (err != NP_OK)
		return err;
	return walk_list(s, len, field, out, max, n, diag);
}

void np_hostport_format(const struct np_hostport *hp, char *out, size_t max)
{
	if (strchr(hp->host, ':') != NULL)
		snprintf(out, max, "[%s]:%u", hp->host, hp->port);
	else
		snprintf(out, max, "%s:%u", hp->host, hp->port);
}
