/*
 * edge_door.h - the listener of one nng socket, and that it goes on accepting.
 *
 * In nng 1.5.2 a peer that goes away in the middle of its handshake can end the accepting for good:
 * the transport hands NNG_ECLOSED of that one connection to the listener, which takes it for its
 * own end. A kill -9 of a controller is enough. So the door is tried every DOOR_CHECK_MS by a
 * connection of our own, and a new one is made when that is not noticed. Those who are inside stay:
 * the old listener goes on for them. Thread: the loop's, but door_seen.
 */
#ifndef NP_EDGE_DOOR_H
#define NP_EDGE_DOOR_H

#include "base/err.h"

#include <event2/event.h>
#include <nng/nng.h>
#include <stdbool.h>

#define DOOR_CHECK_MS 300
#define DOOR_DEAF     2 /* so many times in a row that a check was not noticed */
#define DOOR_OLD_MAX  4 /* old listeners that are kept; then the oldest goes, with its clients */

struct edge_door;

/*
 * door_open - listens on the socket file @path, mode 0600. @out is set before the first pipe.
 * Errors: NP_ENOMEM, NP_ELIMIT (path too long), NP_ESYS (@diag).
 */
enum np_err door_open(nng_socket socket, const char *path, struct event_base *base,
		      struct edge_door **out, struct np_diag *diag) NP_MUST_CHECK;
/*
 * door_seen - a pipe was made; to be called at each NNG_PIPE_EV_ADD_PRE. True: the peer is our
 * own check, close the pipe. Thread: nng's.
 */
bool door_seen(struct edge_door *d, nng_pipe p);
/* door_shut - no more checks; the listener ends with its socket, which the caller closes first. */
void door_shut(struct edge_door *d);

#endif
