/*
 * fd_text.c - reads a text from a descriptor that was handed over by exec. See fd_text.h.
 */
#include "base/fd_text.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

char *np_fd_text(int fd, size_t max)
{
	struct stat st;
	size_t len = 0;
	ssize_t n = 1;
	char *text;
	int saved;

	/* A file says how much it takes. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uintmax_t)st.st_size < max)
		max = (size_t)st.st_size;
	text = np_calloc(1, max + 2);
	if (text != NULL && lseek(fd, 0, SEEK_SET) == -1 && errno != ESPIPE)
		n = -1;
	while (text != NULL && n > 0 && len <= max) {
		n = read(fd, text + len, max + 1 - len);
		if (n == -1 && errno == EINTR)
			n = 1;
		else if (n > 0)
			len += (size_t)n;
	}
	saved = errno;
	close(fd);
	errno = saved;
	if (n == -1) {
		explicit_bzero(text, max + 2);
		np_free(text);
		return NULL;
	}
	return text;
}
