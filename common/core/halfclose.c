/*
 * halfclose.c - when a relay between two sockets passes an end on, and when it is over.
 *
 * One direction is OPEN, then DRAINING while bytes that were read before its end still wait, then
 * CLOSED once the end was passed on. Bytes and sockets are the caller's; after a reset nothing
 * matters any more.
 */
#include "core/halfclose.h"

void np_halfclose_init(struct np_halfclose *h)
{
	*h = (struct np_halfclose){.dir = {NP_DIR_OPEN, NP_DIR_OPEN}};
}

static unsigned pass_end_on(struct np_halfclose *h, enum np_dir dir)
{
	enum np_dir other = dir == NP_DIR_UP ? NP_DIR_DOWN : NP_DIR_UP;

	h->dir[dir] = NP_DIR_CLOSED;
	if (h->dir[other] == NP_DIR_CLOSED)
		return NP_HC_SHUTDOWN | NP_HC_FINISHED;
	return NP_HC_SHUTDOWN;
}

static bool is_over(const struct np_halfclose *h)
{
	return h->reset ||
	       (h->dir[NP_DIR_UP] == NP_DIR_CLOSED && h->dir[NP_DIR_DOWN] == NP_DIR_CLOSED);
}

unsigned np_halfclose_event(struct np_halfclose *h, enum np_dir dir, enum np_hc_event ev,
			    bool pending)
{
	if (is_over(h))
		return 0;
	switch (ev) {
	case NP_HC_EOF:
		if (h->dir[dir] != NP_DIR_OPEN)
			return 0;
		if (!pending)
			return pass_end_on(h, dir);
		h->dir[dir] = NP_DIR_DRAINING;
		return 0;
	case NP_HC_DRAINED:
		if (h->dir[dir] != NP_DIR_DRAINING || pending)
			return 0;
		return pass_end_on(h, dir);
	case NP_HC_RESET:
		/* also from a side that had ended its own direction: it may reset what still flows
		 * to it */
		h->reset = true;
		h->dir[NP_DIR_UP] = NP_DIR_CLOSED;
		h->dir[NP_DIR_DOWN] = NP_DIR_CLOSED;
		return NP_HC_RESET_OTHER;
	}
	return 0;
}
