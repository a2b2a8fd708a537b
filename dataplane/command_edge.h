/*
 * command_edge.h - ctl.sock: requests in, replies out, over an nng rep socket in raw mode.
 *
 * nng's thread only queues what came and wakes the loop; everything else happens on the loop's
 * thread. Raw mode, because a client that does not read its replies then loses its own replies and
 * stops nobody else. Knows nothing of what a request means.
 */
#ifndef NP_COMMAND_EDGE_H
#define NP_COMMAND_EDGE_H

#include "base/err.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#define COMMAND_QUEUE_MAX   1024 /* requests that wait for the loop; then receiving stops */
#define COMMAND_QUEUE_LOW   256	 /* and goes on below */
#define COMMAND_BATCH_MAX   64	 /* handled per wake-up */
#define COMMAND_MESSAGE_MAX 1048576

struct command_edge;

/* One request that waits for its reply. Owned by who was given it, until command_edge_reply. */
struct command_call;

/*
 * @data is valid until the reply. @allowed: the peer is root or this process's user. The receiver
 * takes @call and ends it with command_edge_reply, at once or later.
 */
typedef void (*command_edge_fn)(void *arg, struct command_call *call, const void *data, size_t len,
				bool allowed);

/*
 * command_edge_open - listens on the socket file @path (mode 0600). Signals must be blocked
 * before. Thread: the loop's. Errors: NP_ENOMEM, NP_ELIMIT (path too long), NP_ESYS (@diag).
 */
enum np_err command_edge_open(const char *path, struct event_base *base, command_edge_fn on_request,
			      void *arg, struct command_edge **out,
			      struct np_diag *diag) NP_MUST_CHECK;
/* command_edge_reply - sends and frees @call; @len 0 = no answer is given. Blocks: never. */
void command_edge_reply(struct command_edge *e, struct command_call *call, const void *data,
			size_t len);
/* command_edge_close - what waits is dropped. Calls handed out must have been replied to. */
void command_edge_close(struct command_edge *e);

#endif
