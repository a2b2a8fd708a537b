/*
 * proof.h - tunnel keys: derivation, proofs of the control channel, preamble of data channels.
 * Formats and golden bytes: docs/PROTOCOL.md. All cryptography is OpenSSL's. Pure: exporter values
 * and random bytes are arguments (except np_key_generate).
 */
#ifndef NP_CORE_PROOF_H
#define NP_CORE_PROOF_H

#include "base/err.h"
#include "core/frame.h"

#define NP_K_LEN 32
#define NP_SALT_LEN 16
#define NP_PROOF_LEN 32
#define NP_EXPORTER_LEN 32
#define NP_SESSION_ID_LEN 8
#define NP_PREAMBLE_LEN 40
#define NP_FINGERPRINT_LEN 32
#define NP_KEY_TEXT_MAX 64

#define NP_EXPORTER_CONTROL "EXPERIMENTAL-nodepass-tunnel"
#define NP_EXPORTER_DATA "EXPERIMENTAL-nodepass-data"

enum np_key_kind {
	NP_KEY_RANDOM = 0, /* np1_…: HKDF, nothing to stretch */
	NP_KEY_WORD,	   /* anything else: scrypt */
	NP_KEY_PORT,	   /* derived from the port: HKDF, protects nothing */
};

/* np_key_generate - a fresh np1_ key, NUL-terminated. Errors: NP_ECRYPTO. */
enum np_err np_key_generate(char out[NP_KEY_TEXT_MAX]) NP_MUST_CHECK;
enum np_key_kind np_key_kind(const char *key, size_t len, bool given);

/*
 * np_key_derive - K of a tunnel key. NP_KEY_WORD: scrypt, 40 to 50 ms and 16 MiB: helper threads only.
 * Errors: NP_ECRYPTO.
 */
enum np_err np_key_derive(enum np_key_kind kind, const char *key, size_t len,
			  const uint8_t salt[NP_SALT_LEN], uint8_t k[NP_K_LEN]) NP_MUST_CHECK;

enum np_proof_side { NP_PROOF_CLIENT = 0, NP_PROOF_SERVER };
/* np_proof_make - @transcript: the frames as sent (with their length prefixes), proofs excluded. Errors: NP_ECRYPTO. */
enum np_err np_proof_make(enum np_proof_side side, const uint8_t k[NP_K_LEN],
			  const uint8_t e[NP_EXPORTER_LEN], const uint8_t *transcript, size_t len,
			  uint8_t out[NP_PROOF_LEN]) NP_MUST_CHECK;
/* np_takeover_make - HMAC(D_old, "nodepass takeover" 0 session_id_old E_new). Errors: NP_ECRYPTO. */
enum np_err np_takeover_make(const uint8_t d_old[NP_EXPORTER_LEN],
			     const uint8_t session_id_old[NP_SESSION_ID_LEN],
			     const uint8_t e_new[NP_EXPORTER_LEN],
			     uint8_t out[NP_PROOF_LEN]) NP_MUST_CHECK;
/* np_equal_ct - comparison in constant time. */
bool np_equal_ct(const uint8_t *a, const uint8_t *b, size_t n);
void np_wipe(void *p, size_t n);
/* np_random - Errors: NP_ECRYPTO. */
enum np_err np_random(void *out, size_t n) NP_MUST_CHECK;

struct np_preamble {
	enum np_channel_kind kind;
	uint8_t session_id[NP_SESSION_ID_LEN];
	uint64_t conn_id;
};
/* np_preamble_write - @x: the data connection's own exporter, NULL without TLS. Errors: NP_ECRYPTO. */
enum np_err np_preamble_write(const struct np_preamble *p, const uint8_t d[NP_EXPORTER_LEN],
			      const uint8_t *x, uint8_t out[NP_PREAMBLE_LEN]) NP_MUST_CHECK;
/* np_preamble_read - the fields, unproved. Errors: NP_EPROTO (magic, kind, zero bytes). */
enum np_err np_preamble_read(const uint8_t in[NP_PREAMBLE_LEN], struct np_preamble *out) NP_MUST_CHECK;
/* np_preamble_verify - is the MAC right? Constant time. */
bool np_preamble_verify(const uint8_t in[NP_PREAMBLE_LEN], const uint8_t d[NP_EXPORTER_LEN],
			const uint8_t *x);

/* Replay window of conn_ids: a bitmap of 65 536 under the highest seen. 8 KiB; one per session. */
#define NP_REPLAY_WINDOW 65536
struct np_replay {
	uint64_t highest; /* 0 = none seen; ids start at 1 */
	uint64_t bits[NP_REPLAY_WINDOW / 64];
};
/* np_replay_check - would @id be accepted? (not seen, not below the window, at most 65 536 above the highest) */
bool np_replay_check(const struct np_replay *r, uint64_t id);
/* np_replay_mark - call only after the MAC was right. */
void np_replay_mark(struct np_replay *r, uint64_t id);

#endif
