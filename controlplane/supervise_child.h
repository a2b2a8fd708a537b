/*
 * supervise_child.h - system calls of supervise.c: find the program, start it, find one that runs,
 * signal it. Keeps nothing.
 */
#ifndef CP_SUPERVISE_CHILD_H
#define CP_SUPERVISE_CHILD_H

#include "base/err.h"

struct supervise_child {
	int pid, pidfd;
	int ready;     /* readable with one byte when its sockets listen */
	int output[2]; /* standard output and error; these four belong to the caller */
};

/* supervise_child_spawn - in a session of its own, without signals blocked or ignored.
 * Errors: NP_ESYS (@diag), NP_ENOMEM. */
enum np_err supervise_child_spawn(const char *program, const char *run_dir,
				  struct supervise_child *out, struct np_diag *diag) NP_MUST_CHECK;
/* supervise_child_find - who holds the lock of @run_dir. Errors: NP_ENOTFOUND (nobody), NP_EAGAIN
 * (not to be said now). */
enum np_err supervise_child_find(const char *run_dir, int *pid, int *pidfd) NP_MUST_CHECK;
void supervise_child_signal(int pidfd, int sig);

#endif
