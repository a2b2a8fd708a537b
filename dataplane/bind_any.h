/*
 * bind_any.h - "all addresses" as one socket, for TCP and UDP.
 */
#ifndef NP_BIND_ANY_H
#define NP_BIND_ANY_H

#include "core/addr.h"

#include <stdbool.h>

/* Makes a socket that is bound to @addr; @v6only as IPV6_V6ONLY. -1 with errno. */
typedef int (*bind_fn)(const struct np_addr *addr, bool v6only);

/* bind_any - @make for @addr; @any: it is [::], which takes IPv4, too, and on a host without IPv6
 * is 0.0.0.0 instead. -1 with errno. */
int bind_any(const struct np_addr *addr, bool any, bind_fn make);

#endif
