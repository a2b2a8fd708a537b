/*
 * frame.c - the header of frames: writing it, and reading it with every check that needs no state.
 *
 * What a frame may be at all (type, length, kind of channel, where turn is 0) is decided here,
 * before anything is allocated for its payload. Whether it may come now is decided in turn.c. Keeps
 * no state.
 */
#include "core/frame.h"

#include <stddef.h>

#define ON_STREAM   (1u << NP_CHANNEL_STREAM)
#define ON_DATAGRAM (1u << NP_CHANNEL_DATAGRAM)

struct frame_rule {
	const char *name;
	uint32_t min, max;
	unsigned kinds;
	bool in_turn; /* turn is not 0; otherwise it is 0 */
};

/* RETIRE, like PING and PONG, speaks of the channel and not of what it carries: legal on both
 * kinds. */
static const struct frame_rule rules[] = {
    [NP_FRAME_OPEN] = {"OPEN", NP_OPEN_MIN, NP_OPEN_MAX, ON_STREAM, true},
    [NP_FRAME_STATUS] = {"STATUS", 1, 1 + NP_STATUS_TEXT_MAX, ON_STREAM, true},
    [NP_FRAME_DATA] = {"DATA", 1, NP_FRAME_DATA_MAX, ON_STREAM, true},
    [NP_FRAME_FIN] = {"FIN", 0, 0, ON_STREAM, true},
    [NP_FRAME_RESET] = {"RESET", 1, 1, ON_STREAM, true},
    [NP_FRAME_DONE] = {"DONE", 0, 0, ON_STREAM, true},
    [NP_FRAME_PING] = {"PING", 8, 8, ON_STREAM | ON_DATAGRAM, false},
    [NP_FRAME_PONG] = {"PONG", 8, 8, ON_STREAM | ON_DATAGRAM, false},
    [NP_FRAME_RETIRE] = {"RETIRE", 0, 0, ON_STREAM | ON_DATAGRAM, false},
    [NP_FRAME_DOPEN] = {"DOPEN", NP_OPEN_MIN, NP_OPEN_MAX, ON_DATAGRAM, false},
    [NP_FRAME_DGRAM] = {"DGRAM", 4, 4 + NP_DGRAM_MAX, ON_DATAGRAM, false},
    [NP_FRAME_DCLOSE] = {"DCLOSE", 4, 4, ON_DATAGRAM, false},
};

static const struct frame_rule *rule_of(unsigned type)
{
	if (type >= sizeof(rules) / sizeof(rules[0]) || rules[type].name == NULL)
		return NULL;
	return &rules[type];
}

void np_frame_write(const struct np_frame *f, uint8_t out[NP_FRAME_HEADER])
{
	out[0] = (uint8_t)f->type;
	out[1] = 0;
	out[2] = (uint8_t)(f->turn >> 8);
	out[3] = (uint8_t)(f->turn & 0xff);
	out[4] = (uint8_t)(f->len >> 24);
	out[5] = (uint8_t)(f->len >> 16 & 0xff);
	out[6] = (uint8_t)(f->len >> 8 & 0xff);
	out[7] = (uint8_t)(f->len & 0xff);
}

enum np_err np_frame_read(const uint8_t in[NP_FRAME_HEADER], enum np_channel_kind kind,
			  struct np_frame *out)
{
	const struct frame_rule *r = rule_of(in[0]);
	uint16_t turn = (uint16_t)((unsigned)in[2] << 8 | in[3]);
	uint32_t len = (uint32_t)in[4] << 24 | (uint32_t)in[5] << 16 | (uint32_t)in[6] << 8 | in[7];

	if (r == NULL || in[1] != 0)
		return NP_EPROTO;
	if ((r->kinds & 1u << kind) == 0)
		return NP_EPROTO;
	if ((turn != 0) != r->in_turn)
		return NP_EPROTO;
	if (len < r->min || len > r->max)
		return NP_EPROTO;
	out->type = (enum np_frame_type)in[0];
	out->turn = turn;
	out->len = len;
	return NP_OK;
}

const char *np_frame_name(enum np_frame_type type)
{
	const struct frame_rule *r = rule_of((unsigned)type);

	return r == NULL ? "unknown" : r->name;
}
