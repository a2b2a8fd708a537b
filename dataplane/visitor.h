/*
 * visitor.h - a TCP connection that came to an ingress, until it becomes a session.
 *
 * accept -> source address -> slot -> [PROXY header, accept=] -> [TLS handshake] -> [first bytes,
 * block=] -> session with its own target (single-end), or the pool's queue for a channel. It may come back from a session whose channel
 * broke before STATUS.
 */
#ifndef NP_VISITOR_H
#define NP_VISITOR_H

#include "core/proxyproto.h"
#include "instance.h"
#include "stream.h"

#define VISITOR_MAGIC 0x56495349u
/* So long after accept (or after the header or handshake before it) block= decides with what came. */
#define VISITOR_SNIFF_MS 1000
#define VISITOR_KEEP_MAX 16384 /* bytes kept until STATUS, for the second attempt */

enum visitor_state {
	VISITOR_HEADER = 0, /* reads a balancer's PROXY header */
	VISITOR_HANDSHAKE,
	VISITOR_SNIFF,
	VISITOR_WAITING,
	VISITOR_HANDED,
};

/* What wakes one of which something is to be read before it is served. */
struct visitor_wait {
	struct event ev;	/* its socket */
	struct event sniff_end; /* in VISITOR_SNIFF */
};

struct visitor {
	unsigned magic;
	struct mail mail; /* between workers */
	struct grave grave;
	struct visitor *prev, *next; /* shard->visitors or pool->waiting, by state */
	enum visitor_state state;
	struct instance *inst;
	struct shard *shard; /* where it is now */
	struct stream stream;
	struct visitor_wait *wait; /* owned; NULL: nothing is waited for */
	bool has_slot;
	bool header_due;	    /* a balancer's: its PROXY header is to come */
	SSL *ssl;		    /* owned; TLS that is to begin */
	struct np_addr peer, local; /* of the connection, or what the header announced */
	struct np_mono start, deadline;
	struct np_mono payload_from; /* when its first byte could come */
	struct np_buf first;	     /* bytes read already */
	uint64_t rx;		     /* how many they were, with those of a first attempt */
	struct channel *channel;     /* being handed over to it */
	/* second attempt */
	uint8_t attempt; /* 1, 2 */
	uint8_t trace[NP_TRACE_LEN];
	bool has_trace; /* it was given to a channel before */
	bool same_boot; /* only a channel to origin may be taken */
	uint8_t origin[PEER_ORIGIN_LEN];
	/* single-end: a connection to the target made in advance */
	int target_fd;
	struct np_addr target_addr;
};

/* visitor_init - zeroed memory to an empty visitor. */
void visitor_init(struct visitor *v, struct instance *inst, struct shard *sh);
/* visitor_to_home - it needs a channel: to the front of the pool's line, by mail. Thread: any
 * worker. */
void visitor_to_home(struct visitor *v);
/* visitor_tick - deadlines of the header, the handshake and the first bytes. */
void visitor_tick(struct visitor *v, struct np_mono now);
/* visitor_local - the address that the visitor behind @fd came to; len 0 = unknown. */
void visitor_local(int fd, struct np_addr *out);
/* visitor_begin - what is to be done before it is served, then it is. Thread: its shard's worker. */
void visitor_begin(struct visitor *v);
/* visitor_accept - takes @fd (just accepted, non-blocking). Thread: home. */
void visitor_accept(struct instance *inst, int fd, const struct np_addr *peer);
/* visitor_adopt - one of an instance that @inst replaced goes on here; it has no slot. Thread: home of
 * @inst. */
void visitor_adopt(struct visitor *v, struct instance *inst);
/* visitor_drop - without a word, when the workers are gone. */
void visitor_drop(struct visitor *v);
/* visitor_refuse - ends it with a reason: counted and logged as a session. Thread: where it is. */
void visitor_refuse(struct visitor *v, enum np_reason reason);
/* visitor_free - after its stream was taken over. */
void visitor_free(struct visitor *v);

#endif
