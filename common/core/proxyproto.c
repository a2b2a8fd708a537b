/*
 * proxyproto.c - PROXY protocol headers, written and read.
 *
 * A writer sees IPv4 in an IPv4-mapped address: a dual-stack listener then announces what a plain
 * one would. A reader takes addresses as they stand. TLVs other than the trace id are stepped over
 * and never copied. Nothing is allocated; a reader never looks past the header's own length.
 */
#include "core/proxyproto.h"

#include "base/num.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define V1_START	 "PROXY "
#define V2_SIGNATURE_LEN 12
#define V2_HEAD		 16
#define V2_LOCAL	 0x20
#define V2_PROXY	 0x21
#define FAMILY_UNSPEC	 0x0
#define FAMILY_INET	 0x1
#define FAMILY_INET6	 0x2
#define FAMILY_UNIX	 0x3
#define PROTO_STREAM	 0x1
#define PROTO_DGRAM	 0x2
#define INET_LEN	 12
#define INET6_LEN	 36
#define UNIX_LEN	 216
#define TLV_HEAD	 3
#define TLV_UNIQUE_ID	 0x05

static const uint8_t v2_signature[V2_SIGNATURE_LEN] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
						       0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

/* ------------------------------------------------------------------ writing */

/* Both addresses in one family; AF_UNSPEC when there is nothing to announce. */
struct pair {
	int family;
	struct np_addr src, dst;
};

static void map_to_v6(struct np_addr *a)
{
	struct np_addr v6;

	if (a->sa.sa_family != AF_INET)
		return;
	memset(&v6, 0, sizeof(v6));
	v6.len = sizeof(v6.in6);
	v6.in6.sin6_family = AF_INET6;
	v6.in6.sin6_port = a->in.sin_port;
	v6.in6.sin6_addr.s6_addr[10] = 0xff;
	v6.in6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&v6.in6.sin6_addr.s6_addr[12], &a->in.sin_addr, 4);
	*a = v6;
}

static bool is_ip(const struct np_addr *a)
{
	return a->len != 0 && (a->sa.sa_family == AF_INET || a->sa.sa_family == AF_INET6);
}

static struct pair pair_of(const struct np_proxy_info *i)
{
	struct pair p = {.family = AF_UNSPEC};

	if (i->local || !is_ip(&i->src) || !is_ip(&i->dst))
		return p;
	p.src = i->src;
	p.dst = i->dst;
	np_addr_unmap(&p.src);
	np_addr_unmap(&p.dst);
	p.family = AF_INET;
	if (p.src.sa.sa_family == AF_INET && p.dst.sa.sa_family == AF_INET)
		return p;
	p.family = AF_INET6;
	map_to_v6(&p.src);
	map_to_v6(&p.dst);
	return p;
}

size_t np_proxy_v1_write(const struct np_proxy_info *i, uint8_t *out, size_t max)
{
	struct pair p = pair_of(i);
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
	char line[NP_PROXY_V1_MAX + 1];
	bool known = !i->udp;
	int n;

	if (p.family == AF_INET)
		known = known && inet_ntop(AF_INET, &p.src.in.sin_addr, src, sizeof(src)) &&
			inet_ntop(AF_INET, &p.dst.in.sin_addr, dst, sizeof(dst));
	else if (p.family == AF_INET6)
		known = known && inet_ntop(AF_INET6, &p.src.in6.sin6_addr, src, sizeof(src)) &&
			inet_ntop(AF_INET6, &p.dst.in6.sin6_addr, dst, sizeof(dst));
	else
		known = false;
	/* version 1 has no word for datagrams */
	if (known)
		n = snprintf(line, sizeof(line), V1_START "TCP%c %s %s %u %u\r\n",
			     p.family == AF_INET ? '4' : '6', src, dst, np_addr_port(&p.src),
			     np_addr_port(&p.dst));
	else
		n = snprintf(line, sizeof(line), V1_START "UNKNOWN\r\n");
	if (n <= 0 || (size_t)n >= sizeof(line) || (size_t)n > max)
		return 0;
	memcpy(out, line, (size_t)n);
	return (size_t)n;
}

static void put_u16(uint8_t *out, size_t v)
{
	out[0] = (uint8_t)(v >> 8 & 0xff);
	out[1] = (uint8_t)(v & 0xff);
}

static size_t put_addresses(const struct pair *p, uint8_t *out)
{
	size_t n = p->family == AF_INET ? 4 : 16;

	if (p->family == AF_INET) {
		memcpy(out, &p->src.in.sin_addr, n);
		memcpy(out + n, &p->dst.in.sin_addr, n);
	} else {
		memcpy(out, &p->src.in6.sin6_addr, n);
		memcpy(out + n, &p->dst.in6.sin6_addr, n);
	}
	put_u16(out + 2 * n, np_addr_port(&p->src));
	put_u16(out + 2 * n + 2, np_addr_port(&p->dst));
	return 2 * n + 4;
}

size_t np_proxy_v2_write(const struct np_proxy_info *i, uint8_t *out, size_t max)
{
	struct pair p = pair_of(i);
	uint8_t h[V2_HEAD + INET6_LEN + TLV_HEAD + NP_TRACE_LEN];
	size_t n = V2_HEAD;

	memcpy(h, v2_signature, sizeof(v2_signature));
	h[12] = p.family == AF_UNSPEC ? V2_LOCAL : V2_PROXY;
	h[13] = 0;
	if (p.family != AF_UNSPEC) {
		unsigned family = p.family == AF_INET ? FAMILY_INET : FAMILY_INET6;

		h[13] = (uint8_t)(family << 4 | (i->udp ? PROTO_DGRAM : PROTO_STREAM));
		n += put_addresses(&p, h + n);
	}
	/* behind LOCAL a reader throws away whatever stands there */
	if (i->has_trace && p.family != AF_UNSPEC) {
		h[n] = TLV_UNIQUE_ID;
		put_u16(h + n + 1, NP_TRACE_LEN);
		memcpy(h + n + TLV_HEAD, i->trace, NP_TRACE_LEN);
		n += TLV_HEAD + NP_TRACE_LEN;
	}
	put_u16(h + 14, n - V2_HEAD);
	if (n > max)
		return 0;
	memcpy(out, h, n);
	return n;
}

/* ------------------------------------------------------------------ reading version 2 */

static struct np_addr get_address(int family, const uint8_t *addr, const uint8_t *port)
{
	struct np_addr a;

	memset(&a, 0, sizeof(a));
	if (family == AF_INET) {
		a.len = sizeof(a.in);
		a.in.sin_family = AF_INET;
		memcpy(&a.in.sin_addr, addr, 4);
		memcpy(&a.in.sin_port, port, 2);
	} else {
		a.len = sizeof(a.in6);
		a.in6.sin6_family = AF_INET6;
		memcpy(&a.in6.sin6_addr, addr, 16);
		memcpy(&a.in6.sin6_port, port, 2);
	}
	return a;
}

/* Steps over all TLVs. @strict: a unique id is a trace id, and comes once. */
static enum np_err read_tlvs(const uint8_t *p, size_t len, bool strict, struct np_proxy_info *out)
{
	while (len > 0) {
		size_t n;

		if (len < TLV_HEAD)
			return NP_EPROTO;
		n = (size_t)p[1] << 8 | p[2];
		if (n > len - TLV_HEAD)
			return NP_EPROTO;
		if (p[0] == TLV_UNIQUE_ID) {
			if (strict && (n != NP_TRACE_LEN || out->has_trace))
				return NP_EPROTO;
			if (n == NP_TRACE_LEN && !out->has_trace) {
				memcpy(out->trace, p + TLV_HEAD, NP_TRACE_LEN);
				out->has_trace = true;
			}
		}
		p += TLV_HEAD + n;
		len -= TLV_HEAD + n;
	}
	return NP_OK;
}

/* Bytes of addresses behind the head, or -1 for what the specification does not know. */
static int addresses_len(unsigned family, unsigned proto)
{
	if (family == FAMILY_UNSPEC && proto == 0)
		return 0;
	if (proto != PROTO_STREAM && proto != PROTO_DGRAM)
		return -1;
	switch (family) {
	case FAMILY_INET:
		return INET_LEN;
	case FAMILY_INET6:
		return INET6_LEN;
	case FAMILY_UNIX:
		return UNIX_LEN;
	default:
		return -1;
	}
}

/* What stands behind the 16 bytes of the head, complete. */
static enum np_err read_v2_body(const uint8_t *head, size_t len, bool strict,
				struct np_proxy_info *out)
{
	unsigned family = head[13] >> 4, proto = head[13] & 0xf;
	int addresses = addresses_len(family, proto);
	const uint8_t *p = head + V2_HEAD;

	*out = (struct np_proxy_info){.udp = proto == PROTO_DGRAM};
	if (head[12] == V2_LOCAL) {
		*out = (struct np_proxy_info){.local = true};
		return NP_OK;
	}
	if (addresses < 0 || (size_t)addresses > len)
		return NP_EPROTO;
	if (family == FAMILY_INET) {
		out->src = get_address(AF_INET, p, p + 8);
		out->dst = get_address(AF_INET, p + 4, p + 10);
	} else if (family == FAMILY_INET6) {
		out->src = get_address(AF_INET6, p, p + 32);
		out->dst = get_address(AF_INET6, p + 16, p + 34);
	} else {
		out->local = true;
	}
	return read_tlvs(p + addresses, len - (size_t)addresses, strict, out);
}

static enum np_err read_v2(const uint8_t *p, size_t len, struct np_proxy_info *out, size_t *used)
{
	struct np_proxy_info info;
	size_t body;

	if (len > 12 && p[12] != V2_LOCAL && p[12] != V2_PROXY)
		return NP_EPROTO;
	if (len > 13 && p[12] == V2_PROXY && addresses_len(p[13] >> 4, p[13] & 0xf) < 0)
		return NP_EPROTO;
	if (len < V2_HEAD)
		return NP_EAGAIN;
	body = (size_t)p[14] << 8 | p[15];
	if (body > NP_PROXY_READ_MAX - V2_HEAD)
		return NP_EPROTO;
	if (len - V2_HEAD < body)
		return NP_EAGAIN;
	if (read_v2_body(p, body, false, &info) != NP_OK)
		return NP_EPROTO;
	*out = info;
	*used = V2_HEAD + body;
	return NP_OK;
}

enum np_err np_proxy_read_strict(const uint8_t *p, size_t len, bool udp, struct np_proxy_info *out)
{
	struct np_proxy_info info;

	if (len < V2_HEAD + INET_LEN || len > NP_PROXY_V2_MAX)
		return NP_EPROTO;
	if (memcmp(p, v2_signature, sizeof(v2_signature)) != 0 || p[12] != V2_PROXY)
		return NP_EPROTO;
	if (((size_t)p[14] << 8 | p[15]) != len - V2_HEAD)
		return NP_EPROTO;
	if (read_v2_body(p, len - V2_HEAD, true, &info) != NP_OK)
		return NP_EPROTO;
	if (info.local || info.udp != udp)
		return NP_EPROTO;
	*out = info;
	return NP_OK;
}

/* ------------------------------------------------------------------ reading version 1 */

/* One word up to the next blank or the end of the line; a line has single blanks only. */
static bool next_word(const char **at, const char *end, char *word, size_t max)
{
	const char *blank = memchr(*at, ' ', (size_t)(end - *at));
	size_t n = (size_t)((blank != NULL ? blank : end) - *at);

	if (n == 0 || n >= max)
		return false;
	memcpy(word, *at, n);
	word[n] = '\0';
	*at += n;
	if (blank != NULL)
		(*at)++;
	return blank == NULL || *at != end;
}

static bool read_port(const char **at, const char *end, uint8_t port[2])
{
	char word[6];
	uint64_t v = 0;

	if (!next_word(at, end, word, sizeof(word)) || (word[0] == '0' && word[1] != '\0'))
		return false;
	if (np_parse_u64(word, strlen(word), 0, UINT16_MAX, &v) != NP_OK)
		return false;
	put_u16(port, (size_t)v);
	return true;
}

/* The line without its CR LF. */
static enum np_err read_v1_line(const char *at, const char *end, struct np_proxy_info *out)
{
	char word[INET6_ADDRSTRLEN];
	uint8_t src[16], dst[16], src_port[2], dst_port[2];
	int family;

	at += strlen(V1_START);
	if (!next_word(&at, end, word, sizeof(word)))
		return NP_EPROTO;
	if (strcmp(word, "UNKNOWN") == 0) {
		*out = (struct np_proxy_info){.local = true};
		return NP_OK;
	}
	if (strcmp(word, "TCP4") != 0 && strcmp(word, "TCP6") != 0)
		return NP_EPROTO;
	family = word[3] == '4' ? AF_INET : AF_INET6;
	if (!next_word(&at, end, word, sizeof(word)) || inet_pton(family, word, src) != 1 ||
	    !next_word(&at, end, word, sizeof(word)) || inet_pton(family, word, dst) != 1 ||
	    !read_port(&at, end, src_port) || !read_port(&at, end, dst_port) || at != end)
		return NP_EPROTO;
	*out = (struct np_proxy_info){.src = get_address(family, src, src_port),
				      .dst = get_address(family, dst, dst_port)};
	return NP_OK;
}

static enum np_err read_v1(const uint8_t *p, size_t len, struct np_proxy_info *out, size_t *used)
{
	size_t max = len < NP_PROXY_V1_MAX ? len : NP_PROXY_V1_MAX;
	const uint8_t *lf = memchr(p, '\n', max);
	struct np_proxy_info info;
	size_t n;

	if (lf == NULL)
		return max < NP_PROXY_V1_MAX && memchr(p, '\0', max) == NULL ? NP_EAGAIN
									     : NP_EPROTO;
	n = (size_t)(lf - p);
	if (p[n - 1] != '\r' || memchr(p, '\0', n) != NULL)
		return NP_EPROTO;
	if (read_v1_line((const char *)p, (const char *)p + n - 1, &info) != NP_OK)
		return NP_EPROTO;
	*out = info;
	*used = n + 1;
	return NP_OK;
}

static bool begins_with(const uint8_t *p, size_t len, const void *start, size_t n)
{
	return memcmp(p, start, len < n ? len : n) == 0;
}

enum np_err np_proxy_read(const uint8_t *p, size_t len, struct np_proxy_info *out, size_t *used)
{
	size_t v1 = strlen(V1_START);

	if (len == 0)
		return NP_EAGAIN;
	if (begins_with(p, len, v2_signature, sizeof(v2_signature)))
		return read_v2(p, len, out, used);
	if (begins_with(p, len, V1_START, v1))
		return len <= v1 ? NP_EAGAIN : read_v1(p, len, out, used);
	return NP_EPROTO;
}
