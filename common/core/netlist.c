/*
 * netlist.c - networks in CIDR form, parsed and matched. See netlist.h.
 */
#include "core/netlist.h"

#include "base/alloc.h"
#include "base/num.h"

#include <string.h>

#include "base/banned.h"

#define MAPPED_BITS 96 /* ::ffff:0:0/96 holds IPv4 */

/* false: neither IPv4 nor IPv6. */
static bool bytes_of(const struct np_addr *a, uint8_t out[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (a->len == 0)
		return false;
	if (a->sa.sa_family == AF_INET6) {
		memcpy(out, &a->in6.sin6_addr, 16);
		return true;
	}
	if (a->sa.sa_family != AF_INET)
		return false;
	memcpy(out, mapped, sizeof(mapped));
	memcpy(out + sizeof(mapped), &a->in.sin_addr, 4);
	return true;
}

/* The bits of byte @i that belong to a prefix of @bits. */
static uint8_t mask_of(unsigned bits, unsigned i)
{
	if (bits >= 8 * (i + 1))
		return 0xff;
	if (bits <= 8 * i)
		return 0;
	return (uint8_t)(0xffU << (8 * (i + 1) - bits));
}

static bool parse_net(const char *s, size_t len, struct np_net *out)
{
	const char *slash = memchr(s, '/', len);
	size_t host_len = slash != NULL ? (size_t)(slash - s) : len;
	char host[NP_ADDR_TEXT_MAX];
	struct np_addr a;
	uint64_t bits = 0;
	unsigned more;

	if (host_len >= sizeof(host) || memchr(s, '%', len) != NULL)
		return false;
	memcpy(host, s, host_len);
	host[host_len] = '\0';
	if (!np_addr_from_literal(host, 0, &a) || !bytes_of(&a, out->addr))
		return false;
	more = a.sa.sa_family == AF_INET ? MAPPED_BITS : 0;
	if (slash == NULL)
		bits = 128 - more;
	else if (np_parse_u64(slash + 1, len - host_len - 1, 0, 128 - more, &bits) != NP_OK)
		return false;
	out->bits = (uint8_t)(bits + more);
	for (unsigned i = 0; i < sizeof(out->addr); i++)
		out->addr[i] &= mask_of(out->bits, i);
	return true;
}

enum np_err np_netlist_parse(const char *text, struct np_netlist *out)
{
	struct np_netlist l = {.n = 0};
	const char *at = text;
	size_t max = 1;

	for (const char *c = text; *c != '\0'; c++)
		max += *c == ',';
	l.nets = np_calloc(max, sizeof(*l.nets));
	if (l.nets == NULL)
		return NP_ENOMEM;
	while (l.n < max) {
		size_t len = strcspn(at, ",");

		if (!parse_net(at, len, &l.nets[l.n++])) {
			np_netlist_release(&l);
			return NP_EINVAL;
		}
		at += len + 1;
	}
	*out = l;
	return NP_OK;
}

void np_netlist_release(struct np_netlist *l)
{
	np_free(l->nets);
	*l = (struct np_netlist){.n = 0};
}

static bool net_has(const struct np_net *net, const uint8_t addr[16])
{
	unsigned whole = net->bits / 8;

	return memcmp(net->addr, addr, whole) == 0 &&
	       (whole == 16 || net->addr[whole] == (addr[whole] & mask_of(net->bits, whole)));
}

bool np_netlist_has(const struct np_netlist *l, const struct np_addr *a)
{
	uint8_t addr[16];

	if (l->n == 0 || !bytes_of(a, addr))
		return false;
	for (size_t i = 0; i < l->n; i++)
		if (net_has(&l->nets[i], addr))
			return true;
	return false;
}

bool np_netlist_equal(const struct np_netlist *a, const struct np_netlist *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (a->nets[i].bits != b->nets[i].bits ||
		    memcmp(a->nets[i].addr, b->nets[i].addr, sizeof(b->nets[i].addr)) != 0)
			return false;
	return true;
}

bool np_netlist_admits(const struct np_netlist *allow, const struct np_netlist *deny,
		       const struct np_addr *a)
{
	return !np_netlist_has(deny, a) && (allow->n == 0 || np_netlist_has(allow, a));
}
