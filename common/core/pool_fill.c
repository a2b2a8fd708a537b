/*
 * pool_fill.c - arithmetic of the pool's size. Owns no connection: it is told what happens and
 * answers with numbers. See the header for why what may lie idle is more than what is dialled for.
 */
#include "core/pool_fill.h"

#define MEAN_S	     1.0 /* opens a second are those of about this long */
#define HOLD_S	     7.0 /* highest numbers are kept whole: bursts come again; then they fall, */
#define FALL_S	     2.5 /* and a twentieth is left after 15 s in all */
#define NEARLY	     0.9 /* of the highest number is the same again */
#define HEADROOM     2.0
#define PEAK_PART    8.0  /* idle beside a peak of n sessions: n / 8 at least, */
#define GROWTH_PART  2.0  /* and for the opens that are expected n / 2 at most */
#define DEMAND_S     60.0 /* when neither opens nor idle connections ever say that they went */
#define RATE_BURST_S 0.25 /* tokens saved up */
#define START_S	     1.0
#define TICK_MIN_S   0.05 /* rates over less are noise: such ticks are added up */

static double seconds(struct np_mono from, struct np_mono to)
{
	double s = (double)np_mono_diff_us(to, from) / 1e6;

	return s < 0 ? 0 : s;
}

/*
 * Not the C library's exp, floor and round: its mathematics is a library of its own, of half a
 * megabyte in memory.
 */

/* About e^-x for x >= 0, within 3 % of 1; it falls from 1 and never is negative. */
static double falling(double x)
{
	return 1 / (1 + x + x * x / 2 + x * x * x / 6);
}

/* Towards 0. @n: some billions at most. */
static double whole_down(double n)
{
	return (double)(int64_t)n;
}

static uint32_t at_most(double n, uint32_t max)
{
	return n < (double)max ? (uint32_t)n : max;
}

/* Whole connections for a need: none below a half, or an old peak would never end; else up. */
static double whole(double need)
{
	double down = whole_down(need);

	return need < 0.5 ? 0 : down < need ? down + 1 : down;
}

static bool is_single_use(const struct np_pool_fill *f)
{
	return f->limits.single_use || f->limits.adaptive_min;
}

static double burst_tokens(const struct np_pool_fill *f)
{
	double n = (double)f->limits.dial_rate * RATE_BURST_S;

	return n < 1 ? 1 : n;
}

void np_pool_fill_init(struct np_pool_fill *f, const struct np_pool_fill_limits *l,
		       struct np_mono now)
{
	*f = (struct np_pool_fill){.limits = *l,
				   .window = NP_POOL_DIALS_FIRST,
				   .last_tick = now,
				   .last_dials = now,
				   .started = now,
				   .idle_low = UINT32_MAX};
	f->dial_tokens = burst_tokens(f);
}

void np_pool_fill_set_limits(struct np_pool_fill *f, const struct np_pool_fill_limits *l)
{
	f->limits = *l;
}

void np_pool_fill_opened(struct np_pool_fill *f)
{
	if (f->opens < UINT32_MAX)
		f->opens++;
	/* Those who wait are served in order, so while somebody waits every open is one of them. */
	if (f->demand > 0)
		f->demand--;
}

void np_pool_fill_demand(struct np_pool_fill *f, uint32_t n)
{
	f->demand = n;
	f->demand_s = 0;
	f->demand_new = true;
}

void np_pool_fill_dial_ok(struct np_pool_fill *f, int64_t took_us)
{
	double s = took_us > 0 ? (double)took_us / 1e6 : 0;

	f->make_s = f->make_s > 0 ? f->make_s + (s - f->make_s) / 4 : s;
	f->window = f->window < NP_POOL_DIALS_MAX / 2 ? f->window * 2 : NP_POOL_DIALS_MAX;
}

void np_pool_fill_dial_failed(struct np_pool_fill *f)
{
	f->window = NP_POOL_DIALS_FIRST;
}

/*
 * A connection that stays idle for a whole tick would have been taken by anybody who waits: they
 * have gone. Not in the tick in which they were told of: an OPEN may arrive behind the word that
 * the pool is empty.
 */
static void age_demand(struct np_pool_fill *f, double dt)
{
	bool idle_all_along = f->idle_low != UINT32_MAX && f->idle_low > 0;

	f->demand_s += dt;
	if (f->demand_s >= DEMAND_S || (!f->demand_new && idle_all_along))
		f->demand = 0;
	f->demand_new = false;
}

/* @busy sessions at once were seen; nearly the old peak counts as the same again. */
static void note_busy(struct np_pool_fill *f, uint32_t busy)
{
	if (busy > 0 && busy >= f->peak_busy * NEARLY)
		f->peak_s = 0;
	if (f->peak_busy < busy)
		f->peak_busy = busy;
}

void np_pool_fill_tick(struct np_pool_fill *f, struct np_mono now, uint32_t busy)
{
	double dt = seconds(f->last_tick, now);

	f->busy = busy;
	/* Who waits would be a session if the channel were there. */
	note_busy(f, busy > UINT32_MAX - f->demand ? UINT32_MAX : busy + f->demand);
	if (dt < TICK_MIN_S)
		return;
	f->opens_now += (f->opens / dt - f->opens_now) * (1 - falling(dt / MEAN_S));
	f->opens_s += dt;
	if (f->opens_s > HOLD_S)
		f->opens_per_s *= falling(dt / FALL_S);
	if (f->opens_now >= f->opens_per_s * NEARLY)
		f->opens_s = 0;
	if (f->opens_per_s < f->opens_now)
		f->opens_per_s = f->opens_now;
	f->peak_s += dt;
	if (f->peak_s > HOLD_S)
		f->peak_busy *= falling(dt / FALL_S);
	if (f->opens > 0) /* sessions may begin and end between two ticks; one at a time at least */
		note_busy(f, 1);
	age_demand(f, dt);
	f->opens = 0;
	f->idle_high = 0;
	f->idle_low = UINT32_MAX;
	f->last_tick = now;
}

/* Idle connections beside those that the peak's sessions come back with. */
static double base(const struct np_pool_fill *f)
{
	double need = f->opens_per_s * f->make_s * HEADROOM;

	if (f->limits.adaptive_min)
		return whole(need) < f->limits.min ? whole(need) : f->limits.min;
	if (!is_single_use(f)) {
		/* Opens beyond the sessions at once are served by channels that come back. */
		if (need > f->peak_busy / GROWTH_PART)
			need = f->peak_busy / GROWTH_PART;
		if (need < f->peak_busy / PEAK_PART)
			need = f->peak_busy / PEAK_PART;
	}
	need = whole(need);
	return need > f->limits.min ? need : f->limits.min;
}

static double peak(const struct np_pool_fill *f)
{
	return is_single_use(f) ? 0 : whole_down(f->peak_busy + 0.5);
}

uint32_t np_pool_fill_wanted(const struct np_pool_fill *f)
{
	return at_most(base(f) + peak(f), f->limits.max);
}

/*
 * Sessions at once, as far as can be seen between ticks: no more than the idle ones have become
 * fewer, and no more than were opened (connections that broke are gone, not busy).
 */
static uint32_t busy_now(struct np_pool_fill *f, uint32_t idle)
{
	uint32_t gone;

	if (idle > f->idle_high)
		f->idle_high = idle;
	if (idle < f->idle_low)
		f->idle_low = idle;
	gone = f->idle_high - idle;
	if (gone > f->opens)
		gone = f->opens;
	if (gone < f->busy)
		gone = f->busy;
	note_busy(f, gone);
	return gone;
}

/* The first second's share: when a server comes back all its clients fill their pools at once. */
static double spread_start(struct np_pool_fill *f, struct np_mono now, double n, double fill)
{
	double since = seconds(f->started, now), allowed;

	if (since >= START_S)
		return n;
	allowed = NP_POOL_START_DIALS + fill * since / START_S + f->demand - f->dialed;
	return n < allowed ? n : whole_down(allowed);
}

static double limit_rate(struct np_pool_fill *f, struct np_mono now, double n)
{
	double max = burst_tokens(f);

	if (f->limits.dial_rate == 0)
		return n;
	f->dial_tokens += seconds(f->last_dials, now) * f->limits.dial_rate;
	if (f->dial_tokens > max)
		f->dial_tokens = max;
	return n < f->dial_tokens ? n : whole_down(f->dial_tokens);
}

uint32_t np_pool_fill_dials(struct np_pool_fill *f, struct np_mono now, uint32_t idle,
			    uint32_t dialing)
{
	double busy = busy_now(f, idle), back, fill, n;

	back = peak(f) > busy ? peak(f) - busy : 0;
	fill = base(f) + back;
	n = fill + f->demand;
	if (n > f->limits.max)
		n = f->limits.max;
	n -= (double)idle + dialing;
	if (n > (double)f->window - dialing)
		n = (double)f->window - dialing;
	n = limit_rate(f, now, n);
	f->last_dials = now;
	n = spread_start(f, now, n, fill);
	if (n < 1)
		return 0;
	f->dialed += (uint32_t)n;
	if (f->limits.dial_rate > 0)
		f->dial_tokens -= n;
	return (uint32_t)n;
}
