/*
 * bind_any.c - see bind_any.h.
 */
#include "bind_any.h"

#include <errno.h>

int bind_any(const struct np_addr *addr, bool any, bind_fn make)
{
	struct np_addr v4 = {.in = {.sin_family = AF_INET}, .len = sizeof(v4.in)};
	int fd = make(addr, !any);

	if (fd != -1 || !any || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL))
		return fd;
	np_addr_set_port(&v4, np_addr_port(addr)); /* a host without IPv6 */
	return make(&v4, false);
}
