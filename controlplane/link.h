/*
 * link.h - the connection to a data plane on this machine: requests and replies over ctl.sock,
 * events from events.sock. Dialled now and again until both are there.
 *
 * nng's threads only queue what came and wake the loop; everything else happens on the loop's
 * thread. A connection that ends takes its sockets with it, so that nothing that waited for the
 * old process is ever sent to the next. Knows nothing of what a request means.
 */
#ifndef CP_LINK_H
#define CP_LINK_H

#include "wire/ctl_msg.h"

#include <event2/event.h>

#define LINK_WINDOW	 32   /* unanswered requests */
#define LINK_QUEUE_MAX	 1024 /* messages of one socket that wait for the loop */
#define LINK_BATCH_MAX	 64   /* messages of one socket that are handled per wake-up */
#define LINK_REDIAL_MS	 100  /* at most between two attempts */
#define LINK_DIAL_MS	 500  /* without success: then with new sockets; twice as long each time */
#define LINK_DIAL_MAX_MS 4000 /* the longest of these */

struct link;

/* What was asked, for the one that gets the reply. */
struct link_call {
	enum ctl_command command;
	char id[CTL_ID_MAX + 1]; /* apply, remove */
	uint64_t revision;
	bool last; /* snapshot */
};

/*
 * Ends a link_send, exactly once and never inside of it. @err: NP_OK (@reply is valid during the
 * call), NP_ETIMEOUT, NP_ECLOSED (the connection ended), NP_EPROTO (a reply that is none).
 */
typedef void (*link_reply_fn)(void *arg, const struct link_call *call, enum np_err err,
			      const struct ctl_reply *reply);

struct link_callbacks {
	void (*on_up)(void *arg, int pid); /* both sockets are connected */
	void (*on_down)(void *arg);	   /* after on_up; all calls were ended before */
	void (*on_event)(void *arg, const struct ctl_event *ev);
};

/* link_new - begins to dial. Signals must be blocked before the first call, since nng's threads
 * inherit the mask. Errors: NP_ENOMEM, NP_ELIMIT (path too long), NP_ESYS. */
enum np_err link_new(struct event_base *base, const char *ctl_path, const char *events_path,
		     const struct link_callbacks *cb, void *arg, struct link **out) NP_MUST_CHECK;
/* link_send - @req gets a request_id. Errors: NP_ESTATE (not up), NP_EAGAIN (LINK_WINDOW are
 * unanswered), NP_ELIMIT (too long), NP_ENOMEM. On error @done is not called. Blocks: never. */
enum np_err link_send(struct link *l, struct ctl_request *req, int timeout_ms,
		      link_reply_fn done) NP_MUST_CHECK;
/* link_room - how many requests can be sent now. */
unsigned link_room(const struct link *l);
/* link_reset - ends this connection and dials anew, in the next pass of the loop. */
void link_reset(struct link *l);
/* link_kick - somebody listens now: dials at once, soon with new sockets when that does not help. */
void link_kick(struct link *l);
/* link_peer_ended - process @pid is gone; nng may notice late that its sockets are. */
void link_peer_ended(struct link *l, int pid);
/* link_free - unanswered calls are dropped, not ended. Not from within a callback. */
void link_free(struct link *l);

#endif
