/*
 * fd_text.h - a text that another program left behind a descriptor: a URL in a sealed memfd.
 */
#ifndef NP_BASE_FD_TEXT_H
#define NP_BASE_FD_TEXT_H

#include <stddef.h>

/*
 * np_fd_text - all of @fd from its beginning, at most @max bytes (a longer one is cut at @max + 1,
 * so that the caller sees it is too long). Closes @fd. NULL with errno on error; the caller wipes
 * and frees the result.
 */
char *np_fd_text(int fd, size_t max);

#endif
