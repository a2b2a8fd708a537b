/*
 * events.h - what this node reports unasked: changes, statistics, leases, log lines, session ends.
 *
 * Collects on main (and, through a locked queue, from all threads), batches, and hands events to
 * the edge. Changes and leases are never held back; statistics carry only what changed, and all
 * once a minute; lines and session ends travel after Subscribe only. Thread: main but where it says.
 */
#ifndef NP_EVENTS_H
#define NP_EVENTS_H

#include "commands.h"
#include "event_edge.h"

#include <event2/event.h>

#define EVENTS_BATCH_MS		  20
#define EVENTS_STATS_MIN_MS	  100
#define EVENTS_STATS_MAX_MS	  86400000
#define EVENTS_FULL_MS		  60000
#define EVENTS_METRICS_MAX	  500  /* instances of an event of metrics */
#define EVENTS_LINES_QUEUE_MAX	  4096 /* further ones are dropped and counted */
#define EVENTS_SESSIONS_QUEUE_MAX 4096
#define EVENTS_IDS_MAX		  REGISTRY_MAX

struct events;

/*
 * events_new - all is borrowed for its life. From here on lines that somebody subscribed to go
 * into events instead of standard output. NULL without memory. Before the workers start.
 */
struct events *events_new(struct event_base *base, struct registry *registry,
			  const struct commands *commands, struct event_edge *edge,
			  int64_t stats_ms);
/* events_free - after the workers ended. What waits is sent before. */
void events_free(struct events *e);

/* events_changed - for registry_new: the status of @id is to be reported. */
void events_changed(struct events *e, const char *id);
void events_subscribe(struct events *e, const struct ctl_request *r);
/* events_set_lease - one every @lease_ms from now on, and one at once. */
void events_set_lease(struct events *e, uint32_t lease_ms);
/* events_lease_now - the state of the node changed. */
void events_lease_now(struct events *e);

#endif
