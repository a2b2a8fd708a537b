/*
 * channel_priv.h - inside of channel: what its files share. All of it: thread owner.
 */
#ifndef NP_CHANNEL_PRIV_H
#define NP_CHANNEL_PRIV_H

#include "channel.h"

/* channel_user_timeout - TCP_USER_TIMEOUT of a channel's socket, 0 = none. */
void channel_user_timeout(int fd, int ms);

/* -- writing -- */

/* channel_write_blocked - the socket takes no more now. channel_write_failed - closes the channel. */
void channel_write_blocked(struct channel *ch);
void channel_write_failed(struct channel *ch);

/* -- reading -- */

/* channel_pump - what was read and what can be, in its bounds. The channel may be closed on return. */
void channel_pump(struct channel *ch);
/* channel_read_stopped - a read gave @status, which is not STREAM_OK. false, always. */
bool channel_read_stopped(struct channel *ch, enum stream_status status);

/* -- spliced: payload through ch->out and ch->in -- */

/*
 * channel_write_owed - as much of the spliced frame as the socket takes now. The channel may be
 * closed on return.
 */
void channel_write_owed(struct channel *ch);
/* channel_may_splice - are large frames of this turn to be spliced? */
bool channel_may_splice(const struct channel *ch);
/* channel_begin_splice - is the rest of this frame? It has a pipe then. */
bool channel_begin_splice(struct channel *ch);
/*
 * channel_splice_once - one read of payload into the pipe, and from there to the outer socket.
 * channel_deliver_piped - only the latter. false: nothing more to do now.
 */
bool channel_splice_once(struct channel *ch);
bool channel_deliver_piped(struct channel *ch);

#endif
