/*
 * channel.h - a data channel: frames over one stream, one turn at a time (kind 1) or datagram flows
 * (kind 2).
 *
 * Lives on one worker for life. Its home side (which peer, is it idle) belongs to the instance's
 * home worker; the two talk by mail. The memory is freed when both sides have let go: the worker
 * posts GONE, home answers FREE.
 */
#ifndef NP_CHANNEL_H
#define NP_CHANNEL_H

#include "core/frame_out.h"
#include "core/turn.h"
#include "instance.h"
#include "pipe.h"
#include "pool.h"
#include "stream.h"

#define CHANNEL_MAGIC		0x4348414eu
#define CHANNEL_TX_MAX		(384 * 1024) /* frames waiting for the socket */
#define CHANNEL_RX_MAX		(WORKER_SCRATCH + 64 * 1024 + 1024)
#define CHANNEL_DIAL_AHEAD	(32 * 1024) /* read before STATUS at the egress */
#define CHANNEL_PING_MS		20000	    /* ± 25 % */
#define CHANNEL_PING_MIN_MS	3000	    /* when what lies between forgets flows sooner */
#define CHANNEL_PING_TIMEOUT_MS 10000
#define CHANNEL_SETTLE_MS	2000 /* after RESET: for the rest of the turn */
#define CHANNEL_SETTLE_BYTES	(1024 * 1024)
#define CHANNEL_USER_TIMEOUT_MS 30000
#define CHANNEL_PINGS_PER_S	10
#define CHANNEL_ROUNDS		4	      /* reads in one callback */
#define CHANNEL_HELD_MAX	(16 * 1024)   /* a frame up to this is copied to what is held */
#define DATAGRAM_BACKLOG	(256 * 1024)  /* frames of kind 2 that wait for the socket ... */
#define DATAGRAM_BURST		(2048 * 1024) /* ... for DATAGRAM_BURST_MS at most */
#define DATAGRAM_BURST_MS	100
#define DATAGRAM_TX_MAX		(2 * DATAGRAM_BURST) /* with DOPEN and DCLOSE, which are not dropped */

enum channel_state { CHANNEL_IDLE = 0, CHANNEL_BUSY, CHANNEL_CLOSED };

struct udp_flows;

struct channel {
	unsigned magic;
	/* the worker's side */
	struct grave grave;
	struct shard *shard;
	struct channel *prev, *next; /* shard->channels */
	enum channel_state state;
	enum np_channel_kind kind;
	bool ingress; /* this end sends OPEN */
	struct stream stream;
	struct event ev;
	struct task task;
	bool readable, writable, blocked, in_frame, parsing;
	bool ending, unsure; /* as in struct side */
	bool bulk;	     /* the last DATA was large: headers are read by themselves */
	bool stalled;	     /* bytes wait for the socket within a turn: no TCP_USER_TIMEOUT */
	bool pong_waits;     /* a PONG is among them */
	bool held;	     /* tx waits for company until task runs, which is queued then */
	struct np_turn turn;
	struct np_frame frame; /* being received */
	uint32_t left;	       /* payload bytes of it still to come */
	unsigned actions;      /* what the turn machine said of it */
	struct np_buf rx, tx;
	/* Spliced: payload on its way to the socket, which owes it before anything of tx, and to
	 * the session's outer socket. */
	struct np_frame_out owed;
	struct pipe out, in;
	struct session *session; /* of the running turn; NULL while a dead turn settles */
	uint32_t discarded;
	struct np_mono last_rx, settle_deadline, ping_due, ping_sent;
	struct np_mono ping_window;
	unsigned pings_in_window;
	bool pinging;
	struct udp_flows *flows; /* kind 2; owned */
	/* set before it is handed to its worker, read-only afterwards */
	struct peer *
	    peer; /* its content belongs to home, but for the atomics and boot_id, dial_budget_ms */
	uint8_t origin[PEER_ORIGIN_LEN];
	uint32_t dial_budget_ms;
	/* home's side */
	struct channel *hprev, *hnext; /* peer->idle */
	struct channel *aprev, *anext; /* peer->channels */
	bool h_idle, h_assigned, h_closing;
	struct np_mono h_idle_since;
	/* mail: worker to home, home to worker */
	struct mail idle_mail, gone_mail, command_mail, outcome_mail;
	bool outcome_ok;
	uint32_t outcome_sent;	       /* worker's count of outcome mails */
	_Atomic uint32_t outcome_seen; /* home's; a further one may go when they are equal */
	bool retire_asked;
	/* egress: the last turn, until an OPEN shows that its DONE arrived */
	bool has_last_trace, last_delivered;
	uint8_t last_trace[NP_TRACE_LEN];
};

/*
 * channel_new - takes the stream on success. Thread: any (it is not on a worker yet). Errors:
 * NP_ENOMEM.
 */
enum np_err channel_new(struct shard *sh, struct peer *peer, enum np_channel_kind kind,
			bool ingress, struct stream *stream, struct channel **out) NP_MUST_CHECK;
/* channel_adopt - begins work on its worker; @ping_first: the accepting side announces it with a
 * PING. */
void channel_adopt(struct channel *ch, bool ping_first);
/* channel_close - CLOSED now; an unfinished turn ends as channel_lost. Thread: owner. */
void channel_close(struct channel *ch, const char *why);
/* channel_violation - counted, logged, closed. */
void channel_violation(struct channel *ch, const char *what);

/* channel_put - a frame into the buffer; channel_flush - to the socket as far as it takes. Thread:
 * owner. */
void channel_put(struct channel *ch, enum np_frame_type type, const void *payload, size_t len);
void channel_flush(struct channel *ch);
/* channel_send - like put, checked with the turn machine first. false: it may not be sent now. */
bool channel_send(struct channel *ch, enum np_frame_type type, const void *payload, size_t len);
/*
 * channel_send_data - @buf holds NP_FRAME_HEADER free bytes and then @len bytes of the session.
 * Written at once as far as possible, the rest is buffered.
 */
void channel_send_data(struct channel *ch, uint8_t *buf, size_t len);
/* channel_send_frames - whole frames of kind 2, at once as far as possible, the rest is buffered. */
void channel_send_frames(struct channel *ch, const uint8_t *buf, size_t len);
/* channel_send_piped - the same with what @ch->out holds. */
void channel_send_piped(struct channel *ch);
/* channel_waiting - bytes of frames that the socket has not taken yet. */
static inline size_t channel_waiting(const struct channel *ch)
{
	return np_buf_len(&ch->tx) + np_frame_out_owed(&ch->owed);
}
/*
 * channel_hold - what is in tx waits for a frame that then goes with it, WORKER_LATER_MS at most.
 * channel_release - it waits no longer; channel_flush follows.
 */
void channel_hold(struct channel *ch);
void channel_release(struct channel *ch);
/* channel_resume - the outer side takes bytes again (or the rate does). */
void channel_resume(struct channel *ch);
/* channel_reset - RESET with @reason for the running turn; the session is detached; the turn
 * settles. */
void channel_reset(struct channel *ch, enum np_reason reason);
/* channel_was_silent - it had brought nothing for @ms and turned out to be dead: the idle ones of this
 * session with the other end are pinged more often from now on. */
void channel_was_silent(struct channel *ch, int64_t ms);
/* channel_maybe_done - egress: DONE if the turn is through; the channel is idle then. */
void channel_maybe_done(struct channel *ch);
/* channel_tick - deadlines. */
void channel_tick(struct channel *ch, struct np_mono now);
/* channel_command_close - home asks the worker to close an idle channel. Thread: home. */
void channel_command_close(struct channel *ch);

#endif
