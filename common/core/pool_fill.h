/*
 * pool_fill.h - how many idle connections to keep and how many to dial now. Pure.
 *
 * Used by the client for channels to its server, and by single-end clients for connections to the
 * target. The wanted number is min under no load and grows with (sessions at once, and rate of
 * opens × time to make a connection) plus headroom, up to max; after a burst it is held for 7 s and
 * has fallen back some 15 s after it.
 *
 * Channels come back after a session. So two numbers differ: np_pool_fill_wanted is what may lie
 * idle (what is above is retired) and counts every session of the recent peak as a channel to keep;
 * np_pool_fill_dials counts the sessions that run as channels that will be back. Between the two
 * nothing is dialled and nothing retired, else each short session would cost a dial and a
 * retirement.
 */
#ifndef NP_CORE_POOL_FILL_H
#define NP_CORE_POOL_FILL_H

#include "base/mono.h"

#include <stdbool.h>
#include <stddef.h>

#define NP_POOL_DIALS_FIRST 4  /* dials in flight at the start */
#define NP_POOL_DIALS_MAX   32 /* and at most */
#define NP_POOL_START_DIALS 8  /* at once after _init; the rest of the first fill in a second */

struct np_pool_fill_limits {
	uint32_t min, max;  /* idle; min <= max was made true by the caller */
	bool adaptive_min;  /* single-end default: 0 up to min with the arrivals; single_use, too */
	uint32_t dial_rate; /* dials per second at most, 0 = no limit */
	bool single_use;    /* connections do not come back after a session (single-end) */
};

struct np_pool_fill {
	struct np_pool_fill_limits limits;
	double opens_now;   /* opens a second, mean of about one */
	double opens_per_s; /* highest of these, kept for a while, then decays slowly */
	double opens_s;	    /* since it was reached last */
	double make_s;	    /* smoothed time to make one connection */
	double peak_busy;   /* sessions at once, kept for a while, then decays slowly */
	double peak_s;	    /* since it was reached last */
	uint32_t opens;	    /* since the last tick */
	uint32_t demand;    /* visitors that wait as far as is known: told by PoolDemand, less those
			       opened since */
	uint32_t window;    /* dials in flight allowed now */
	struct np_mono last_tick;
	double dial_tokens;
	struct np_mono last_dials;    /* tokens are counted up to here */
	struct np_mono started;	      /* the first second's dials are spread */
	uint32_t dialed;	      /* in the first second */
	uint32_t busy;		      /* told by the last tick */
	uint32_t idle_high, idle_low; /* seen since the last tick; low > high = not looked */
	double demand_s;	      /* age of demand */
	bool demand_new;	      /* not yet a whole tick old */
};

void np_pool_fill_init(struct np_pool_fill *f, const struct np_pool_fill_limits *l,
		       struct np_mono now);
void np_pool_fill_set_limits(struct np_pool_fill *f, const struct np_pool_fill_limits *l);
/*
 * Notes. _opened: a visitor was served (an OPEN came, or was sent). _demand: @n visitors wait now,
 * at the other side or at this one; to be said again whenever the number grows. It is served ahead
 * of everything but max, dial_rate and the window; it falls with every _opened, and is forgotten
 * when connections lie idle for a whole tick all the same. _dial_ok doubles the window,
 * _dial_failed sets it back to NP_POOL_DIALS_FIRST.
 */
void np_pool_fill_opened(struct np_pool_fill *f);
void np_pool_fill_demand(struct np_pool_fill *f, uint32_t n);
void np_pool_fill_dial_ok(struct np_pool_fill *f, int64_t took_us);
void np_pool_fill_dial_failed(struct np_pool_fill *f);
/*
 * np_pool_fill_tick - call every NP_MIN_POOL_INTERVAL..NP_MAX_POOL_INTERVAL with the sessions at
 * once, or more often: ticks of less than 50 ms are added up.
 */
void np_pool_fill_tick(struct np_pool_fill *f, struct np_mono now, uint32_t busy);
/*
 * np_pool_fill_wanted - idle connections to keep at most now: min..max, with adaptive_min 0..min.
 * For PoolTarget and for retiring. Changes in ticks, and when a peak is seen in np_pool_fill_dials.
 */
uint32_t np_pool_fill_wanted(const struct np_pool_fill *f);
/*
 * np_pool_fill_dials - how many to dial now, given those idle and those being made; idle + dialling
 * never pass max. Takes dial_rate tokens: what is returned must be dialled. Call it after every
 * change of the two numbers, so that short peaks between ticks are seen, and after every tick.
 */
uint32_t np_pool_fill_dials(struct np_pool_fill *f, struct np_mono now, uint32_t idle,
			    uint32_t dialing);

#endif
