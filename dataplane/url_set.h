/*
 * url_set.h - the URLs that this process was started with, one or several, until they are
 * instances. Thread: main.
 */
#ifndef NP_URL_SET_H
#define NP_URL_SET_H

#include "core/url_list.h"
#include "registry.h"

struct url_set {
	struct np_config *cfg; /* owned; a released one was taken by its instance */
	const char **origin;   /* owned; borrowed from text */
	char *text;	       /* owned; without the URLs, which are wiped */
	size_t n;
};

/*
 * url_set_read - from @text (taken, form of core/url_list.h). False: said on standard error, a line
 * that names the offender; the caller releases @out in both cases.
 */
bool url_set_read(char *text, struct url_set *out);
/* url_set_warn - what is to be said at WARN about them. */
void url_set_warn(const struct url_set *s);
/*
 * url_set_start - makes an instance of each, then starts all; nothing starts when one cannot be
 * made. A single one has the id "", several have their numbers from 1. *diag: one line.
 * Errors: those of registry_add.
 */
enum np_err url_set_start(struct url_set *s, struct registry *r,
			  struct np_diag *diag) NP_MUST_CHECK;
void url_set_release(struct url_set *s);

#endif
