/*
 * plane.h - how `nodepass` becomes the program that does the work.
 *
 * Owns where the programs are looked for and how the URL gets there: in a sealed memfd, never in
 * argv or the environment, because both can be read by others on the machine.
 */
#ifndef NODEPASS_PLANE_H
#define NODEPASS_PLANE_H

#include "base/err.h"

/*
 * plane_url_fd - @url, or a list of them (without NUL) in a sealed memfd at offset 0, number > 2, kept open across
 * exec. Errors: NP_ESYS, errno says why.
 */
enum np_err plane_url_fd(const char *url, int *fd) NP_MUST_CHECK;

/*
 * plane_become - execs @program --url-fd=@fd @shown (at most PLANE_SHOWN_MAX words, NULL at the
 * end); returns on failure only. Looks beside
 * this program, then in ../libexec/nodepass from there, then in the configured folder.
 * @diag: one line that names the places. Errors: NP_ENOTFOUND, NP_ESYS.
 */
#define PLANE_SHOWN_MAX 20
enum np_err plane_become(const char *program, int fd, char *const *shown,
			 struct np_diag *diag) NP_MUST_CHECK;

/*
 * plane_become_ctl - execs nodepass-ctl with @words (NULL at the end), found in the same way.
 * Errors: NP_ENOTFOUND, NP_ESYS, NP_ELIMIT (more words than PLANE_WORDS_MAX).
 */
#define PLANE_WORDS_MAX 10000
enum np_err plane_become_ctl(char *const *words, struct np_diag *diag) NP_MUST_CHECK;

#define PLANE_DATA    "nodepass-dataplane"
#define PLANE_CONTROL "nodepass-controlplane"
#define PLANE_CTL     "nodepass-ctl"

#endif
