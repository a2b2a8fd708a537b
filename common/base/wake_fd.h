/*
 * wake_fd.h - an eventfd that tells a loop of something that other threads left for it.
 */
#ifndef NP_BASE_WAKE_FD_H
#define NP_BASE_WAKE_FD_H

/* np_wake_fd_open - -1 with errno. Whoever opened it closes it. */
int np_wake_fd_open(void);
/* np_wake_fd_set - it is readable from now on. Thread: any. Blocks: never. */
void np_wake_fd_set(int fd);
/* np_wake_fd_clear - it is not readable until it is set again: before one looks at what was left. */
void np_wake_fd_clear(int fd);

#endif
