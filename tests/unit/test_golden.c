/*
 * test_golden.c - our bytes against those of tests/golden.py, an implementation in another
 * language. The arrays are printed by "golden.py --c"; "golden.py --check" (a test of its own)
 * recomputes them.
 */
#include "tunnel_samples.h"

#include "base/num.h"
#include "core/frame.h"
#include "core/proof.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* clang-format off */
static const char G_key_random[] =
	"6e70315f41414543417751464267634943516f4c4441304f4478415245684d554652595847426b61"
	"47787764486838";
static const char G_k_random[] =
	"0d38f7080fe3b78344b5c4793ead8ffb737e17e264bc07ae67b850633075f653";
static const char G_k_port[] =
	"92249e8fa4f13364c03ced66b9690d091e2559a9588b1176fb4a32e9b674e3fd";
static const char G_k_word[] =
	"6e5b0adf30312127d8dfdfd7ed7bb535c2223db7c10caac1f64d7944e69a019d";
static const char G_takeover[] =
	"58aa211b7c722c6ddd13efccf2cf2ea138394edd19bf3139efd4bbfbe9a70605";
static const char G_hello[] =
	"000000270a25080210031a10101112131415161718191a1b1c1d1e1f220d6e6f6465706173732f32"
	"20c3a9";
static const char G_auth[] =
	"00000040123e0801100218818080808080808080012206656467652d312a10202122232425262728"
	"292a2b2c2d2e2f3210303132333435363738393a3b3c3d3e3f389875";
static const char G_auth_takeover[] =
	"0000006c126a0801100218818080808080808080012206656467652d312a10202122232425262728"
	"292a2b2c2d2e2f3210303132333435363738393a3b3c3d3e3f3898754208d0d1d2d3d4d5d6d74a20"
	"58aa211b7c722c6ddd13efccf2cf2ea138394edd19bf3139efd4bbfbe9a70605";
static const char G_welcome[] =
	"0000007422720a08c0c1c2c3c4c5c6c7100218800820012a20e0e1e2e3e4e5e6e7e8e9eaebecedee"
	"eff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff2a20606162636465666768696a6b6c6d6e6f7071727374"
	"75767778797a7b7c7d7e7f30053888274080024a10b0b1b2b3b4b5b6b7b8b9babbbcbdbebf50904e";
static const char G_client_proof[] =
	"f87341ea1e6b2fe1a9cd6acd8d8feb6cb9cafb3dda13b01722925e070dbee476";
static const char G_server_proof[] =
	"f1d5e13ab26b46c2ec826f215a4b8a6b2655d2885f1b38d4d00a6124803251c7";
static const char G_proof[] =
	"000000241a220a20f87341ea1e6b2fe1a9cd6acd8d8feb6cb9cafb3dda13b01722925e070dbee476";
static const char G_reject[] =
	"0000000f2a0d0801120977726f6e67206b6579";
static const char G_ping[] =
	"0000000d320b0890e4d0b287d3aeeefe01";
static const char G_ping_zero[] =
	"000000023200";
static const char G_pong[] =
	"000000063a0408c0843d";
static const char G_pool_demand[] =
	"00000005420308ac02";
static const char G_pool_target[] =
	"000000044a020840";
static const char G_update[] =
	"00000012521008e8071080800418c0cf242040288008";
static const char G_update_zero_min[] =
	"0000000452022000";
static const char G_update_empty[] =
	"000000025200";
static const char G_certificate[] =
	"000000245a220a20e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
static const char G_drain[] =
	"000000056203088827";
static const char G_bye[] =
	"0000000d6a0b0809120773746f70706564";
static const char G_preamble_plain[] =
	"4e50443201000000c0c1c2c3c4c5c6c70102030405060708eeaf3af347bf0e188b14bbc081d90b8f";
static const char G_preamble_tls[] =
	"4e50443202000000c0c1c2c3c4c5c6c7010203040506070883cd5ad8ab96b281c68c14dd658ce7d9";
static const char G_frame_open[] =
	"0100000100000020";
static const char G_frame_status[] =
	"0200000100000001";
static const char G_frame_data[] =
	"0300ffff00100000";
static const char G_frame_fin[] =
	"0400010200000000";
static const char G_frame_reset[] =
	"0500000200000001";
static const char G_frame_done[] =
	"0600000200000000";
static const char G_frame_ping[] =
	"0700000000000008";
static const char G_frame_pong[] =
	"0800000000000008";
static const char G_frame_retire[] =
	"0900000000000000";
static const char G_frame_dopen[] =
	"0a0000000000021c";
static const char G_frame_dgram[] =
	"0b0000000000ffe7";
static const char G_frame_dclose[] =
	"0c00000000000004";
/* clang-format on */

#define BYTES_MAX 512

static size_t bytes_of(const char *hex, uint8_t out[BYTES_MAX])
{
	size_t n = strlen(hex) / 2;

	assert_true(n <= BYTES_MAX);
	assert_int_equal(np_parse_hex(hex, strlen(hex), out, n), NP_OK);
	return n;
}

static void assert_golden(const uint8_t *p, size_t len, const char *hex)
{
	uint8_t want[BYTES_MAX];

	assert_int_equal(len, bytes_of(hex, want));
	assert_memory_equal(p, want, len);
}

/* Both ways: our bytes are the golden ones, and the golden ones are our message. */
static void assert_frame(const struct np_msg *m, const char *hex)
{
	uint8_t bytes[BYTES_MAX];
	size_t n = bytes_of(hex, bytes);
	struct np_msg back;
	struct np_buf b;

	np_buf_init(&b, BYTES_MAX);
	assert_int_equal(np_msg_pack(m, &b), NP_OK);
	assert_golden(np_buf_ptr(&b), np_buf_len(&b), hex);
	np_buf_release(&b);
	assert_int_equal(np_msg_unpack(bytes + 4, n - 4, &back), NP_OK);
	assert_memory_equal(&back, m, sizeof back);
}

static void assert_sample(enum tunnel_sample which, const char *hex)
{
	struct np_msg m;

	tunnel_sample(which, &m);
	assert_frame(&m, hex);
}

static void key_derive__golden_inputs__golden_keys(void **state)
{
	static const char word[] = "correct horse \xc3\xbc";
	uint8_t text[BYTES_MAX], k[NP_K_LEN], salt[NP_SALT_LEN];
	size_t n = bytes_of(G_key_random, text);

	(void)state;
	sample_run(salt, 0x10, sizeof salt);
	assert_int_equal(np_key_kind((const char *)text, n, true, 10101), NP_KEY_RANDOM);
	assert_int_equal(np_key_derive(NP_KEY_RANDOM, (const char *)text, n, NULL, k), NP_OK);
	assert_golden(k, sizeof k, G_k_random);
	assert_int_equal(np_key_kind("2775", 4, true, 10101), NP_KEY_PORT);
	assert_int_equal(np_key_derive(NP_KEY_PORT, "2775", 4, NULL, k), NP_OK);
	assert_golden(k, sizeof k, G_k_port);
	assert_int_equal(np_key_kind(word, strlen(word), true, 10101), NP_KEY_WORD);
	assert_int_equal(np_key_derive(NP_KEY_WORD, word, strlen(word), salt, k), NP_OK);
	assert_golden(k, sizeof k, G_k_word);
}

static void takeover_make__golden_inputs__golden_bytes(void **state)
{
	uint8_t d[NP_EXPORTER_LEN], e[NP_EXPORTER_LEN], old[NP_SESSION_ID_LEN], out[NP_PROOF_LEN];

	(void)state;
	sample_run(d, 0x80, sizeof d);
	sample_run(e, 0x40, sizeof e);
	sample_run(old, 0xd0, sizeof old);
	assert_int_equal(np_takeover_make(d, old, e, out), NP_OK);
	assert_golden(out, sizeof out, G_takeover);
}

/* The transcript is what np_msg_pack appends to one buffer: lengths and frames, proofs left out. */
static void proof_make__packed_transcript__golden_bytes(void **state)
{
	uint8_t k[NP_K_LEN], e[NP_EXPORTER_LEN], out[NP_PROOF_LEN], raw[BYTES_MAX];
	struct np_msg m;
	struct np_buf b;

	(void)state;
	assert_int_equal(bytes_of(G_k_random, raw), NP_K_LEN);
	memcpy(k, raw, NP_K_LEN);
	sample_run(e, 0x40, sizeof e);
	np_buf_init(&b, 4096);
	tunnel_sample(SAMPLE_HELLO, &m);
	assert_int_equal(np_msg_pack(&m, &b), NP_OK);
	tunnel_sample(SAMPLE_AUTH, &m);
	assert_int_equal(np_msg_pack(&m, &b), NP_OK);
	assert_int_equal(np_proof_make(NP_PROOF_CLIENT, k, e, np_buf_ptr(&b), np_buf_len(&b), out),
			 NP_OK);
	assert_golden(out, sizeof out, G_client_proof);
	memset(&m, 0, sizeof m);
	m.kind = NP_MSG_PROOF;
	memcpy(m.proof.proof, out, sizeof out);
	assert_frame(&m, G_proof);
	tunnel_sample(SAMPLE_WELCOME, &m);
	assert_int_equal(np_msg_pack(&m, &b), NP_OK);
	assert_int_equal(np_proof_make(NP_PROOF_SERVER, k, e, np_buf_ptr(&b), np_buf_len(&b), out),
			 NP_OK);
	assert_golden(out, sizeof out, G_server_proof);
	np_buf_release(&b);
}

static void msg_pack__every_kind__golden_bytes(void **state)
{
	uint8_t raw[BYTES_MAX];
	struct np_msg m;

	(void)state;
	assert_sample(SAMPLE_HELLO, G_hello);
	assert_sample(SAMPLE_AUTH, G_auth);
	assert_sample(SAMPLE_WELCOME, G_welcome);
	assert_sample(SAMPLE_REJECT, G_reject);
	assert_sample(SAMPLE_PING, G_ping);
	assert_sample(SAMPLE_PING_ZERO, G_ping_zero);
	assert_sample(SAMPLE_PONG, G_pong);
	assert_sample(SAMPLE_POOL_DEMAND, G_pool_demand);
	assert_sample(SAMPLE_POOL_TARGET, G_pool_target);
	assert_sample(SAMPLE_UPDATE, G_update);
	assert_sample(SAMPLE_UPDATE_ZERO_MIN, G_update_zero_min);
	assert_sample(SAMPLE_UPDATE_EMPTY, G_update_empty);
	assert_sample(SAMPLE_CERTIFICATE, G_certificate);
	assert_sample(SAMPLE_DRAIN, G_drain);
	assert_sample(SAMPLE_BYE, G_bye);
	tunnel_sample(SAMPLE_AUTH_TAKEOVER, &m);
	assert_int_equal(bytes_of(G_takeover, raw), NP_PROOF_LEN);
	memcpy(m.auth.takeover, raw, NP_PROOF_LEN);
	assert_frame(&m, G_auth_takeover);
}

static void preamble_write__with_and_without_tls__golden_bytes(void **state)
{
	struct np_preamble p = {.kind = NP_CHANNEL_STREAM, .conn_id = 0x0102030405060708u};
	uint8_t d[NP_EXPORTER_LEN], x[NP_EXPORTER_LEN], out[NP_PREAMBLE_LEN];

	(void)state;
	sample_run(p.session_id, 0xc0, sizeof p.session_id);
	sample_run(d, 0x80, sizeof d);
	sample_run(x, 0xa0, sizeof x);
	assert_int_equal(np_preamble_write(&p, d, NULL, out), NP_OK);
	assert_golden(out, sizeof out, G_preamble_plain);
	p.kind = NP_CHANNEL_DATAGRAM;
	assert_int_equal(np_preamble_write(&p, d, x, out), NP_OK);
	assert_golden(out, sizeof out, G_preamble_tls);
}

static void frame_write__every_type__golden_bytes(void **state)
{
	static const struct {
		struct np_frame f;
		const char *hex;
	} rows[] = {
	    {{NP_FRAME_OPEN, 1, 32}, G_frame_open},
	    {{NP_FRAME_STATUS, 1, 1}, G_frame_status},
	    {{NP_FRAME_DATA, 65535, 1048576}, G_frame_data},
	    {{NP_FRAME_FIN, 258, 0}, G_frame_fin},
	    {{NP_FRAME_RESET, 2, 1}, G_frame_reset},
	    {{NP_FRAME_DONE, 2, 0}, G_frame_done},
	    {{NP_FRAME_PING, 0, 8}, G_frame_ping},
	    {{NP_FRAME_PONG, 0, 8}, G_frame_pong},
	    {{NP_FRAME_RETIRE, 0, 0}, G_frame_retire},
	    {{NP_FRAME_DOPEN, 0, 540}, G_frame_dopen},
	    {{NP_FRAME_DGRAM, 0, 65511}, G_frame_dgram},
	    {{NP_FRAME_DCLOSE, 0, 4}, G_frame_dclose},
	};
	uint8_t out[NP_FRAME_HEADER];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		np_frame_write(&rows[i].f, out);
		assert_golden(out, sizeof out, rows[i].hex);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(key_derive__golden_inputs__golden_keys),
	    cmocka_unit_test(takeover_make__golden_inputs__golden_bytes),
	    cmocka_unit_test(proof_make__packed_transcript__golden_bytes),
	    cmocka_unit_test(msg_pack__every_kind__golden_bytes),
	    cmocka_unit_test(preamble_write__with_and_without_tls__golden_bytes),
	    cmocka_unit_test(frame_write__every_type__golden_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
