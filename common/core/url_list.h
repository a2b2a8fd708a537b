/*
 * url_list.h - several URLs as one text: how `nodepass` hands them to the data plane, a line each.
 *
 * A line is the URL and, behind a TAB, where it was written ("tunnels.conf:7"), for errors and the
 * log. One URL alone is the text itself. A URL has neither TAB nor LF: np_url_split refuses them.
 */
#ifndef NP_CORE_URL_LIST_H
#define NP_CORE_URL_LIST_H

#include "base/buf.h"
#include "core/config.h"

#define NP_URLS_MAX	  10000 /* as many as a data plane serves */
#define NP_URL_ORIGIN_MAX 200
#define NP_URL_LIST_MAX	  ((size_t)NP_URLS_MAX * (NP_URL_MAX + NP_URL_ORIGIN_MAX + 2))

/* np_url_list_put - appends a line. @origin "" or NULL: none; what would break the line in it
 * becomes '?', and it is cut at NP_URL_ORIGIN_MAX. */
void np_url_list_put(struct np_buf *out, const char *url, const char *origin);
/* np_url_list_next - cuts the next line out of *at in place; *origin "" when there is none. False at
 * the end. */
bool np_url_list_next(char **at, char **url, const char **origin);

#endif
