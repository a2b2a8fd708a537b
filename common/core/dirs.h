/*
 * dirs.h - where run-time files (sockets, lock) and state (store, certificates) lie by default.
 * Pure: the environment comes through a callback, nothing is created.
 */
#ifndef NP_CORE_DIRS_H
#define NP_CORE_DIRS_H

#include "base/err.h"

#include <sys/types.h>

#define NP_DIR_MAX 512 /* with its NUL; a socket's path in it has less room still */

typedef const char *(*np_dirs_get_fn)(void *arg, const char *name);

/*
 * np_run_dir - NP_RUN_DIR, or /run/nodepass for root, $XDG_RUNTIME_DIR/nodepass, or
 * /tmp/nodepass-<uid>. The last one must be made 0700 and its owner checked by who uses it.
 * np_state_dir - NP_STATE_DIR, or /var/lib/nodepass for root, $XDG_STATE_HOME/nodepass, or
 * ~/.local/state/nodepass.
 * Variables that are set to "" count as unset; XDG ones and HOME that are not absolute, too.
 * Errors: NP_ELIMIT (too long), NP_ENOTFOUND (np_state_dir: no HOME).
 */
enum np_err np_run_dir(np_dirs_get_fn get, void *arg, uid_t uid,
		       char out[NP_DIR_MAX]) NP_MUST_CHECK;
enum np_err np_state_dir(np_dirs_get_fn get, void *arg, uid_t uid,
			 char out[NP_DIR_MAX]) NP_MUST_CHECK;

#endif
