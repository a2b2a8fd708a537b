/*
 * url.c - a URL cut into its parts, percent escapes, pairs of a query.
 *
 * The user part is a secret: no text made here quotes anything that could be a piece of it.
 */
#include "core/config_table.h"

#include "base/num.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

#define EXPECTED "server://, client:// or master:// expected"

static enum np_err refuse(struct np_diag *diag, size_t offset, const char *field, const char *text)
{
	np_diag_set(diag, NP_EINVAL, field, "%s", text);
	if (diag != NULL)
		diag->offset = offset;
	return NP_EINVAL;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool np_role_from_scheme(struct np_slice scheme, enum np_role *out)
{
	static const enum np_role roles[] = {NP_ROLE_SERVER, NP_ROLE_CLIENT, NP_ROLE_MASTER};

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
		const char *name = np_role_name(roles[i]);

		if (strlen(name) == scheme.len && strncasecmp(name, scheme.s, scheme.len) == 0) {
			*out = roles[i];
			return true;
		}
	}
	return false;
}

static enum np_err check_bytes(const char *url, struct np_diag *diag)
{
	size_t len = strnlen(url, NP_URL_MAX + 1);

	if (len == 0)
		return refuse(diag, 0, "url", "the URL is empty: " EXPECTED);
	if (len > NP_URL_MAX)
		return np_diag_set(diag, NP_ERANGE, "url", "the URL is longer than %d bytes",
				   NP_URL_MAX);
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)url[i] < 0x20 || url[i] == 0x7f) {
			np_diag_set(diag, NP_EINVAL, "url",
				    "the URL has a control character at byte %zu", i);
			if (diag != NULL)
				diag->offset = i;
			return NP_EINVAL;
		}
	}
	return NP_OK;
}

static enum np_err split_scheme(const char *url, struct np_slice *scheme, struct np_diag *diag)
{
	const char *colon = strstr(url, "://");
	size_t len = 0;

	while (is_letter(url[len]))
		len++;
	*scheme = (struct np_slice){url, len};
	if (colon == url || strncmp(url, "//", 2) == 0)
		return refuse(diag, 0, "scheme", "the scheme (core) is missing: " EXPECTED);
	if (colon == NULL) {
		/* A word alone is no key. */
		if (len < 1 || url[len] != '\0')
			return refuse(diag, 0, "scheme", "the URL has no scheme (core): " EXPECTED);
		return np_diag_set(diag, NP_EINVAL, "scheme", "\"%.32s\" is no URL: " EXPECTED,
				   url);
	}
	if (colon != url + len)
		return refuse(diag, 0, "scheme", "the scheme (core) is unknown: " EXPECTED);
	return NP_OK;
}

/*
 * Where the part with host and user ends. A key may carry '?' and '#' as they are when a '/'
 * follows; a master's URL has no key and perhaps no '/'.
 */
static size_t authority_len(const char *s, bool is_master)
{
	return strcspn(s, is_master ? "/?#" : "/");
}

static enum np_err split_rest(const char *url, const char *s, bool is_master, struct np_url *u,
			      struct np_diag *diag)
{
	size_t len = authority_len(s, is_master), path;
	const char *at = memrchr(s, '@', len), *rest;

	u->has_user = at != NULL;
	if (at != NULL) {
		u->user = (struct np_slice){s, (size_t)(at - s)};
		len -= u->user.len + 1;
		s = at + 1;
	}
	u->host = (struct np_slice){s, strcspn(s, "/?#")};
	rest = s + u->host.len;
	u->has_path = *rest == '/';
	if (u->has_path)
		rest++;
	path = strcspn(rest, "?#");
	u->path = (struct np_slice){rest, path};
	rest += path;
	u->query = (struct np_slice){rest, 0};
	if (*rest == '?') {
		rest++;
		u->query = (struct np_slice){rest, strcspn(rest, "#")};
		rest += u->query.len;
	}
	if (memchr(u->path.s, '@', u->path.len) != NULL)
		return refuse(
		    diag, 0, "key",
		    "the key has a \"/\", which is written %2F there, or a target address "
		    "has an \"@\"");
	if (*rest == '#')
		return refuse(
		    diag, (size_t)(rest - url), "url",
		    "a fragment (#...) has no meaning here; a # that is meant is written %23");
	return NP_OK;
}

enum np_err np_url_split(const char *url, struct np_url *out, struct np_diag *diag)
{
	struct np_url u = {0};
	enum np_role role;
	enum np_err err = check_bytes(url, diag);

	if (err == NP_OK)
		err = split_scheme(url, &u.scheme, diag);
	if (err != NP_OK)
		return err;
	if (!np_role_from_scheme(u.scheme, &role))
		return np_diag_set(diag, NP_EINVAL, "scheme", "unknown core \"%.*s\": " EXPECTED,
				   (int)(u.scheme.len < 32 ? u.scheme.len : 32), u.scheme.s);
	err = split_rest(url, u.scheme.s + u.scheme.len + 3, role == NP_ROLE_MASTER, &u, diag);
	if (err == NP_OK)
		*out = u;
	return err;
}

bool np_query_next(struct np_slice *rest, struct np_slice *name, struct np_slice *value)
{
	while (rest->len > 0) {
		const char *amp = memchr(rest->s, '&', rest->len), *eq;
		size_t len = amp != NULL ? (size_t)(amp - rest->s) : rest->len;
		struct np_slice pair = {rest->s, len};

		rest->s += amp != NULL ? len + 1 : len;
		rest->len -= amp != NULL ? len + 1 : len;
		if (len == 0)
			continue;
		eq = memchr(pair.s, '=', pair.len);
		name->s = pair.s;
		name->len = eq != NULL ? (size_t)(eq - pair.s) : pair.len;
		value->s = eq != NULL ? eq + 1 : pair.s + pair.len;
		value->len = (size_t)(pair.s + pair.len - value->s);
		return true;
	}
	return false;
}

enum np_param np_param_by_name(struct np_slice name)
{
	for (unsigned p = 0; p < NP_PARAM_COUNT; p++) {
		const char *known = np_param_name((enum np_param)p);

		if (strlen(known) == name.len && memcmp(known, name.s, name.len) == 0)
			return (enum np_param)p;
	}
	return NP_PARAM_COUNT;
}

enum np_err np_percent_decode(struct np_slice in, bool plus, char *out, size_t *len, size_t *bad)
{
	size_t n = 0;

	for (size_t i = 0; i < in.len; i++) {
		char c = in.s[i];

		if (c == '%') {
			int high = in.len - i > 2 ? np_hex_digit(in.s[i + 1]) : -1;
			int low = in.len - i > 2 ? np_hex_digit(in.s[i + 2]) : -1;

			if (high < 0 || low < 0 || (high == 0 && low == 0)) {
				*bad = i;
				return NP_EINVAL;
			}
			c = (char)(high << 4 | low);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		out[n++] = c;
	}
	out[n] = '\0';
	*len = n;
	return NP_OK;
}

static bool is_unreserved(char c)
{
	return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	       c == '~';
}

void np_percent_encode(struct np_buf *out, const char *s, size_t len, const char *keep)
{
	for (size_t i = 0; i < len; i++) {
		if (is_unreserved(s[i]) || (s[i] != '\0' && strchr(keep, s[i]) != NULL))
			np_buf_put_u8(out, (uint8_t)s[i]);
		else
			np_buf_putf(out, "%%%02X", (unsigned)(unsigned char)s[i]);
	}
}
