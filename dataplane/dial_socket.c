/*
 * dial_socket.c - sockets that connect, TCP and UDP: flags, source address, result.
 */
#include "dial_socket.h"

#include "base/num.h"
#include "dial.h"
#include "loopback.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
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

	return err == EINPROGRESS && loopback_is(addr) ? connect_once(fd, addr) : err;
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
	if (loopback_is(addr))
		loopback_tune(fd);
	*call = "connect";
	*err = start_connect(fd, addr);
	if (*err == 0 || *err == EINPROGRESS)
		return fd;
	close(fd);
	return -1;
}

/*
 * Ports that the kernel gives to connections. Read once: what is changed later counts from the next
 * start on.
 */
static unsigned ephemeral_low = 1, ephemeral_high = 65535;
static pthread_once_t ephemeral_once = PTHREAD_ONCE_INIT;

static void ephemeral_read(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	char line[32];
	uint64_t low, high;
	size_t sep;

	if (f == NULL)
		return;
	if (fgets(line, sizeof(line), f) != NULL) {
		sep = strcspn(line, "\t ");
		if (line[sep] != '\0' && np_parse_u64(line, sep, 1, 65535, &low) == NP_OK &&
		    np_parse_u64(line + sep + 1, strcspn(line + sep + 1, "\n"), low, 65535,
				 &high) == NP_OK) {
			ephemeral_low = (unsigned)low;
			ephemeral_high = (unsigned)high;
		}
	}
	fclose(f);
}

/*
 * A connection to a port of this host that nobody listens on can meet itself when the kernel picks
 * that very port as its source: it would echo the visitor's bytes.
 */
bool dial_socket_is_self(int fd, const struct np_addr *addr)
{
	struct np_addr local = {.len = sizeof(local.in6)};

	pthread_once(&ephemeral_once, ephemeral_read);
	if (np_addr_port(addr) < ephemeral_low || np_addr_port(addr) > ephemeral_high)
		return false;
	return getsockname(fd, &local.sa, &local.len) == 0 && np_addr_equal(&local, addr);
}

int dial_socket_result(int fd, const struct np_addr *addr)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1)
		return errno;
	if (err == 0 && dial_socket_is_self(fd, addr))
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
