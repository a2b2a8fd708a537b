/*
 * frame_out.c - what a spliced frame still owes its socket. See frame_out.h.
 */
#include "core/frame_out.h"

#include "base/assert.h"

void np_frame_out_begin(struct np_frame_out *o, const struct np_frame *f)
{
	NP_ASSERT(np_frame_out_owed(o) == 0 && f->len > 0);
	np_frame_write(f, o->header);
	o->header_left = NP_FRAME_HEADER;
	o->payload_left = f->len;
}

const uint8_t *np_frame_out_header(const struct np_frame_out *o, size_t *len)
{
	*len = o->header_left;
	return o->header + (NP_FRAME_HEADER - o->header_left);
}

void np_frame_out_wrote(struct np_frame_out *o, size_t n)
{
	if (o->header_left > 0) {
		NP_ASSERT(n <= o->header_left);
		o->header_left -= (uint8_t)n;
		return;
	}
	NP_ASSERT(n <= o->payload_left);
	o->payload_left -= (uint32_t)n;
}
