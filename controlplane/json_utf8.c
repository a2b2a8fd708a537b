/*
 * json_utf8.c - strict UTF-8: no surrogates, nothing above U+10FFFF, shortest forms only.
 */
#include "json_utf8.h"

#include "base/banned.h"

size_t json_utf8_take(const char *s, size_t len, uint32_t *c)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *)s;
	uint32_t v;
	size_t n;

	if (p[0] < 0x80) {
		*c = p[0];
		return 1;
	}
	*c = JSON_UTF8_BAD;
	n = p[0] >= 0xf8 ? 0 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 0;
	if (n == 0 || n > len)
		return 1;
	v = p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 1;
		v = v << 6 | (p[i] & 0x3fu);
	}
	if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return 1;
	*c = v;
	return n;
}
