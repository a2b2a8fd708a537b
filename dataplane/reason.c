/*
 * reason.c - names and texts of the reasons for which sessions end, generated from tbl/reasons.def.
 */
#include "reason.h"

#include <stddef.h>

struct reason_row {
	const char *name;
	const char *text;
};

static const struct reason_row rows[] = {
#define NP_REASON(id, value, name, text) [value] = {name, text},
#include "tbl/reasons.def"
#undef NP_REASON
};
_Static_assert(sizeof(rows) / sizeof(rows[0]) == NP_REASON_COUNT, "NP_REASON_COUNT is stale");

enum np_reason np_reason_of(uint8_t code)
{
	return code < NP_REASON_COUNT ? (enum np_reason)code : NP_REASON_PEER_ABORT;
}

static const struct reason_row *row_of(enum np_reason r)
{
	return (size_t)r < NP_REASON_COUNT ? &rows[r] : &rows[NP_REASON_ERROR];
}

const char *np_reason_name(enum np_reason r)
{
	return row_of(r)->name;
}

const char *np_reason_text(enum np_reason r)
{
	return row_of(r)->text;
}
