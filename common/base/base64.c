/*
 * base64.c - see base64.h.
 */
#include "base/base64.h"

#include <string.h>

const char np_base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const char np_base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int np_base64_value(const char alphabet[NP_BASE64_LETTERS + 1], char c)
{
	const char *at = memchr(alphabet, c, NP_BASE64_LETTERS);

	return at != NULL ? (int)(at - alphabet) : -1;
}
