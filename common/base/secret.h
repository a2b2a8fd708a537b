/*
 * secret.h - random bytes, and memory that held a secret. From the kernel and the C library: the first
 * call of a cryptographic library loads megabytes that a plain relay never needs.
 */
#ifndef NP_BASE_SECRET_H
#define NP_BASE_SECRET_H

#include "base/err.h"

#include <stddef.h>

/* np_wipe - zeroes in a way that the compiler keeps. */
void np_wipe(void *p, size_t n);
/* np_random - fit for keys. Blocks only early in the boot of a machine. Errors: NP_ESYS. */
enum np_err np_random(void *out, size_t n) NP_MUST_CHECK;

#endif
