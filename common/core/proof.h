/*
 * proof.h - tunnel keys: derivation, proofs of the control channel, preamble of data channels.
 * Formats and golden bytes: docs/PROTOCOL.md. All cryptography is OpenSSL's. Pure: exporter values
 * are arguments.
 */
#ifndef NP_CORE_PROOF_H
#define NP_CORE_PROOF_H

#include "base/err.h"
#include "base/secret.h"
#include "core/frame.h"
#include "core/key.h"

#define NP_K_LEN	    32
#define NP_SALT_LEN	    16
#define NP_PROOF_LEN	    32
#define NP_EXPORTER_LEN	    32
#define NP_SESSION_ID_LEN   8
#define NP_PREAMBLE_LEN	    40
#define NP_FINGERPRINT_LEN  32

#define NP_EXPORTER_CONTROL "EXPERIMENTAL-nodepass-tunnel"
#define NP_EXPORTER_DATA    "EXPERIMENTAL-nodepass-data"

/*
 * np_key_derive - K of a tunnel key, 32 bytes:
 *   NP_KEY_RANDOM  HKDF-SHA256(ikm = the 32 bytes, no salt, info = "nodepass key v2")
 *   NP_KEY_PORT    HKDF-SHA256(ikm = the text, no salt, info = "nodepass port key v2")
 *   NP_KEY_WORD    scrypt(the text, @salt, N = 16384, r = 8, p = 1): 40 to 50 ms, 16 MiB, helper
 * threads only
 * @salt is used for words only (then not NULL).
 * Errors: NP_ECRYPTO, NP_EINVAL (empty key; NP_KEY_RANDOM and the text is none).
 */
enum np_err np_key_derive(enum np_key_kind kind, const char *key, size_t len,
			  const uint8_t salt[NP_SALT_LEN], uint8_t k[NP_K_LEN]) NP_MUST_CHECK;

/*
 * np_key_mark - what a stored K is kept with, so that it is used for its key and salt alone:
 * HMAC-SHA256(K, "nodepass stored key" 0 @salt key). Errors: NP_ECRYPTO, NP_EINVAL (over 1024 bytes).
 */
#define NP_KEY_MARK_LEN 32
enum np_err np_key_mark(const uint8_t k[NP_K_LEN], const uint8_t salt[NP_SALT_LEN], const char *key,
			size_t len, uint8_t out[NP_KEY_MARK_LEN]) NP_MUST_CHECK;

enum np_proof_side { NP_PROOF_CLIENT = 0, NP_PROOF_SERVER };
/*
 * np_proof_make - HMAC-SHA256(K, label 0 E SHA-256(transcript)), label = "nodepass client" or
 * "nodepass server".
 * @transcript: frames as sent, each with its 4-byte length, in this order: Hello, Auth, and for the
 * server's proof Welcome. The proofs themselves travel in frames of their own behind Auth and
 * Welcome and are no part of it. Errors: NP_ECRYPTO.
 */
enum np_err np_proof_make(enum np_proof_side side, const uint8_t k[NP_K_LEN],
			  const uint8_t e[NP_EXPORTER_LEN], const uint8_t *transcript, size_t len,
			  uint8_t out[NP_PROOF_LEN]) NP_MUST_CHECK;
/* np_takeover_make - HMAC-SHA256(D_old, "nodepass takeover" 0 session_id_old E_new). Errors:
 * NP_ECRYPTO. */
enum np_err np_takeover_make(const uint8_t d_old[NP_EXPORTER_LEN],
			     const uint8_t session_id_old[NP_SESSION_ID_LEN],
			     const uint8_t e_new[NP_EXPORTER_LEN],
			     uint8_t out[NP_PROOF_LEN]) NP_MUST_CHECK;
/* np_equal_ct - comparison in constant time. */
bool np_equal_ct(const uint8_t *a, const uint8_t *b, size_t n);

struct np_preamble {
	enum np_channel_kind kind;
	uint8_t session_id[NP_SESSION_ID_LEN];
	uint64_t conn_id;
};
/*
 * np_preamble_write - 24 bytes of fields and the first 16 of HMAC-SHA256(D, those 24 bytes X).
 * @x: the data connection's own exporter, NULL without TLS. Errors: NP_ECRYPTO.
 */
enum np_err np_preamble_write(const struct np_preamble *p, const uint8_t d[NP_EXPORTER_LEN],
			      const uint8_t *x, uint8_t out[NP_PREAMBLE_LEN]) NP_MUST_CHECK;
/* np_preamble_read - the fields, unproved. Errors: NP_EPROTO (magic, kind, zero bytes). */
enum np_err np_preamble_read(const uint8_t in[NP_PREAMBLE_LEN],
			     struct np_preamble *out) NP_MUST_CHECK;
/* np_preamble_verify - is the MAC right? Constant time. */
bool np_preamble_verify(const uint8_t in[NP_PREAMBLE_LEN], const uint8_t d[NP_EXPORTER_LEN],
			const uint8_t *x);

/*
 * Replay window of conn_ids: a bitmap of 65 536 ids, the highest seen and those under it. 8 KiB;
 * one per session. Zeroed memory is an empty window.
 */
#define NP_REPLAY_WINDOW 65536
struct np_replay {
	uint64_t highest; /* 0 = none seen; ids start at 1 */
	uint64_t bits[NP_REPLAY_WINDOW / 64];
};
/* np_replay_check - would @id be accepted? (not seen, not below the window, at most 65 536 above
 * the highest) */
bool np_replay_check(const struct np_replay *r, uint64_t id);
/* np_replay_mark - call only after the MAC was right. An @id that np_replay_check refuses changes
 * nothing. */
void np_replay_mark(struct np_replay *r, uint64_t id);

#endif
