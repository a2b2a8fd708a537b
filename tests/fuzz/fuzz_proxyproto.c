/*
 * fuzz_proxyproto.c - PROXY headers: what is read is written and read again with the same meaning,
 * and the strict reader accepts nothing that the lenient one refuses.
 */
#include "core/proxyproto.h"

#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A writer turns mapped addresses into IPv4, or IPv4 into mapped ones: compare without that. */
static bool same_addr(struct np_addr a, struct np_addr b)
{
	np_addr_unmap(&a);
	np_addr_unmap(&b);
	return a.len == b.len && memcmp(&a, &b, a.len) == 0;
}

static void same(const struct np_proxy_info *a, const struct np_proxy_info *b, bool trace)
{
	NP_ASSERT(a->local == b->local);
	if (a->local)
		return;
	NP_ASSERT(a->udp == b->udp);
	NP_ASSERT(same_addr(a->src, b->src) && same_addr(a->dst, b->dst));
	if (!trace)
		return;
	NP_ASSERT(a->has_trace == b->has_trace);
	NP_ASSERT(!a->has_trace || memcmp(a->trace, b->trace, NP_TRACE_LEN) == 0);
}

static void round_trip(const struct np_proxy_info *info)
{
	uint8_t out[NP_PROXY_V2_MAX], again[NP_PROXY_V2_MAX];
	struct np_proxy_info back;
	size_t n, used;

	n = np_proxy_v2_write(info, out, sizeof(out));
	NP_ASSERT(n >= 16);
	NP_ASSERT(np_proxy_read(out, n, &back, &used) == NP_OK && used == n);
	same(info, &back, true);
	NP_ASSERT(np_proxy_v2_write(&back, again, sizeof(again)) == n &&
		  memcmp(out, again, n) == 0);
	NP_ASSERT((np_proxy_read_strict(out, n, info->udp, &back) == NP_OK) == !info->local);
	if (!info->local)
		same(info, &back, true);
	for (size_t i = 0; i < n; i++)
		NP_ASSERT(np_proxy_read(out, i, &back, &used) == NP_EAGAIN);

	n = np_proxy_v1_write(info, out, NP_PROXY_V1_MAX);
	NP_ASSERT(n >= 15 && n <= NP_PROXY_V1_MAX);
	NP_ASSERT(np_proxy_read(out, n, &back, &used) == NP_OK && used == n);
	if (info->udp)
		NP_ASSERT(back.local);
	else
		same(info, &back, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct np_proxy_info info, strict;
	size_t used = 0;
	enum np_err err = np_proxy_read(data, size, &info, &used);

	NP_ASSERT(err == NP_OK || err == NP_EAGAIN || err == NP_EPROTO);
	if (err == NP_OK) {
		NP_ASSERT(used > 0 && used <= size && used <= NP_PROXY_READ_MAX);
		round_trip(&info);
	}
	for (int udp = 0; udp < 2; udp++) {
		if (np_proxy_read_strict(data, size, udp != 0, &strict) != NP_OK)
			continue;
		NP_ASSERT(err == NP_OK && used == size && !info.local && info.udp == (udp != 0));
		same(&info, &strict, true);
	}
	return 0;
}
