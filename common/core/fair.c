/*
 * fair.c - shares of datagram flows. See fair.h.
 */
#include "core/fair.h"

#define NS_PER_MS 1000000
#define NS_PER_S  1000000000u

static uint64_t share_of(const struct np_fair *f, uint64_t rate)
{
	uint64_t n = f->now > f->last ? f->now : f->last, share = rate / 2 / (n > 0 ? n : 1);

	return share > 0 ? share : 1;
}

bool np_fair_take(struct np_fair *f, struct np_fair_flow *fl, int64_t now_ns, uint64_t rate_bytes_s,
		  size_t len)
{
	/* + 1: an epoch of 0 is none. */
	int64_t epoch = now_ns / ((int64_t)NP_FAIR_EPOCH_MS * NS_PER_MS) + 1;
	int64_t from = fl->tat_ns > now_ns ? fl->tat_ns : now_ns;

	if (epoch != f->epoch) {
		f->last = epoch == f->epoch + 1 ? f->now : 0;
		f->now = 0;
		f->epoch = epoch;
	}
	if (fl->epoch != epoch) {
		fl->epoch = epoch;
		f->now++;
	}
	if (from - now_ns > (int64_t)NP_FAIR_BURST_MS * NS_PER_MS)
		return false;
	fl->tat_ns = from + (int64_t)((uint64_t)len * NS_PER_S / share_of(f, rate_bytes_s));
	return true;
}
