/*
 * mono.c - the one call of the monotonic clock.
 */
#include "base/mono.h"

#include "base/assert.h"

#include <time.h>

#include "base/banned.h"

struct np_mono np_mono_now(void)
{
	struct timespec ts;
	struct np_mono t;

	NP_ASSERT(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	t.us = (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
	/* 0 says "never"; the first microsecond after boot is taken for the second. */
	if (t.us == 0)
		t.us = 1;
	return t;
}
