/*
 * dial_socket.c - sockets that connect, TCP and UDP: flags, source address, result.
 */
#include "dial_socket.h"

#include "dial.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

/*
 * IP_BIND_ADDRESS_NO_PORT leaves the port to connect: a bind that takes it would need one port per
 * connection of that address, whatever its destination. Linux has it for IPv6 sockets, too.
 */
static int bind_source(int fd, const struct np_addr *source)
{
	const int on = 1;
	struct np_addr a = *source;

	np_addr_set_port(&a, 0);
	(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	return bind(fd, &a.sa, a.len);
}

static bool is_loopback(const struct np_addr *a)
{
	if (a->sa.sa_family == AF_INET)
		return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

/* connect_once - 0, EINPROGRESS or what is wrong. */
static int connect_once(int fd, const struct np_addr *addr)
{
	if (connect(fd, &addr->sa, addr->len) == 0)
		return 0;
	return errno == EALREADY || errno == EINTR ? EINPROGRESS : errno;
}

/* Over loopback the answer is there when connect returns, but it does not say so. Asked again it
 * does, which saves a turn of the loop. */
static int start_connect(int fd, const struct np_addr *addr)
{
	int err = connect_once(fd, addr);

	return err == EINPROGRESS && is_loopback(addr) ? connect_once(fd, addr) : err;
}

int dial_socket_connect(const struct np_addr *addr, const struct np_addr *source, const char **call,
			int *err)
{
	const int on = 1;
	int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1) {
		*call = "socket";
		*err = errno;
		return -1;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (source != NULL && bind_source(fd, source) == -1) {
		*call = "bind";
		*err = errno;
		close(fd);
		return -1;
	}
	*call = "connect";
	*err = start_connect(fd, addr);
	if (*err == 0 || *err == EINPROGRESS)
		return fd;
	close(fd);
	return -1;
}

/*
 * A connection to a port of this host that nobody listens on can meet itself when the kernel picks
 * that very port as its source: it would echo the visitor's bytes.
 */
static bool is_self(int fd, const struct np_addr *addr)
{
	struct np_addr local = {.len = sizeof(local.in6)};

	return getsockname(fd, &local.sa, &local.len) == 0 && np_addr_equal(&local, addr);
}

int dial_socket_result(int fd, const struct np_addr *addr)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1)
		return errno;
	if (err == 0 && is_self(fd, addr))
		return ECONNREFUSED;
	return err;
}

int dial_udp(const struct np_addr *addr, const struct np_addr *source)
{
	int fd, err;

	if (source != NULL && source->sa.sa_family != addr->sa.sa_family) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	fd = socket(addr->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	if ((source != NULL && bind_source(fd, source) == -1) ||
	    connect(fd, &addr->sa, addr->len) == -1) {
		err = errno;
		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

enum np_reason dial_reason_of(int err)
{
	switch (err) {
	case ECONNREFUSED:
	case ECONNRESET:
		return NP_REASON_DIAL_REFUSED;
	case ETIMEDOUT:
		return NP_REASON_DIAL_TIMEOUT;
	case EMFILE:
	case ENFILE:
		return NP_REASON_NO_DESCRIPTORS;
	case ENOMEM:
	case ENOBUFS:
		return NP_REASON_NO_MEMORY;
	default:
		return NP_REASON_DIAL_FAILED;
	}
}

int dial_reason_rank(enum np_reason r)
{
	if (r == NP_REASON_NO_DESCRIPTORS || r == NP_REASON_NO_MEMORY)
		return 4;
	if (r == NP_REASON_DIAL_REFUSED)
		return 3;
	if (r == NP_REASON_DIAL_TIMEOUT)
		return 2;
	return r == NP_REASON_DIAL_FAILED ? 1 : 0;
}
