/*
 * test_frame.c - headers of frames: golden bytes, every limit, every single-bit change.
 */
#include "core/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define S NP_CHANNEL_STREAM
#define D NP_CHANNEL_DATAGRAM

static const struct golden {
	struct np_frame f;
	enum np_channel_kind kind;
	uint8_t bytes[NP_FRAME_HEADER];
} golden[] = {
    {{NP_FRAME_OPEN, 1, 32}, S, {1, 0, 0, 1, 0, 0, 0, 32}},
    {{NP_FRAME_OPEN, 65535, 540}, S, {1, 0, 255, 255, 0, 0, 2, 28}},
    {{NP_FRAME_STATUS, 258, 1}, S, {2, 0, 1, 2, 0, 0, 0, 1}},
    {{NP_FRAME_STATUS, 1, 201}, S, {2, 0, 0, 1, 0, 0, 0, 201}},
    {{NP_FRAME_DATA, 1, 1}, S, {3, 0, 0, 1, 0, 0, 0, 1}},
    {{NP_FRAME_DATA, 1, 0x12345}, S, {3, 0, 0, 1, 0, 1, 0x23, 0x45}},
    {{NP_FRAME_DATA, 1, 1048576}, S, {3, 0, 0, 1, 0, 16, 0, 0}},
    {{NP_FRAME_FIN, 1, 0}, S, {4, 0, 0, 1, 0, 0, 0, 0}},
    {{NP_FRAME_RESET, 1, 1}, S, {5, 0, 0, 1, 0, 0, 0, 1}},
    {{NP_FRAME_DONE, 1, 0}, S, {6, 0, 0, 1, 0, 0, 0, 0}},
    {{NP_FRAME_PING, 0, 8}, S, {7, 0, 0, 0, 0, 0, 0, 8}},
    {{NP_FRAME_PING, 0, 8}, D, {7, 0, 0, 0, 0, 0, 0, 8}},
    {{NP_FRAME_PONG, 0, 8}, S, {8, 0, 0, 0, 0, 0, 0, 8}},
    {{NP_FRAME_PONG, 0, 8}, D, {8, 0, 0, 0, 0, 0, 0, 8}},
    {{NP_FRAME_RETIRE, 0, 0}, S, {9, 0, 0, 0, 0, 0, 0, 0}},
    {{NP_FRAME_RETIRE, 0, 0}, D, {9, 0, 0, 0, 0, 0, 0, 0}},
    {{NP_FRAME_DOPEN, 0, 32}, D, {10, 0, 0, 0, 0, 0, 0, 32}},
    {{NP_FRAME_DOPEN, 0, 540}, D, {10, 0, 0, 0, 0, 0, 2, 28}},
    {{NP_FRAME_DGRAM, 0, 4}, D, {11, 0, 0, 0, 0, 0, 0, 4}},
    {{NP_FRAME_DGRAM, 0, 65511}, D, {11, 0, 0, 0, 0, 0, 255, 231}},
    {{NP_FRAME_DCLOSE, 0, 4}, D, {12, 0, 0, 0, 0, 0, 0, 4}},
};
#define GOLDEN_N (sizeof(golden) / sizeof(golden[0]))

/* The table of the protocol page, written a second time as the oracle. */
static bool page_allows(unsigned type, unsigned turn, unsigned long len, enum np_channel_kind kind)
{
	static const struct {
		unsigned long min, max;
		bool stream, datagram, turn;
	} page[] = {
	    {1, 0, false, false, false},   {32, 540, true, false, true},
	    {1, 201, true, false, true},   {1, 1048576, true, false, true},
	    {0, 0, true, false, true},	   {1, 1, true, false, true},
	    {0, 0, true, false, true},	   {8, 8, true, true, false},
	    {8, 8, true, true, false},	   {0, 0, true, true, false},
	    {32, 540, false, true, false}, {4, 65511, false, true, false},
	    {4, 4, false, true, false},
	};

	if (type >= sizeof(page) / sizeof(page[0]))
		return false;
	if (kind == S ? !page[type].stream : !page[type].datagram)
		return false;
	return (turn != 0) == page[type].turn && len >= page[type].min && len <= page[type].max;
}

static void check(const uint8_t in[NP_FRAME_HEADER], enum np_channel_kind kind)
{
	struct np_frame f = {NP_FRAME_DONE, 77, 78};
	unsigned turn = (unsigned)in[2] << 8 | in[3];
	unsigned long len = (unsigned long)in[4] << 24 | (unsigned long)in[5] << 16 |
			    (unsigned long)in[6] << 8 | in[7];
	bool want = in[1] == 0 && page_allows(in[0], turn, len, kind);

	if (!want) {
		assert_int_equal(np_frame_read(in, kind, &f), NP_EPROTO);
		assert_true(f.type == NP_FRAME_DONE && f.turn == 77 && f.len == 78);
		return;
	}
	assert_int_equal(np_frame_read(in, kind, &f), NP_OK);
	assert_int_equal(f.type, in[0]);
	assert_int_equal(f.turn, turn);
	assert_int_equal(f.len, len);
}

static void np_frame_write__golden_frames__exact_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < GOLDEN_N; i++) {
		uint8_t out[NP_FRAME_HEADER + 1] = {[NP_FRAME_HEADER] = 0xa5};

		np_frame_write(&golden[i].f, out);
		assert_memory_equal(out, golden[i].bytes, NP_FRAME_HEADER);
		assert_int_equal(out[NP_FRAME_HEADER], 0xa5);
	}
}

static void np_frame_read__golden_bytes__same_frames(void **state)
{
	(void)state;
	for (size_t i = 0; i < GOLDEN_N; i++) {
		struct np_frame f;

		assert_int_equal(np_frame_read(golden[i].bytes, golden[i].kind, &f), NP_OK);
		assert_int_equal(f.type, golden[i].f.type);
		assert_int_equal(f.turn, golden[i].f.turn);
		assert_int_equal(f.len, golden[i].f.len);
	}
}

static void np_frame_read__every_type_and_length_edge__as_the_table_says(void **state)
{
	static const uint32_t lens[] = {
	    0,	   1,	  2,	 3,	4,	 5,	  7,	   8,		9,
	    31,	   32,	  33,	 200,	201,	 202,	  539,	   540,		541,
	    65510, 65511, 65512, 65536, 1048575, 1048576, 1048577, 0x80000000u, UINT32_MAX};
	static const uint16_t turns[] = {0, 1, 256, 65535};

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		for (size_t l = 0; l < sizeof(lens) / sizeof(lens[0]); l++) {
			for (size_t t = 0; t < sizeof(turns) / sizeof(turns[0]); t++) {
				struct np_frame f = {(enum np_frame_type)type, turns[t], lens[l]};
				uint8_t bytes[NP_FRAME_HEADER];

				np_frame_write(&f, bytes);
				check(bytes, S);
				check(bytes, D);
			}
		}
	}
}

static void np_frame_read__bits_flipped__as_the_table_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < GOLDEN_N; i++) {
		for (unsigned a = 0; a < 64; a++) {
			for (unsigned b = a; b < 64; b++) {
				uint8_t bytes[NP_FRAME_HEADER];

				memcpy(bytes, golden[i].bytes, sizeof(bytes));
				bytes[a / 8] ^= (uint8_t)(1u << a % 8);
				if (b != a)
					bytes[b / 8] ^= (uint8_t)(1u << b % 8);
				check(bytes, S);
				check(bytes, D);
			}
		}
	}
}

static void np_frame_name__every_type__its_name(void **state)
{
	(void)state;
	assert_string_equal(np_frame_name(NP_FRAME_OPEN), "OPEN");
	assert_string_equal(np_frame_name(NP_FRAME_DCLOSE), "DCLOSE");
	assert_string_equal(np_frame_name((enum np_frame_type)0), "unknown");
	assert_string_equal(np_frame_name((enum np_frame_type)13), "unknown");
	for (unsigned a = 1; a <= 12; a++) {
		for (unsigned b = 1; b < a; b++)
			assert_string_not_equal(np_frame_name((enum np_frame_type)a),
						np_frame_name((enum np_frame_type)b));
	}
}

static void np_turn_next__wrap__skips_zero(void **state)
{
	(void)state;
	assert_int_equal(np_turn_next(0), 1);
	assert_int_equal(np_turn_next(1), 2);
	assert_int_equal(np_turn_next(65534), 65535);
	assert_int_equal(np_turn_next(65535), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(np_frame_write__golden_frames__exact_bytes),
	    cmocka_unit_test(np_frame_read__golden_bytes__same_frames),
	    cmocka_unit_test(np_frame_read__every_type_and_length_edge__as_the_table_says),
	    cmocka_unit_test(np_frame_read__bits_flipped__as_the_table_says),
	    cmocka_unit_test(np_frame_name__every_type__its_name),
	    cmocka_unit_test(np_turn_next__wrap__skips_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
