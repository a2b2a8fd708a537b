/*
 * addr.c - socket addresses: literals, texts, comparison, keys of sources, the order of dialling.
 *
 * Never asks the resolver or the kernel. The parser of host:port texts is in hostport.c.
 */
#include "core/addr.h"

#include "base/assert.h"
#include "base/num.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static void set_v4(struct np_addr *a, const struct in_addr *in, uint16_t port)
{
	*a = (struct np_addr){.len = sizeof(a->in)};
	a->in.sin_family = AF_INET;
	a->in.sin_addr = *in;
	a->in.sin_port = htons(port);
}

static void set_v6(struct np_addr *a, const struct in6_addr *in6, uint32_t scope, uint16_t port)
{
	*a = (struct np_addr){.len = sizeof(a->in6)};
	a->in6.sin6_family = AF_INET6;
	a->in6.sin6_addr = *in6;
	a->in6.sin6_scope_id = scope;
	a->in6.sin6_port = htons(port);
}

bool np_addr_from_literal(const char *host, uint16_t port, struct np_addr *out)
{
	const char *percent = strchr(host, '%');
	size_t len = percent != NULL ? (size_t)(percent - host) : strlen(host);
	char text[INET6_ADDRSTRLEN];
	uint64_t scope = 0;
	struct in6_addr in6;
	struct in_addr in;

	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, host, len);
	text[len] = '\0';
	if (percent == NULL && inet_pton(AF_INET, text, &in) == 1) {
		set_v4(out, &in, port);
		return true;
	}
	/* A scope's name needs the kernel's list of interfaces: that is the resolver's work. */
	if (percent != NULL &&
	    np_parse_u64(percent + 1, strlen(percent + 1), 1, UINT32_MAX, &scope) != NP_OK)
		return false;
	if (inet_pton(AF_INET6, text, &in6) != 1)
		return false;
	set_v6(out, &in6, (uint32_t)scope, port);
	return true;
}

void np_addr_unmap(struct np_addr *a)
{
	struct in_addr in;

	if (a->len == 0 || a->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
		return;
	memcpy(&in, &a->in6.sin6_addr.s6_addr[12], sizeof(in));
	set_v4(a, &in, ntohs(a->in6.sin6_port));
}

void np_addr_format_host(const struct np_addr *a, char out[NP_ADDR_TEXT_MAX])
{
	struct np_addr plain = *a;
	char text[INET6_ADDRSTRLEN];

	np_addr_unmap(&plain);
	if (plain.len != 0 && plain.sa.sa_family == AF_INET &&
	    inet_ntop(AF_INET, &plain.in.sin_addr, text, sizeof(text)) != NULL) {
		snprintf(out, NP_ADDR_TEXT_MAX, "%s", text);
	} else if (plain.len != 0 && plain.sa.sa_family == AF_INET6 &&
		   inet_ntop(AF_INET6, &plain.in6.sin6_addr, text, sizeof(text)) != NULL) {
		if (plain.in6.sin6_scope_id != 0)
			snprintf(out, NP_ADDR_TEXT_MAX, "%s%%%u", text, plain.in6.sin6_scope_id);
		else
			snprintf(out, NP_ADDR_TEXT_MAX, "%s", text);
	} else {
		snprintf(out, NP_ADDR_TEXT_MAX, "-");
	}
}

void np_addr_format(const struct np_addr *a, char out[NP_ADDR_TEXT_MAX])
{
	char host[NP_ADDR_TEXT_MAX];

	np_addr_format_host(a, host);
	if (strcmp(host, "-") == 0)
		snprintf(out, NP_ADDR_TEXT_MAX, "-");
	else if (strchr(host, ':') != NULL)
		snprintf(out, NP_ADDR_TEXT_MAX, "[%.*s]:%u", NP_ADDR_TEXT_MAX - 9, host,
			 np_addr_port(a));
	else
		snprintf(out, NP_ADDR_TEXT_MAX, "%.*s:%u", NP_ADDR_TEXT_MAX - 9, host,
			 np_addr_port(a));
}

uint16_t np_addr_port(const struct np_addr *a)
{
	if (a->len == 0)
		return 0;
	if (a->sa.sa_family == AF_INET)
		return ntohs(a->in.sin_port);
	return a->sa.sa_family == AF_INET6 ? ntohs(a->in6.sin6_port) : 0;
}

void np_addr_set_port(struct np_addr *a, uint16_t port)
{
	if (a->len == 0)
		return;
	if (a->sa.sa_family == AF_INET)
		a->in.sin_port = htons(port);
	else if (a->sa.sa_family == AF_INET6)
		a->in6.sin6_port = htons(port);
}

bool np_addr_equal(const struct np_addr *a, const struct np_addr *b)
{
	if (a->len == 0 || b->len == 0)
		return a->len == b->len;
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_port == b->in.sin_port &&
		       a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return a->in6.sin6_port == b->in6.sin6_port &&
	       a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
	       memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
}

bool np_addr_same_host(const struct np_addr *a, const struct np_addr *b)
{
	struct np_addr x = *a, y = *b;

	np_addr_unmap(&x);
	np_addr_unmap(&y);
	np_addr_set_port(&x, 0);
	np_addr_set_port(&y, 0);
	return np_addr_equal(&x, &y);
}

/* The finaliser of a 64-bit counter-based generator: every input bit reaches every output bit. */
static uint64_t mix(uint64_t v)
{
	v ^= v >> 30;
	v *= 0xbf58476d1ce4e5b9u;
	v ^= v >> 27;
	v *= 0x94d049bb133111ebu;
	return v ^ v >> 31;
}

uint64_t np_addr_hash(const struct np_addr *a, uint64_t seed)
{
	uint64_t h = mix(seed ^ np_addr_port(a)), half[2];

	if (a->len == 0)
		return h;
	if (a->sa.sa_family == AF_INET)
		return mix(h ^ a->in.sin_addr.s_addr);
	memcpy(half, &a->in6.sin6_addr, sizeof(half));
	h = mix(h ^ half[0]);
	h = mix(h + half[1]);
	return mix(h ^ ((uint64_t)a->in6.sin6_scope_id << 32 | AF_INET6));
}

uint64_t np_addr_source_key(const struct np_addr *a)
{
	struct np_addr plain = *a;
	uint64_t key = 0;

	np_addr_unmap(&plain);
	if (plain.len == 0)
		return 0;
	/* ::/8 is reserved: 0:1::/32 has no /64 in use that an IPv4 address could be taken for. */
	if (plain.sa.sa_family == AF_INET)
		return (uint64_t)1 << 32 | ntohl(plain.in.sin_addr.s_addr);
	for (int i = 0; i < 8; i++)
		key = key << 8 | plain.in6.sin6_addr.s6_addr[i];
	return key;
}

void np_addr_order(struct np_addr *list, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		size_t j = i;
		struct np_addr next;

		while (j < n && list[j].sa.sa_family == list[i - 1].sa.sa_family)
			j++;
		if (j == n)
			return;
		next = list[j];
		memmove(&list[i + 1], &list[i], (j - i) * sizeof(*list));
		list[i] = next;
	}
}
