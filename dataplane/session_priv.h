/*
 * session_priv.h - inside of session: what session.c (life, ingress) and session_target.c (egress,
 * single-end) share.
 */
#ifndef NP_SESSION_PRIV_H
#define NP_SESSION_PRIV_H

#include "session.h"

/* session_new - on the shard's list, DIALING, counted in; NULL without memory. */
struct session *session_new(struct shard *sh, enum session_role role);
/* session_target - for the log and STATUS: who answered, or who is dialled; "" = nobody so far. */
void session_target(const struct session *s, char out[SESSION_TARGET_MAX]);
/* session_end_as - session_end when the caller knows the target better: its dial is just over. @target
 * NULL: who answered. */
void session_end_as(struct session *s, enum np_reason reason, bool abort, const char *target);
/* session_on_outer - the event of a tunnel end's outer socket. */
void session_on_outer(evutil_socket_t fd, short what, void *arg);
/* session_pump - what the sockets allow now. */
void session_pump(struct session *s);
/*
 * side_error - of an event @what: a reset that reading would not find, because reading is paused or
 * the side ended its direction. side_error_late - the same of what the last short read may have
 * hidden. 0 = none.
 */
int side_error(const struct side *side, short what);
int side_error_late(struct side *side);

#endif
