/*
 * fuzz_netlist.c - lists of networks: what parses holds its own base addresses, is itself again
 * when it is written bit by bit, and matches as a comparison of single bits does.
 */
#include "core/netlist.h"

#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned bit(const uint8_t *p, unsigned i)
{
	return p[i / 8] >> (7 - i % 8) & 1u;
}

static bool in_net(const struct np_net *net, const uint8_t *addr)
{
	for (unsigned i = 0; i < net->bits; i++)
		if (bit(net->addr, i) != bit(addr, i))
			return false;
	return true;
}

static bool in_any(const struct np_netlist *l, const uint8_t *addr)
{
	for (size_t i = 0; i < l->n; i++)
		if (in_net(&l->nets[i], addr))
			return true;
	return false;
}

static void check(const struct np_netlist *l, const uint8_t addr[16])
{
	struct np_addr a = {.in6 = {.sin6_family = AF_INET6}, .len = sizeof(a.in6)};

	memcpy(&a.in6.sin6_addr, addr, 16);
	NP_ASSERT(np_netlist_has(l, &a) == in_any(l, addr));
	np_addr_unmap(&a);
	NP_ASSERT(np_netlist_has(l, &a) == in_any(l, addr));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct np_netlist l = {.n = 0}, again = {.n = 0};
	uint8_t addr[16];
	char text[4097];

	if (size < 16 || size > 16 + 4096)
		return 0;
	memcpy(addr, data, 16);
	memcpy(text, data + 16, size - 16);
	text[size - 16] = '\0';
	if (np_netlist_parse(text, &l) != NP_OK)
		return 0;
	NP_ASSERT(l.n >= 1 && l.n <= size);
	check(&l, addr);
	for (size_t i = 0; i < l.n; i++) {
		uint8_t near[16];

		NP_ASSERT(l.nets[i].bits <= 128);
		check(&l, l.nets[i].addr);
		memcpy(near, l.nets[i].addr, 16);
		near[addr[0] % 16] ^= (uint8_t)(1u << addr[1] % 8);
		check(&l, near);
	}
	NP_ASSERT(np_netlist_parse(text, &again) == NP_OK && np_netlist_equal(&l, &again));
	np_netlist_release(&l);
	np_netlist_release(&again);
	return 0;
}
