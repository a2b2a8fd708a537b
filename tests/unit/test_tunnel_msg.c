/*
 * test_tunnel_msg.c - control frames: round trips, every bound from both sides, hostile bytes,
 * failing memory. Golden bytes are in test_golden.c.
 */
#include "tunnel_samples.h"

#include "base/alloc.h"
#include "base/num.h"
#include "wire/tunnel_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void pack(const struct np_msg *m, struct np_buf *b)
{
	np_buf_init(b, 4 + NP_MSG_MAX);
	assert_int_equal(np_msg_pack(m, b), NP_OK);
	assert_true(np_buf_len(b) >= 4);
}

static enum np_err unpack_hex(const char *hex, struct np_msg *out)
{
	uint8_t bytes[1024];
	size_t n = strlen(hex) / 2;

	assert_int_equal(np_parse_hex(hex, strlen(hex), bytes, n), NP_OK);
	return np_msg_unpack(bytes, n, out);
}

static void msg_pack__every_sample__reads_back_equal(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < SAMPLES; i++) {
		struct np_msg m, back;
		struct np_buf b;
		const uint8_t *p;

		tunnel_sample((enum tunnel_sample)i, &m);
		pack(&m, &b);
		p = np_buf_ptr(&b);
		assert_int_equal((size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3],
				 np_buf_len(&b) - 4);
		memset(&back, 0xa5, sizeof back);
		assert_int_equal(np_msg_unpack(p + 4, np_buf_len(&b) - 4, &back), NP_OK);
		assert_memory_equal(&back, &m, sizeof m);
		np_buf_release(&b);
	}
}

static void msg_pack__second_frame__appended_behind_the_first(void **state)
{
	struct np_msg m, back;
	struct np_buf b;
	size_t first;

	(void)state;
	tunnel_sample(SAMPLE_PING, &m);
	pack(&m, &b);
	first = np_buf_len(&b);
	tunnel_sample(SAMPLE_BYE, &m);
	assert_int_equal(np_msg_pack(&m, &b), NP_OK);
	np_buf_consume(&b, first);
	assert_int_equal(np_msg_unpack(np_buf_ptr(&b) + 4, np_buf_len(&b) - 4, &back), NP_OK);
	assert_memory_equal(&back, &m, sizeof m);
	np_buf_release(&b);
}

static void fill_text(char *s, size_t n)
{
	memset(s, 'x', n);
	s[n] = '\0';
}

static void msg_pack__largest_values__accepted(void **state)
{
	struct np_msg m, back;
	struct np_buf b;
	unsigned i;

	(void)state;
	tunnel_sample(SAMPLE_WELCOME, &m);
	m.welcome.fingerprints.n = NP_MSG_FINGERPRINTS_MAX;
	m.welcome.max = 65535;
	m.welcome.tls = 2;
	m.welcome.features = UINT64_MAX;
	m.welcome.report_interval_ms = m.welcome.dial_budget_ms = 86400000;
	m.welcome.dial_rate = UINT32_MAX;
	pack(&m, &b);
	/* An Auth or Welcome that does not fit the limit before authentication would never get
	 * through. */
	assert_true(np_buf_len(&b) - 4 <= NP_MSG_MAX_UNAUTH);
	np_buf_release(&b);

	tunnel_sample(SAMPLE_AUTH_TAKEOVER, &m);
	fill_text(m.auth.label, NP_MSG_LABEL_MAX);
	m.auth.method = m.auth.version = UINT32_MAX;
	pack(&m, &b);
	assert_true(np_buf_len(&b) - 4 <= NP_MSG_MAX_UNAUTH);
	np_buf_release(&b);

	for (i = 0; i < 2; i++) {
		tunnel_sample(i == 0 ? SAMPLE_REJECT : SAMPLE_BYE, &m);
		fill_text(i == 0 ? m.reject.text : m.bye.text, NP_MSG_TEXT_MAX);
		if (i == 0)
			m.reject.reason = (enum np_reject)65535;
		else
			m.bye.reason = 65535;
		pack(&m, &b);
		assert_int_equal(np_msg_unpack(np_buf_ptr(&b) + 4, np_buf_len(&b) - 4, &back),
				 NP_OK);
		assert_memory_equal(&back, &m, sizeof m);
		np_buf_release(&b);
	}
}

/* Puts one thing out of bounds. */
typedef void (*spoil_fn)(struct np_msg *m);

#define SPOIL(name, statement)                     \
	static void spoil_##name(struct np_msg *m) \
	{                                          \
		statement;                         \
	}
SPOIL(kind, m->kind = (enum np_msg_kind)0)
SPOIL(kind_high, m->kind = (enum np_msg_kind)14)
SPOIL(version_zero, m->hello.min_version = 0)
SPOIL(version_order, m->hello.min_version = 4)
SPOIL(software_endless, memset(m->hello.software, 'x', sizeof m->hello.software))
SPOIL(software_latin1, m->hello.software[0] = (char)0xe9)
SPOIL(label_endless, memset(m->auth.label, 'x', sizeof m->auth.label))
SPOIL(auth_budget, m->auth.dial_budget_ms = 86400001)
SPOIL(flow_zero, m->welcome.flow = (enum np_flow)0)
SPOIL(flow_high, m->welcome.flow = (enum np_flow)3)
SPOIL(max_zero, m->welcome.max = 0)
SPOIL(max_high, m->welcome.max = 65536)
SPOIL(tls_high, m->welcome.tls = 3)
SPOIL(no_fingerprint, m->welcome.fingerprints.n = 0)
SPOIL(fingerprints, m->welcome.fingerprints.n = NP_MSG_FINGERPRINTS_MAX + 1)
SPOIL(report_low, m->welcome.report_interval_ms = 99)
SPOIL(report_high, m->welcome.report_interval_ms = 86400001)
SPOIL(welcome_budget, m->welcome.dial_budget_ms = 86400001)
SPOIL(reject_reason, m->reject.reason = (enum np_reject)65536)
SPOIL(reject_text, memset(m->reject.text, 'x', sizeof m->reject.text))
SPOIL(update_rate, m->update.rate = 1000001)
SPOIL(update_slot, m->update.slot = 1000001)
SPOIL(update_read, m->update.read_ms = 86400001)
SPOIL(update_min, m->update.min = 65536)
SPOIL(update_max_zero, m->update.max = 0)
SPOIL(update_max, m->update.max = 65536)
SPOIL(certificate_none, m->certificate.n = 0)
SPOIL(certificate_many, m->certificate.n = NP_MSG_FINGERPRINTS_MAX + 1)
SPOIL(drain, m->drain.deadline_ms = 86400001)
SPOIL(bye_reason, m->bye.reason = 65536)
SPOIL(bye_text, memset(m->bye.text, 'x', sizeof m->bye.text))

static const struct {
	enum tunnel_sample sample;
	spoil_fn spoil;
} spoils[] = {
    {SAMPLE_PING, spoil_kind},
    {SAMPLE_PING, spoil_kind_high},
    {SAMPLE_HELLO, spoil_version_zero},
    {SAMPLE_HELLO, spoil_version_order},
    {SAMPLE_HELLO, spoil_software_endless},
    {SAMPLE_HELLO, spoil_software_latin1},
    {SAMPLE_AUTH, spoil_label_endless},
    {SAMPLE_AUTH, spoil_auth_budget},
    {SAMPLE_WELCOME, spoil_flow_zero},
    {SAMPLE_WELCOME, spoil_flow_high},
    {SAMPLE_WELCOME, spoil_max_zero},
    {SAMPLE_WELCOME, spoil_max_high},
    {SAMPLE_WELCOME, spoil_tls_high},
    {SAMPLE_WELCOME, spoil_no_fingerprint},
    {SAMPLE_WELCOME, spoil_fingerprints},
    {SAMPLE_WELCOME, spoil_report_low},
    {SAMPLE_WELCOME, spoil_report_high},
    {SAMPLE_WELCOME, spoil_welcome_budget},
    {SAMPLE_REJECT, spoil_reject_reason},
    {SAMPLE_REJECT, spoil_reject_text},
    {SAMPLE_UPDATE, spoil_update_rate},
    {SAMPLE_UPDATE, spoil_update_slot},
    {SAMPLE_UPDATE, spoil_update_read},
    {SAMPLE_UPDATE, spoil_update_min},
    {SAMPLE_UPDATE, spoil_update_max_zero},
    {SAMPLE_UPDATE, spoil_update_max},
    {SAMPLE_CERTIFICATE, spoil_certificate_none},
    {SAMPLE_CERTIFICATE, spoil_certificate_many},
    {SAMPLE_DRAIN, spoil_drain},
    {SAMPLE_BYE, spoil_bye_reason},
    {SAMPLE_BYE, spoil_bye_text},
};

static void msg_pack__one_value_out_of_bounds__refused(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof spoils / sizeof *spoils; i++) {
		struct np_msg m;
		struct np_buf b;

		tunnel_sample(spoils[i].sample, &m);
		assert_true(np_msg_is_valid(&m));
		spoils[i].spoil(&m);
		np_buf_init(&b, 1024);
		assert_int_equal(np_msg_pack(&m, &b), NP_EINVAL);
		assert_int_equal(np_buf_len(&b), 0);
		assert_int_equal(b.err, NP_OK);
		np_buf_release(&b);
	}
}

static void msg_pack__update_with_absent_fields__their_values_do_not_matter(void **state)
{
	struct np_msg m, back;
	struct np_buf b;

	(void)state;
	tunnel_sample(SAMPLE_UPDATE_EMPTY, &m);
	m.update.rate = UINT64_MAX;
	m.update.max = 0;
	pack(&m, &b);
	assert_int_equal(np_msg_unpack(np_buf_ptr(&b) + 4, np_buf_len(&b) - 4, &back), NP_OK);
	assert_false(back.update.has_rate);
	assert_int_equal(back.update.rate, 0);
	np_buf_release(&b);
}

static void msg_pack__buffer_full__limit_and_content_kept(void **state)
{
	struct np_msg m;
	struct np_buf b;

	(void)state;
	tunnel_sample(SAMPLE_WELCOME, &m);
	np_buf_init(&b, 40);
	np_buf_put_u8(&b, 7);
	assert_int_equal(np_msg_pack(&m, &b), NP_ELIMIT);
	assert_int_equal(np_buf_len(&b), 1);
	tunnel_sample(SAMPLE_PING, &m);
	assert_int_equal(np_msg_pack(&m, &b), NP_ELIMIT); /* sticky */
	np_buf_release(&b);
}

/* Frames by hand: tag, length, body. Field n of the oneof: tag byte n << 3 | 2. */
static const struct {
	const char *why;
	const char *hex;
} refused[] = {
    {"empty", ""},
    {"unknown kind only", "7200"},
    {"kind 200 only", "c20c00"},
    {"two pings", "3202080132020802"},
    {"ping and pong", "320208013a020802"},
    {"kind as a varint", "3001"},
    {"kind as fixed 64", "310102030405060708"},
    {"group", "333434"},
    {"wire type 7", "3702"},
    {"endless varint", "ffffffffffffffffffffff"},
    {"tag past 32 bits", "b2808080800100320208013a00"},
    {"length past the end", "320908"},
    {"length 2^63", "3280808080808080808001"},
    {"truncated inner varint", "320208ff"},
    {"unknown inner field past the end", "32021201"},
    {"hello without salt", "0a0408021002"},
    {"hello, salt of 15 bytes", "0a15080210021a0f000102030405060708090a0b0c0d0e"},
    {"hello, salt of 17 bytes", "0a17080210021a11000102030405060708090a0b0c0d0e0f10"},
    {"hello, versions 3 to 2", "0a16080310021a10000102030405060708090a0b0c0d0e0f"},
    {"hello, no minimum", "0a1410021a10000102030405060708090a0b0c0d0e0f"},
    {"proof empty", "1a00"},
    {"proof of 31 bytes", "1a210a1f00000000000000000000000000000000000000000000000000000000000000"},
    {"reject, NUL in the text", "2a0612046100620a"},
    {"reject, NUL alone", "2a03120100"},
    {"reject, Latin-1", "2a031201e9"},
    {"reject, overlong slash", "2a041202c0af"},
    {"reject, overlong euro", "2a061204f08282ac"},
    {"reject, surrogate", "2a051203eda080"},
    {"reject, above U+10FFFF", "2a061204f4908080"},
    {"reject, text cut in a character", "2a041202e282"},
    {"reject, reason 65536", "2a0408808004"},
    {"update, max 0", "52022800"},
    {"update, min 65536", "520420808004"},
    {"update, rate 2^64-1", "520b08ffffffffffffffffff01"},
    {"certificate without any", "5a00"},
    {"certificate, empty fingerprint", "5a020a00"},
    {"drain past a day", "62050881b89929"},
    {"bye, reason 65536", "6a0408808004"},
};

static void msg_unpack__bad_bytes__refused_and_output_untouched(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof refused / sizeof *refused; i++) {
		struct np_msg m, before;

		memset(&m, 0x5a, sizeof m);
		before = m;
		if (unpack_hex(refused[i].hex, &m) != NP_EPROTO)
			fail_msg("accepted: %s", refused[i].why);
		assert_memory_equal(&m, &before, sizeof m);
	}
}

static const struct {
	const char *why;
	const char *hex;
	enum np_msg_kind kind;
} accepted[] = {
    {"empty ping", "3200", NP_MSG_PING},
    {"ping with an unknown varint field", "320408017801", NP_MSG_PING},
    {"unknown kind beside a ping", "720032020801", NP_MSG_PING},
    {"unknown fixed fields beside a ping", "f901000102030405060732020801fd0100010203", NP_MSG_PING},
    {"a scalar twice, the last one counts", "320408020801", NP_MSG_PING},
    {"reject with a reason of a later release", "2a0308e807", NP_MSG_REJECT},
    {"reject, largest character", "2a061204f48fbfbf", NP_MSG_REJECT},
    {"update without a field", "5200", NP_MSG_UPDATE},
    {"update, min 0", "52022000", NP_MSG_UPDATE},
};

static void msg_unpack__unknown_fields_and_edges__accepted(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof accepted / sizeof *accepted; i++) {
		struct np_msg m;

		if (unpack_hex(accepted[i].hex, &m) != NP_OK)
			fail_msg("refused: %s", accepted[i].why);
		assert_int_equal(m.kind, accepted[i].kind);
		if (m.kind == NP_MSG_PING && i > 0)
			assert_int_equal(m.ping.time_us, 1);
		if (m.kind == NP_MSG_UPDATE)
			assert_int_equal(m.update.has_min, i == 8);
	}
}

static void msg_unpack__half_a_takeover__refused(void **state)
{
	struct np_msg m, back;
	struct np_buf b;
	uint8_t body[256];
	size_t n;

	(void)state;
	tunnel_sample(SAMPLE_AUTH_TAKEOVER, &m);
	pack(&m, &b);
	n = np_buf_len(&b) - 4;
	memcpy(body, np_buf_ptr(&b) + 4, n);
	np_buf_release(&b);
	assert_int_equal(np_msg_unpack(body, n, &back), NP_OK);
	body[1] = (uint8_t)(body[1] - 34); /* the last field, 2 + 32 bytes, gone */
	assert_int_equal(np_msg_unpack(body, n - 34, &back), NP_EPROTO);
	body[1] = (uint8_t)(body[1] - 10); /* and the session id before it */
	assert_int_equal(np_msg_unpack(body, n - 44, &back), NP_OK);
	assert_false(back.auth.has_takeover);
}

static void msg_unpack__past_the_largest_frame__refused(void **state)
{
	uint8_t *p = test_calloc(1, NP_MSG_MAX + 1);
	struct np_msg m;
	size_t n;

	(void)state;
	/* A ping and one unknown field that fills the frame: field 15, 3 bytes of length. */
	for (n = NP_MSG_MAX; n <= NP_MSG_MAX + 1; n++) {
		size_t rest = n - 2 - 4;

		memcpy(p, "\x32\x00\x7a", 3);
		p[3] = (uint8_t)(0x80 | (rest & 0x7f));
		p[4] = (uint8_t)(0x80 | (rest >> 7 & 0x7f));
		p[5] = (uint8_t)(rest >> 14);
		assert_int_equal(np_msg_unpack(p, n, &m), n == NP_MSG_MAX ? NP_OK : NP_EPROTO);
	}
	test_free(p);
}

/* Two bytes each: protobuf-c asks for 60 bytes and more per unknown field or empty element. */
static void msg_unpack__flood_of_tiny_fields__stopped_by_the_cap(void **state)
{
	static const char *const floods[] = {"\x7a\x00", "\x0a\x00"};
	size_t n = NP_MSG_MAX, i, k;
	uint8_t *p = test_malloc(n);
	struct np_msg m;

	(void)state;
	for (k = 0; k < 2; k++) {
		unsigned long before = np_alloc_count();

		/* certificate { 32 766 times the same field } */
		memcpy(p, "\x5a\xfc\xff\x03", 4);
		for (i = 4; i + 1 < n; i += 2)
			memcpy(p + i, floods[k], 2);
		assert_int_equal(np_msg_unpack(p, n, &m), NP_ELIMIT);
		assert_true(np_alloc_count() - before < 40000);
	}
	test_free(p);
}

static void msg_unpack__each_allocation_failing__no_memory(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < SAMPLES; i++) {
		struct np_msg m, back, before;
		struct np_buf b;
		long n = 0;
		enum np_err err;

		tunnel_sample((enum tunnel_sample)i, &m);
		pack(&m, &b);
		memset(&back, 0x5a, sizeof back);
		before = back;
		do {
			np_alloc_fail_after(n++);
			err = np_msg_unpack(np_buf_ptr(&b) + 4, np_buf_len(&b) - 4, &back);
			np_alloc_fail_after(-1);
			if (err != NP_OK) {
				assert_int_equal(err, NP_ENOMEM);
				assert_memory_equal(&back, &before, sizeof back);
			}
		} while (err != NP_OK);
		assert_true(n > 1); /* at least one allocation failed */
		assert_memory_equal(&back, &m, sizeof m);
		np_buf_release(&b);
	}
}

static void msg_pack__allocation_failing__no_memory(void **state)
{
	struct np_msg m;
	struct np_buf b;

	(void)state;
	tunnel_sample(SAMPLE_WELCOME, &m);
	np_buf_init(&b, 1024);
	np_alloc_fail_after(0);
	assert_int_equal(np_msg_pack(&m, &b), NP_ENOMEM);
	np_alloc_fail_after(-1);
	np_buf_release(&b);
}

/* What is read is either refused or means the same after being packed again. */
static void assert_sane(const uint8_t *p, size_t len)
{
	struct np_msg m, again;
	struct np_buf b;
	enum np_err err = np_msg_unpack(p, len, &m);

	if (err != NP_OK) {
		assert_true(err == NP_EPROTO || err == NP_ELIMIT);
		return;
	}
	pack(&m, &b);
	assert_int_equal(np_msg_unpack(np_buf_ptr(&b) + 4, np_buf_len(&b) - 4, &again), NP_OK);
	assert_memory_equal(&again, &m, sizeof m);
	np_buf_release(&b);
}

static void msg_unpack__bit_flips_and_truncations__refused_or_consistent(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < SAMPLES; i++) {
		struct np_msg m;
		struct np_buf b;
		uint8_t *copy;
		size_t len, bit, cut;

		tunnel_sample((enum tunnel_sample)i, &m);
		pack(&m, &b);
		len = np_buf_len(&b) - 4;
		for (cut = 0; cut < len; cut++) {
			/* Exactly as long as it says, so that a read past the end is seen. */
			copy = test_malloc(cut + (cut == 0));
			memcpy(copy, np_buf_ptr(&b) + 4, cut);
			assert_int_equal(np_msg_unpack(copy, cut, &m), NP_EPROTO);
			test_free(copy);
		}
		for (bit = 0; bit < len * 8; bit++) {
			copy = test_malloc(len);
			memcpy(copy, np_buf_ptr(&b) + 4, len);
			copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
			assert_sane(copy, len);
			test_free(copy);
		}
		np_buf_release(&b);
	}
}

static void utf8_is_valid__every_code_point__as_the_standard_says(void **state)
{
	uint32_t c;

	(void)state;
	for (c = 0; c <= 0x110000; c++) {
		uint8_t s[4];
		size_t n;

		if (c < 0x80) {
			n = 1;
			s[0] = (uint8_t)c;
		} else if (c < 0x800) {
			n = 2;
			s[0] = (uint8_t)(0xc0 | c >> 6);
		} else if (c < 0x10000) {
			n = 3;
			s[0] = (uint8_t)(0xe0 | c >> 12);
			s[1] = (uint8_t)(0x80 | (c >> 6 & 63));
		} else {
			n = 4;
			s[0] = (uint8_t)(0xf0 | c >> 18);
			s[1] = (uint8_t)(0x80 | (c >> 12 & 63));
			s[2] = (uint8_t)(0x80 | (c >> 6 & 63));
		}
		if (n > 1)
			s[n - 1] = (uint8_t)(0x80 | (c & 63));
		assert_int_equal(np_utf8_is_valid(s, n),
				 c != 0 && (c < 0xd800 || c > 0xdfff) && c <= 0x10ffff);
		if (n > 1) { /* cut, and with a wrong last byte */
			assert_false(np_utf8_is_valid(s, n - 1));
			s[n - 1] ^= 0x80;
			assert_false(np_utf8_is_valid(s, n));
		}
	}
	assert_false(np_utf8_is_valid((const uint8_t *)"\xc1\xbf", 2));
	assert_false(np_utf8_is_valid((const uint8_t *)"\xe0\x9f\xbf", 3));
	assert_false(np_utf8_is_valid((const uint8_t *)"\xf0\x8f\xbf\xbf", 4));
	assert_false(np_utf8_is_valid((const uint8_t *)"\xf5\x80\x80\x80", 4));
	assert_false(np_utf8_is_valid((const uint8_t *)"\x80", 1));
	assert_true(np_utf8_is_valid((const uint8_t *)"", 0));
}

static void msg_name__every_kind__distinct(void **state)
{
	unsigned a, b;

	(void)state;
	for (a = NP_MSG_HELLO; a <= NP_MSG_BYE + 1; a++) {
		for (b = NP_MSG_HELLO; b < a; b++)
			assert_string_not_equal(np_msg_name((enum np_msg_kind)a),
						np_msg_name((enum np_msg_kind)b));
	}
	assert_string_equal(np_msg_name(NP_MSG_POOL_DEMAND), "PoolDemand");
	assert_string_equal(np_msg_name((enum np_msg_kind)99), "unknown");
	assert_string_equal(np_reject_text(NP_REJECT_AUTH), "wrong key");
	assert_string_equal(np_reject_text((enum np_reject)65535), "unknown reason");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(msg_pack__every_sample__reads_back_equal),
	    cmocka_unit_test(msg_pack__second_frame__appended_behind_the_first),
	    cmocka_unit_test(msg_pack__largest_values__accepted),
	    cmocka_unit_test(msg_pack__one_value_out_of_bounds__refused),
	    cmocka_unit_test(msg_pack__update_with_absent_fields__their_values_do_not_matter),
	    cmocka_unit_test(msg_pack__buffer_full__limit_and_content_kept),
	    cmocka_unit_test(msg_unpack__bad_bytes__refused_and_output_untouched),
	    cmocka_unit_test(msg_unpack__unknown_fields_and_edges__accepted),
	    cmocka_unit_test(msg_unpack__half_a_takeover__refused),
	    cmocka_unit_test(msg_unpack__past_the_largest_frame__refused),
	    cmocka_unit_test(msg_unpack__flood_of_tiny_fields__stopped_by_the_cap),
	    cmocka_unit_test(msg_unpack__each_allocation_failing__no_memory),
	    cmocka_unit_test(msg_pack__allocation_failing__no_memory),
	    cmocka_unit_test(msg_unpack__bit_flips_and_truncations__refused_or_consistent),
	    cmocka_unit_test(utf8_is_valid__every_code_point__as_the_standard_says),
	    cmocka_unit_test(msg_name__every_kind__distinct),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
