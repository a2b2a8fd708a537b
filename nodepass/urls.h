/*
 * urls.h - the URLs of the command line: given as words, or in files (@file), a line each.
 *
 * All of them are checked before anything starts. Complaints go to standard error, a line each, and
 * name where the URL was written; no key is in them.
 */
#ifndef NODEPASS_URLS_H
#define NODEPASS_URLS_H

#include "core/config.h"
#include "core/url_list.h"

/* So many complaints are printed, then how many more there are. */
#define URLS_COMPLAINTS_MAX 20
/* So many URLs are shown in the arguments of the data plane. */
#define URLS_SHOWN_MAX 16

struct urls {
	struct np_buf list;		 /* a secret: see core/url_list.h */
	char *shown[URLS_SHOWN_MAX + 2]; /* owned; without keys, NULL at the end */
	size_t n, nshown, complaints;
	bool master; /* the only one is a master's */
};

/*
 * urls_read - from @words (NULL at the end), which are wiped once they are read: others can see
 * them. *status: 0, or the exit status after complaints were printed. The caller releases @out in
 * both cases.
 */
void urls_read(char **words, struct urls *out, int *status);
void urls_release(struct urls *u);

#endif
