/*
 * err.c - names and texts of the error codes, and the one place where a diagnosis is written.
 */
#include "base/err.h"

#include <stdio.h>

#include "base/banned.h"

const char *np_err_name(enum np_err err)
{
	switch (err) {
#define NP_ERR(name, value, text) \
	case NP_##name:           \
		return #name;
#include "tbl/errors.def"
#undef NP_ERR
	}
	return "UNKNOWN";
}

const char *np_err_text(enum np_err err)
{
	switch (err) {
#define NP_ERR(name, value, text) \
	case NP_##name:           \
		return text;
#include "tbl/errors.def"
#undef NP_ERR
	}
	return "unknown error";
}

static void make_printable(char *s)
{
	for (; *s != '\0'; s++) {
		if (*s < 0x20 || *s > 0x7e)
			*s = '?';
	}
}

enum np_err np_diag_set(struct np_diag *diag, enum np_err err, const char *field, const char *fmt,
			...)
{
	va_list ap;

	if (diag == NULL)
		return err;
	diag->offset = 0;
	snprintf(diag->field, sizeof(diag->field), "%s", field != NULL ? field : "");
	va_start(ap, fmt);
	if (vsnprintf(diag->text, sizeof(diag->text), fmt, ap) < 0)
		snprintf(diag->text, sizeof(diag->text), "%s", np_err_text(err));
	va_end(ap);
	make_printable(diag->field);
	make_printable(diag->text);
	return err;
}
