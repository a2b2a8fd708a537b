/*
 * fuzz_sniff.c - first bytes of visitors: an answer never changes when more bytes come.
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
	return 0;
}
