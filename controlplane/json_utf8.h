/*
 * json_utf8.h - one character off a text that may be no UTF-8. For json_read and json_write.
 */
#ifndef CP_JSON_UTF8_H
#define CP_JSON_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define JSON_UTF8_BAD	      0xffffffffu
#define JSON_UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* json_utf8_take - the first of @len > 0 bytes as *c, JSON_UTF8_BAD when they are no character.
 * Returns how many bytes it takes, 1 for a bad one. */
size_t json_utf8_take(const char *s, size_t len, uint32_t *c);

#endif
