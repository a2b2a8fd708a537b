/*
 * frame_out.h - a frame whose payload is not in memory (it lies in a pipe), on its way to a socket:
 * what of header and payload is still owed. Pure.
 *
 * While something is owed nothing else may be written to the socket: the peer takes the next bytes
 * for this frame's payload, whatever they are.
 */
#ifndef NP_CORE_FRAME_OUT_H
#define NP_CORE_FRAME_OUT_H

#include "core/frame.h"

#include <stddef.h>

/* Zeroed = nothing owed. */
struct np_frame_out {
	uint8_t header[NP_FRAME_HEADER];
	uint8_t header_left;
	uint32_t payload_left;
};

/* np_frame_out_begin - owes @f, whose payload (@f->len > 0) is there. Only when nothing is owed. */
void np_frame_out_begin(struct np_frame_out *o, const struct np_frame *f);
/* np_frame_out_header - what is left of the header; *@len 0: none, the payload is next. */
const uint8_t *np_frame_out_header(const struct np_frame_out *o, size_t *len);
/* np_frame_out_wrote - the socket took @n bytes of what was next: of the header or, once that is
 * through, of the payload; never more than were left of it. */
void np_frame_out_wrote(struct np_frame_out *o, size_t n);
static inline size_t np_frame_out_owed(const struct np_frame_out *o)
{
	return (size_t)o->header_left + o->payload_left;
}

#endif
