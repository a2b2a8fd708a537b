/*
 * frame.h - the 8-byte header of frames on a data channel, and the payloads of the datagram frames.
 * Format: docs/PROTOCOL.md, "Frames".
 */
#ifndef NP_CORE_FRAME_H
#define NP_CORE_FRAME_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define NP_FRAME_HEADER	   8
#define NP_FRAME_DATA_MAX  1048576
#define NP_STATUS_TEXT_MAX 200
#define NP_OPEN_MIN	   32
#define NP_OPEN_MAX	   540
#define NP_DGRAM_MAX	   65507

enum np_frame_type {
	NP_FRAME_OPEN = 1,
	NP_FRAME_STATUS = 2,
	NP_FRAME_DATA = 3,
	NP_FRAME_FIN = 4,
	NP_FRAME_RESET = 5,
	NP_FRAME_DONE = 6,
	NP_FRAME_PING = 7,
	NP_FRAME_PONG = 8,
	NP_FRAME_RETIRE = 9,
	NP_FRAME_DOPEN = 10,
	NP_FRAME_DGRAM = 11,
	NP_FRAME_DCLOSE = 12,
};

enum np_channel_kind { NP_CHANNEL_STREAM = 1, NP_CHANNEL_DATAGRAM = 2 };

struct np_frame {
	enum np_frame_type type;
	uint16_t turn;
	uint32_t len;
};

void np_frame_write(const struct np_frame *f, uint8_t out[NP_FRAME_HEADER]);
/*
 * np_frame_read - a header; checks type, zero byte, length range, kind of channel, turn 0 where it
 * must be (PING, PONG, RETIRE, D*) and not 0 elsewhere. Errors: NP_EPROTO.
 */
enum np_err np_frame_read(const uint8_t in[NP_FRAME_HEADER], enum np_channel_kind kind,
			  struct np_frame *out) NP_MUST_CHECK;
const char *np_frame_name(enum np_frame_type type);

/* np_turn_next - 1, 2, … 65535, 1. */
static inline uint16_t np_turn_next(uint16_t turn)
{
	return turn == UINT16_MAX ? 1 : (uint16_t)(turn + 1);
}

#endif
