/*
 * balance.h - which target next: in turn, lowest connect time, or primary and backups; with passive
 * failure counting. Pure apart from relaxed atomics: workers share one object.
 */
#ifndef NP_CORE_BALANCE_H
#define NP_CORE_BALANCE_H

#include "base/mono.h"
#include "core/addr.h"

#include <stdatomic.h>

enum np_balance_mode { NP_BALANCE_TURN = 0, NP_BALANCE_FASTEST = 1, NP_BALANCE_PRIMARY = 2 };

struct np_balance_target {
	_Atomic int64_t down_until_us; /* passed over until then, 0 = healthy */
	_Atomic uint32_t failures;     /* outages in a row */
	_Atomic int64_t rtt_us;	       /* smoothed connect time, 0 = not measured */
	_Atomic int64_t failed_at_us;  /* of the failure that was counted last */
};

struct np_balance {
	enum np_balance_mode mode;
	size_t n;	     /* 1..NP_TARGETS_MAX */
	int64_t fallback_ms; /* mode PRIMARY: a failed better target is tried again after this */
	_Atomic uint32_t next;
	struct np_balance_target target[NP_TARGETS_MAX];
};

void np_balance_init(struct np_balance *b, enum np_balance_mode mode, size_t n,
		     int64_t fallback_ms);
/*
 * np_balance_order - the order in which one session tries the targets: @order gets all n indexes,
 * healthy ones first by mode, those that failed lately behind them (never left out: the last resort
 * is better than none). TURN     the next one in turn first, the others follow in turn FASTEST  not
 * yet measured ones in turn, then by connect time; every NP_BALANCE_EXPLORE-th session tries
 *            another one first, else a target that was slow once would never be measured again
 *   PRIMARY  as written in the URL
 * When the time of a failed one is over, one session at a time tries it, until it is known to be
 * back. Thread: any.
 */
#define NP_BALANCE_EXPLORE 64
void np_balance_order(struct np_balance *b, struct np_mono now, uint8_t order[NP_TARGETS_MAX]);
/*
 * np_balance_ok / _failed - outcome of a dial. A failed target is passed over 1 s, doubling to 30 s
 * with each failure in a row (TURN, FASTEST), or fallback_ms (PRIMARY). Failures while it is passed
 * over already belong to the same outage and count once. Thread: any.
 */
void np_balance_ok(struct np_balance *b, size_t i, int64_t connect_us);
void np_balance_failed(struct np_balance *b, size_t i, struct np_mono now);
/* np_balance_lives - a sign of life that tells nothing about connect times: of datagrams. */
void np_balance_lives(struct np_balance *b, size_t i);

#endif
