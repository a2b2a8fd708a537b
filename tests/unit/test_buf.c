/*
 * test_buf.c - the bounded buffer against a plain model, its errors, the reader.
 */
#include "base/buf.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void buf_put__numbers__are_big_endian(void **state)
{
	static const uint8_t want[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	struct np_buf b;

	(void)state;
	np_buf_init(&b, 100);
	np_buf_put_u8(&b, 0x01);
	np_buf_put_u16(&b, 0x0203);
	np_buf_put_u32(&b, 0x04050607);
	np_buf_put_u64(&b, 0x08090a0b0c0d0e0f);
	assert_int_equal(np_buf_len(&b), sizeof(want));
	assert_memory_equal(np_buf_ptr(&b), want, sizeof(want));
	assert_int_equal(b.err, NP_OK);
	np_buf_release(&b);
}

static void buf_put__past_the_maximum__sticks_and_leaves_content(void **state)
{
	struct np_buf b;

	(void)state;
	np_buf_init(&b, 4);
	np_buf_put(&b, "abc", 3);
	assert_int_equal(np_buf_space(&b), 1);
	np_buf_put(&b, "de", 2);
	assert_int_equal(b.err, NP_ELIMIT);
	np_buf_put(&b, "d", 1);
	assert_int_equal(np_buf_len(&b), 3);
	assert_memory_equal(np_buf_ptr(&b), "abc", 3);
	assert_null(np_buf_cstr(&b));
	assert_null(np_buf_reserve(&b, 1));
	np_buf_putf(&b, "%d", 1);
	assert_int_equal(np_buf_len(&b), 3);
	np_buf_release(&b);
	assert_int_equal(b.err, NP_OK);
	np_buf_put(&b, "abcd", 4);
	assert_string_equal(np_buf_cstr(&b), "abcd");
	np_buf_release(&b);
}

static void buf_put__without_memory__sticks(void **state)
{
	struct np_buf b;

	(void)state;
	np_buf_init(&b, 1000);
	np_buf_put(&b, "abc", 3);
	np_alloc_fail_after(0);
	np_buf_putf(&b, "%0200d", 1);
	np_alloc_fail_after(-1);
	assert_int_equal(b.err, NP_ENOMEM);
	assert_int_equal(np_buf_len(&b), 3);
	assert_memory_equal(np_buf_ptr(&b), "abc", 3);
	np_buf_release(&b);
	np_alloc_fail_after(0);
	assert_null(np_buf_reserve(&b, 1));
	np_alloc_fail_after(-1);
	assert_int_equal(b.err, NP_ENOMEM);
	np_buf_release(&b);
}

static void buf_putf__exact_fit__has_room_for_the_nul(void **state)
{
	struct np_buf b;

	(void)state;
	np_buf_init(&b, 10);
	np_buf_putf(&b, "%s", "0123456789");
	assert_int_equal(b.err, NP_OK);
	assert_string_equal(np_buf_cstr(&b), "0123456789");
	np_buf_release(&b);
}

static void buf_cstr__empty__is_an_empty_text(void **state)
{
	struct np_buf b;

	(void)state;
	np_buf_init(&b, 10);
	assert_string_equal(np_buf_cstr(&b), "");
	assert_null(np_buf_ptr(&b));
	np_buf_put(&b, NULL, 0);
	assert_int_equal(b.err, NP_OK);
	assert_non_null(np_buf_reserve(&b, 0));
	np_buf_release(&b);
	np_buf_init(&b, 0);
	np_buf_put_u8(&b, 1);
	assert_int_equal(b.err, NP_ELIMIT);
	np_buf_release(&b);
}

static void buf_reserve__then_commit__is_content(void **state)
{
	struct np_buf b;
	uint8_t *p;

	(void)state;
	np_buf_init(&b, 300);
	p = np_buf_reserve(&b, 300);
	assert_non_null(p);
	memcpy(p, "xyz", 3);
	np_buf_commit(&b, 3);
	assert_string_equal(np_buf_cstr(&b), "xyz");
	assert_null(np_buf_reserve(&b, 298));
	np_buf_release(&b);
}

static void buf_wipe__secret__is_usable_again(void **state)
{
	struct np_buf b;

	(void)state;
	np_buf_init(&b, 300);
	np_buf_put_str(&b, "secret");
	np_buf_wipe(&b);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	assert_int_equal(b.max, 300);
	np_buf_wipe(&b);
	np_buf_put_str(&b, "x");
	assert_string_equal(np_buf_cstr(&b), "x");
	np_buf_release(&b);
}

/* A long random walk of puts and consumes: the buffer holds what the arithmetic of positions says.
 */
static void buf__random_puts_and_consumes__keep_order(void **state)
{
	struct np_buf b;
	uint32_t seed = 12345, in = 0, out = 0;

	(void)state;
	np_buf_init(&b, 5000);
	for (int i = 0; i < 200000; i++) {
		uint8_t chunk[700];
		size_t n;

		seed = seed * 1664525 + 1013904223;
		n = seed >> 16 & 511;
		if ((seed >> 30) < 2) {
			for (size_t k = 0; k < n; k++)
				chunk[k] = (uint8_t)((in + k) * 7);
			if (n <= np_buf_space(&b)) {
				np_buf_put(&b, chunk, n);
				in += (uint32_t)n;
			}
		} else {
			n = n < np_buf_len(&b) ? n : np_buf_len(&b);
			for (size_t k = 0; k < n; k++)
				assert_int_equal(np_buf_ptr(&b)[k], (uint8_t)((out + k) * 7));
			np_buf_consume(&b, n);
			out += (uint32_t)n;
			if (np_buf_len(&b) == 0)
				assert_int_equal(b.off, 0);
		}
		assert_int_equal(b.err, NP_OK);
		assert_int_equal(np_buf_len(&b), in - out);
		assert_true(b.cap <= b.max);
	}
	assert_true(in > 1000000);
	np_buf_release(&b);
}

static void reader__numbers__come_back(void **state)
{
	static const uint8_t in[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 'x', 'y'};
	struct np_reader r = np_reader_of(in, sizeof(in));

	(void)state;
	assert_int_equal(np_reader_u8(&r), 0x01);
	assert_int_equal(np_reader_u16(&r), 0x0203);
	assert_int_equal(np_reader_u32(&r), 0x04050607);
	assert_true(np_reader_u64(&r) == 0x08090a0b0c0d0e0f);
	assert_memory_equal(np_reader_bytes(&r, 2), "xy", 2);
	assert_int_equal(r.left, 0);
	assert_int_equal(r.err, NP_OK);
}

static void reader__past_the_end__is_zero_for_good(void **state)
{
	static const uint8_t in[] = {1, 2, 3};
	struct np_reader r = np_reader_of(in, sizeof(in));

	(void)state;
	assert_int_equal(np_reader_u32(&r), 0);
	assert_int_equal(r.err, NP_ETRUNCATED);
	assert_int_equal(np_reader_u8(&r), 0);
	assert_null(np_reader_bytes(&r, 1));
	assert_int_equal(r.left, 3);
	r = np_reader_of(NULL, 0);
	assert_int_equal(np_reader_u8(&r), 0);
	assert_int_equal(r.err, NP_ETRUNCATED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(buf_put__numbers__are_big_endian),
	    cmocka_unit_test(buf_put__past_the_maximum__sticks_and_leaves_content),
	    cmocka_unit_test(buf_put__without_memory__sticks),
	    cmocka_unit_test(buf_putf__exact_fit__has_room_for_the_nul),
	    cmocka_unit_test(buf_cstr__empty__is_an_empty_text),
	    cmocka_unit_test(buf_reserve__then_commit__is_content),
	    cmocka_unit_test(buf_wipe__secret__is_usable_again),
	    cmocka_unit_test(buf__random_puts_and_consumes__keep_order),
	    cmocka_unit_test(reader__numbers__come_back),
	    cmocka_unit_test(reader__past_the_end__is_zero_for_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
