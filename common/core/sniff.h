/*
 * sniff.h - what protocol do first bytes speak: a visitor's (block=), and those of who comes to the
 * tunnel port?
 */
#ifndef NP_CORE_SNIFF_H
#define NP_CORE_SNIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum np_sniff {
	NP_SNIFF_MORE = -1,
	NP_SNIFF_OTHER = 0,
	NP_SNIFF_SOCKS = 1,
	NP_SNIFF_HTTP = 2,
	NP_SNIFF_TLS = 3
};

#define NP_SNIFF_MAX 16 /* bytes that always decide */

/* np_sniff - NP_SNIFF_MORE only while @len < NP_SNIFF_MAX and the bytes so far are a beginning of
 * 1, 2 or 3. */
enum np_sniff np_sniff(const uint8_t *p, size_t len);

/* np_sniff_may - what a beginning may still become: 1, 2 or 3; NP_SNIFF_MORE: anything (@len 0). */
enum np_sniff np_sniff_may(const uint8_t *p, size_t len);

enum np_tunnel_first {
	NP_TUNNEL_NONE, /* a TLS record that begins no handshake: nobody of ours */
	NP_TUNNEL_TLS,
	NP_TUNNEL_PREAMBLE, /* of a plain data channel */
	NP_TUNNEL_LINE,	    /* something else: perhaps NodePass 1.x, see compat1.h */
};

/*
 * np_sniff_tunnel - @len >= 1. What more bytes may still become is taken for it, so an answer
 * changes at most once. @plain: data channels in clear are served.
 */
enum np_tunnel_first np_sniff_tunnel(const uint8_t *p, size_t len, bool plain);

#endif
