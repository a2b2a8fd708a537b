/*
 * netlist.h - lists of networks: "10.0.0.0/8,2001:db8::/32", an address alone = that host.
 *
 * Pure. IPv4 is kept in its IPv4-mapped form, so that 10.0.0.0/8 and ::ffff:10.0.0.0/104 are the
 * same network and a mapped visitor cannot slip past a list that was written in the other form.
 */
#ifndef NP_CORE_NETLIST_H
#define NP_CORE_NETLIST_H

#include "core/addr.h"

struct np_net {
	uint8_t addr[16]; /* bits past the prefix are zero */
	uint8_t bits;	  /* 0..128; of IPv4: 96 more than written */
};

struct np_netlist {
	struct np_net *nets; /* owned, NULL = none was given */
	size_t n;
};

/*
 * np_netlist_parse - a comma list; host bits behind the prefix are ignored. As many members as the
 * text has: a URL's length is the bound. Takes no scope, no blank, no empty member.
 * Errors: NP_EINVAL, NP_ENOMEM; *out untouched.
 */
enum np_err np_netlist_parse(const char *text, struct np_netlist *out) NP_MUST_CHECK;
void np_netlist_release(struct np_netlist *l);
/* np_netlist_has - is @a in one of the networks? An unset address is in none. */
bool np_netlist_has(const struct np_netlist *l, const struct np_addr *a);
bool np_netlist_equal(const struct np_netlist *a, const struct np_netlist *b); /* order counts */

/* np_netlist_admits - @deny wins; a list that was not given has nothing to say. */
bool np_netlist_admits(const struct np_netlist *allow, const struct np_netlist *deny,
		       const struct np_addr *a);

#endif
