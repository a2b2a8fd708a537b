/*
 * test_frame_out.c - what a spliced frame still owes its socket, for every way a socket may take it.
 */
#include "core/frame_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void frame_out__zeroed__owes_nothing(void **state)
{
	struct np_frame_out o = {.payload_left = 0};
	size_t len = 1;

	(void)state;
	assert_int_equal(np_frame_out_owed(&o), 0);
	(void)np_frame_out_header(&o, &len);
	assert_int_equal(len, 0);
}

static void frame_out__one_byte_at_a_time__header_then_payload(void **state)
{
	const struct np_frame f = {NP_FRAME_DATA, 0x1234, 3};
	static const uint8_t header[NP_FRAME_HEADER] = {3, 0, 0x12, 0x34, 0, 0, 0, 3};
	struct np_frame_out o = {.payload_left = 0};

	(void)state;
	np_frame_out_begin(&o, &f);
	for (size_t i = 0; i < sizeof(header); i++) {
		size_t len;
		const uint8_t *p = np_frame_out_header(&o, &len);

		assert_int_equal(len, sizeof(header) - i);
		assert_memory_equal(p, header + i, len);
		assert_int_equal(np_frame_out_owed(&o), sizeof(header) + 3 - i);
		np_frame_out_wrote(&o, 1);
	}
	for (size_t left = 3; left > 0; left--) {
		size_t len;

		(void)np_frame_out_header(&o, &len);
		assert_int_equal(len, 0);
		assert_int_equal(np_frame_out_owed(&o), left);
		np_frame_out_wrote(&o, 1);
	}
	assert_int_equal(np_frame_out_owed(&o), 0);
}

/* Frames one after the other over a socket that takes what it likes: what a peer reads is whole. */
static void frame_out__random_takes__the_peer_reads_every_frame(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	struct np_frame_out o = {.payload_left = 0};

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (int i = 0; i < 10000; i++) {
		struct np_frame f = {NP_FRAME_DATA, (uint16_t)(1 + rand() % 65535),
				     (uint32_t)(1 + rand() % NP_FRAME_DATA_MAX)},
				got;
		uint8_t seen[NP_FRAME_HEADER];
		size_t nheader = 0, npayload = 0, len;

		np_frame_out_begin(&o, &f);
		while (np_frame_out_owed(&o) > 0) {
			const uint8_t *p = np_frame_out_header(&o, &len);
			size_t next = len > 0 ? len : o.payload_left, n = 1 + (size_t)rand() % next;

			if (len > 0) {
				memcpy(seen + nheader, p, n);
				nheader += n;
			} else {
				npayload += n;
			}
			np_frame_out_wrote(&o, n);
		}
		assert_int_equal(nheader, NP_FRAME_HEADER);
		assert_int_equal(np_frame_read(seen, NP_CHANNEL_STREAM, &got), NP_OK);
		assert_int_equal(got.type, f.type);
		assert_int_equal(got.turn, f.turn);
		assert_int_equal(got.len, f.len);
		assert_int_equal(npayload, f.len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(frame_out__zeroed__owes_nothing),
	    cmocka_unit_test(frame_out__one_byte_at_a_time__header_then_payload),
	    cmocka_unit_test(frame_out__random_takes__the_peer_reads_every_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
