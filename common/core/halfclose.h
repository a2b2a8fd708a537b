/*
 * halfclose.h - the half-close machine of a relay between two sockets (single-end forwarding).
 *
 * Two directions, each OPEN -> DRAINING (source ended, bytes still wait) -> CLOSED (end passed on);
 * a reset on either side ends both. Pure.
 */
#ifndef NP_CORE_HALFCLOSE_H
#define NP_CORE_HALFCLOSE_H

#include <stdbool.h>

enum np_dir { NP_DIR_UP = 0, NP_DIR_DOWN }; /* up: visitor to target */
enum np_dir_state { NP_DIR_OPEN = 0, NP_DIR_DRAINING, NP_DIR_CLOSED };
enum np_hc_event { NP_HC_EOF = 0, NP_HC_DRAINED, NP_HC_RESET };
enum np_hc_action {
	NP_HC_SHUTDOWN = 1 << 0, /* half-close the destination of the direction */
	NP_HC_FINISHED = 1 << 1, /* both directions are closed: the session ended cleanly */
	NP_HC_RESET_OTHER =
	    1 << 2, /* send a reset to the side the event did not come from; session over */
};

struct np_halfclose {
	enum np_dir_state dir[2];
	bool reset;
};

void np_halfclose_init(struct np_halfclose *h);
/*
 * np_halfclose_event - @dir: the direction whose source ended (EOF, RESET) or whose waiting bytes
 * are all written (DRAINED). @pending: bytes still wait in that direction. Returns action bits;
 * impossible events give 0.
 */
unsigned np_halfclose_event(struct np_halfclose *h, enum np_dir dir, enum np_hc_event ev,
			    bool pending);

#endif
