/*
 * text.h - what goes to a terminal: tables, sizes, and text of others without its control bytes.
 */
#ifndef CTL_TEXT_H
#define CTL_TEXT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdio.h>

#define TEXT_MAX   65536
#define TABLE_COLS 16

/*
 * text_clean - @s appended to @out in one line: control bytes and what is no UTF-8 become '?'.
 * With @colours sequences that set colours stay; otherwise they are left out.
 */
void text_clean(const char *s, bool colours, struct np_buf *out);
/* text_width - the columns that cleaned text takes on a terminal. */
size_t text_width(const char *s);
/* text_bytes - "0", "999", "1.2K", "34M", … with powers of 1024. */
void text_bytes(double bytes, char out[16]);
/* text_hide_key - an URL whose user part is "***". */
void text_hide_key(const char *url, struct np_buf *out);

/* A table whose columns are as wide as their widest cell. Its strings are its own. */
struct table {
	const char *const *heads; /* borrowed; a leading '>' means: to the right */
	size_t cols, n;		  /* n = cells */
	size_t cap;
	char **cells; /* owned */
	enum np_err err;
};
void table_init(struct table *t, const char *const *heads, size_t cols);
/* table_put - the next cell, cleaned. */
void table_put(struct table *t, const char *fmt, ...) NP_PRINTF(2, 3);
/* table_print - with heads; cuts lines to @width columns (0 = does not). Errors: NP_ENOMEM. */
enum np_err table_print(const struct table *t, FILE *out, size_t width) NP_MUST_CHECK;
void table_release(struct table *t);

#endif
