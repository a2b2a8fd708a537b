/*
 * single.h - connections to the target that a single-end client makes in advance (min).
 *
 * Lives on the home worker. One is at most SINGLE_AGE_MS old when a visitor gets it; one that the
 * target closes is replaced.
 */
#ifndef NP_SINGLE_H
#define NP_SINGLE_H

#include "visitor.h"

#define SINGLE_AGE_MS	 30000
#define SINGLE_DIAL_RATE 256 /* connections made in advance, a second */

struct single;
enum np_err single_new(struct instance *inst, struct single **out) NP_MUST_CHECK;
/* single_configure - min= may have changed; @drop: connections made so far are not to be used. */
void single_configure(struct single *s, bool drop);
/* single_rest - no visitor comes any more: it keeps no connections. */
void single_rest(struct single *s);
void single_free(struct single *s);
/* single_take - gives @v a connection if there is one. */
void single_take(struct instance *inst, struct visitor *v);
unsigned single_idle(const struct single *s);

#endif
