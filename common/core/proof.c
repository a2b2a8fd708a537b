/*
 * proof.c - keys, proofs and preambles of the tunnel protocol, put together from OpenSSL's HMAC,
 * HKDF, scrypt.
 *
 * Nothing cryptographic is written here. Whatever holds key material on the stack is wiped before
 * return.
 */
#include "core/proof.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#define SCRYPT_N 16384
#define SCRYPT_R 8
#define SCRYPT_P 1
/* 128 * N * r is 16 MiB; the rest is room for OpenSSL's own bookkeeping. Its default limit is too
 * low. */
#define SCRYPT_MAXMEM	((uint64_t)24 << 20)

#define SHA256_LEN	32
#define KEY_MARKED_MAX	1024 /* NP_KEY_MAX of config.h */
#define LABEL_MAX	24
#define PREAMBLE_SIGNED 24
#define PREAMBLE_MAC	16

static enum np_err hmac_sha256(const uint8_t *key, size_t key_len, const uint8_t *p, size_t len,
			       uint8_t out[SHA256_LEN])
{
	size_t n = 0;

	if (EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, key_len, p, len, out, SHA256_LEN,
		      &n) == NULL ||
	    n != SHA256_LEN)
		return NP_ECRYPTO;
	return NP_OK;
}

static enum np_err hkdf_sha256(const void *ikm, size_t len, const char *info, uint8_t out[NP_K_LEN])
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[4];
	enum np_err err = NP_ECRYPTO;

	if (ctx != NULL) {
		/* OpenSSL takes these without const and only reads them. */
		params[0] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
							     (char *)(uintptr_t) "SHA256", 0);
		params[1] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
							      (void *)(uintptr_t)ikm, len);
		params[2] = OSSL_PARAM_construct_octet_string(
		    OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info, strlen(info));
		params[3] = OSSL_PARAM_construct_end();
		if (EVP_KDF_derive(ctx, out, NP_K_LEN, params) == 1)
			err = NP_OK;
	}
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return err;
}

enum np_err np_key_derive(enum np_key_kind kind, const char *key, size_t len,
			  const uint8_t salt[NP_SALT_LEN], uint8_t k[NP_K_LEN])
{
	uint8_t raw[NP_KEY_RAW_LEN], made[NP_K_LEN];
	enum np_err err = NP_EINVAL;

	if (len == 0)
		return NP_EINVAL;
	switch (kind) {
	case NP_KEY_RANDOM:
		if (np_key_decode(key, len, raw))
			err = hkdf_sha256(raw, sizeof raw, "nodepass key v2", made);
		np_wipe(raw, sizeof raw);
		break;
	case NP_KEY_WORD:
		err = EVP_PBE_scrypt(key, len, salt, NP_SALT_LEN, SCRYPT_N, SCRYPT_R, SCRYPT_P,
				     SCRYPT_MAXMEM, made, sizeof made) == 1
			  ? NP_OK
			  : NP_ECRYPTO;
		break;
	case NP_KEY_PORT:
		err = hkdf_sha256(key, len, "nodepass port key v2", made);
		break;
	}
	if (err == NP_OK)
		memcpy(k, made, NP_K_LEN);
	np_wipe(made, sizeof made);
	return err;
}

enum np_err np_key_mark(const uint8_t k[NP_K_LEN], const uint8_t salt[NP_SALT_LEN], const char *key,
			size_t len, uint8_t out[NP_KEY_MARK_LEN])
{
	static const char label[] = "nodepass stored key"; /* its NUL is the separator */
	uint8_t in[sizeof(label) + NP_SALT_LEN + KEY_MARKED_MAX];
	enum np_err err;

	if (len > KEY_MARKED_MAX)
		return NP_EINVAL;
	memcpy(in, label, sizeof(label));
	memcpy(in + sizeof(label), salt, NP_SALT_LEN);
	memcpy(in + sizeof(label) + NP_SALT_LEN, key, len);
	err = hmac_sha256(k, NP_K_LEN, in, sizeof(label) + NP_SALT_LEN + len, out);
	np_wipe(in, sizeof(in));
	return err;
}

/* The first NP_PROOF_LEN bytes of the MAC. */
static enum np_err hmac_cut(const uint8_t *key, size_t key_len, const uint8_t *in, size_t n,
			    uint8_t out[NP_PROOF_LEN])
{
	uint8_t mac[SHA256_LEN];
	enum np_err err = hmac_sha256(key, key_len, in, n, mac);

	if (err == NP_OK)
		memcpy(out, mac, NP_PROOF_LEN);
	np_wipe(mac, sizeof mac);
	return err;
}

enum np_err np_proof_make(enum np_proof_side side, const uint8_t k[NP_K_LEN],
			  const uint8_t e[NP_EXPORTER_LEN], const uint8_t *transcript, size_t len,
			  uint8_t out[NP_PROOF_LEN])
{
	const char *label = side == NP_PROOF_CLIENT ? "nodepass client" : "nodepass server";
	size_t n = strlen(label) + 1; /* its NUL is the separator */
	uint8_t in[LABEL_MAX + NP_EXPORTER_LEN + SHA256_LEN];
	enum np_err err = NP_ECRYPTO;

	memcpy(in, label, n);
	memcpy(in + n, e, NP_EXPORTER_LEN);
	n += NP_EXPORTER_LEN;
	if (EVP_Q_digest(NULL, "SHA256", NULL, transcript, len, in + n, NULL) == 1)
		err = hmac_cut(k, NP_K_LEN, in, n + SHA256_LEN, out);
	np_wipe(in, sizeof in);
	return err;
}

enum np_err np_takeover_make(const uint8_t d_old[NP_EXPORTER_LEN],
			     const uint8_t session_id_old[NP_SESSION_ID_LEN],
			     const uint8_t e_new[NP_EXPORTER_LEN], uint8_t out[NP_PROOF_LEN])
{
	static const char label[] = "nodepass takeover";
	uint8_t in[sizeof label + NP_SESSION_ID_LEN + NP_EXPORTER_LEN];
	enum np_err err;

	memcpy(in, label, sizeof label);
	memcpy(in + sizeof label, session_id_old, NP_SESSION_ID_LEN);
	memcpy(in + sizeof label + NP_SESSION_ID_LEN, e_new, NP_EXPORTER_LEN);
	err = hmac_cut(d_old, NP_EXPORTER_LEN, in, sizeof in, out);
	np_wipe(in, sizeof in);
	return err;
}

bool np_equal_ct(const uint8_t *a, const uint8_t *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}

static void put_u64(uint8_t *p, uint64_t v)
{
	unsigned i;

	for (i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get_u64(const uint8_t *p)
{
	uint64_t v = 0;
	unsigned i;

	for (i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static enum np_err preamble_mac(const uint8_t fields[PREAMBLE_SIGNED],
				const uint8_t d[NP_EXPORTER_LEN], const uint8_t *x,
				uint8_t mac[SHA256_LEN])
{
	uint8_t in[PREAMBLE_SIGNED + NP_EXPORTER_LEN];
	size_t n = PREAMBLE_SIGNED;
	enum np_err err;

	memcpy(in, fields, PREAMBLE_SIGNED);
	if (x != NULL) {
		memcpy(in + n, x, NP_EXPORTER_LEN);
		n += NP_EXPORTER_LEN;
	}
	err = hmac_sha256(d, NP_EXPORTER_LEN, in, n, mac);
	np_wipe(in, sizeof in);
	return err;
}

enum np_err np_preamble_write(const struct np_preamble *p, const uint8_t d[NP_EXPORTER_LEN],
			      const uint8_t *x, uint8_t out[NP_PREAMBLE_LEN])
{
	uint8_t fields[PREAMBLE_SIGNED] = {'N', 'P', 'D', '2', (uint8_t)p->kind};
	uint8_t mac[SHA256_LEN];
	enum np_err err;

	memcpy(fields + 8, p->session_id, NP_SESSION_ID_LEN);
	put_u64(fields + 16, p->conn_id);
	err = preamble_mac(fields, d, x, mac);
	if (err != NP_OK)
		return err;
	memcpy(out, fields, PREAMBLE_SIGNED);
	memcpy(out + PREAMBLE_SIGNED, mac, PREAMBLE_MAC);
	return NP_OK;
}

enum np_err np_preamble_read(const uint8_t in[NP_PREAMBLE_LEN], struct np_preamble *out)
{
	if (memcmp(in, "NPD2", 4) != 0 || (in[5] | in[6] | in[7]) != 0)
		return NP_EPROTO;
	if (in[4] != NP_CHANNEL_STREAM && in[4] != NP_CHANNEL_DATAGRAM)
		return NP_EPROTO;
	out->kind = in[4] == NP_CHANNEL_STREAM ? NP_CHANNEL_STREAM : NP_CHANNEL_DATAGRAM;
	memcpy(out->session_id, in + 8, NP_SESSION_ID_LEN);
	out->conn_id = get_u64(in + 16);
	return NP_OK;
}

bool np_preamble_verify(const uint8_t in[NP_PREAMBLE_LEN], const uint8_t d[NP_EXPORTER_LEN],
			const uint8_t *x)
{
	uint8_t mac[SHA256_LEN];

	if (preamble_mac(in, d, x, mac) != NP_OK)
		return false;
	return np_equal_ct(mac, in + PREAMBLE_SIGNED, PREAMBLE_MAC);
}

static bool replay_bit(const struct np_replay *r, uint64_t id)
{
	return (r->bits[id % NP_REPLAY_WINDOW / 64] >> (id % 64) & 1) != 0;
}

bool np_replay_check(const struct np_replay *r, uint64_t id)
{
	if (id == 0)
		return false;
	if (id > r->highest)
		return id - r->highest <= NP_REPLAY_WINDOW;
	return r->highest - id < NP_REPLAY_WINDOW && !replay_bit(r, id);
}

void np_replay_mark(struct np_replay *r, uint64_t id)
{
	uint64_t left;

	if (!np_replay_check(r, id))
		return;
	/* The ids passed over take the places of those that fall out below: not seen yet. */
	left = id > r->highest ? id - r->highest : 0;
	while (left > 0) {
		uint64_t at = id - left + 1;

		if (at % 64 == 0 && left >= 64) {
			r->bits[at % NP_REPLAY_WINDOW / 64] = 0;
			left -= 64;
		} else {
			r->bits[at % NP_REPLAY_WINDOW / 64] &= ~((uint64_t)1 << (at % 64));
			left--;
		}
	}
	r->bits[id % NP_REPLAY_WINDOW / 64] |= (uint64_t)1 << (id % 64);
	if (id > r->highest)
		r->highest = id;
}
