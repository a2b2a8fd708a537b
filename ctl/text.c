/*
 * text.c - what goes to a terminal: see text.h.
 */
#include "text.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <string.h>
#include <wchar.h>

#include "base/banned.h"

#define GAP	 2
#define CELL_MAX 8192

/* sgr_len - the length of a sequence "ESC [ digits and ; m" at @s, 0 when it is none. */
static size_t sgr_len(const char *s)
{
	size_t n;

	if (s[0] != '\033' || s[1] != '[')
		return 0;
	n = 2 + strspn(s + 2, "0123456789;");
	return s[n] == 'm' ? n + 1 : 0;
}

/* The character at @s, which is not its end: its bytes, and *width columns; -1: nothing that prints.
 * What is no character is one byte. */
static size_t char_at(const char *s, mbstate_t *state, int *width)
{
	wchar_t c;
	size_t len = mbrtowc(&c, s, strlen(s), state);

	if (len == (size_t)-1 || len == (size_t)-2 || len == 0) {
		memset(state, 0, sizeof(*state));
		*width = -1;
		return 1;
	}
	*width = wcwidth(c);
	return len;
}

void text_clean(const char *s, bool colours, struct np_buf *out)
{
	mbstate_t state;
	size_t len;

	memset(&state, 0, sizeof(state));
	while (*s != '\0') {
		int columns;

		len = sgr_len(s);
		if (len > 0) {
			if (colours)
				np_buf_put(out, s, len);
			s += len;
			continue;
		}
		len = char_at(s, &state, &columns);
		if (columns < 0)
			np_buf_put_u8(out, '?');
		else
			np_buf_put(out, s, len);
		s += len;
	}
}

size_t text_width(const char *s)
{
	mbstate_t state;
	size_t width = 0;

	memset(&state, 0, sizeof(state));
	while (*s != '\0') {
		int columns;

		s += char_at(s, &state, &columns);
		width += columns >= 0 ? (size_t)columns : 1;
	}
	return width;
}

void text_bytes(double bytes, char out[16])
{
	static const char units[] = "BKMGTPE";
	size_t u = 0;

	while (bytes >= 1000 && u + 2 < sizeof(units)) {
		bytes /= 1024;
		u++;
	}
	if (u == 0)
		snprintf(out, 16, "%.0f", bytes);
	else
		snprintf(out, 16, bytes < 9.95 ? "%.1f%c" : "%.0f%c", bytes, units[u]);
}

void text_hide_key(const char *url, struct np_buf *out)
{
	const char *mark = strstr(url, "://");
	const char *rest = mark != NULL ? mark + 3 : url;
	size_t host = strcspn(rest, "?#");
	const char *at = memrchr(rest, '@', host);

	if (at == NULL)
		np_buf_put_str(out, url);
	else
		np_buf_putf(out, "%.*s***%s", (int)(rest - url), url, at);
}

void table_init(struct table *t, const char *const *heads, size_t cols)
{
	memset(t, 0, sizeof(*t));
	t->heads = heads;
	t->cols = cols;
}

void table_put(struct table *t, const char *fmt, ...)
{
	char raw[CELL_MAX], *cell = NULL;
	struct np_buf clean;
	const char *text;
	va_list ap;

	if (t->n == t->cap) {
		size_t cap = t->cap == 0 ? 64 : t->cap * 2;
		char **cells = np_realloc(t->cells, cap * sizeof(*cells));

		if (cells == NULL) {
			t->err = NP_ENOMEM;
			return;
		}
		t->cells = cells;
		t->cap = cap;
	}
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	np_buf_init(&clean, TEXT_MAX);
	text_clean(raw, false, &clean);
	text = np_buf_cstr(&clean);
	cell = text != NULL ? np_strdup(text) : NULL;
	if (cell == NULL)
		t->err = NP_ENOMEM;
	else
		t->cells[t->n++] = cell;
	np_buf_release(&clean);
}

/* put_line - one row into @line; the last column is not filled up. */
static void put_line(struct np_buf *line, const struct table *t, const char *const *cells,
		     const size_t *widths)
{
	for (size_t c = 0; c < t->cols; c++) {
		bool right = t->heads[c][0] == '>';
		const char *s = cells[c] + (cells == t->heads && right ? 1 : 0);
		size_t fill = widths[c] - text_width(s);
		bool last = c + 1 == t->cols;

		for (size_t i = 0; right && i < fill; i++)
			np_buf_put_u8(line, ' ');
		np_buf_put_str(line, s);
		for (size_t i = 0; !last && i < GAP + (right ? 0 : fill); i++)
			np_buf_put_u8(line, ' ');
	}
}

/* cut - @s ends after @width columns. */
static void cut(char *s, size_t width)
{
	mbstate_t state;
	size_t used = 0;

	memset(&state, 0, sizeof(state));
	while (*s != '\0') {
		int columns;
		size_t len = char_at(s, &state, &columns);

		used += columns >= 0 ? (size_t)columns : 1;
		if (used > width) {
			*s = '\0';
			return;
		}
		s += len;
	}
}

enum np_err table_print(const struct table *t, FILE *out, size_t width)
{
	size_t widths[TABLE_COLS], rows = t->n / t->cols;
	struct np_buf line;

	if (t->err != NP_OK)
		return t->err;
	for (size_t c = 0; c < t->cols; c++) {
		widths[c] = strlen(t->heads[c]) - (t->heads[c][0] == '>' ? 1 : 0);
		for (size_t r = 0; r < rows; r++) {
			size_t w = text_width(t->cells[r * t->cols + c]);

			if (w > widths[c])
				widths[c] = w;
		}
	}
	np_buf_init(&line, TABLE_COLS * CELL_MAX * 4);
	for (size_t r = 0; r <= rows; r++) {
		char *text;

		put_line(&line, t,
			 r == 0 ? t->heads : (const char *const *)&t->cells[(r - 1) * t->cols],
			 widths);
		np_buf_put_u8(&line, '\0');
		if (line.err != NP_OK)
			break;
		text = (char *)line.data + line.off;
		if (width > 0)
			cut(text, width);
		fprintf(out, "%s\n", text);
		np_buf_consume(&line, np_buf_len(&line));
	}
	np_buf_release(&line);
	return line.err;
}

void table_release(struct table *t)
{
	for (size_t i = 0; i < t->n; i++)
		np_free(t->cells[i]);
	np_free(t->cells);
	t->cells = NULL;
	t->n = t->cap = 0;
}
