/*
 * secret.c - see secret.h.
 */
#include "base/secret.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

void np_wipe(void *p, size_t n)
{
	explicit_bzero(p, n);
}

enum np_err np_random(void *out, size_t n)
{
	uint8_t *p = out;

	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);

		if (got == -1 && errno != EINTR)
			return NP_ESYS;
		if (got > 0) {
			p += got;
			n -= (size_t)got;
		}
	}
	return NP_OK;
}
