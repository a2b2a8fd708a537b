/*
 * storm.c - counts who comes in windows of time. See storm.h.
 */
#include "core/storm.h"

bool np_storm_came(struct np_storm *s, struct np_mono now)
{
	if (np_mono_diff_ms(now, s->window) >= NP_STORM_WINDOW_MS) {
		s->on = s->came > NP_STORM_MANY &&
			np_mono_diff_ms(now, s->window) < 2 * NP_STORM_WINDOW_MS;
		s->window = now;
		s->came = 0;
	}
	if (++s->came > NP_STORM_MANY)
		s->on = true;
	return s->on;
}
