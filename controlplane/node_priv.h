/*
 * node_priv.h - inside of node: its state, and what its files have of each other.
 *
 * node.c: connection, Hello, events, leases. node_sync.c: changes, snapshots, the list.
 */
#ifndef CP_NODE_PRIV_H
#define CP_NODE_PRIV_H

#include "link.h"
#include "node.h"
#include "reconcile.h"

#include "base/mono.h"

#define NODE_MAGIC	   0x4e4f4445u
#define NODE_CHUNK_BYTES   (128 * 1024)
#define NODE_RESERVE	   4 /* of the window, for Ping, List and the like */
#define NODE_SPECS_MAX	   20000
#define NODE_QUERY_MS	   5000	 /* Hello, Ping, List, Subscribe */
#define NODE_CHANGE_MS	   10000 /* Apply, Remove, a chunk */
#define NODE_COMMIT_MS	   60000 /* the last chunk */
#define NODE_TICK_MS	   (NODE_LEASE_MS / 2)
#define NODE_AGAIN_MS	   1000 /* after a Hello that was refused */
#define NODE_BEHIND_LEASES 3

enum node_state { NODE_DOWN = 0, NODE_HELLO, NODE_UP };

/* All specs as they were at one moment, on their way in chunks. */
struct node_snapshot {
	struct ctl_spec *specs; /* owned */
	size_t n, cap, sent;
	char id[65];
	uint64_t revision;
	uint32_t index;	     /* of the next chunk */
	unsigned unanswered; /* chunks */
	bool last_sent, failed;
};

struct node {
	unsigned magic;
	struct link *link; /* owned */
	struct node_callbacks cb;
	void *arg;
	char controller_id[65];
	uint64_t epoch, serial; /* serial: of snapshots */
	uint32_t stats_ms;
	struct event *pump, *tick; /* owned */

	enum node_state state;
	int pid;
	char boot_id[CTL_BOOT_ID_LEN + 1];
	uint64_t seq;		    /* of the last event, 0 = none yet */
	struct np_mono heard, sent; /* the last event, the last request */
	struct np_mono again;	    /* reset not before, after a refused Hello; 0 = no */
	bool suspect;		    /* no event for 2 leases, at the last tick */
	unsigned behind;	    /* leases in a row with another revision */
	bool reported;		    /* on_synced was called for this state */

	struct reconcile rec;
	struct node_snapshot snap;
	bool list_wanted, listing;
	bool held; /* it said that it holds the state, and the list was not looked through yet */
	char list_after[CTL_ID_MAX + 1];
	struct id_queue touched; /* had an event while the list was on its way: newer than it */

	void (*shutdown_done)(void *arg);
	void *shutdown_arg;
};

int64_t node_now_ms(void);
/* node_send - with the epoch. Errors: link_send's. */
enum np_err node_send(struct node *n, struct ctl_request *req, int timeout_ms,
		      link_reply_fn done) NP_MUST_CHECK;
/* node_fenced - is this reply the refusal of a node that belongs to another controller? */
bool node_fenced(struct node *n, const struct ctl_reply *reply);
/* node_start_over - ends the session, after a while. */
void node_start_over(struct node *n, int64_t wait_ms);

/* node_wake - what is to be sent is sent in the next pass of the loop. */
void node_wake(struct node *n);
void node_pump(struct node *n);
void node_snapshot_drop(struct node *n);
void node_report_status(struct node *n, const struct ctl_status *st);

#endif
