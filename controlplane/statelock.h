/*
 * statelock.h - one master per state directory and per run directory.
 *
 * Both locks are flocks: they end with the process, whatever its end. The files hold the process id
 * and the API's address, for people and for the error that a second master shows.
 */
#ifndef CP_STATELOCK_H
#define CP_STATELOCK_H

#include "base/err.h"

struct statelock;

/*
 * statelock_take - locks @state_dir/lock and @run_dir/master.lock; makes the directories (0700).
 * @address: of the API, host:port. @out: caller owns it, ends it with statelock_release.
 * Errors: NP_EEXIST (another master, @diag names its pid, its address and both variables), NP_ESYS,
 * NP_ENOMEM.
 * Thread: main. Blocks: on the disk only.
 */
enum np_err statelock_take(const char *state_dir, const char *run_dir, const char *address,
			   struct statelock **out, struct np_diag *diag) NP_MUST_CHECK;
/* statelock_holder - the pid of the master that has @state_dir now; 0: none, or it cannot be said.
 * Makes nothing. */
int statelock_holder(const char *state_dir);
/* statelock_release - the files stay: removing them would let two masters hold two of them. */
void statelock_release(struct statelock *l);

#endif
