/*
 * reason.h - why a session ended: enum, names and texts from tbl/reasons.def.
 */
#ifndef NP_REASON_H
#define NP_REASON_H

#include <stdint.h>

enum np_reason {
#define NP_REASON(id, value, name, text) NP_REASON_##id = (value),
#include "tbl/reasons.def"
#undef NP_REASON
};
#define NP_REASON_COUNT 28

/* np_reason_of - a byte from a peer as a reason; unknown ones are PEER_ABORT. */
enum np_reason np_reason_of(uint8_t code);
const char *np_reason_name(enum np_reason r);
const char *np_reason_text(enum np_reason r);

#endif
