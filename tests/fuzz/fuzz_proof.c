/*
 * fuzz_proof.c - what is read of strangers: preambles (fields, MAC, replay window) and the texts of
 * keys.
 */
#include "core/proof.h"

#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t d[NP_EXPORTER_LEN] = {0x80, 0x81, 0x82};
static const uint8_t x[NP_EXPORTER_LEN] = {0xa0, 0xa1, 0xa2};

static void preamble(const uint8_t in[NP_PREAMBLE_LEN])
{
	uint8_t again[NP_PREAMBLE_LEN];
	struct np_preamble p;

	if (np_preamble_read(in, &p) != NP_OK)
		return;
	NP_ASSERT(np_preamble_write(&p, d, x, again) == NP_OK);
	/* What was read is all there is: only the MAC may differ, and then it is wrong. */
	NP_ASSERT(memcmp(in, again, 24) == 0);
	NP_ASSERT(np_preamble_verify(in, d, x) == (memcmp(in, again, sizeof again) == 0));
	NP_ASSERT(np_preamble_verify(again, d, x));
	NP_ASSERT(!np_preamble_verify(again, d, NULL));
}

/* Each 3 bytes are a step from the highest id, forwards or backwards. */
static void replay(const uint8_t *data, size_t size)
{
	static struct np_replay r;
	size_t i;

	memset(&r, 0, sizeof r);
	for (i = 0; i + 3 <= size && i < 3 * 64; i += 3) {
		uint64_t step =
		    ((uint64_t)data[i] << 16 | (uint64_t)data[i + 1] << 8 | data[i + 2]);
		uint64_t id = r.highest + (step & 0x1ffff) - (step >> 17 << 10), was = r.highest;

		if (np_replay_check(&r, id)) {
			NP_ASSERT(id != 0 && (id <= was ? was - id < NP_REPLAY_WINDOW
							: id - was <= NP_REPLAY_WINDOW));
			np_replay_mark(&r, id);
			NP_ASSERT(r.highest == (id > was ? id : was));
		}
		NP_ASSERT(!np_replay_check(&r, id));
	}
}

static void key(const char *text, size_t len, uint16_t port)
{
	uint8_t k[NP_K_LEN];
	enum np_key_kind kind = np_key_kind(text, len, true, port);

	switch (kind) {
	case NP_KEY_RANDOM:
		NP_ASSERT(len == 47 && memcmp(text, "np1_", 4) == 0);
		NP_ASSERT(np_key_derive(kind, text, len, NULL, k) == NP_OK);
		break;
	case NP_KEY_PORT:
		NP_ASSERT(len >= 1 && len <= 4);
		NP_ASSERT(np_key_derive(kind, text, len, NULL, k) == NP_OK);
		break;
	case NP_KEY_WORD:
		NP_ASSERT(np_key_derive(NP_KEY_RANDOM, text, len, NULL, k) == NP_EINVAL);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= NP_PREAMBLE_LEN)
		preamble(data);
	replay(data, size);
	key((const char *)data, size, 10101);
	return 0;
}
