/*
 * metrics_process.h - what the kernel says of this process.
 */
#ifndef CP_METRICS_PROCESS_H
#define CP_METRICS_PROCESS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct metrics_process {
	bool known;
	double cpu_s;
	uint64_t threads, vsize, rss; /* bytes */
	double start_s;		      /* wall clock, seconds since 1970 */
	uint64_t fds, max_fds;
};

/* metrics_process_parse - @text is /proc/<pid>/stat; @hz ticks a second, @page bytes, @boot_s the
 * wall clock at boot. Pure. False: not understood. */
bool metrics_process_parse(const char *text, long hz, long page, double boot_s,
			   struct metrics_process *out) NP_MUST_CHECK;
/* metrics_process_read - of this process; what cannot be read stays 0, known says which. */
void metrics_process_read(struct metrics_process *out);

#endif
