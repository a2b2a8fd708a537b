/*
 * fair.h - the part of a rate that flows of datagrams have for sure: half of it, in equal shares.
 *
 * TCP can wait for its turn, a datagram cannot: it passes now or is dropped. Without a share of its
 * own it would find the bucket emptied by whoever waits, and a flood of datagrams would take every
 * byte before those who wait can. What a flow sends beyond its share competes for the rest.
 * Pure; one thread.
 */
#ifndef NP_CORE_FAIR_H
#define NP_CORE_FAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NP_FAIR_EPOCH_MS 500 /* a flow that had a datagram in the last one has a share */
#define NP_FAIR_BURST_MS 50  /* of its own share that a flow may be ahead */

/* Of one direction of an instance; zeroed at start. */
struct np_fair {
	int64_t epoch;
	uint32_t now, last; /* flows in this epoch and in the one before */
};

/* Of one direction of a flow; zeroed at start. */
struct np_fair_flow {
	int64_t epoch;	/* the last one it was counted in */
	int64_t tat_ns; /* all that it took is paid for then */
};

/* np_fair_take - do @len bytes belong to the share of @fl? @rate_bytes_s: the whole rate, > 0. */
bool np_fair_take(struct np_fair *f, struct np_fair_flow *fl, int64_t now_ns, uint64_t rate_bytes_s,
		  size_t len);

#endif
