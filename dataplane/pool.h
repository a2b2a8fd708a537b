/*
 * pool.h - the ingress end of a tunnel: which idle channel serves the next visitor, and who waits.
 *
 * Lives on the instance's home worker. Peers (sessions with the other end) own idle channels; a
 * visitor goes to the peer with the fewest sessions; without an idle channel visitors wait in
 * order, at most NP_POOL_GET_TIMEOUT.
 */
#ifndef NP_POOL_H
#define NP_POOL_H

#include "core/addr.h"
#include "core/tunnel_fsm.h"
#include "dial_order.h"
#include "reason.h"
#include "wire/tunnel_msg.h"
#include "worker.h"

struct instance;
struct channel;
struct visitor;
struct control;

/* Which process and instance is at the other end: boot_id, instance id (zero: a server, there is one). */
#define PEER_ORIGIN_LEN	       (NP_BOOT_ID_LEN + NP_INSTANCE_ID_LEN)
#define POOL_REMIND_MS	       1000 /* said again when nothing changed */
#define POOL_DEMAND_MS	       50   /* at most one PoolDemand in this time */
#define PEER_MAGIC	       0x50454552u
#define PEER_FAILURES_MAX      5 /* opens failed in a row, then it is passed over */
#define PEER_DATAGRAM_CHANNELS 4 /* kind 2 channels of a session */

/* One session with the other end, at either end. Owned by pool->peers; freed when its last channel
 * is gone. */
struct peer {
	unsigned magic;
	struct grave grave;
	struct peer *prev, *next; /* pool->peers */
	struct instance *inst;
	enum np_peer_state state;
	bool draining;		 /* the other end sent Drain: no new sessions */
	struct control *control; /* owned by server or client; NULL when lost */
	char name[NP_ADDR_TEXT_MAX];
	uint8_t session_id[NP_SESSION_ID_LEN];
	uint8_t d[NP_EXPORTER_LEN]; /* a secret */
	uint8_t origin[PEER_ORIGIN_LEN];
	uint32_t dial_budget_ms;
	uint64_t source;	  /* np_addr_source_key */
	struct np_replay *replay; /* owned; server */

	struct channel *channels; /* all of it, either kind */
	struct channel *idle; /* stream channels ready for a visitor, used last first (ingress) */
	unsigned nidle;
	unsigned nchannels; /* of kind 1 */
	unsigned makers;    /* being made (client) */
	struct channel *datagram[PEER_DATAGRAM_CHANNELS];
	unsigned ndatagram;
	_Atomic uint32_t busy;	/* turns running; workers count */
	_Atomic uint32_t opens; /* turns begun; workers count (egress) */
	_Atomic uint32_t
	    ping_ms; /* of its idle channels; 0 = CHANNEL_PING_MS, until one was lost by silence */
	struct dial_order order; /* of dials (egress); has a lock of its own */
	uint64_t visitors;	 /* given to its channels so far: their trace ids (ingress, home) */
	uint32_t assigned;	 /* visitors given to its channels and not back (ingress, home) */
	uint32_t idle_target;	 /* PoolTarget of the other end; UINT32_MAX = none said */
	_Atomic unsigned failures; /* written by home alone */
	int64_t penalty_ms;
	struct np_mono passed_until;
	struct event *timer; /* LOST for too long; preambles wrong */
};

struct pool {
	struct peer *peers;
	struct visitor *waiting; /* list in order of arrival */
	unsigned nwaiting;
	uint32_t rotor;
	struct event *timer; /* the first waiting visitor's deadline */
	struct task demand_task;
	struct event *demand_timer; /* pending: one was sent just now */
	/* What the dialling side believes: so many waited at told_at, so many of them were served since. */
	unsigned told, served;
	struct np_mono told_at;
};

enum np_err pool_init(struct instance *inst) NP_MUST_CHECK;
void pool_release(struct instance *inst);

struct peer *peer_new(struct instance *inst);
/* peer_add_channel - home's list of it; before it is adopted. */
void peer_add_channel(struct peer *p, struct channel *ch);
/* peer_event - the machine's one door (tunnel_fsm.h). */
void peer_event(struct peer *p, enum np_peer_event ev);
/* peer_maybe_free - buries an ended peer without channels. */
void peer_maybe_free(struct peer *p);

/* pool_visitor - @v (taken) gets a channel now or waits; @front: it was first before. */
void pool_visitor(struct instance *inst, struct visitor *v, bool front);
/* pool_idle - @ch is ready for a visitor. pool_gone - @ch is no more. Thread: home. */
void pool_idle(struct channel *ch);
void pool_gone(struct channel *ch);
/* pool_outcome - an open on @p ended: @ok STATUS 0. */
void pool_outcome(struct peer *p, bool ok);
/* pool_kick - something changed (peer up, channel back): serve who waits, retire the surplus. */
void pool_kick(struct instance *inst);
void pool_refuse_all(struct instance *inst, enum np_reason reason);
/* pool_hand_on - who waits goes to the one that took @inst's place. */
void pool_hand_on(struct instance *inst);
unsigned pool_idle_count(const struct instance *inst);
/* pool_datagram_channel - the kind 2 channel with the fewest flows of a live peer, NULL = none. */
struct channel *pool_datagram_channel(struct instance *inst);

#endif
