/*
 * event_edge.h - events.sock and events.json.sock: two nng pub sockets, one stream in two encodings.
 *
 * Numbers the events of each stream, encodes and sends. A slow subscriber loses events and sees it
 * by the number; it stops nobody. JSON costs time and is only made while somebody listens.
 */
#ifndef NP_EVENT_EDGE_H
#define NP_EVENT_EDGE_H

#include "base/err.h"

#include <stdbool.h>

/* Events that wait for one subscriber. */
#define EVENT_QUEUE_MAX 256

struct event_base;
struct event_edge;
struct ctl_event;

/*
 * event_edge_open - listens on both files (mode 0600; peers of other users are closed).
 * Thread: the loop's. Errors: NP_ENOMEM, NP_ELIMIT (path too long), NP_ESYS (@diag).
 */
enum np_err event_edge_open(const char *path, const char *json_path, struct event_base *base,
			    struct event_edge **out, struct np_diag *diag) NP_MUST_CHECK;
/* event_edge_send - to both streams; sets seq of @ev. Blocks: never. Thread: the loop's. */
void event_edge_send(struct event_edge *e, struct ctl_event *ev);
/* event_edge_listeners - subscribers of both streams now. Thread: any. */
unsigned event_edge_listeners(struct event_edge *e);
void event_edge_close(struct event_edge *e);

#endif
