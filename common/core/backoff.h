/*
 * backoff.h - waiting times between attempts: at once, then doubling from a base to a cap, with
 * jitter.
 */
#ifndef NP_CORE_BACKOFF_H
#define NP_CORE_BACKOFF_H

#include <stdint.h>

struct np_backoff {
	int64_t base_ms, cap_ms;
	unsigned failures;
};

void np_backoff_init(struct np_backoff *b, int64_t base_ms, int64_t cap_ms);
void np_backoff_reset(struct np_backoff *b);
/*
 * np_backoff_next - counts a failure; the time to wait: 0 after the first, then min(base * 2^n,
 * cap) less up to 25 % of jitter from @random. @cap_ms below the object's own cap lowers it for
 * this call; 0 = the own cap.
 */
int64_t np_backoff_next(struct np_backoff *b, uint32_t random, int64_t cap_ms);

#endif
