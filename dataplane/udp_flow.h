/*
 * udp_flow.h - inside of udp: one flow, and what its ingress and its egress share.
 */
#ifndef NP_UDP_FLOW_H
#define NP_UDP_FLOW_H

#include "udp.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#define UDP_FLOW_MAGIC 0x55464c57u
/* With several targets: one that has refused nothing for so long lives, though it may never answer;
 * a flow is given to another target once in UDP_MOVE_MS. */
#define UDP_LIVES_MS 1000
#define UDP_MOVE_MS  100
/* A DGRAM frame's header and flow id in front of the datagram. */
#define DGRAM_HEAD (NP_FRAME_HEADER + 4)

struct udp_key {
	uint8_t bytes[40]; /* peer and local address, ports, families */
};

struct udp_flow {
	unsigned magic;
	struct grave grave;
	struct instance *inst;
	struct udp_flow *prev, *next; /* by last activity, oldest first */
	struct udp_ingress *ingress;  /* NULL at an egress */
	struct udp_key key;	      /* ingress */
	struct udp_flows *flows;      /* its channel's; NULL: single-end, or lost */
	uint32_t id;		      /* on the channel */
	unsigned lists;		      /* inst->lists when allow= and deny= were last asked */
	struct np_addr visitor, local;
	int fd; /* connected to the target; -1 = none (yet) */
	uint16_t
	    gso_max; /* largest datagrams that its route takes several of in a packet; 0 = none */
	struct event ev;
	bool ev_added, dead;
	bool leaving;  /* only what is on its way; not in ingress->by_key any more */
	bool slotless; /* its slot was given back */
	struct resolve_request resolving;
	/* length-prefixed datagrams that wait for the target's address, or for a channel */
	struct np_buf held;
	struct np_mono held_since;
	/* Held while its target is resolved, and with several targets until it ends. */
	struct settings *settings;
	size_t target_index; /* of settings */
	char target[NP_ADDR_TEXT_MAX];
	struct np_mono target_since; /* when that one was chosen */
	bool target_lives;	     /* it answered, or refused nothing for UDP_LIVES_MS */
	bool target_refused;	     /* ICMP said so to a call that sent */
	bool moved;		     /* it is not the first one */
	uint64_t rx, tx;
	struct np_fair_flow share[2]; /* of rate=, by direction */
	struct np_mono start, last;
	UT_hash_handle hh_key, hh_id;
};

struct udp_ingress {
	struct instance *inst;
	int fd;
	struct event *event;
	struct np_addr addr;	 /* what it is bound to */
	bool any;		 /* that is no address: each packet tells which one it came to */
	struct udp_flow *by_key; /* hash */
	struct udp_flow *list;
	struct udp_flow *recent; /* of the last packet */
	unsigned holding;	 /* flows that wait for a channel */
};

struct udp_flows {
	struct channel *channel;
	bool ingress;
	uint32_t next_id;
	struct udp_flow *by_id;	 /* hash */
	struct udp_flow *list;	 /* egress; at an ingress the listener's list has them */
	struct udp_flow *recent; /* of the last frame */
	struct np_mono last_dclose;
	struct np_mono behind_since; /* more than DATAGRAM_BACKLOG waits; unset: less */
};

struct udp_flow *udp_flow_new(struct instance *inst, const struct np_addr *visitor,
			      const struct np_addr *local);
/* udp_flow_end - counted, logged, freed; DCLOSE to the other end if @tell. */
void udp_flow_end(struct udp_flow *fl, enum np_reason reason, bool tell);
/* udp_flow_leave - see udp_flows_leave. */
void udp_flow_leave(struct udp_flow *fl);
/* udp_recv_max - the largest datagram that is taken (NP_UDP_DATA_BUF_SIZE). */
size_t udp_recv_max(void);
void udp_flow_touch(struct udp_flow *fl);
/* udp_flow_target - begins to connect it to a target; datagrams are held meanwhile. false: it was
 * ended. */
bool udp_flow_target(struct udp_flow *fl);
/* udp_flow_to_target, udp_flow_to_visitor - one datagram; @p is read at the next udp_io_flush. */
void udp_flow_to_target(struct udp_flow *fl, const uint8_t *p, size_t len);
void udp_flow_to_visitor(struct udp_flow *fl, const uint8_t *p, size_t len);
/* udp_flow_to_channel - one datagram; goes with the next udp_io_frames_flush. Dropped and counted
 * when too much waits. */
void udp_flow_to_channel(struct udp_flow *fl, const uint8_t *p, size_t len);
/* udp_flow_sent - @n datagrams were, or could not be; @outer: to the side that is counted. */
void udp_flow_sent(struct udp_flow *fl, bool outer, size_t n, size_t bytes, bool ok);
/* udp_flow_refused - an ICMP answer came to what it sent to its target. */
void udp_flow_refused(struct udp_flow *fl);
/* udp_flow_hold - for later. udp_flow_held_send - each to @fn, in order; udp_flow_held_drop - counts
 * them. */
void udp_flow_hold(struct udp_flow *fl, const uint8_t *p, size_t len);
void udp_flow_held_send(struct udp_flow *fl,
			void (*fn)(struct udp_flow *fl, const uint8_t *p, size_t len));
void udp_flow_held_drop(struct udp_flow *fl);
/* udp_flow_is_admitted - false: allow= and deny= changed, and it was ended. */
bool udp_flow_is_admitted(struct udp_flow *fl);
/* udp_has_room - may @len more bytes wait for @f's channel? It may be closed by the question. */
bool udp_has_room(struct udp_flows *f, size_t len);
/* udp_dropped - @n datagrams were. */
void udp_dropped(struct instance *inst, size_t n);
/* udp_rate - may @len bytes of @fl (NULL: of a visitor without a flow) pass in direction @dir now? Else
 * counted as dropped. */
bool udp_rate(struct instance *inst, struct udp_flow *fl, int dir, size_t len);
struct counters *udp_counters(struct instance *inst);

#endif
