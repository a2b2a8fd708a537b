/*
 * sniff.c - SOCKS, HTTP or TLS, and at the tunnel port TLS or a preamble, told from the first bytes.
 *
 * A few bytes decide, and anything that cannot become one of the three is OTHER at once, so that a
 * visitor of another protocol waits for nothing. Never says what the bytes mean beyond that.
 */
#include "core/sniff.h"

#include <string.h>

enum match { MISS, PART, FULL };

/* A method counts with the blank behind it: "GETTER" is somebody else's protocol. */
static const char *const http_starts[] = {
    "GET ",	"POST ",    "PUT ",   "HEAD ",	"DELETE ",
    "OPTIONS ", "CONNECT ", "TRACE ", "PATCH ", "PRI * HTTP/2",
};

static enum match match_prefix(const uint8_t *p, size_t len, const char *word)
{
	size_t n = strlen(word);

	if (memcmp(p, word, len < n ? len : n) != 0)
		return MISS;
	return len < n ? PART : FULL;
}

static enum match match_http(const uint8_t *p, size_t len)
{
	enum match best = MISS;

	for (size_t i = 0; i < sizeof(http_starts) / sizeof(http_starts[0]); i++) {
		enum match m = match_prefix(p, len, http_starts[i]);

		if (m > best)
			best = m;
	}
	return best;
}

/* Version 4 (and 4a): CONNECT or BIND. Version 5: a greeting that offers at least one method. */
static enum match match_socks(const uint8_t *p, size_t len)
{
	if (p[0] != 4 && p[0] != 5)
		return MISS;
	if (len == 1)
		return PART;
	if (p[0] == 4)
		return p[1] == 1 || p[1] == 2 ? FULL : MISS;
	return p[1] >= 1 ? FULL : MISS;
}

/* A handshake record of SSL 3.0 to TLS 1.3. */
static enum match match_tls(const uint8_t *p, size_t len)
{
	if (p[0] != 0x16 || (len > 1 && p[1] != 0x03) || (len > 2 && p[2] > 0x04))
		return MISS;
	return len > 2 ? FULL : PART;
}

/* The one of the three that it is or may become. */
static enum match match_any(const uint8_t *p, size_t len, enum np_sniff *is)
{
	static const struct {
		enum match (*match)(const uint8_t *p, size_t len);
		enum np_sniff is;
	} kinds[] = {
	    {match_socks, NP_SNIFF_SOCKS},
	    {match_http, NP_SNIFF_HTTP},
	    {match_tls, NP_SNIFF_TLS},
	};

	/* first bytes of the three differ: at most one of them is not a MISS */
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		enum match m = kinds[i].match(p, len);

		*is = kinds[i].is;
		if (m != MISS)
			return m;
	}
	*is = NP_SNIFF_OTHER;
	return FULL;
}

enum np_sniff np_sniff(const uint8_t *p, size_t len)
{
	enum np_sniff is;

	return len > 0 && match_any(p, len, &is) == FULL ? is : NP_SNIFF_MORE;
}

enum np_sniff np_sniff_may(const uint8_t *p, size_t len)
{
	enum np_sniff is = NP_SNIFF_MORE;

	if (len > 0)
		(void)match_any(p, len, &is);
	return is;
}

/*
 * A record whose first message is ClientHello, of less than 64 KiB; OpenSSL judges the rest. Only
 * the type lies in the record for sure: it may hold a single byte of the message.
 */
static bool begins_handshake(const uint8_t *p, size_t len)
{
	if (match_tls(p, len) == MISS)
		return false;
	if (len >= 5 && p[3] == 0 && p[4] == 0)
		return false;
	if (len >= 6 && p[5] != 1)
		return false;
	return len < 7 || (p[3] == 0 && p[4] == 1) || p[6] == 0;
}

enum np_tunnel_first np_sniff_tunnel(const uint8_t *p, size_t len, bool plain)
{
	if (p[0] == 0x16)
		return begins_handshake(p, len) ? NP_TUNNEL_TLS : NP_TUNNEL_NONE;
	if (plain && match_prefix(p, len, "NPD2") != MISS)
		return NP_TUNNEL_PREAMBLE;
	return NP_TUNNEL_LINE;
}
