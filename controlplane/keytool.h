/*
 * keytool.h - the API key from the command line: shown, or made new. Thread: main.
 */
#ifndef CP_KEYTOOL_H
#define CP_KEYTOOL_H

#include "app.h"

/* How long a running master may take to store a new key. */
#define KEYTOOL_WAIT_MS 5000

/*
 * keytool_print - the API key on standard output, after a new one was made if @rotate: by the
 * running master (it is told by SIGUSR1), else here. @url: a master's whose store= is to be used,
 * NULL = the default one. Blocks. Errors: NP_ENOTFOUND (no state yet),
 * NP_ESYS, NP_ETIMEOUT with @diag.
 */
enum np_err keytool_print(const char *url, bool rotate, struct np_diag *diag) NP_MUST_CHECK;
/* keytool_rotate - SIGUSR1 in the master. */
void keytool_rotate(struct app *app);

#endif
