/*
 * test_proof.c - kinds of keys, derivation, proofs, preambles, the replay window. Golden bytes are
 * in test_golden.c; here every input must matter and every change be noticed.
 */
#include "core/proof.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PORT 10101 /* 0x2775 */

static void fill(uint8_t *p, unsigned first, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = (uint8_t)(first + i);
}

static enum np_key_kind kind_of(const char *key)
{
	return np_key_kind(key, strlen(key), true, PORT);
}

static void key_generate__many__well_formed_and_distinct(void **state)
{
	char keys[64][NP_KEY_TEXT_MAX];
	unsigned i, j;

	(void)state;
	for (i = 0; i < 64; i++) {
		assert_int_equal(np_key_generate(keys[i]), NP_OK);
		assert_int_equal(strlen(keys[i]), 47);
		assert_int_equal(kind_of(keys[i]), NP_KEY_RANDOM);
		for (j = 0; j < i; j++)
			assert_string_not_equal(keys[i], keys[j]);
	}
}

static void key_kind__texts__as_documented(void **state)
{
	static const char good[] = "np1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
	char key[64];

	(void)state;
	assert_int_equal(kind_of(good), NP_KEY_RANDOM);
	assert_int_equal(kind_of("np1_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_8"), NP_KEY_RANDOM);
	assert_int_equal(kind_of("secret"), NP_KEY_WORD);
	assert_int_equal(kind_of(""), NP_KEY_WORD);
	assert_int_equal(np_key_kind(good, strlen(good) - 1, true, PORT), NP_KEY_WORD);
	memcpy(key, good, sizeof good);
	key[47] = 'A';
	key[48] = '\0';
	assert_int_equal(kind_of(key), NP_KEY_WORD); /* too long */
	memcpy(key, good, sizeof good);
	key[0] = 'N';
	assert_int_equal(kind_of(key), NP_KEY_WORD); /* prefix */
	memcpy(key, good, sizeof good);
	key[20] = '+';
	assert_int_equal(kind_of(key), NP_KEY_WORD); /* the other alphabet */
	key[20] = '\0';
	assert_int_equal(np_key_kind(key, 47, true, PORT), NP_KEY_WORD);
}

/* Of 64 last characters 16 leave the two unused bits clear. */
static void key_kind__last_character__only_canonical_ones(void **state)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char key[] = "np1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
	unsigned i;

	(void)state;
	for (i = 0; i < 64; i++) {
		key[46] = alphabet[i];
		assert_int_equal(kind_of(key), i % 4 == 0 ? NP_KEY_RANDOM : NP_KEY_WORD);
	}
}

static void key_kind__port_written_out__same_as_left_out(void **state)
{
	uint8_t written[NP_K_LEN], derived[NP_K_LEN];

	(void)state;
	assert_int_equal(np_key_kind("2775", 4, false, PORT), NP_KEY_PORT);
	assert_int_equal(np_key_kind("2775", 4, true, PORT), NP_KEY_PORT);
	assert_int_equal(np_key_kind("2775", 4, true, 10102), NP_KEY_WORD);
	assert_int_equal(np_key_kind("02775", 5, true, PORT), NP_KEY_WORD);
	assert_int_equal(np_key_kind("277", 3, true, PORT), NP_KEY_WORD);
	assert_int_equal(np_key_kind("ff", 2, true, 255), NP_KEY_PORT);
	assert_int_equal(np_key_kind("FF", 2, true, 255), NP_KEY_WORD);
	assert_int_equal(np_key_kind("1", 1, true, 1), NP_KEY_PORT);
	assert_int_equal(np_key_kind("ffff", 4, true, 65535), NP_KEY_PORT);
	assert_int_equal(
	    np_key_derive(np_key_kind("2775", 4, true, PORT), "2775", 4, NULL, written), NP_OK);
	assert_int_equal(
	    np_key_derive(np_key_kind("2775", 4, false, PORT), "2775", 4, NULL, derived), NP_OK);
	assert_memory_equal(written, derived, NP_K_LEN);
}

static void key_derive__word__depends_on_text_and_salt(void **state)
{
	uint8_t salt[NP_SALT_LEN], a[NP_K_LEN], b[NP_K_LEN];

	(void)state;
	fill(salt, 1, sizeof salt);
	assert_int_equal(np_key_derive(NP_KEY_WORD, "secret", 6, salt, a), NP_OK);
	assert_int_equal(np_key_derive(NP_KEY_WORD, "secret", 6, salt, b), NP_OK);
	assert_memory_equal(a, b, NP_K_LEN);
	assert_int_equal(np_key_derive(NP_KEY_WORD, "secreu", 6, salt, b), NP_OK);
	assert_memory_not_equal(a, b, NP_K_LEN);
	salt[15] ^= 1;
	assert_int_equal(np_key_derive(NP_KEY_WORD, "secret", 6, salt, b), NP_OK);
	assert_memory_not_equal(a, b, NP_K_LEN);
}

static void key_derive__same_text_as_other_kind__other_key(void **state)
{
	static const char key[] = "np1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
	uint8_t salt[NP_SALT_LEN] = {0}, k[3][NP_K_LEN];

	(void)state;
	assert_int_equal(np_key_derive(NP_KEY_RANDOM, key, 47, NULL, k[0]), NP_OK);
	assert_int_equal(np_key_derive(NP_KEY_WORD, key, 47, salt, k[1]), NP_OK);
	assert_int_equal(np_key_derive(NP_KEY_PORT, key, 47, NULL, k[2]), NP_OK);
	assert_memory_not_equal(k[0], k[1], NP_K_LEN);
	assert_memory_not_equal(k[0], k[2], NP_K_LEN);
	assert_memory_not_equal(k[1], k[2], NP_K_LEN);
}

static void key_derive__unusable__refused_and_output_untouched(void **state)
{
	uint8_t salt[NP_SALT_LEN] = {0}, k[NP_K_LEN], before[NP_K_LEN];

	(void)state;
	memset(k, 0x5a, sizeof k);
	memcpy(before, k, sizeof k);
	assert_int_equal(np_key_derive(NP_KEY_RANDOM, "secret", 6, NULL, k), NP_EINVAL);
	assert_int_equal(np_key_derive(NP_KEY_WORD, "", 0, salt, k), NP_EINVAL);
	assert_int_equal(np_key_derive(NP_KEY_PORT, "", 0, NULL, k), NP_EINVAL);
	assert_memory_equal(k, before, sizeof k);
}

static void proof_make__any_input_bit_changed__other_proof(void **state)
{
	uint8_t in[NP_K_LEN + NP_EXPORTER_LEN + 40], want[NP_PROOF_LEN], got[NP_PROOF_LEN];
	size_t bit;

	(void)state;
	fill(in, 3, sizeof in);
	assert_int_equal(np_proof_make(NP_PROOF_CLIENT, in, in + NP_K_LEN,
				       in + NP_K_LEN + NP_EXPORTER_LEN, 40, want),
			 NP_OK);
	for (bit = 0; bit < sizeof in * 8; bit++) {
		in[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_int_equal(np_proof_make(NP_PROOF_CLIENT, in, in + NP_K_LEN,
					       in + NP_K_LEN + NP_EXPORTER_LEN, 40, got),
				 NP_OK);
		assert_false(np_equal_ct(got, want, NP_PROOF_LEN));
		in[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	assert_int_equal(np_proof_make(NP_PROOF_SERVER, in, in + NP_K_LEN,
				       in + NP_K_LEN + NP_EXPORTER_LEN, 40, got),
			 NP_OK);
	assert_false(np_equal_ct(got, want, NP_PROOF_LEN)); /* no reflection */
	assert_int_equal(np_proof_make(NP_PROOF_CLIENT, in, in + NP_K_LEN,
				       in + NP_K_LEN + NP_EXPORTER_LEN, 39, got),
			 NP_OK);
	assert_false(np_equal_ct(got, want, NP_PROOF_LEN));
}

static void takeover_make__any_input_bit_changed__other_proof(void **state)
{
	uint8_t in[NP_EXPORTER_LEN + NP_SESSION_ID_LEN + NP_EXPORTER_LEN];
	uint8_t want[NP_PROOF_LEN], got[NP_PROOF_LEN];
	size_t bit;

	(void)state;
	fill(in, 9, sizeof in);
	assert_int_equal(np_takeover_make(in, in + 32, in + 40, want), NP_OK);
	for (bit = 0; bit < sizeof in * 8; bit++) {
		in[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_int_equal(np_takeover_make(in, in + 32, in + 40, got), NP_OK);
		assert_false(np_equal_ct(got, want, NP_PROOF_LEN));
		in[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
}

static void equal_ct_and_wipe__bytes__compared_and_cleared(void **state)
{
	uint8_t a[3] = {1, 2, 3}, b[3] = {1, 2, 3};

	(void)state;
	assert_true(np_equal_ct(a, b, 3));
	b[2] = 4;
	assert_false(np_equal_ct(a, b, 3));
	assert_true(np_equal_ct(a, b, 2));
	np_wipe(b, 2);
	assert_int_equal(b[0] | b[1], 0);
	assert_int_equal(b[2], 4);
}

static void random__two_draws__differ(void **state)
{
	uint8_t a[32] = {0}, b[32] = {0};

	(void)state;
	assert_int_equal(np_random(a, sizeof a), NP_OK);
	assert_int_equal(np_random(b, sizeof b), NP_OK);
	assert_memory_not_equal(a, b, sizeof a);
}

static void make_preamble(const uint8_t *x, uint8_t out[NP_PREAMBLE_LEN])
{
	struct np_preamble p = {.kind = NP_CHANNEL_STREAM, .conn_id = 0xf00000000000000fu};
	uint8_t d[NP_EXPORTER_LEN];

	fill(p.session_id, 0xc0, sizeof p.session_id);
	fill(d, 0x80, sizeof d);
	assert_int_equal(np_preamble_write(&p, d, x, out), NP_OK);
}

static void preamble__written__read_and_verified(void **state)
{
	uint8_t d[NP_EXPORTER_LEN], x[NP_EXPORTER_LEN], bytes[NP_PREAMBLE_LEN], id[8];
	struct np_preamble back;

	(void)state;
	fill(d, 0x80, sizeof d);
	fill(x, 0xa0, sizeof x);
	fill(id, 0xc0, sizeof id);
	make_preamble(x, bytes);
	assert_int_equal(np_preamble_read(bytes, &back), NP_OK);
	assert_int_equal(back.kind, NP_CHANNEL_STREAM);
	assert_true(back.conn_id == 0xf00000000000000fu);
	assert_memory_equal(back.session_id, id, sizeof id);
	assert_true(np_preamble_verify(bytes, d, x));
	assert_false(np_preamble_verify(bytes, d, NULL)); /* cut off its TLS connection */
	assert_false(np_preamble_verify(bytes, x, x));
	make_preamble(NULL, bytes);
	assert_true(np_preamble_verify(bytes, d, NULL));
	assert_false(np_preamble_verify(bytes, d, x)); /* moved onto one */
}

static void preamble__every_bit_flipped__never_verified(void **state)
{
	uint8_t d[NP_EXPORTER_LEN], x[NP_EXPORTER_LEN], bytes[NP_PREAMBLE_LEN];
	struct np_preamble back;
	size_t bit;

	(void)state;
	fill(d, 0x80, sizeof d);
	fill(x, 0xa0, sizeof x);
	make_preamble(x, bytes);
	for (bit = 0; bit < sizeof bytes * 8; bit++) {
		bool fixed = bit < 32 || (bit >= 40 && bit < 64);
		/* Of kind 1 no single bit makes the other valid kind. */
		bool kind = bit >= 32 && bit < 40;

		bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_false(np_preamble_verify(bytes, d, x));
		back.conn_id = 7;
		assert_int_equal(np_preamble_read(bytes, &back), fixed || kind ? NP_EPROTO : NP_OK);
		if (fixed || kind)
			assert_int_equal(back.conn_id, 7);
		bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	assert_true(np_preamble_verify(bytes, d, x));
	bytes[4] = 2;
	assert_int_equal(np_preamble_read(bytes, &back), NP_OK);
	assert_int_equal(back.kind, NP_CHANNEL_DATAGRAM);
	for (bit = 0; bit < 256; bit++) {
		bytes[4] = (uint8_t)bit;
		assert_int_equal(np_preamble_read(bytes, &back),
				 bit == 1 || bit == 2 ? NP_OK : NP_EPROTO);
	}
}

static void replay__in_order__each_once(void **state)
{
	struct np_replay r = {0};
	uint64_t id;

	(void)state;
	assert_false(np_replay_check(&r, 0));
	for (id = 1; id < 3 * NP_REPLAY_WINDOW; id++) {
		if (!np_replay_check(&r, id))
			fail_msg("%llu refused", (unsigned long long)id);
		np_replay_mark(&r, id);
		if (np_replay_check(&r, id))
			fail_msg("%llu accepted twice", (unsigned long long)id);
	}
	assert_int_equal(r.highest, id - 1);
	assert_false(np_replay_check(&r, 0));
}

static void replay__edges_of_the_window__exact(void **state)
{
	struct np_replay r = {0};
	const uint64_t w = NP_REPLAY_WINDOW;

	(void)state;
	assert_true(np_replay_check(&r, w));
	assert_false(np_replay_check(&r, w + 1)); /* more than 65 536 above none seen */
	np_replay_mark(&r, w + 1);		  /* refused: changes nothing */
	assert_int_equal(r.highest, 0);
	np_replay_mark(&r, w);
	assert_true(np_replay_check(&r, 1)); /* the lowest of the window */
	assert_true(np_replay_check(&r, 2 * w));
	assert_false(np_replay_check(&r, 2 * w + 1));
	np_replay_mark(&r, 1);
	assert_false(np_replay_check(&r, 1));
	np_replay_mark(&r, w + 1);
	assert_false(np_replay_check(&r, 1)); /* fell out below */
	assert_true(np_replay_check(&r, 2));
	np_replay_mark(&r, 2 * w + 1); /* the widest jump clears all */
	assert_false(np_replay_check(&r, w + 1));
	assert_true(np_replay_check(&r, w + 2));
	assert_true(np_replay_check(&r, 2 * w));
	assert_false(np_replay_check(&r, 2 * w + 1));
}

static void replay__end_of_the_numbers__no_overflow(void **state)
{
	struct np_replay r = {.highest = UINT64_MAX - 10};

	(void)state;
	assert_true(np_replay_check(&r, UINT64_MAX));
	np_replay_mark(&r, UINT64_MAX);
	assert_false(np_replay_check(&r, UINT64_MAX));
	assert_true(np_replay_check(&r, UINT64_MAX - 1));
	assert_false(np_replay_check(&r, 5));
	assert_false(np_replay_check(&r, 0));
}

/* Against a table that remembers every id. */
static void replay__random_ids__as_a_full_record(void **state)
{
	enum { IDS = 1 << 20, STEPS = 400000 };
	unsigned char *seen = test_calloc(1, IDS);
	struct np_replay r = {0};
	uint64_t highest = 0;
	uint32_t x = 12345;
	unsigned i;

	(void)state;
	for (i = 0; i < STEPS; i++) {
		uint64_t id;
		bool want;

		x = x * 1664525u + 1013904223u;
		/* Around the highest, at all distances from 1 to past the window. */
		id = highest + 70000 - (x >> 8) % (140000u >> (x >> 4 & 15));
		if (id < 70000 || id - 70000 >= IDS)
			id = 70000 + (x >> 8) % 64;
		id -= 70000 - (x >> 28 == 0 ? (x >> 8) % 300 : 1);
		if (id >= IDS)
			continue;
		want = id != 0 && (id > highest ? id - highest <= NP_REPLAY_WINDOW
						: highest - id < NP_REPLAY_WINDOW && !seen[id]);
		assert_int_equal(np_replay_check(&r, id), want);
		np_replay_mark(&r, id);
		if (want) {
			seen[id] = 1;
			highest = id > highest ? id : highest;
		}
		assert_true(r.highest == highest);
	}
	assert_true(highest > 3 * (uint64_t)NP_REPLAY_WINDOW);
	test_free(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(key_generate__many__well_formed_and_distinct),
	    cmocka_unit_test(key_kind__texts__as_documented),
	    cmocka_unit_test(key_kind__last_character__only_canonical_ones),
	    cmocka_unit_test(key_kind__port_written_out__same_as_left_out),
	    cmocka_unit_test(key_derive__word__depends_on_text_and_salt),
	    cmocka_unit_test(key_derive__same_text_as_other_kind__other_key),
	    cmocka_unit_test(key_derive__unusable__refused_and_output_untouched),
	    cmocka_unit_test(proof_make__any_input_bit_changed__other_proof),
	    cmocka_unit_test(takeover_make__any_input_bit_changed__other_proof),
	    cmocka_unit_test(equal_ct_and_wipe__bytes__compared_and_cleared),
	    cmocka_unit_test(random__two_draws__differ),
	    cmocka_unit_test(preamble__written__read_and_verified),
	    cmocka_unit_test(preamble__every_bit_flipped__never_verified),
	    cmocka_unit_test(replay__in_order__each_once),
	    cmocka_unit_test(replay__edges_of_the_window__exact),
	    cmocka_unit_test(replay__end_of_the_numbers__no_overflow),
	    cmocka_unit_test(replay__random_ids__as_a_full_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
