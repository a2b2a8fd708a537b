/*
 * tunnel_fsm.c - the tables of a tunnel's two machines. A cell that is not written is illegal: it
 * changes nothing and says so. tests/unit/test_tunnel_fsm.c holds every cell once more.
 */
#include "core/tunnel_fsm.h"

#include "base/assert.h"

#include <stdbool.h>

#define DIAL	   NP_CLIENT_DO_DIAL
#define DERIVE	   NP_CLIENT_DO_DERIVE
#define SEND_AUTH  NP_CLIENT_DO_SEND_AUTH
#define START_UP   NP_CLIENT_DO_UP
#define SEND_DRAIN NP_CLIENT_DO_SEND_DRAIN
#define SEND_BYE   NP_CLIENT_DO_SEND_BYE
#define END	   NP_CLIENT_DO_END_SESSION
#define CLOSE	   NP_CLIENT_DO_CLOSE
#define WAIT	   NP_CLIENT_DO_BACKOFF

struct client_cell {
	bool legal;
	enum np_client_state next;
	unsigned actions;
};

#define ON(event, state, acts) [NP_CLIENT_EV_##event] = {true, NP_CLIENT_##state, (acts)}

/*
 * Before UP everything that goes wrong is one thing: close, wait, dial again. A Reject or Bye
 * before a right proof is a hint from nobody in particular, and no more than that.
 */
#define TRY_AGAIN                                                             \
	ON(REJECT, BACKOFF, CLOSE | WAIT), ON(FAILED, BACKOFF, CLOSE | WAIT), \
	    ON(LOST, BACKOFF, CLOSE | WAIT), ON(BYE, BACKOFF, CLOSE | WAIT)

/* The server cannot be told, so the idle channels of the session before go: they would be opened
 * else. */
#define GIVE_UP ON(DRAIN, DRAINING, END | CLOSE), ON(STOP, STOPPED, END | CLOSE)

static const struct client_cell client_table[NP_CLIENT_STATES][NP_CLIENT_EVENTS] = {
    [NP_CLIENT_IDLE] = {ON(START, DIALING, DIAL), ON(DRAIN, STOPPED, 0), ON(STOP, STOPPED, 0)},
    [NP_CLIENT_DIALING] = {ON(CONNECTED, HELLO, 0), ON(DERIVED, DIALING, 0),
			   ON(FAILED, BACKOFF, CLOSE | WAIT), ON(LOST, BACKOFF, CLOSE | WAIT),
			   GIVE_UP},
    [NP_CLIENT_HELLO] = {ON(HELLO, DERIVING, DERIVE), ON(DERIVED, HELLO, 0), TRY_AGAIN, GIVE_UP},
    [NP_CLIENT_DERIVING] = {ON(DERIVED, AUTH, SEND_AUTH), TRY_AGAIN, GIVE_UP},
    [NP_CLIENT_AUTH] = {ON(WELCOME, UP, START_UP), ON(DERIVED, AUTH, 0), TRY_AGAIN, GIVE_UP},
    /* Bye is proved to be the server's here: its session is over. LOST ends none (see the header).
     */
    [NP_CLIENT_UP] = {ON(DERIVED, UP, 0), ON(FAILED, BACKOFF, CLOSE | WAIT),
		      ON(LOST, BACKOFF, CLOSE | WAIT), ON(BYE, BACKOFF, END | CLOSE | WAIT),
		      ON(DRAIN, DRAINING, SEND_DRAIN), ON(STOP, STOPPED, SEND_BYE | END | CLOSE)},
    [NP_CLIENT_BACKOFF] = {ON(TIMER, DIALING, DIAL), ON(DERIVED, BACKOFF, 0),
			   ON(DRAIN, DRAINING, END), ON(STOP, STOPPED, END)},
    [NP_CLIENT_DRAINING] = {ON(DERIVED, DRAINING, 0), ON(FAILED, DRAINING, CLOSE),
			    ON(LOST, DRAINING, CLOSE), ON(BYE, DRAINING, END | CLOSE),
			    ON(DRAIN, DRAINING, 0), ON(STOP, STOPPED, SEND_BYE | END | CLOSE)},
    [NP_CLIENT_STOPPED] = {ON(DERIVED, STOPPED, 0), ON(DRAIN, STOPPED, 0), ON(STOP, STOPPED, 0)},
};

unsigned np_client_fsm(enum np_client_state *state, enum np_client_event ev)
{
	const struct client_cell *c;

	NP_ASSERT(*state < NP_CLIENT_STATES && ev < NP_CLIENT_EVENTS);
	c = &client_table[*state][ev];
	if (!c->legal)
		return NP_CLIENT_ILLEGAL;
	*state = c->next;
	return c->actions;
}

struct peer_cell {
	bool legal;
	enum np_peer_state next;
	unsigned actions;
};

#define AT(event, state, acts) [NP_PEER_EV_##event] = {true, NP_PEER_##state, (acts)}
#define REFUSE		       (NP_PEER_DO_REFUSE_PREAMBLES | NP_PEER_DO_CLOSE_CONTROL)

/*
 * In ENDED the old control connection may still say Bye or break, and a client may still come with
 * the takeover of a session that had ended by time: all late, none an error.
 */
static const struct peer_cell peer_table[NP_PEER_STATES][NP_PEER_EVENTS] = {
    [NP_PEER_LIVE] = {AT(LOST, LOST, REFUSE | NP_PEER_DO_TIMER),
		      AT(BYE, ENDED, REFUSE | NP_PEER_DO_CLOSE_IDLE),
		      AT(TAKEOVER, ENDED, REFUSE | NP_PEER_DO_CLOSE_IDLE),
		      AT(KEY_CHANGED, ENDED, REFUSE | NP_PEER_DO_CLOSE_IDLE)},
    [NP_PEER_LOST] = {AT(TAKEOVER, ENDED, NP_PEER_DO_CLOSE_IDLE),
		      AT(TIMER, ENDED, NP_PEER_DO_CLOSE_IDLE),
		      AT(KEY_CHANGED, ENDED, NP_PEER_DO_CLOSE_IDLE)},
    [NP_PEER_ENDED] = {AT(LOST, ENDED, 0), AT(BYE, ENDED, 0), AT(TAKEOVER, ENDED, 0),
		       AT(KEY_CHANGED, ENDED, 0)},
};

unsigned np_peer_fsm(enum np_peer_state *state, enum np_peer_event ev)
{
	const struct peer_cell *c;

	NP_ASSERT(*state < NP_PEER_STATES && ev < NP_PEER_EVENTS);
	c = &peer_table[*state][ev];
	if (!c->legal)
		return NP_PEER_ILLEGAL;
	*state = c->next;
	return c->actions;
}

const char *np_client_state_name(enum np_client_state s)
{
	static const char *const names[NP_CLIENT_STATES] = {
	    [NP_CLIENT_IDLE] = "idle",	     [NP_CLIENT_DIALING] = "dialing",
	    [NP_CLIENT_HELLO] = "hello",     [NP_CLIENT_DERIVING] = "deriving",
	    [NP_CLIENT_AUTH] = "auth",	     [NP_CLIENT_UP] = "up",
	    [NP_CLIENT_BACKOFF] = "backoff", [NP_CLIENT_DRAINING] = "draining",
	    [NP_CLIENT_STOPPED] = "stopped",
	};

	return s < NP_CLIENT_STATES ? names[s] : "unknown";
}

const char *np_client_event_name(enum np_client_event e)
{
	static const char *const names[NP_CLIENT_EVENTS] = {
	    [NP_CLIENT_EV_START] = "start",	[NP_CLIENT_EV_CONNECTED] = "connected",
	    [NP_CLIENT_EV_HELLO] = "hello",	[NP_CLIENT_EV_DERIVED] = "derived",
	    [NP_CLIENT_EV_WELCOME] = "welcome", [NP_CLIENT_EV_REJECT] = "reject",
	    [NP_CLIENT_EV_FAILED] = "failed",	[NP_CLIENT_EV_LOST] = "lost",
	    [NP_CLIENT_EV_BYE] = "bye",		[NP_CLIENT_EV_TIMER] = "timer",
	    [NP_CLIENT_EV_DRAIN] = "drain",	[NP_CLIENT_EV_STOP] = "stop",
	};

	return e < NP_CLIENT_EVENTS ? names[e] : "unknown";
}

const char *np_peer_state_name(enum np_peer_state s)
{
	static const char *const names[NP_PEER_STATES] = {
	    [NP_PEER_LIVE] = "live", [NP_PEER_LOST] = "lost", [NP_PEER_ENDED] = "ended"};

	return s < NP_PEER_STATES ? names[s] : "unknown";
}
