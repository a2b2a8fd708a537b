/*
 * node.h - a data plane as the control plane sees it: connection, handshake, desired state sent to
 * it, observed state heard from it. Thread: the loop's.
 *
 * The owner keeps the desired state; the node asks for it by next_spec and is told of changes by
 * node_changed. It connects, says Hello, sends a Snapshot when the node does not hold the state,
 * else nothing; afterwards single Apply and Remove requests in the order of the changes, at most
 * NODE_WINDOW unanswered. Whatever is lost is repaired by a Snapshot.
 */
#ifndef CP_NODE_H
#define CP_NODE_H

#include "wire/ctl_msg.h"

#include <event2/event.h>

#define NODE_WINDOW    32
#define NODE_QUEUE_MAX 20000 /* changed ids that wait; past it a Snapshot is sent instead */
#define NODE_LEASE_MS  1000

struct node;

enum node_spec {
	NODE_SPEC_NONE = 0, /* it is gone: Remove is sent */
	NODE_SPEC_IS,
	NODE_SPEC_WAITS, /* not complete: nothing is sent until it changes again */
};

struct node_callbacks {
	/* The spec that follows @after ("" = first) in any stable order; false: no more. @out is
	 * released by the caller. */
	bool (*next_spec)(void *arg, const char *after, struct ctl_spec *out);
	/* One spec by id. */
	enum node_spec (*get_spec)(void *arg, const char *id, struct ctl_spec *out);
	uint64_t (*desired_revision)(void *arg);
	/* Hello was answered. @held: the node already held this very state (adopted as it is). */
	void (*on_up)(void *arg, const struct ctl_node_info *info, bool held);
	/* The node was told all that was desired at that time. */
	void (*on_synced)(void *arg);
	void (*on_down)(void *arg);
	/* Status of one instance, from List after Hello and from events; unknown ids may come. */
	void (*on_status)(void *arg, const struct ctl_status *st);
	/* Has each instance that the node is to have had an on_status? */
	bool (*all_heard)(void *arg);
	void (*on_stats)(void *arg, const char *boot_id, const struct ctl_stats *stats);
	void (*on_line)(void *arg, const struct ctl_line *line);
	void (*on_lines_dropped)(void *arg, uint64_t n);
	void (*on_lease)(void *arg, const struct ctl_lease *lease);
	void (*on_metrics)(void *arg, const struct ctl_instance_metrics *m);
};

/* node_new - connects to ctl.sock and events.sock of @run_dir, now and again until it is there.
 * @stats_ms: how often statistics are wanted. Errors: NP_ENOMEM, NP_ESYS. */
enum np_err node_new(struct event_base *base, const char *run_dir, const char *controller_id,
		     uint64_t epoch, uint32_t stats_ms, const struct node_callbacks *cb, void *arg,
		     struct node **out) NP_MUST_CHECK;
/* node_changed - the desired state of @id changed (or it was removed). */
void node_changed(struct node *n, const char *id);
bool node_is_up(const struct node *n);
/* node_pid - of the process at the other end, 0 = not connected. */
int node_pid(const struct node *n);
/* node_kick - try to connect now (the supervisor saw it become ready). */
void node_kick(struct node *n);
/* node_ended - the process is gone (the supervisor saw it). */
void node_ended(struct node *n, int pid);
/* node_shutdown - asks it to drain and end; the answer or its death is reported by @done
 * (may be NULL). */
void node_shutdown(struct node *n, uint32_t grace_ms, void (*done)(void *arg), void *arg);
/* node_probe - dials @target (not used while not up: done with NULL). */
void node_free(struct node *n);

#endif
