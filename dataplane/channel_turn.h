/*
 * channel_turn.h - inside of channel: frames of turns, and the mail between a channel's worker and
 * its home.
 */
#ifndef NP_CHANNEL_TURN_H
#define NP_CHANNEL_TURN_H

#include "channel.h"

/* channel_turn_frame - one whole frame of a stream channel that is no DATA, PING or PONG;
 * ch->actions is set. */
void channel_turn_frame(struct channel *ch, const struct np_frame *f, const uint8_t *payload);
/* channel_set_busy, channel_set_idle - a turn begins, is over. */
void channel_set_busy(struct channel *ch);
void channel_set_idle(struct channel *ch);
/* channel_post_idle, channel_post_gone, channel_post_outcome - to home. */
void channel_post_idle(struct channel *ch);
/* channel_post_idle_later - by mail on the home worker, too: from inside of the pool. */
void channel_post_idle_later(struct channel *ch);
void channel_post_gone(struct channel *ch);
void channel_post_outcome(struct channel *ch, bool ok);

#endif
