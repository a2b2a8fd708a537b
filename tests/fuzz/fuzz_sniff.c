/*
 * fuzz_sniff.c - first bytes: an answer never changes when more bytes come, at the tunnel port once.
 */
#include "core/sniff.h"

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum np_sniff last = NP_SNIFF_MORE;

	for (size_t n = 0; n <= size && n <= 2 * NP_SNIFF_MAX; n++) {
		enum np_sniff now = np_sniff(data, n);

		NP_ASSERT(last == NP_SNIFF_MORE || now == last);
		NP_ASSERT(now != NP_SNIFF_MORE || n < NP_SNIFF_MAX);
		last = now;
	}
	for (int plain = 0; plain < 2 && size > 0; plain++) {
		enum np_tunnel_first before = np_sniff_tunnel(data, 1, plain == 1);
		int changes = 0;

		for (size_t n = 2; n <= size && n <= 2 * NP_SNIFF_MAX; n++) {
			enum np_tunnel_first now = np_sniff_tunnel(data, n, plain == 1);

			changes += now != before;
			before = now;
		}
		NP_ASSERT(changes <= 1);
	}
	return 0;
}
