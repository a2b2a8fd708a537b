/*
 * compat1.h - what NodePass 1.x says first on a control connection: a line of base64(text XOR key)
 * and LF, on plain TCP. Here it is recognised, so that the log can say what its owner needs.
 *
 * Pure. Proves nothing: who sends such a line need not know the key.
 */
#ifndef NP_CORE_COMPAT1_H
#define NP_CORE_COMPAT1_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* A key of 1 024 bytes in base64, and the LF. */
#define NP_COMPAT1_LINE_MAX 1369
#define NP_COMPAT1_KEY_LEN  8 /* of a key that is made from the port */

/* np_compat1_port_key - what 1.x uses without a key in the URL: FNV-1a of the port's decimal text,
 * eight hexadecimal digits. */
void np_compat1_port_key(uint16_t port, char out[NP_COMPAT1_KEY_LEN + 1]);

/*
 * np_compat1_first_line - is @p, from the start of the connection, such a line? @key: that of the
 * server. Errors: NP_EAGAIN (a beginning of one, without its LF yet), NP_EPROTO (it is none).
 */
enum np_err np_compat1_first_line(const uint8_t *p, size_t len, const char *key,
				  size_t key_len) NP_MUST_CHECK;

#endif
