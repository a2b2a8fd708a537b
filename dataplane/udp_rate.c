/*
 * udp_rate.c - rate= for datagrams: a flow's share first, then what nobody waits for. Thread: home.
 */
#include "udp_flow.h"

/* Datagrams may be this much ahead of the bucket; those of TCP who wait are served when it is made
 * up for. */
#define AHEAD_MS (NP_BUCKET_BURST_MS + 25)

static bool is_admitted(struct instance *inst, struct udp_flow *fl, int dir, uint64_t rate,
			size_t len)
{
	struct np_bucket *b = &inst->rate[dir];
	int64_t now = np_mono_now().us * 1000, wait;
	size_t got;

	/* Who is new shares with all that are: a flood from ever new addresses is one flow. */
	if (np_fair_take(&inst->udp_fair[dir], fl != NULL ? &fl->share[dir] : &inst->udp_new[dir],
			 now, rate, len) &&
	    np_bucket_ahead_ns(b, now) < (int64_t)AHEAD_MS * 1000000) {
		np_bucket_charge_at(b, now, len);
		return true;
	}
	if (atomic_load_explicit(&inst->rate_waits[dir], memory_order_relaxed) > 0)
		return false;
	got = np_bucket_take(b, now, len, len, &wait);
	if (got > 0 && got < len) /* more than a burst: goes whole, paid for by what comes later */
		np_bucket_charge(b, len - got);
	return got > 0;
}

bool udp_rate(struct instance *inst, struct udp_flow *fl, int dir, size_t len)
{
	uint64_t rate = atomic_load_explicit(&inst->rate[dir].rate_bytes_s, memory_order_relaxed);

	if (len == 0 || rate == 0 || is_admitted(inst, fl, dir, rate, len))
		return true;
	udp_dropped(inst, 1);
	return false;
}
