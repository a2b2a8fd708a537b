/*
 * key.c - see key.h.
 */
#include "core/key.h"

#include "base/base64.h"
#include "base/secret.h"

#include <stdio.h>
#include <string.h>

#define KEY_PREFIX     "np1_"
#define KEY_PREFIX_LEN 4
#define KEY_B64_LEN    43

/* 32 bytes give 43 characters; the last one carries 4 bits, its low 2 are zero. */
static void key_encode(const uint8_t in[NP_KEY_RAW_LEN], char out[KEY_B64_LEN])
{
	unsigned i, bit;

	for (i = 0, bit = 0; i < KEY_B64_LEN; i++, bit += 6) {
		unsigned at = bit / 8, low = at + 1 < NP_KEY_RAW_LEN ? in[at + 1] : 0;
		unsigned v = ((unsigned)in[at] << 8 | low) >> (10 - bit % 8) & 63;

		out[i] = np_base64url[v];
	}
}

bool np_key_decode(const char *key, size_t len, uint8_t out[NP_KEY_RAW_LEN])
{
	uint32_t acc = 0;
	unsigned bits = 0, n = 0, i;

	if (len != KEY_PREFIX_LEN + KEY_B64_LEN || memcmp(key, KEY_PREFIX, KEY_PREFIX_LEN) != 0)
		return false;
	for (i = 0; i < KEY_B64_LEN; i++) {
		int value = np_base64_value(np_base64url, key[KEY_PREFIX_LEN + i]);

		if (value == -1)
			return false;
		acc = acc << 6 | (uint32_t)value;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[n++] = (uint8_t)(acc >> bits);
			acc &= (1u << bits) - 1;
		}
	}
	return acc == 0; /* two spare bits: set, another text would be the same key */
}

enum np_err np_key_generate(char out[NP_KEY_TEXT_MAX])
{
	uint8_t raw[NP_KEY_RAW_LEN];
	enum np_err err = np_random(raw, sizeof raw);

	if (err != NP_OK)
		return err;
	memcpy(out, KEY_PREFIX, KEY_PREFIX_LEN);
	key_encode(raw, out + KEY_PREFIX_LEN);
	out[KEY_PREFIX_LEN + KEY_B64_LEN] = '\0';
	np_wipe(raw, sizeof raw);
	return NP_OK;
}

enum np_key_kind np_key_kind(const char *key, size_t len, bool given, uint16_t port)
{
	uint8_t raw[NP_KEY_RAW_LEN];
	char hex[8];
	bool random;

	(void)snprintf(hex, sizeof hex, "%x", (unsigned)port);
	if (!given || (len == strlen(hex) && memcmp(key, hex, len) == 0))
		return NP_KEY_PORT;
	random = np_key_decode(key, len, raw);
	np_wipe(raw, sizeof raw);
	return random ? NP_KEY_RANDOM : NP_KEY_WORD;
}
