/*
 * sniff.h - what protocol do a visitor's first bytes speak? (block=)
 */
#ifndef NP_CORE_SNIFF_H
#define NP_CORE_SNIFF_H

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

#endif
