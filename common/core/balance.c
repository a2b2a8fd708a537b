/*
 * balance.c - order of targets for one session, and what dials taught about them. Workers share the
 * object: every field is its own relaxed atomic, and a value that is a moment old does no harm.
 */
#include "core/balance.h"

#include "base/assert.h"

#define DOWN_FIRST_MS 1000
#define DOWN_MAX_MS   30000
/* While one session tries a target that was down, others pass it over for this long. */
#define PROBE_MS 1000

void np_balance_init(struct np_balance *b, enum np_balance_mode mode, size_t n, int64_t fallback_ms)
{
	size_t i;

	NP_ASSERT(n >= 1 && n <= NP_TARGETS_MAX);
	b->mode = mode;
	b->n = n;
	b->fallback_ms = fallback_ms;
	atomic_init(&b->next, 0);
	for (i = 0; i < n; i++) {
		atomic_init(&b->target[i].down_until_us, 0);
		atomic_init(&b->target[i].failures, 0);
		atomic_init(&b->target[i].rtt_us, 0);
		atomic_init(&b->target[i].failed_at_us, 0);
	}
}

static bool is_down(struct np_balance *b, size_t i, struct np_mono now)
{
	return atomic_load_explicit(&b->target[i].down_until_us, memory_order_relaxed) > now.us;
}

/* May this session try @i first? Of those that find its time over exactly one may. */
static bool claim(struct np_balance *b, size_t i, struct np_mono now)
{
	struct np_balance_target *t = &b->target[i];
	int64_t until = atomic_load_explicit(&t->down_until_us, memory_order_relaxed);

	if (until == 0)
		return true;
	return until <= now.us && atomic_compare_exchange_strong_explicit(
				      &t->down_until_us, &until, np_mono_add_ms(now, PROBE_MS).us,
				      memory_order_relaxed, memory_order_relaxed);
}

/* What the list is sorted by, smallest first; equal keys stay in turn. */
static int64_t key_of(struct np_balance *b, size_t i, bool down)
{
	struct np_balance_target *t = &b->target[i];

	switch (b->mode) {
	case NP_BALANCE_PRIMARY:
		return (int64_t)i;
	case NP_BALANCE_TURN:
	case NP_BALANCE_FASTEST:
		if (down) /* whose time is over first is most likely back */
			return atomic_load_explicit(&t->down_until_us, memory_order_relaxed);
		if (b->mode == NP_BALANCE_FASTEST)
			return atomic_load_explicit(&t->rtt_us, memory_order_relaxed);
		return 0;
	}
	return 0;
}

/* @first: where the turn stands; @explore: it goes first whatever its key. Returns whether order[0]
 * is healthy. */
static bool sort(struct np_balance *b, struct np_mono now, size_t first, bool explore,
		 uint8_t order[NP_TARGETS_MAX])
{
	int64_t keys[NP_TARGETS_MAX];
	bool down[NP_TARGETS_MAX];
	size_t i, k;

	for (i = 0; i < b->n; i++) {
		size_t t = (first + i) % b->n;
		bool is = is_down(b, t, now);
		int64_t key = explore && i == 0 && !is ? -1 : key_of(b, t, is);

		/* By insertion: the lists are short, and each value is read once while others
		 * change it. */
		for (k = i; k > 0 && (down[k - 1] > is || (down[k - 1] == is && keys[k - 1] > key));
		     k--) {
			order[k] = order[k - 1];
			keys[k] = keys[k - 1];
			down[k] = down[k - 1];
		}
		order[k] = (uint8_t)t;
		keys[k] = key;
		down[k] = is;
	}
	return !down[0];
}

void np_balance_order(struct np_balance *b, struct np_mono now, uint8_t order[NP_TARGETS_MAX])
{
	uint32_t turn = atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed);
	bool explore =
	    b->mode == NP_BALANCE_FASTEST && turn % NP_BALANCE_EXPLORE == NP_BALANCE_EXPLORE - 1;
	size_t tries;

	if (explore) /* else it would always be the same target when n divides 64 */
		turn /= NP_BALANCE_EXPLORE;
	for (tries = 0; tries <= b->n; tries++) {
		if (!sort(b, now, turn % b->n, explore, order) || claim(b, order[0], now))
			break;
	}
}

void np_balance_lives(struct np_balance *b, size_t i)
{
	NP_ASSERT(i < b->n);
	atomic_store_explicit(&b->target[i].failures, 0, memory_order_relaxed);
	atomic_store_explicit(&b->target[i].down_until_us, 0, memory_order_relaxed);
}

void np_balance_ok(struct np_balance *b, size_t i, int64_t connect_us)
{
	struct np_balance_target *t = &b->target[i];
	int64_t old = atomic_load_explicit(&t->rtt_us, memory_order_relaxed);
	int64_t rtt = connect_us > 0 ? connect_us : 1; /* 0 means not measured */

	NP_ASSERT(i < b->n);
	if (old != 0)
		rtt = old + (rtt - old) / 4;
	atomic_store_explicit(&t->rtt_us, rtt > 0 ? rtt : 1, memory_order_relaxed);
	np_balance_lives(b, i);
}

static int64_t down_ms(const struct np_balance *b, uint32_t failures)
{
	if (b->mode == NP_BALANCE_PRIMARY)
		return b->fallback_ms;
	return failures < 6 ? (int64_t)DOWN_FIRST_MS << (failures - 1) : DOWN_MAX_MS;
}

void np_balance_failed(struct np_balance *b, size_t i, struct np_mono now)
{
	struct np_balance_target *t = &b->target[i];
	int64_t counted = atomic_load_explicit(&t->failed_at_us, memory_order_relaxed);
	uint32_t failures = atomic_load_explicit(&t->failures, memory_order_relaxed);

	NP_ASSERT(i < b->n);
	/* A thousand dials that fail together are one failure, not thirty seconds. */
	if (failures > 0 && now.us < counted + down_ms(b, failures) * 1000)
		return;
	if (!atomic_compare_exchange_strong_explicit(&t->failed_at_us, &counted, now.us,
						     memory_order_relaxed, memory_order_relaxed))
		return; /* another thread is counting this outage */
	if (failures < UINT32_MAX)
		failures++;
	atomic_store_explicit(&t->failures, failures, memory_order_relaxed);
	atomic_store_explicit(&t->down_until_us, np_mono_add_ms(now, down_ms(b, failures)).us,
			      memory_order_relaxed);
}
