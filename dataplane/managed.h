/*
 * managed.h - the life of a process without a URL: run directory, lock, sockets, signals, the end.
 *
 * Runs main's event loop. Serves what it is told over ctl.sock, goes on without who told it, and
 * ends on SIGTERM, SIGINT or Shutdown.
 */
#ifndef NP_MANAGED_H
#define NP_MANAGED_H

#include "base/err.h"

#include <stdint.h>

struct managed_options {
	const char *run_dir;
	int ready_fd; /* gets one byte when the sockets listen, and is closed; -1 = none */
	int sig_fd;   /* signalfd of TERM, INT and HUP, which are blocked */
	unsigned workers;
};

/*
 * managed_run - until the end. Returns the exit status; what failed at the start was said on
 * standard error. Thread: main, before any worker.
 */
int managed_run(const struct managed_options *o);

#endif
