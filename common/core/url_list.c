/*
 * url_list.c - several URLs as one text. See url_list.h.
 */
#include "core/url_list.h"

#include <string.h>

#include "base/banned.h"

void np_url_list_put(struct np_buf *out, const char *url, const char *origin)
{
	if (np_buf_len(out) > 0)
		np_buf_put_u8(out, '\n');
	np_buf_put_str(out, url);
	if (origin == NULL || origin[0] == '\0')
		return;
	np_buf_put_u8(out, '\t');
	for (size_t i = 0; origin[i] != '\0' && i < NP_URL_ORIGIN_MAX; i++) {
		unsigned char c = (unsigned char)origin[i];

		np_buf_put_u8(out, c < 0x20 || c == 0x7f ? '?' : c);
	}
}

bool np_url_list_next(char **at, char **url, const char **origin)
{
	char *line = *at, *end, *tab;

	if (*line == '\0')
		return false;
	end = line + strcspn(line, "\n");
	*at = *end == '\n' ? end + 1 : end;
	*end = '\0';
	tab = strchr(line, '\t');
	*origin = "";
	if (tab != NULL) {
		*tab = '\0';
		*origin = tab + 1;
	}
	*url = line;
	return true;
}
