/*
 * fuzz_compat1.c - first lines of NodePass 1.x: a verdict is final, whatever follows, and a line
 * that is one was a possible beginning at each of its bytes.
 */
#include "core/compat1.h"

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char key[] = "a8acb05f";
	enum np_err err = np_compat1_first_line(data, size, key, 8), before = NP_EAGAIN;

	NP_ASSERT(err == NP_OK || err == NP_EAGAIN || err == NP_EPROTO);
	NP_ASSERT(err != NP_EAGAIN || size < NP_COMPAT1_LINE_MAX);
	for (size_t n = 0; n < size && n <= NP_COMPAT1_LINE_MAX; n++) {
		enum np_err now = np_compat1_first_line(data, n, key, 8);

		NP_ASSERT(before == NP_EAGAIN || now == before);
		before = now;
	}
	NP_ASSERT(before == NP_EAGAIN || err == before);
	return 0;
}
