/*
 * err.h - error codes and the diagnosis of a user's input.
 *
 * Functions return enum np_err: 0 is success, everything else is negative. Outputs are untouched
 * on error. What a person has to read is in struct np_diag.
 */
#ifndef NP_BASE_ERR_H
#define NP_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

#define NP_MUST_CHECK	     __attribute__((warn_unused_result))
#define NP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

enum np_err {
#define NP_ERR(name, value, text) NP_##name = (value),
#include "tbl/errors.def"
#undef NP_ERR
};

/* What is wrong with an input, for the person who wrote it. */
struct np_diag {
	char field[48]; /* parameter, part of the URL, variable */
	size_t offset;	/* where in the input, bytes */
	char text[512]; /* one line: the offender, its value, what is allowed */
};

/* np_err_name - "EINVAL"; never NULL.  np_err_text - a short English text; never NULL. */
const char *np_err_name(enum np_err err);
const char *np_err_text(enum np_err err);

/*
 * np_diag_set - fill @diag (may be NULL) and return @err.
 * Non-printing bytes in the result are replaced by '?', so a diagnosis is always one line.
 */
enum np_err np_diag_set(struct np_diag *diag, enum np_err err, const char *field, const char *fmt,
			...) NP_PRINTF(4, 5);

#endif
