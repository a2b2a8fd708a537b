/*
 * key.h - tunnel keys as text. No cryptography, so that who only reads or prints a key does not load
 * its library; proof.h derives from them.
 */
#ifndef NP_CORE_KEY_H
#define NP_CORE_KEY_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NP_KEY_TEXT_MAX 64
#define NP_KEY_RAW_LEN	32

enum np_key_kind {
	NP_KEY_RANDOM = 0, /* np1_…: HKDF, nothing to stretch */
	NP_KEY_WORD,	   /* anything else: scrypt */
	NP_KEY_PORT,	   /* derived from the port: HKDF, protects nothing */
};

/* np_key_generate - a fresh np1_ key, NUL-terminated. Errors: NP_ESYS. */
enum np_err np_key_generate(char out[NP_KEY_TEXT_MAX]) NP_MUST_CHECK;
/*
 * np_key_kind - how K is made from a key's text. @given: written in the URL (else @key is derived
 * from @port). NP_KEY_PORT also for a written key that equals the port's lower-case hexadecimal
 * form: who writes it at one end meets a peer that left it out. NP_KEY_RANDOM: "np1_" and 43
 * canonical base64url characters, unpadded; what merely looks like it (bad character, other length,
 * unused bits set) is a word.
 */
enum np_key_kind np_key_kind(const char *key, size_t len, bool given, uint16_t port);

/* np_key_decode - the bytes of an np1_ key; false: it is none, and @out is undefined. */
bool np_key_decode(const char *key, size_t len, uint8_t out[NP_KEY_RAW_LEN]);

#endif
