/*
 * storm.h - do so many come at once that keeping them in order would cost more than it is worth?
 *
 * An application that opens its connections one after the other may rely on their order; in a storm of
 * connections nobody can tell who came first, and waiting for one another costs a tenth of their rate.
 */
#ifndef NP_CORE_STORM_H
#define NP_CORE_STORM_H

#include "base/mono.h"

#include <stdbool.h>

/* No storm: no more than so many within this time. */
#define NP_STORM_MANY	   256
#define NP_STORM_WINDOW_MS 100

struct np_storm {
	struct np_mono window; /* when this one began */
	unsigned came;	       /* within it */
	bool on;
};

/* np_storm_came - one more, at @now. Is it a storm? It lasts to the end of a window with fewer. */
bool np_storm_came(struct np_storm *s, struct np_mono now);

#endif
