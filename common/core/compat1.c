/*
 * compat1.c - the first line of NodePass 1.x. See compat1.h.
 */
#include "core/compat1.h"

#include "base/base64.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

void np_compat1_port_key(uint16_t port, char out[NP_COMPAT1_KEY_LEN + 1])
{
	char text[8];
	uint32_t h = 2166136261u;
	int n = snprintf(text, sizeof(text), "%u", port);

	for (int i = 0; i < n; i++)
		h = (h ^ (uint8_t)text[i]) * 16777619u;
	snprintf(out, NP_COMPAT1_KEY_LEN + 1, "%08x", h);
}

/* The letters of @p up to @len or the first '='; false: something else is among them. */
static bool letters(const uint8_t *p, size_t len, size_t *n)
{
	for (*n = 0; *n < len && p[*n] != '='; (*n)++)
		if (np_base64_value(np_base64, (char)p[*n]) == -1)
			return false;
	for (size_t i = *n; i < len; i++)
		if (p[i] != '=')
			return false;
	return len - *n <= 2;
}

static bool is_text(uint8_t c)
{
	return c >= 0x20 && c != 0x7f;
}

/* Whole groups of four, and with @key a text. */
static bool is_line(const uint8_t *p, size_t len, const char *key, size_t key_len)
{
	uint32_t bits = 0;
	size_t n, bytes = 0;

	if (len == 0 || len % 4 != 0 || !letters(p, len, &n) || key_len == 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		bits = bits << 6 | (uint32_t)np_base64_value(np_base64, (char)p[i]);
		if (i % 4 == 0)
			continue;
		/* the 2nd, 3rd and 4th letter each complete a byte */
		if (!is_text((uint8_t)(bits >> (6 - 2 * (i % 4)) ^ (uint8_t)key[bytes % key_len])))
			return false;
		bytes++;
	}
	return bytes > 0;
}

enum np_err np_compat1_first_line(const uint8_t *p, size_t len, const char *key, size_t key_len)
{
	size_t max = len < NP_COMPAT1_LINE_MAX ? len : NP_COMPAT1_LINE_MAX, n;
	const uint8_t *lf = max > 0 ? memchr(p, '\n', max) : NULL;

	if (lf != NULL)
		return is_line(p, (size_t)(lf - p), key, key_len) ? NP_OK : NP_EPROTO;
	return max < NP_COMPAT1_LINE_MAX && letters(p, max, &n) ? NP_EAGAIN : NP_EPROTO;
}
