/*
 * tunnel_check.h - bounds of control frames, apart from how they are encoded. For common/wire and
 * its tests.
 */
#ifndef NP_WIRE_TUNNEL_CHECK_H
#define NP_WIRE_TUNNEL_CHECK_H

#include "wire/tunnel_msg.h"

/* np_utf8_is_valid - RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF; and no
 * NUL. */
bool np_utf8_is_valid(const uint8_t *p, size_t n);
/* np_msg_is_valid - a known kind, numbers in range, texts ended, UTF-8 and not too long. */
bool np_msg_is_valid(const struct np_msg *m);

#endif
