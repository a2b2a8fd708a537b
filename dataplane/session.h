/*
 * session.h - one TCP session at one end of it.
 *
 * INGRESS: a visitor and a turn of a channel. EGRESS: a turn and a target. SINGLE: a visitor and a
 * target. session_end is the only way out: exactly once, with a reason.
 */
#ifndef NP_SESSION_H
#define NP_SESSION_H

#include "channel.h"
#include "core/halfclose.h"
#include "core/proxyproto.h"
#include "dial.h"
#include "pipe.h"
#include "visitor.h"

#define SESSION_MAGIC	   0x53455353u
#define SESSION_TARGET_MAX 80
#define STATUS_GRACE_MS	   2000 /* on top of what the egress says it takes for an OPEN */

enum session_role { SESSION_INGRESS = 0, SESSION_EGRESS, SESSION_SINGLE };
enum session_state {
	SESSION_DIALING = 0, /* egress, single: the target is being dialled */
	SESSION_OPENING,     /* ingress: OPEN went, STATUS has not come */
	SESSION_RUNNING,
	SESSION_ENDED,
};

/* A direction that waits for the token bucket; element @dir of its session's. */
struct session_wait {
	struct session_wait *prev, *next; /* shard->throttled */
	uint32_t credit; /* bytes left of its turn: it may take them before those who wait */
	uint8_t dir;	 /* RATE_RX, RATE_TX */
	bool queued;
};

/*
 * One socket of a session, edge-triggered. It is read until a read is short (stream_drained): what comes
 * later is an event of its own. So is the peer's end (@ending), but not a reset that came together
 * with the last bytes: @unsure has the tick look for one.
 */
struct side {
	struct stream stream;
	struct event ev;
	bool readable, writable, eof, added;
	bool ending;   /* the peer's FIN is in the socket, perhaps behind bytes */
	bool unsure;   /* reading stopped at a short read */
	bool shut_due; /* half-close that the socket did not take yet (TLS) */
};

/* Thousands are held: what only some need is in the unions, and the end is SINGLE's alone. */
struct session {
	unsigned magic;
	enum session_role role;
	enum session_state state;
	uint8_t bulk[2]; /* by RATE_RX, RATE_TX: large reads in a row, see relay_priv.h */
	struct grave grave;
	struct shard *shard;
	struct session *prev, *next; /* shard->sessions */
	struct task task;
	struct side outer; /* the visitor (ingress, single) or the target (egress) */
	struct np_addr visitor, listener;
	union {
		struct np_addr target; /* EGRESS, SINGLE: who answered; len 0 = nobody so far */
		char *target_text;     /* INGRESS, owned: what STATUS said; NULL = nothing so far */
	};
	uint64_t rx, tx;
	struct np_mono start, last_active;
	struct session_wait wait[2];
	struct dial *dial; /* owned while DIALING */
	union {
		struct {			 /* INGRESS, EGRESS */
			struct channel *channel; /* borrowed; busy with this session */
			struct np_buf kept;	 /* ingress until STATUS: for a second attempt */
			struct np_mono status_deadline;
			uint8_t trace[NP_TRACE_LEN];
			/* egress; owned by themselves: an attempt 2 asks whether attempt 1
			 * delivered; an earlier visitor is to be dialled first */
			struct trace_query *query;
			struct order_wait *order_wait;
			uint8_t attempt;
			bool same_boot;	     /* an attempt 2 that only this boot_id may take */
			bool data_given;     /* a DATA byte was given to the channel's socket */
			bool delivered;	     /* a byte was written to the target */
			bool half_close_due; /* FIN came before the target was connected */
			uint8_t tunnel_end;  /* they have no memory from here on */
		};
		struct {			  /* SINGLE */
			struct side inner;	  /* the target */
			struct np_buf pending[2]; /* by enum np_dir: read, not yet written */
			struct pipe pipe[2];	  /* by enum np_dir: the same, spliced */
			struct np_halfclose half;
		};
	};
};

/* session_start_single - takes @v. Thread: v->shard's worker. */
void session_start_single(struct visitor *v);
/* session_start_ingress - takes @v, begins a turn on @ch (idle, this worker's). */
void session_start_ingress(struct channel *ch, struct visitor *v);
/* session_start_egress - an OPEN came on @ch. @info: what it announced. */
void session_start_egress(struct channel *ch, uint8_t attempt, const struct np_proxy_info *info);
/* session_end - the one way out. @abort: sockets are reset. The turn is the caller's business. */
void session_end(struct session *s, enum np_reason reason, bool abort);
/* session_outer_reset - the reason when the outer socket is reset. */
static inline enum np_reason session_outer_reset(const struct session *s)
{
	return s->role == SESSION_EGRESS ? NP_REASON_TARGET_RESET : NP_REASON_VISITOR_RESET;
}
/* session_abort - session_end plus RESET to the other end. */
void session_abort(struct session *s, enum np_reason reason);
/* session_channel_lost - its channel broke: a second attempt where that is safe, else channel_lost.
 */
void session_channel_lost(struct session *s);
/* session_status - ingress: STATUS came. */
void session_status(struct session *s, uint8_t code, const char *text, size_t len);
/* session_half_close - the other end's FIN, all its bytes are written. */
void session_half_close(struct session *s);
/* session_trace_answer - egress, attempt 2: may the target be dialled, or was the first one
 * delivered? */
void session_trace_answer(struct session *s, bool delivered);
/* session_order_go - egress: it is its turn to dial. */
void session_order_go(struct session *s);
void session_tick(struct session *s, struct np_mono now);
/* session_set_state - the one door. */
void session_set_state(struct session *s, enum session_state state);
const char *session_state_name(enum session_state state);

/* side_init, side_close - a socket of a session on the loop. */
enum np_err side_attach(struct side *side, struct worker *w, event_callback_fn fn,
			void *arg) NP_MUST_CHECK;
void side_close(struct side *side, bool abort);
/* side_event - what an event says may be tried now. */
void side_event(struct side *side, short what);
/* side_read_short - a read took all there was (stream_drained). */
static inline void side_read_short(struct side *side)
{
	if (side->ending)
		return;
	side->readable = false;
	side->unsure = true;
}

#endif
