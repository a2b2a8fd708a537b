/*
 * bucket.c - generic cell rate algorithm on one atomic: the time at which all that was granted is
 * paid for. Reads no clock. All accesses are relaxed: nothing else is published through the bucket.
 */
#include "core/bucket.h"

#define NS_PER_S 1000000000u
#define BURST_NS ((int64_t)NP_BUCKET_BURST_MS * 1000000)
/* More bytes than any burst; keeps bytes * 10^9 within 64 bits. */
#define BYTES_MAX 18000000000u

struct cost {
	int64_t ns;
	uint32_t frac;
};

static struct cost cost_of(size_t bytes, uint64_t rate)
{
	uint64_t n = (uint64_t)bytes * NS_PER_S, rest = n % rate;

	return (struct cost){(int64_t)(n / rate),
			     (uint32_t)((double)rest / (double)rate * 4294967296.0)};
}

/* Below 10 bytes/s a burst would not hold a single byte. */
static int64_t burst_ns(uint64_t rate)
{
	return rate >= 10 ? BURST_NS : (int64_t)(NS_PER_S / rate) + 1;
}

void np_bucket_init(struct np_bucket *b, uint64_t rate_bytes_s)
{
	atomic_init(&b->rate_bytes_s, 0);
	atomic_init(&b->tat_ns, 0);
	atomic_init(&b->tat_frac, 0);
	np_bucket_set_rate(b, rate_bytes_s);
}

void np_bucket_set_rate(struct np_bucket *b, uint64_t rate_bytes_s)
{
	if (rate_bytes_s > NP_BUCKET_RATE_MAX)
		rate_bytes_s = NP_BUCKET_RATE_MAX;
	atomic_store_explicit(&b->rate_bytes_s, rate_bytes_s, memory_order_relaxed);
}

size_t np_bucket_take(struct np_bucket *b, int64_t now_ns, size_t want, size_t least,
		      int64_t *wait_ns)
{
	uint64_t rate = atomic_load_explicit(&b->rate_bytes_s, memory_order_relaxed);
	int64_t tat = atomic_load_explicit(&b->tat_ns, memory_order_relaxed);
	int64_t burst, from, left;
	size_t grant;
	struct cost c;

	*wait_ns = 0;
	if (rate == 0 || want == 0)
		return want;
	burst = burst_ns(rate);
	if (least > want)
		least = want;
	if (least == 0)
		least = 1;
	if (cost_of(least < BYTES_MAX ? least : BYTES_MAX, rate).ns >= burst)
		least = (size_t)((uint64_t)burst * rate / NS_PER_S);
	do {
		from = tat > now_ns ? tat : now_ns;
		left = burst - (from - now_ns);
		grant = left > 0 ? (size_t)((uint64_t)left * rate / NS_PER_S) : 0;
		if (grant < least) {
			/* One more for what the division cut off. */
			*wait_ns = cost_of(least, rate).ns + 1 - left;
			return 0;
		}
		if (grant > want)
			grant = want;
		c = cost_of(grant, rate);
	} while (!atomic_compare_exchange_weak_explicit(
	    &b->tat_ns, &tat, from + c.ns, memory_order_relaxed, memory_order_relaxed));
	/* Whose part fills the nanosecond adds it: no part is lost, however many take at once. */
	if (atomic_fetch_add_explicit(&b->tat_frac, c.frac, memory_order_relaxed) >
	    UINT32_MAX - c.frac)
		(void)atomic_fetch_add_explicit(&b->tat_ns, 1, memory_order_relaxed);
	return grant;
}

void np_bucket_charge(struct np_bucket *b, size_t n)
{
	uint64_t rate = atomic_load_explicit(&b->rate_bytes_s, memory_order_relaxed);

	if (rate == 0 || n == 0)
		return;
	/* Its part of a nanosecond is left out. */
	(void)atomic_fetch_add_explicit(&b->tat_ns, cost_of(n < BYTES_MAX ? n : BYTES_MAX, rate).ns,
					memory_order_relaxed);
}

int64_t np_bucket_ahead_ns(struct np_bucket *b, int64_t now_ns)
{
	int64_t tat = atomic_load_explicit(&b->tat_ns, memory_order_relaxed);

	return tat > now_ns ? tat - now_ns : 0;
}

void np_bucket_charge_at(struct np_bucket *b, int64_t now_ns, size_t n)
{
	int64_t tat = atomic_load_explicit(&b->tat_ns, memory_order_relaxed);

	while (tat < now_ns &&
	       !atomic_compare_exchange_weak_explicit(&b->tat_ns, &tat, now_ns,
						      memory_order_relaxed, memory_order_relaxed))
		;
	np_bucket_charge(b, n);
}

void np_bucket_refund(struct np_bucket *b, size_t unused)
{
	uint64_t rate = atomic_load_explicit(&b->rate_bytes_s, memory_order_relaxed);
	struct cost c;

	if (rate == 0 || unused == 0)
		return;
	c = cost_of(unused < BYTES_MAX ? unused : BYTES_MAX, rate);
	/* A time that lies in the past by then means no more than a full burst: take starts at now.
	 */
	if (atomic_fetch_sub_explicit(&b->tat_frac, c.frac, memory_order_relaxed) < c.frac)
		c.ns++;
	(void)atomic_fetch_sub_explicit(&b->tat_ns, c.ns, memory_order_relaxed);
}
