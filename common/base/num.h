/*
 * num.h - strict numbers and durations: all of the text, nothing but the text, in range.
 */
#ifndef NP_BASE_NUM_H
#define NP_BASE_NUM_H

#include "base/err.h"

#include <stdint.h>

/*
 * np_parse_u64 - decimal digits only (no sign, blank, prefix); leading zeros allowed.
 * Errors: NP_EINVAL (empty or a byte that is no digit), NP_ERANGE (not within min..max).
 */
enum np_err np_parse_u64(const char *s, size_t len, uint64_t min, uint64_t max,
			 uint64_t *out) NP_MUST_CHECK;

/*
 * np_parse_duration - Go forms: 300ms, 1.5s, 10m, 1h2m, 0. Units h m s ms us (µs) ns.
 * A bare "0" is a duration; any other number without unit, a sign, or an empty text is NP_EINVAL.
 * @out_ms is rounded to the nearest millisecond (0.4ms gives 0, an input > 0 is never an error for
 * that). Errors: NP_EINVAL, NP_ERANGE (over max_ms).
 */
enum np_err np_parse_duration(const char *s, size_t len, int64_t max_ms,
			      int64_t *out_ms) NP_MUST_CHECK;

/* np_format_duration - Go form: 0s, 300ms, 1.5s, 10m0s, 1h2m0s. @out holds at least 32 bytes. */
void np_format_duration(int64_t ms, char out[32]);

/* np_hex_digit - its value in either case, -1 = it is none. */
int np_hex_digit(char c);
/* np_parse_hex - exactly @n bytes from 2*@n hex digits of either case. Errors: NP_EINVAL. */
enum np_err np_parse_hex(const char *s, size_t len, uint8_t *out, size_t n) NP_MUST_CHECK;
void np_format_hex(const uint8_t *p, size_t n, char *out /* 2n + 1 */);

#endif
