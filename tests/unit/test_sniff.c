/*
 * test_sniff.c - first bytes of visitors: every beginning of every sample, bit flips, and for all
 * short inputs the promise that an answer never changes and MORE is only said when more can matter.
 */
#include "core/sniff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* @decides: bytes after which the answer stands; before, it is MORE. */
static const struct sample {
	const char *p;
	size_t n, decides;
	enum np_sniff is;
} samples[] = {
    {"\x04\x01\x00\x50\x7f\x00\x00\x01user\0", 13, 2, NP_SNIFF_SOCKS},
    {"\x04\x02\x00\x50\x00\x00\x00\x01\0name\0", 14, 2, NP_SNIFF_SOCKS},
    {"\x05\x01\x00", 3, 2, NP_SNIFF_SOCKS},
    {"\x05\x03\x00\x01\x02", 5, 2, NP_SNIFF_SOCKS},
    {"\x05\xff\x00", 3, 2, NP_SNIFF_SOCKS},
    {"GET / HTTP/1.1\r\n", 16, 4, NP_SNIFF_HTTP},
    {"POST /a HTTP/1.0\r\n", 18, 5, NP_SNIFF_HTTP},
    {"PUT /a HTTP/1.0\r\n", 17, 4, NP_SNIFF_HTTP},
    {"HEAD / HTTP/1.0\r\n", 17, 5, NP_SNIFF_HTTP},
    {"DELETE / HTTP/1.0\r\n", 19, 7, NP_SNIFF_HTTP},
    {"OPTIONS * HTTP/1.1\r\n", 20, 8, NP_SNIFF_HTTP},
    {"CONNECT a:1 HTTP/1.1\r\n", 22, 8, NP_SNIFF_HTTP},
    {"TRACE / HTTP/1.1\r\n", 18, 6, NP_SNIFF_HTTP},
    {"PATCH / HTTP/1.1\r\n", 18, 6, NP_SNIFF_HTTP},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, 12, NP_SNIFF_HTTP},
    {"\x16\x03\x00\x00\x7a\x01", 6, 3, NP_SNIFF_TLS},
    {"\x16\x03\x01\x00\x7a\x01", 6, 3, NP_SNIFF_TLS},
    {"\x16\x03\x02\x00\x7a\x01", 6, 3, NP_SNIFF_TLS},
    {"\x16\x03\x03\x00\x7a\x01", 6, 3, NP_SNIFF_TLS},
    {"\x16\x03\x04\x00\x7a\x01", 6, 3, NP_SNIFF_TLS},
    {"\x16\x03\x05\x00\x7a\x01", 6, 3, NP_SNIFF_OTHER},
    {"\x16\x02\x01\x00\x7a\x01", 6, 2, NP_SNIFF_OTHER},
    {"\x04\x00", 2, 2, NP_SNIFF_OTHER},
    {"\x04\x03", 2, 2, NP_SNIFF_OTHER},
    {"\x05\x00", 2, 2, NP_SNIFF_OTHER},
    {"SSH-2.0-x\r\n", 11, 1, NP_SNIFF_OTHER},
    {"\x00\x01\x02\x03", 4, 1, NP_SNIFF_OTHER},
    {"get / HTTP/1.1\r\n", 16, 1, NP_SNIFF_OTHER},
    {"GETTER", 6, 4, NP_SNIFF_OTHER},
    {"GET\t/", 5, 4, NP_SNIFF_OTHER},
    {"PUSH", 4, 3, NP_SNIFF_OTHER},
    {"PRI * HTTP/1.1", 14, 12, NP_SNIFF_OTHER},
    {"HELO mail\r\n", 11, 3, NP_SNIFF_OTHER},
    {"\x80\x2e\x01\x03\x01", 5, 1, NP_SNIFF_OTHER},
};
#define SAMPLES_N (sizeof(samples) / sizeof(samples[0]))

static void np_sniff__every_beginning_of_a_sample__more_then_the_answer(void **state)
{
	(void)state;
	assert_int_equal(np_sniff(NULL, 0), NP_SNIFF_MORE);
	for (size_t i = 0; i < SAMPLES_N; i++) {
		const struct sample *s = &samples[i];

		for (size_t n = 0; n <= s->n; n++) {
			/* an exact copy, so that a read past the end is seen */
			uint8_t *in = malloc(n + 1);
			enum np_sniff want = n < s->decides ? NP_SNIFF_MORE : s->is;

			assert_non_null(in);
			memcpy(in + 1, s->p, n);
			if (np_sniff(in + 1, n) != want)
				fail_msg("sample %zu, %zu bytes: not %d", i, n, (int)want);
			free(in);
		}
	}
}

/* MORE must be followed by MORE or an answer, an answer by itself, whatever comes behind. */
static void check_stable(const uint8_t *p, size_t len)
{
	enum np_sniff last = NP_SNIFF_MORE;

	for (size_t n = 0; n <= len; n++) {
		enum np_sniff now = np_sniff(p, n);

		if (last != NP_SNIFF_MORE)
			assert_int_equal(now, last);
		assert_true(now >= NP_SNIFF_MORE && now <= NP_SNIFF_TLS);
		assert_true(now != NP_SNIFF_MORE || n < NP_SNIFF_MAX);
		last = now;
	}
}

static void np_sniff__bits_flipped__answers_are_stable(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES_N; i++) {
		for (size_t bit = 0; bit < 8 * samples[i].n; bit++) {
			uint8_t in[32] = {0};

			memcpy(in, samples[i].p, samples[i].n);
			in[bit / 8] ^= (uint8_t)(1u << bit % 8);
			check_stable(in, sizeof(in));
		}
	}
}

/* MORE is said for @p only if some sample goes on from there. */
static bool some_sample_begins_with(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < SAMPLES_N; i++) {
		if (samples[i].is != NP_SNIFF_OTHER && len < samples[i].decides &&
		    memcmp(samples[i].p, p, len) == 0)
			return true;
	}
	return false;
}

static void check_more(const uint8_t *in, size_t n)
{
	if ((np_sniff(in, n) == NP_SNIFF_MORE) != some_sample_begins_with(in, n))
		fail_msg("%02x%02x%02x, %zu bytes", in[0], in[1], in[2], n);
}

static void np_sniff__all_inputs_of_three_bytes__more_only_where_it_can_matter(void **state)
{
	(void)state;
	for (unsigned v = 0; v < 1u << 16; v++) {
		uint8_t in[3] = {(uint8_t)(v >> 8), (uint8_t)(v & 0xff), 0};

		check_more(in, 1);
		check_more(in, 2);
		/* answers are stable: only a beginning can still become something */
		for (unsigned c = 0; c < 256 && np_sniff(in, 2) == NP_SNIFF_MORE; c++) {
			in[2] = (uint8_t)c;
			check_more(in, 3);
		}
		check_stable(in, 3);
	}
}

static void np_sniff_may__each_beginning__names_what_it_may_become(void **state)
{
	(void)state;
	assert_int_equal(np_sniff_may(NULL, 0), NP_SNIFF_MORE);
	for (size_t i = 0; i < SAMPLES_N; i++) {
		const uint8_t *p = (const uint8_t *)samples[i].p;

		for (size_t n = 1; n <= samples[i].n; n++) {
			enum np_sniff is = np_sniff(p, n), may = np_sniff_may(p, n);

			if (is == NP_SNIFF_MORE)
				assert_true(may == samples[i].is ||
					    samples[i].is == NP_SNIFF_OTHER);
			else
				assert_int_equal(may, is);
			if (is == NP_SNIFF_MORE)
				assert_true(may == NP_SNIFF_SOCKS || may == NP_SNIFF_HTTP ||
					    may == NP_SNIFF_TLS);
		}
	}
}

/* -- the tunnel port -- */

static void check_tunnel(const char *p, size_t n, bool plain, enum np_tunnel_first is)
{
	if (np_sniff_tunnel((const uint8_t *)p, n, plain) != is)
		fail_msg("%.*s, %zu bytes, plain %d", (int)n, p, n, plain);
}

static void np_sniff_tunnel__client_hello__tls_at_each_length(void **state)
{
	static const char hello[] = "\x16\x03\x01\x00\xf5\x01\x00\x00\xf1\x03\x03";
	/* the same message, a byte a record: the second record begins where its length would stand */
	static const char drops[] = "\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x01\x00";

	(void)state;
	for (size_t n = 1; n < sizeof(hello); n++)
		check_tunnel(hello, n, n % 2 != 0, NP_TUNNEL_TLS);
	for (size_t n = 1; n < sizeof(drops); n++)
		check_tunnel(drops, n, n % 2 != 0, NP_TUNNEL_TLS);
}

static void np_sniff_tunnel__record_that_begins_no_handshake__none(void **state)
{
	(void)state;
	check_tunnel("\x16\x02", 2, true, NP_TUNNEL_NONE);
	check_tunnel("\x16\x03\x05", 3, true, NP_TUNNEL_NONE);
	check_tunnel("\x16\x03\x01\x00\x00", 5, true, NP_TUNNEL_NONE);	       /* no bytes */
	check_tunnel("\x16\x03\x01\x02\x00\x02", 6, true, NP_TUNNEL_NONE);     /* ServerHello */
	check_tunnel("\x16\x03\x01\x02\x00\x01\x01", 7, true, NP_TUNNEL_NONE); /* > 64 KiB */
}

static void np_sniff_tunnel__preamble__only_where_plain_channels_are_served(void **state)
{
	(void)state;
	for (size_t n = 1; n <= 5; n++) {
		check_tunnel("NPD2\x01", n, true, NP_TUNNEL_PREAMBLE);
		check_tunnel("NPD2\x01", n, false, NP_TUNNEL_LINE);
	}
	check_tunnel("NPD3", 4, true, NP_TUNNEL_LINE);
	check_tunnel("GET /", 5, true, NP_TUNNEL_LINE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(np_sniff__every_beginning_of_a_sample__more_then_the_answer),
	    cmocka_unit_test(np_sniff__bits_flipped__answers_are_stable),
	    cmocka_unit_test(np_sniff__all_inputs_of_three_bytes__more_only_where_it_can_matter),
	    cmocka_unit_test(np_sniff_may__each_beginning__names_what_it_may_become),
	    cmocka_unit_test(np_sniff_tunnel__client_hello__tls_at_each_length),
	    cmocka_unit_test(np_sniff_tunnel__record_that_begins_no_handshake__none),
	    cmocka_unit_test(np_sniff_tunnel__preamble__only_where_plain_channels_are_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
