/*
 * fuzz_tunnel_msg.c - arbitrary bytes as a control frame: refused, or the same after pack and
 * unpack.
 */
#include "wire/tunnel_msg.h"

#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct np_msg m, again;
	struct np_buf b, c;

	if (np_msg_unpack(data, size, &m) != NP_OK)
		return 0;
	np_buf_init(&b, 4 + NP_MSG_MAX);
	np_buf_init(&c, 4 + NP_MSG_MAX);
	NP_ASSERT(np_msg_pack(&m, &b) == NP_OK);
	NP_ASSERT(np_msg_unpack(np_buf_ptr(&b) + 4, np_buf_len(&b) - 4, &again) == NP_OK);
	NP_ASSERT(memcmp(&m, &again, sizeof m) == 0);
	/* Our own form is stable. */
	NP_ASSERT(np_msg_pack(&again, &c) == NP_OK);
	NP_ASSERT(np_buf_len(&b) == np_buf_len(&c));
	NP_ASSERT(memcmp(np_buf_ptr(&b), np_buf_ptr(&c), np_buf_len(&b)) == 0);
	np_buf_release(&b);
	np_buf_release(&c);
	return 0;
}
