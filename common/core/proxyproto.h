/*
 * proxyproto.h - PROXY protocol versions 1 and 2, written and read.
 *
 * Written: headers to targets (proxy=1|2) and OPEN/DOPEN payloads (v2 with the trace id).
 * Read: OPEN/DOPEN payloads (strict v2), and both versions from balancers.
 * Source: haproxy.org proxy-protocol.txt, revision 2020/03/05.
 */
#ifndef NP_CORE_PROXYPROTO_H
#define NP_CORE_PROXYPROTO_H

#include "core/addr.h"

#define NP_PROXY_V1_MAX	  107
#define NP_PROXY_V2_MAX	  536
#define NP_PROXY_READ_MAX 4096 /* a longer header of a balancer is refused: nobody buffers more */
#define NP_TRACE_LEN	  16

struct np_proxy_info {
	bool local; /* LOCAL / UNKNOWN: no addresses */
	bool udp;
	struct np_addr src, dst;
	bool has_trace;
	uint8_t trace[NP_TRACE_LEN]; /* PP2_TYPE_UNIQUE_ID of 16 bytes */
};

/*
 * Both return the length written (<= @max), 0 when it does not fit. IPv4-mapped addresses count as
 * IPv4; families differ: both as IPv6 (mapped). No IP addresses: UNKNOWN or LOCAL; v1 of UDP:
 * UNKNOWN.
 */
size_t np_proxy_v1_write(const struct np_proxy_info *i, uint8_t *out, size_t max);
size_t np_proxy_v2_write(const struct np_proxy_info *i, uint8_t *out, size_t max);

/*
 * np_proxy_read - a header at the start of a stream. *used = its length. PROXY of no family or of
 * UNIX sockets reads as local. A unique id that has not 16 bytes is no trace. Errors: NP_EAGAIN (a
 * valid beginning, more bytes needed), NP_EPROTO (no header, or a bad one).
 */
enum np_err np_proxy_read(const uint8_t *p, size_t len, struct np_proxy_info *out,
			  size_t *used) NP_MUST_CHECK;
/*
 * np_proxy_read_strict - exactly one v2 header, command PROXY, IPv4 or IPv6, STREAM or DGRAM as
 * @udp says, lengths and TLVs that add up, nothing behind it; what an OPEN carries. A unique id has
 * 16 bytes and comes once; it may be missing. Errors: NP_EPROTO.
 */
enum np_err np_proxy_read_strict(const uint8_t *p, size_t len, bool udp,
				 struct np_proxy_info *out) NP_MUST_CHECK;

#endif
