/*
 * edge_door.h - the listener of one nng socket: it accepts, and carries the bytes of each peer.
 *
 * nng 1.5.2 must not see how a peer leaves. One that goes before it was greeted ends the accepting of
 * a listener for good; one that goes while answers are on their way to it can leave a thread waiting
 * for ever that all connections need for their end. So nng listens on files of its own beside @path,
 * and to each peer that has said its greeting belongs one connection there. It ends as nng likes it:
 * with the end of what it reads, when it says nothing more for DOOR_QUIET_MS, while what it writes is
 * taken to the last. Thread: the loop's, but door_is_friend.
 */
#ifndef NP_EDGE_DOOR_H
#define NP_EDGE_DOOR_H

#include "base/err.h"

#include <event2/event.h>
#include <nng/nng.h>
#include <stdbool.h>

#define DOOR_PEERS_MAX	 1024  /* of one door; the others wait in the kernel */
#define DOOR_GREETING_MS 10000 /* for its greeting; then a peer is closed */
#define DOOR_LAST_MS	 2000  /* a peer that does not take what is left when nng has ended */
#define DOOR_BUFFER_MAX	 65536 /* of a peer and direction; then its source is not read */
#define DOOR_RETRY_MS	 10    /* nng's backlog is full, or there are no descriptors */
#define DOOR_QUIET_MS	 200   /* nng says nothing for so long: it may see that a peer left */
#define DOOR_TALK_MS	 2000  /* ... and at the latest so long after the peer's end */
#define DOOR_FLUSH_MS	 50    /* what is pending when the socket closes gets this long */
#define DOOR_SETTLE_MS	 1000  /* ... as long as nng still reads what came before */
#define DOOR_CLOSE_S	 1

struct edge_door;

/*
 * door_open - listens on the socket file @path, mode 0600. @strangers: peers of other users get in as
 * well; otherwise they are closed. @out is set before the first pipe. Errors: NP_ENOMEM, NP_ELIMIT
 * (path too long), NP_ESYS (@diag).
 */
enum np_err door_open(nng_socket socket, const char *path, struct event_base *base, bool strangers,
		      struct edge_door **out, struct np_diag *diag) NP_MUST_CHECK;
/* door_is_friend - the peer of pipe @p is root or this process's user. Thread: any. */
bool door_is_friend(const struct edge_door *d, nng_pipe p);
/*
 * door_close - closes @socket. Peers are not heard any more, and get what it has said so far; what
 * they said before must still be received from it by another thread. False: nng did not end in DOOR_CLOSE_S; its threads may go on calling what
 * was registered with @socket. Blocks: DOOR_FLUSH_MS; at most
 * DOOR_SETTLE_MS and DOOR_CLOSE_S.
 */
bool door_close(struct edge_door *d, nng_socket socket);
/* door_shut - ends the rest. NULL is fine. */
void door_shut(struct edge_door *d);

#endif
