/*
 * backoff.c - waiting times between attempts. Knows no clock and no random numbers of its own.
 */
#include "core/backoff.h"

#include <limits.h>

#define JITTER_PERCENT 25

void np_backoff_init(struct np_backoff *b, int64_t base_ms, int64_t cap_ms)
{
	/* A base of 0 would make every wait 0: a loop that spins. */
	b->base_ms = base_ms > 0 ? base_ms : 1;
	b->cap_ms = cap_ms > 0 ? cap_ms : 1;
	b->failures = 0;
}

void np_backoff_reset(struct np_backoff *b)
{
	b->failures = 0;
}

int64_t np_backoff_next(struct np_backoff *b, uint32_t random, int64_t cap_ms)
{
	int64_t cap = cap_ms > 0 && cap_ms < b->cap_ms ? cap_ms : b->cap_ms;
	int64_t wait = b->base_ms;
	unsigned doublings;

	if (b->failures < UINT_MAX)
		b->failures++;
	if (b->failures == 1)
		return 0;
	for (doublings = b->failures - 2; doublings > 0 && wait < cap; doublings--)
		wait = wait > cap / 2 ? cap : wait * 2;
	if (wait > cap)
		wait = cap;
	/* wait is at most a day in ms, so the product fits. Only ever less: the cap is a promise.
	 */
	return wait - (int64_t)((uint64_t)wait * JITTER_PERCENT * (random >> 16) / 6553600u);
}
