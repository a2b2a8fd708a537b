/*
 * test_proxyproto.c - PROXY headers: golden bytes both ways, what a strict and a lenient reader
 * refuse, every truncation and bit flip of valid headers.
 */
#include "core/proxyproto.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define TRACE          \
	"\x05\x00\x10" \
	"ABCDEFGHIJKLMNOP"
#define A6     "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\xff\xff"
#define LOOP6  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"

struct bytes {
	const char *p;
	size_t n;
};
/* sizeof "x" counts the NUL that ends the literal */
#define B(s)                       \
	{                          \
		(s), sizeof(s) - 1 \
	}

static struct np_addr addr(const char *host, uint16_t port)
{
	struct np_addr a;

	memset(&a, 0, sizeof(a));
	if (host == NULL)
		return a;
	if (inet_pton(AF_INET, host, &a.in.sin_addr) == 1) {
		a.in.sin_family = AF_INET;
		a.in.sin_port = htons(port);
		a.len = sizeof(a.in);
		return a;
	}
	assert_int_equal(inet_pton(AF_INET6, host, &a.in6.sin6_addr), 1);
	a.in6.sin6_family = AF_INET6;
	a.in6.sin6_port = htons(port);
	a.len = sizeof(a.in6);
	return a;
}

static struct np_proxy_info info_of(const char *src, uint16_t sport, const char *dst,
				    uint16_t dport, bool udp, bool trace)
{
	struct np_proxy_info i;

	memset(&i, 0, sizeof(i));
	i.local = src == NULL;
	i.udp = udp;
	i.src = addr(src, sport);
	i.dst = addr(dst, dport);
	i.has_trace = trace;
	if (trace)
		memcpy(i.trace, "ABCDEFGHIJKLMNOP", NP_TRACE_LEN);
	return i;
}

static void same_addr(const struct np_addr *a, const struct np_addr *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a, b, a->len);
}

static void same_info(const struct np_proxy_info *a, const struct np_proxy_info *b)
{
	assert_int_equal(a->local, b->local);
	assert_int_equal(a->udp, b->udp);
	same_addr(&a->src, &b->src);
	same_addr(&a->dst, &b->dst);
	assert_int_equal(a->has_trace, b->has_trace);
	if (a->has_trace)
		assert_memory_equal(a->trace, b->trace, NP_TRACE_LEN);
}

/* What is written for these addresses; and (as_read) what a reader then sees. */
static const struct golden {
	const char *src;
	uint16_t sport;
	const char *dst;
	uint16_t dport;
	bool udp, trace;
	struct bytes v1, v2;
	const char *src_read, *dst_read; /* NULL = as above */
} golden[] = {
    {"192.0.2.7", 4660, "198.51.100.9", 443, false, true,
     B("PROXY TCP4 192.0.2.7 198.51.100.9 4660 443\r\n"),
     B(SIG "\x21\x11\x00\x1f\xc0\x00\x02\x07\xc6\x33\x64\x09\x12\x34\x01\xbb" TRACE), NULL, NULL},
    {"192.0.2.7", 4660, "198.51.100.9", 443, false, false,
     B("PROXY TCP4 192.0.2.7 198.51.100.9 4660 443\r\n"),
     B(SIG "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x09\x12\x34\x01\xbb"), NULL, NULL},
    {"192.0.2.7", 65535, "198.51.100.9", 1, true, true, B("PROXY UNKNOWN\r\n"),
     B(SIG "\x21\x12\x00\x1f\xc0\x00\x02\x07\xc6\x33\x64\x09\xff\xff\x00\x01" TRACE), NULL, NULL},
    {"2001:db8::1", 4660, "::1", 443, false, true, B("PROXY TCP6 2001:db8::1 ::1 4660 443\r\n"),
     B(SIG "\x21\x21\x00\x37" A6 LOOP6 "\x12\x34\x01\xbb" TRACE), NULL, NULL},
    {"2001:db8::1", 4660, "::1", 443, true, false, B("PROXY UNKNOWN\r\n"),
     B(SIG "\x21\x22\x00\x24" A6 LOOP6 "\x12\x34\x01\xbb"), NULL, NULL},
    {"192.0.2.7", 4660, "::1", 443, false, false, B("PROXY TCP6 ::ffff:192.0.2.7 ::1 4660 443\r\n"),
     B(SIG "\x21\x21\x00\x24" MAPPED "\xc0\x00\x02\x07" LOOP6 "\x12\x34\x01\xbb"),
     "::ffff:192.0.2.7", NULL},
    {"2001:db8::1", 4660, "192.0.2.7", 443, false, false,
     B("PROXY TCP6 2001:db8::1 ::ffff:192.0.2.7 4660 443\r\n"),
     B(SIG "\x21\x21\x00\x24" A6 MAPPED "\xc0\x00\x02\x07\x12\x34\x01\xbb"), NULL,
     "::ffff:192.0.2.7"},
    {"::ffff:192.0.2.7", 4660, "::ffff:198.51.100.9", 443, false, false,
     B("PROXY TCP4 192.0.2.7 198.51.100.9 4660 443\r\n"),
     B(SIG "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x09\x12\x34\x01\xbb"), "192.0.2.7",
     "198.51.100.9"},
    {"::ffff:192.0.2.7", 4660, "198.51.100.9", 443, false, false,
     B("PROXY TCP4 192.0.2.7 198.51.100.9 4660 443\r\n"),
     B(SIG "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x09\x12\x34\x01\xbb"), "192.0.2.7", NULL},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0", 65535, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     65534, false, false,
     B("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0 "
       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65534\r\n"),
     B(SIG "\x21\x21\x00\x24"
	   "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0"
	   "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"),
     NULL, NULL},
    {NULL, 0, NULL, 0, false, true, B("PROXY UNKNOWN\r\n"), B(SIG "\x20\x00\x00\x00"), NULL, NULL},
};
#define GOLDEN_N (sizeof(golden) / sizeof(golden[0]))

static struct np_proxy_info golden_info(const struct golden *g)
{
	return info_of(g->src, g->sport, g->dst, g->dport, g->udp, g->trace);
}

/* Headers that a balancer may send and that are read without being what we write. */
static const struct foreign {
	struct bytes in;
	size_t used;
	const char *src;
	uint16_t sport;
	const char *dst;
	uint16_t dport;
} foreign[] = {
    {B("PROXY UNKNOWN ff:: whatever 1 2\r\nGET"), 33, NULL, 0, NULL, 0},
    {B("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n\r\n"), 44, "0.0.0.0", 0, "255.255.255.255",
     65535},
    {B("PROXY TCP6 ::ffff:1.2.3.4 0:0:0:0:0:0:0:1 10 20\r\n"), 49, "::ffff:1.2.3.4", 10, "::1", 20},
    {B(SIG "\x20\x00\x00\x03zzzTAIL"), 19, NULL, 0, NULL, 0},
    {B(SIG "\x20\xff\x00\x00"), 16, NULL, 0, NULL, 0},
    {B(SIG "\x21\x00\x00\x00TAIL"), 16, NULL, 0, NULL, 0},
    {B(SIG "\x21\x11\x00\x0f\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a\x04\0\0"), 31, "1.2.3.4",
     9, "5.6.7.8", 10},
};

static void np_proxy_write__golden_addresses__exact_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < GOLDEN_N; i++) {
		struct np_proxy_info info = golden_info(&golden[i]);
		uint8_t out[NP_PROXY_V2_MAX];

		assert_int_equal(np_proxy_v1_write(&info, out, sizeof(out)), golden[i].v1.n);
		assert_memory_equal(out, golden[i].v1.p, golden[i].v1.n);
		assert_int_equal(np_proxy_v2_write(&info, out, sizeof(out)), golden[i].v2.n);
		assert_memory_equal(out, golden[i].v2.p, golden[i].v2.n);
	}
}

static void np_proxy_write__no_room__nothing_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < GOLDEN_N; i++) {
		struct np_proxy_info info = golden_info(&golden[i]);
		size_t n1 = golden[i].v1.n, n2 = golden[i].v2.n;

		for (size_t max = 0; max <= n2 || max <= n1; max++) {
			uint8_t *out = malloc(max + 1);

			assert_non_null(out);
			memset(out, 0xa5, max + 1);
			assert_int_equal(np_proxy_v1_write(&info, out, max), max < n1 ? 0 : n1);
			assert_true(max >= n1 || out[0] == 0xa5);
			memset(out, 0xa5, max + 1);
			assert_int_equal(np_proxy_v2_write(&info, out, max), max < n2 ? 0 : n2);
			assert_true(max >= n2 || out[0] == 0xa5);
			assert_int_equal(out[max], 0xa5);
			free(out);
		}
	}
}

static void np_proxy_write__no_ip_addresses__unknown_and_local(void **state)
{
	struct np_proxy_info info = info_of("1.2.3.4", 1, "5.6.7.8", 2, false, false);
	uint8_t out[NP_PROXY_V2_MAX];

	(void)state;
	info.dst.len = 0;
	assert_int_equal(np_proxy_v1_write(&info, out, sizeof(out)), 15);
	assert_memory_equal(out, "PROXY UNKNOWN\r\n", 15);
	assert_int_equal(np_proxy_v2_write(&info, out, sizeof(out)), 16);
	info = info_of("1.2.3.4", 1, "5.6.7.8", 2, false, false);
	info.src.sa.sa_family = AF_UNIX;
	assert_int_equal(np_proxy_v2_write(&info, out, sizeof(out)), 16);
	assert_memory_equal(out, SIG "\x20\x00\x00\x00", 16);
}

static void read_back(const struct bytes *b, bool v2, const struct golden *g)
{
	struct np_proxy_info want = golden_info(g), got;
	size_t used = 0;
	uint8_t in[NP_PROXY_V2_MAX + 4];

	if (g->src != NULL && (v2 || !g->udp)) {
		want.src = addr(g->src_read != NULL ? g->src_read : g->src, g->sport);
		want.dst = addr(g->dst_read != NULL ? g->dst_read : g->dst, g->dport);
	} else {
		want = info_of(NULL, 0, NULL, 0, false, false);
	}
	want.has_trace = want.has_trace && v2;
	memcpy(in, b->p, b->n);
	memcpy(in + b->n, "tail", 4);
	assert_int_equal(np_proxy_read(in, b->n + 4, &got, &used), NP_OK);
	assert_int_equal(used, b->n);
	same_info(&got, &want);
	assert_int_equal(np_proxy_read(in, b->n, &got, &used), NP_OK);
	if (!v2 || g->src == NULL) {
		assert_int_equal(np_proxy_read_strict(in, b->n, false, &got), NP_EPROTO);
		return;
	}
	assert_int_equal(np_proxy_read_strict(in, b->n, g->udp, &got), NP_OK);
	same_info(&got, &want);
	assert_int_equal(np_proxy_read_strict(in, b->n, !g->udp, &got), NP_EPROTO);
	assert_int_equal(np_proxy_read_strict(in, b->n + 1, g->udp, &got), NP_EPROTO);
}

static void np_proxy_read__golden_bytes__the_addresses(void **state)
{
	(void)state;
	for (size_t i = 0; i < GOLDEN_N; i++) {
		read_back(&golden[i].v1, false, &golden[i]);
		read_back(&golden[i].v2, true, &golden[i]);
	}
}

static void np_proxy_read__of_other_writers__understood(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		const struct foreign *f = &foreign[i];
		struct np_proxy_info want =
		    info_of(f->src, f->sport, f->dst, f->dport, false, false);
		struct np_proxy_info got;
		size_t used = 0;

		assert_int_equal(np_proxy_read((const uint8_t *)f->in.p, f->in.n, &got, &used),
				 NP_OK);
		assert_int_equal(used, f->used);
		same_info(&got, &want);
	}
}

/* A header as a test needs it: IPv4, UDP, then these TLVs. */
static size_t with_tlvs(uint8_t *out, const char *tlvs, size_t n)
{
	static const char head[] = SIG "\x21\x12\0\0\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a";

	memcpy(out, head, sizeof(head) - 1);
	memcpy(out + sizeof(head) - 1, tlvs, n);
	out[14] = (uint8_t)((n + 12) >> 8);
	out[15] = (uint8_t)((n + 12) & 0xff);
	return sizeof(head) - 1 + n;
}

static void np_proxy_read__tlvs__only_a_trace_is_kept(void **state)
{
	static const struct {
		struct bytes tlvs;
		enum np_err lenient, strict;
		bool trace;
	} cases[] = {
	    {B(""), NP_OK, NP_OK, false},
	    {B(TRACE), NP_OK, NP_OK, true},
	    {B("\x01\0\x02h2" TRACE "\x04\0\0"), NP_OK, NP_OK, true},
	    {B("\x01\0\x02h2\xee\0\1."), NP_OK, NP_OK, false},
	    {B("\x05\0\x02xx"), NP_OK, NP_EPROTO, false},
	    {B("\x05\0\x02xx" TRACE), NP_OK, NP_EPROTO, true},
	    {B(TRACE "\x05\0\x10................"), NP_OK, NP_EPROTO, true},
	    {B("\x05"), NP_EPROTO, NP_EPROTO, false},
	    {B("\x05\0"), NP_EPROTO, NP_EPROTO, false},
	    {B("\x05\0\x01"), NP_EPROTO, NP_EPROTO, false},
	    {B("\x05\xff\xff."), NP_EPROTO, NP_EPROTO, false},
	    {B(TRACE "\0"), NP_EPROTO, NP_EPROTO, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t in[128];
		size_t n = with_tlvs(in, cases[i].tlvs.p, cases[i].tlvs.n), used;
		struct np_proxy_info got;

		assert_int_equal(np_proxy_read_strict(in, n, true, &got), cases[i].strict);
		assert_int_equal(np_proxy_read(in, n, &got, &used), cases[i].lenient);
		if (cases[i].lenient != NP_OK)
			continue;
		assert_int_equal(got.has_trace, cases[i].trace);
		if (got.has_trace)
			assert_memory_equal(got.trace, "ABCDEFGHIJKLMNOP", NP_TRACE_LEN);
	}
}

static void np_proxy_read__bad_headers__refused(void **state)
{
	static const struct bytes cases[] = {
	    B("GET / HTTP/1.1\r\n"),
	    B("P:"),
	    B("PROXY\t"),
	    B("proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n"),
	    B("PROXY \r\n"),
	    B("PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n"),
	    B("PROXY TCP4\r\n"),
	    B("PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n"),
	    B("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n"),
	    B("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n"),
	    B("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n"),
	    B("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n"),
	    B("PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n"),
	    B("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n"),
	    B("PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n"),
	    B("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n"),
	    B("PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n"),
	    B("PROXY TCP4 1.2.3.4 5.6.7.8 1 -2\r\n"),
	    B("PROXY TCP4 1.2.3.4 5.6.7.8 1 123456\r\n"),
	    B("PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n"),
	    B("PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n"),
	    B("PROXY TCP4 1.2.3.4 ::1 1 2\r\n"),
	    B("PROXY TCP6 1.2.3.4 ::1 1 2\r\n"),
	    B("PROXY TCP6 fe80::1%1 ::1 1 2\r\n"),
	    B("PROXY TCP6 0000:0000:0000:0000:0000:0000:0000:00000001 ::1 1 2\r\n"),
	    B("PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n"),
	    B("PROXY TCP4 1.2.3.4\0"),
	    B("\r\n\r\n\0\r\nQUIT\r"),
	    B(SIG "\x11"),
	    B(SIG "\x22"),
	    B(SIG "\x21\x13"),
	    B(SIG "\x21\x41"),
	    B(SIG "\x21\x10"),
	    B(SIG "\x21\x01"),
	    B(SIG "\x21\x11\x00\x0b\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0"),
	    B(SIG "\x21\x21\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a"),
	    B(SIG "\x21\x31\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a"),
	    B(SIG "\x21\x11\xff\xff"),
	    B(SIG "\x21\x11\x0f\xf1"),
	};
	struct np_proxy_info got, before;
	size_t used = 77;

	(void)state;
	memset(&before, 0x5a, sizeof(before));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(&got, &before, sizeof(got));
		if (np_proxy_read((const uint8_t *)cases[i].p, cases[i].n, &got, &used) !=
		    NP_EPROTO)
			fail_msg("case %zu was not refused", i);
		assert_int_equal(used, 77);
		assert_memory_equal(&got, &before, sizeof(got));
		assert_int_equal(
		    np_proxy_read_strict((const uint8_t *)cases[i].p, cases[i].n, false, &got),
		    NP_EPROTO);
		assert_memory_equal(&got, &before, sizeof(got));
	}
}

static void np_proxy_read__line_without_end__refused_after_107_bytes(void **state)
{
	uint8_t in[NP_PROXY_V1_MAX + 10];
	struct np_proxy_info got;
	size_t used;

	(void)state;
	memset(in, 'x', sizeof(in));
	memcpy(in, "PROXY UNKNOWN ", 14);
	for (size_t n = 0; n < NP_PROXY_V1_MAX; n++)
		assert_int_equal(np_proxy_read(in, n, &got, &used), NP_EAGAIN);
	assert_int_equal(np_proxy_read(in, NP_PROXY_V1_MAX, &got, &used), NP_EPROTO);
	in[NP_PROXY_V1_MAX - 2] = '\r';
	in[NP_PROXY_V1_MAX - 1] = '\n';
	assert_int_equal(np_proxy_read(in, sizeof(in), &got, &used), NP_OK);
	assert_int_equal(used, NP_PROXY_V1_MAX);
	in[NP_PROXY_V1_MAX - 2] = 'x';
	in[NP_PROXY_V1_MAX - 1] = '\r';
	in[NP_PROXY_V1_MAX] = '\n';
	assert_int_equal(np_proxy_read(in, sizeof(in), &got, &used), NP_EPROTO);
}

static void np_proxy_read_strict__longest_and_longer__536_bytes(void **state)
{
	static char tlv[NP_PROXY_V2_MAX];
	uint8_t in[NP_PROXY_V2_MAX + 1];
	size_t n = NP_PROXY_V2_MAX - 28, used;
	struct np_proxy_info got;

	(void)state;
	tlv[0] = '\xee';
	tlv[1] = (char)((n - 3) >> 8);
	tlv[2] = (char)((n - 3) & 0xff);
	assert_int_equal(with_tlvs(in, tlv, n), NP_PROXY_V2_MAX);
	assert_int_equal(np_proxy_read_strict(in, NP_PROXY_V2_MAX, true, &got), NP_OK);
	n++;
	tlv[2] = (char)((n - 3) & 0xff);
	assert_int_equal(with_tlvs(in, tlv, n), NP_PROXY_V2_MAX + 1);
	assert_int_equal(np_proxy_read_strict(in, NP_PROXY_V2_MAX + 1, true, &got), NP_EPROTO);
	assert_int_equal(np_proxy_read(in, NP_PROXY_V2_MAX + 1, &got, &used), NP_OK);
}

/* Every beginning of a valid header asks for more, and reads no byte beyond what it was given. */
static void np_proxy_read__truncated__more_bytes_needed(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * GOLDEN_N; i++) {
		const struct bytes *b = i % 2 == 0 ? &golden[i / 2].v1 : &golden[i / 2].v2;

		for (size_t n = 0; n < b->n; n++) {
			uint8_t *in = malloc(n + 1);
			struct np_proxy_info got;
			size_t used;

			assert_non_null(in);
			memcpy(in + 1, b->p, n);
			assert_int_equal(np_proxy_read(in + 1, n, &got, &used), NP_EAGAIN);
			assert_int_equal(np_proxy_read_strict(in + 1, n, golden[i / 2].udp, &got),
					 NP_EPROTO);
			free(in);
		}
	}
}

static void sane(const uint8_t *in, size_t n)
{
	struct np_proxy_info got;
	size_t used = 0;
	enum np_err err = np_proxy_read(in, n, &got, &used);

	assert_true(err == NP_OK || err == NP_EAGAIN || err == NP_EPROTO);
	if (err == NP_OK) {
		assert_true(used > 0 && used <= n);
		assert_true(got.local || (got.src.len != 0 && got.dst.len != 0));
	}
	for (int udp = 0; udp < 2; udp++) {
		if (np_proxy_read_strict(in, n, udp != 0, &got) != NP_OK)
			continue;
		assert_int_equal(err, NP_OK);
		assert_int_equal(used, n);
		assert_true(!got.local && got.udp == (udp != 0));
	}
}

static void np_proxy_read__bits_flipped__sane(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * GOLDEN_N; i++) {
		const struct bytes *b = i % 2 == 0 ? &golden[i / 2].v1 : &golden[i / 2].v2;
		uint8_t *in = malloc(b->n);

		assert_non_null(in);
		for (size_t bit = 0; bit < 8 * b->n; bit++) {
			for (size_t other = bit; other < 8 * b->n && other < bit + 24; other++) {
				memcpy(in, b->p, b->n);
				in[bit / 8] ^= (uint8_t)(1u << bit % 8);
				in[other / 8] ^= (uint8_t)(1u << other % 8);
				sane(in, b->n);
			}
		}
		free(in);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(np_proxy_write__golden_addresses__exact_bytes),
	    cmocka_unit_test(np_proxy_write__no_room__nothing_written),
	    cmocka_unit_test(np_proxy_write__no_ip_addresses__unknown_and_local),
	    cmocka_unit_test(np_proxy_read__golden_bytes__the_addresses),
	    cmocka_unit_test(np_proxy_read__of_other_writers__understood),
	    cmocka_unit_test(np_proxy_read__tlvs__only_a_trace_is_kept),
	    cmocka_unit_test(np_proxy_read__bad_headers__refused),
	    cmocka_unit_test(np_proxy_read__line_without_end__refused_after_107_bytes),
	    cmocka_unit_test(np_proxy_read_strict__longest_and_longer__536_bytes),
	    cmocka_unit_test(np_proxy_read__truncated__more_bytes_needed),
	    cmocka_unit_test(np_proxy_read__bits_flipped__sane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
