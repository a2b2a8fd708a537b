/*
 * relay.h - the mover of bytes: between a session's sockets and its channel.
 *
 * Two ways to move them: by copy through the worker's scratch, for everything, and by splice
 * through a pipe, between plain sockets and for bulk. Which one is decided for each read; NP_RELAY
 * forces one of them.
 *
 * Each call does a bounded share of work and asks to be called again in the next loop pass when
 * there is more.
 */
#ifndef NP_RELAY_H
#define NP_RELAY_H

#include "pipe.h"
#include "session.h"

/* relay_from_outer - visitor's or target's bytes into the channel (tunnel ends). */
void relay_from_outer(struct session *s);
/*
 * relay_to_outer - @len bytes of a DATA frame to the outer socket. Returns how many were taken;
 * fewer than @len means wait (the channel is resumed by relay when the socket or the rate allows).
 * The session may be ended on return.
 */
size_t relay_to_outer(struct session *s, const uint8_t *p, size_t len);
/* relay_pipe_to_outer - the same with all that is in @p, which may be closed on return. */
void relay_pipe_to_outer(struct session *s, struct pipe *p);
/* relay_single - both directions of a single-end session. */
void relay_single(struct session *s);

/*
 * relay_splice_min - fewer bytes than these are copied, header and payload in one write. 0: all
 * are, splice is switched off.
 */
size_t relay_splice_min(void);

/*
 * relay_grant - how many of @want bytes the rate allows now in direction @dir; 0: the direction was
 * put on the shard's waiting list. relay_refund - what was granted and not used.
 */
size_t relay_grant(struct session *s, int dir, size_t want);
void relay_refund(struct session *s, int dir, size_t unused);
void relay_forget(struct session *s);
/* relay_throttle_run - the shard's timer: those who wait, in order. */
void relay_throttle_run(struct shard *sh);

#endif
