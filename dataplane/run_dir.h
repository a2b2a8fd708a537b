/*
 * run_dir.h - the run directory and its lock: one data plane in it, of one user.
 */
#ifndef NP_RUN_DIR_H
#define NP_RUN_DIR_H

#include "base/err.h"

/*
 * run_dir_lock - makes @dir (0700) or checks that it is this user's, takes the lock in it and
 * writes the process's id there. *fd: keeps the lock while it is open.
 * Errors (@diag): NP_ESYS, NP_EEXIST (another process has it), NP_EINVAL (not a directory of this
 * user's), NP_ELIMIT.
 */
enum np_err run_dir_lock(const char *dir, int *fd, struct np_diag *diag) NP_MUST_CHECK;
/* run_dir_unlock - the file stays, empty: removing it would race with who waits for it. */
void run_dir_unlock(int fd);

#endif
