/*
 * listener.h - a listening TCP socket on its worker's loop, which pauses instead of spinning when
 * descriptors or memory run out.
 */
#ifndef NP_LISTENER_H
#define NP_LISTENER_H

#include "core/addr.h"
#include "worker.h"

#define LISTENER_BACKLOG  4096
#define LISTENER_BATCH	  16 /* accepts in one callback: what else is ready waits for them */
#define LISTENER_PAUSE_MS 50 /* then tried again, doubling to 1 s */

typedef void (*listener_fn)(void *arg, int fd, const struct np_addr *peer);
/* @err: why accept pauses; 0 = it goes on. */
typedef void (*listener_pause_fn)(void *arg, int err);

struct listener;
/*
 * listener_socket - a bound, listening, non-blocking socket. @addr with port; unset host = all
 * addresses, v6 and v4. Returns -1 with errno.
 */
int listener_socket(const struct np_addr *addr, bool any);
/* listener_new - takes @fd; @on_pause is said once a pause. Errors: NP_ENOMEM: not taken. Thread:
 * owner. */
enum np_err listener_new(struct worker *w, int fd, listener_fn fn, listener_pause_fn on_pause,
			 void *arg, struct listener **out) NP_MUST_CHECK;
int listener_fd(const struct listener *l); /* borrowed */
void listener_free(struct listener *l);

#endif
