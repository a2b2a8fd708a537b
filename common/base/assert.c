/*
 * assert.c - the end of the process after a bug of ours: one line, then abort.
 *
 * Uses neither the log (its lock may be held) nor stdio's streams.
 */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/banned.h"

void np_assert_failed(const char *expr, const char *file, int line)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "assertion %s failed at %s:%d\n", expr, file, line);

	if (n >= (int)sizeof(text)) {
		n = (int)sizeof(text) - 1;
		text[n - 1] = '\n';
	}
	if (n > 0 && write(STDERR_FILENO, text, (size_t)n) == -1) {
		/* Nobody is left to tell it to. */
	}
	abort();
}
