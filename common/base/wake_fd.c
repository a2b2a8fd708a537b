/*
 * wake_fd.c - see wake_fd.h.
 */
#include "base/wake_fd.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/banned.h"

int np_wake_fd_open(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void np_wake_fd_set(int fd)
{
	const uint64_t one = 1;
	ssize_t n;

	/* EAGAIN: the counter is full, and the loop wakes all the same. */
	do {
		n = write(fd, &one, sizeof(one));
	} while (n == -1 && errno == EINTR);
}

void np_wake_fd_clear(int fd)
{
	uint64_t set;
	ssize_t n;

	/* EAGAIN: it was not set. */
	do {
		n = read(fd, &set, sizeof(set));
	} while (n == -1 && errno == EINTR);
}
