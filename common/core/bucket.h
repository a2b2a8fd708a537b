/*
 * bucket.h - token bucket shared by threads without a lock: one atomic "theoretical arrival time"
 * (GCRA).
 */
#ifndef NP_CORE_BUCKET_H
#define NP_CORE_BUCKET_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define NP_BUCKET_BURST_MS 100
#define NP_BUCKET_RATE_MAX \
	125000000000u /* 1 000 000 Mbit/s; higher rates are taken as this one \
					  */

struct np_bucket {
	_Atomic uint64_t rate_bytes_s; /* 0 = no limit */
	_Atomic int64_t tat_ns;	       /* all bytes granted so far are paid for at this time */
	_Atomic uint32_t
	    tat_frac; /* and 2^-32 ns parts of it: at high rates a byte costs far less than 1 ns */
};

void np_bucket_init(struct np_bucket *b, uint64_t rate_bytes_s);
/* np_bucket_set_rate - may be called while others take. */
void np_bucket_set_rate(struct np_bucket *b, uint64_t rate_bytes_s);
/*
 * np_bucket_take - up to @want bytes at @now_ns; at least @least or nothing (@least is cut to @want
 * and to the burst). Returns the bytes granted. With 0, *wait_ns (never 0 then) says when @least
 * will be there (without competition). Several takers that ask again after their waits share the
 * rate without loss; who comes first is served first. Thread: any. Blocks: never.
 */
size_t np_bucket_take(struct np_bucket *b, int64_t now_ns, size_t want, size_t least,
		      int64_t *wait_ns);
/*
 * np_bucket_charge - takes @n bytes without asking: what comes later pays for them. After a take.
 */
void np_bucket_charge(struct np_bucket *b, size_t n);
/* np_bucket_charge_at - the same without a take before: an idle bucket does not pay with time that is
 * over. np_bucket_ahead_ns - how far it is used up: 0 = full, the burst = empty, more = in debt. */
void np_bucket_charge_at(struct np_bucket *b, int64_t now_ns, size_t n);
int64_t np_bucket_ahead_ns(struct np_bucket *b, int64_t now_ns);
/* np_bucket_refund - gives back what was taken and not used. After a change of rate roughly. */
void np_bucket_refund(struct np_bucket *b, size_t unused);

#endif
