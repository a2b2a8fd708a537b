/*
 * pool_fill.h - how many idle connections to keep and how many to dial now. Pure.
 *
 * Used by the client for channels to its server, and by single-end clients for connections to the target.
 * The wanted number is min under no load and grows with (sessions at once, and rate of opens × time to
 * make a connection) plus headroom, up to max; it falls back slowly.
 */
#ifndef NP_CORE_POOL_FILL_H
#define NP_CORE_POOL_FILL_H

#include "base/mono.h"

#include <stddef.h>

#define NP_POOL_DIALS_FIRST 4	/* dials in flight at the start */
#define NP_POOL_DIALS_MAX 32	/* and at most */

struct np_pool_fill_limits {
	uint32_t min, max; /* idle; min <= max was made true by the caller */
	bool adaptive_min; /* single-end default: from 0 up to min with the arrival rate */
	uint32_t dial_rate; /* dials per second at most, 0 = no limit */
};

struct np_pool_fill {
	struct np_pool_fill_limits limits;
	double opens_per_s;   /* smoothed */
	double make_s;	      /* smoothed time to make one connection */
	double peak_busy;     /* sessions at once, decays slowly */
	uint32_t opens;	      /* since the last tick */
	uint32_t demand;      /* waiting visitors told by PoolDemand, served by the next dials */
	uint32_t window;      /* dials in flight allowed now */
	struct np_mono last_tick;
	double dial_tokens;
};

void np_pool_fill_init(struct np_pool_fill *f, const struct np_pool_fill_limits *l, struct np_mono now);
void np_pool_fill_set_limits(struct np_pool_fill *f, const struct np_pool_fill_limits *l);
/* Notes: a visitor was served; the other side has @n waiting; a dial ended. */
void np_pool_fill_opened(struct np_pool_fill *f);
void np_pool_fill_demand(struct np_pool_fill *f, uint32_t n);
void np_pool_fill_dial_ok(struct np_pool_fill *f, int64_t took_us); /* doubles the window */
void np_pool_fill_dial_failed(struct np_pool_fill *f);		    /* back to NP_POOL_DIALS_FIRST */
/* np_pool_fill_tick - call every NP_MIN_POOL_INTERVAL..NP_MAX_POOL_INTERVAL with the sessions at once. */
void np_pool_fill_tick(struct np_pool_fill *f, struct np_mono now, uint32_t busy);
/* np_pool_fill_wanted - idle connections to keep now, min..max. */
uint32_t np_pool_fill_wanted(const struct np_pool_fill *f);
/* np_pool_fill_dials - how many to dial now, given those idle and those being made. Takes dial_rate tokens. */
uint32_t np_pool_fill_dials(struct np_pool_fill *f, struct np_mono now, uint32_t idle, uint32_t dialing);

#endif
