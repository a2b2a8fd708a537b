/*
 * num.c - strict numbers, Go durations, hexadecimal. No locale, no floating point, no strtol.
 */
#include "base/num.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* *v = *v * by + plus; false on overflow. */
static bool mul_add(uint64_t *v, uint64_t by, uint64_t plus)
{
	return !__builtin_mul_overflow(*v, by, v) && !__builtin_add_overflow(*v, plus, v);
}

enum np_err np_parse_u64(const char *s, size_t len, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	bool fits = true;

	if (len == 0)
		return NP_EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(s[i]))
			return NP_EINVAL;
		fits = fits && mul_add(&v, 10, (uint64_t)(s[i] - '0'));
	}
	if (!fits || v < min || v > max)
		return NP_ERANGE;
	*out = v;
	return NP_OK;
}

/* The longer of two units with the same beginning stands first. */
static const struct unit {
	const char *name;
	uint64_t ns;
} units[] = {
    {"h", 3600000000000u}, {"ms", 1000000u},	 {"m", 60000000000u},  {"s", 1000000000u},
    {"us", 1000u},	   {"\xc2\xb5s", 1000u}, {"\xce\xbcs", 1000u}, {"ns", 1u},
};

static const struct unit *unit_at(const char *s, size_t len)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t n = strlen(units[i].name);

		if (n <= len && memcmp(s, units[i].name, n) == 0)
			return &units[i];
	}
	return NULL;
}

/* One "1.5h" at *pos; *ns grows by it. *fits turns false on overflow: the text is read to its end
 * first. */
static bool parse_term(const char *s, size_t len, size_t *pos, uint64_t *ns, bool *fits)
{
	size_t i = *pos, from, digits = 0, to;
	uint64_t whole = 0, part = 0, step;
	const struct unit *unit;

	for (; i < len && is_digit(s[i]); i++, digits++)
		*fits = *fits && mul_add(&whole, 10, (uint64_t)(s[i] - '0'));
	if (i < len && s[i] == '.')
		i++;
	from = i;
	for (; i < len && is_digit(s[i]); i++)
		digits++;
	to = i;
	if (digits == 0)
		return false;
	unit = unit_at(s + i, len - i);
	if (unit == NULL)
		return false;
	step = unit->ns;
	for (size_t k = from; k < to; k++) {
		step /= 10;
		part += step * (uint64_t)(s[k] - '0');
	}
	*fits = *fits && mul_add(&whole, unit->ns, part) && mul_add(ns, 1, whole);
	*pos = i + strlen(unit->name);
	return true;
}

enum np_err np_parse_duration(const char *s, size_t len, int64_t max_ms, int64_t *out_ms)
{
	uint64_t ns = 0, ms;
	size_t pos = 0;
	bool fits = true;

	if (len == 0)
		return NP_EINVAL;
	if (len == 1 && s[0] == '0') {
		*out_ms = 0;
		return NP_OK;
	}
	while (pos < len) {
		if (!parse_term(s, len, &pos, &ns, &fits))
			return NP_EINVAL;
	}
	ms = ns / 1000000 + (ns % 1000000 >= 500000 ? 1 : 0);
	if (!fits || max_ms < 0 || ms > (uint64_t)max_ms)
		return NP_ERANGE;
	*out_ms = (int64_t)ms;
	return NP_OK;
}

void np_format_duration(int64_t ms, char out[32])
{
	const char *sign = ms < 0 ? "-" : "";
	uint64_t v = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
	uint64_t h = v / 3600000, m = v / 60000 % 60, s = v / 1000 % 60;
	unsigned frac = (unsigned)(v % 1000);
	char part[8] = "";

	if (v == 0 || v >= 1000) {
		if (frac != 0) {
			int n = snprintf(part, sizeof(part), ".%03u", frac);

			while (n > 0 && part[n - 1] == '0')
				part[--n] = '\0';
		}
		if (h > 0)
			snprintf(out, 32, "%s%lluh%llum%llu%ss", sign, (unsigned long long)h,
				 (unsigned long long)m, (unsigned long long)s, part);
		else if (m > 0)
			snprintf(out, 32, "%s%llum%llu%ss", sign, (unsigned long long)m,
				 (unsigned long long)s, part);
		else
			snprintf(out, 32, "%s%llu%ss", sign, (unsigned long long)s, part);
		return;
	}
	snprintf(out, 32, "%s%ums", sign, frac);
}

int np_hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

enum np_err np_parse_hex(const char *s, size_t len, uint8_t *out, size_t n)
{
	if (len / 2 != n || len % 2 != 0)
		return NP_EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (np_hex_digit(s[i]) == -1)
			return NP_EINVAL;
	}
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(np_hex_digit(s[2 * i]) << 4 | np_hex_digit(s[2 * i + 1]));
	return NP_OK;
}

void np_format_hex(const uint8_t *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * n] = '\0';
}
