/*
 * loopback.c - sockets within the host are not paced.
 *
 * A congestion control that paces (bbr) sends in small bursts, each from a timer. On loopback there
 * is no queue that this would spare, and it was two thirds of the CPU time of a stream.
 */
#include "loopback.h"

#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNPACED	    "reno" /* part of every kernel, and any user may have it */
#define CC_NAME_MAX 16	   /* of a congestion control, TCP_CA_NAME_MAX */

static bool paced; /* by default; read once, what is changed later counts from the next start on */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void default_read(void)
{
	char name[CC_NAME_MAX + 1] = "";
	socklen_t len = CC_NAME_MAX;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1)
		fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return;
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0)
		paced = strncmp(name, "bbr", 3) == 0;
	close(fd);
}

bool loopback_is(const struct np_addr *a)
{
	if (a->sa.sa_family == AF_INET)
		return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
	if (IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
		return a->in6.sin6_addr.s6_addr[12] == 127;
	return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

void loopback_tune(int fd)
{
	pthread_once(&once, default_read);
	if (paced)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, UNPACED, sizeof(UNPACED) - 1);
}
