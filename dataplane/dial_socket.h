/*
 * dial_socket.h - the system calls of a dial: sockets that connect, and what became of them.
 */
#ifndef NP_DIAL_SOCKET_H
#define NP_DIAL_SOCKET_H

#include "core/addr.h"
#include "reason.h"

/*
 * dial_socket_connect - starts a connection to @addr from @source (NULL = any). The descriptor with
 * *err 0 or EINPROGRESS; -1 with *err and *call ("socket", "bind", "connect"), which failed.
 */
int dial_socket_connect(const struct np_addr *addr, const struct np_addr *source, const char **call,
			int *err);
/* dial_socket_result - of a connection to @addr that became writable: 0 or its errno. */
int dial_socket_result(int fd, const struct np_addr *addr);

/* dial_socket_is_self - is a connection to @addr one with itself? */
bool dial_socket_is_self(int fd, const struct np_addr *addr);

/* dial_reason_of - an errno of the above as a reason. dial_reason_rank - which of two says more. */
enum np_reason dial_reason_of(int err);
int dial_reason_rank(enum np_reason r);

#endif
