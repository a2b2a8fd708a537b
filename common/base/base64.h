/*
 * base64.h - the two alphabets of RFC 4648, for those who write and read such texts.
 */
#ifndef NP_BASE_BASE64_H
#define NP_BASE_BASE64_H

#define NP_BASE64_LETTERS 64

/* '+' and '/'; '-' and '_' as in URLs. 64 letters and a NUL. */
extern const char np_base64[NP_BASE64_LETTERS + 1];
extern const char np_base64url[NP_BASE64_LETTERS + 1];

/* np_base64_value - 0..63, or -1 when @c is not of @alphabet (one of the above). */
int np_base64_value(const char alphabet[NP_BASE64_LETTERS + 1], char c);

#endif
