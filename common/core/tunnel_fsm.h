/*
 * tunnel_fsm.h - the life of a tunnel's control connection, client's and server's side. Pure.
 *
 * (state, event) -> (state, actions). Events change state, actions never do. The whole table is in
 * tunnel_fsm.c and once more, impossible cells too, in its test.
 */
#ifndef NP_CORE_TUNNEL_FSM_H
#define NP_CORE_TUNNEL_FSM_H

/*
 * Client: IDLE -start-> DIALING -connected-> HELLO -hello-> DERIVING -derived-> AUTH -welcome-> UP
 *         any of them -failed/lost/reject/bye-> BACKOFF -timer-> DIALING
 *         any of them -drain-> DRAINING -stop-> STOPPED;  any of them -stop-> STOPPED
 *
 * Losing the control connection ends neither sessions nor the listener: LOST in UP closes that
 * connection alone, and sessions may run in every state after the first UP. So DRAIN leads to
 * DRAINING from everywhere, and the caller says STOP when the last session has ended (at once when
 * there is none).
 */
enum np_client_state {
	NP_CLIENT_IDLE = 0,
	NP_CLIENT_DIALING,  /* resolving, connecting, TLS */
	NP_CLIENT_HELLO,    /* waiting for Hello */
	NP_CLIENT_DERIVING, /* K on a helper thread */
	NP_CLIENT_AUTH,	    /* Auth sent, waiting for Welcome or Reject */
	NP_CLIENT_UP,
	NP_CLIENT_BACKOFF,
	NP_CLIENT_DRAINING,
	NP_CLIENT_STOPPED,
	NP_CLIENT_STATES
};
enum np_client_event {
	NP_CLIENT_EV_START = 0,
	NP_CLIENT_EV_CONNECTED, /* TLS is up and is what it must be */
	NP_CLIENT_EV_HELLO,
	NP_CLIENT_EV_DERIVED,
	NP_CLIENT_EV_WELCOME, /* its proof is right */
	NP_CLIENT_EV_REJECT,
	NP_CLIENT_EV_FAILED, /* dial, TLS, proof, protocol, timeout before UP */
	NP_CLIENT_EV_LOST,   /* the control connection ended or went silent */
	NP_CLIENT_EV_BYE,
	NP_CLIENT_EV_TIMER, /* back-off is over */
	NP_CLIENT_EV_DRAIN, /* stop asked: let sessions finish */
	NP_CLIENT_EV_STOP,  /* at once, or drained */
	NP_CLIENT_EVENTS
};
/*
 * Actions are done in the order of their bits; one on a connection that is gone does nothing.
 * Leaving BACKOFF cancels its timer, leaving DERIVING the interest in its result: a late DERIVED is
 * no error and changes nothing.
 */
enum np_client_action {
	NP_CLIENT_DO_DIAL = 1 << 0,
	NP_CLIENT_DO_DERIVE = 1 << 1,
	NP_CLIENT_DO_SEND_AUTH = 1 << 2,
	NP_CLIENT_DO_UP = 1 << 3, /* a new session: fill the pool, open the listener */
	NP_CLIENT_DO_SEND_DRAIN = 1 << 4,
	NP_CLIENT_DO_SEND_BYE = 1 << 5,
	NP_CLIENT_DO_END_SESSION = 1 << 6, /* close idle channels; busy ones finish their turn */
	NP_CLIENT_DO_CLOSE = 1 << 7,	   /* close the control connection, or give up making one */
	NP_CLIENT_DO_BACKOFF = 1 << 8,	   /* start the back-off timer */
	/*
	 * A bug or a peer's violation: logged, no change. Who fed a peer's frame closes the
	 * connection and says FAILED (before UP) or LOST.
	 */
	NP_CLIENT_ILLEGAL = 1 << 9,
};
/* np_client_fsm - one event; *state is the new state afterwards. Returns action bits. */
unsigned np_client_fsm(enum np_client_state *state, enum np_client_event ev);

/* One client's session as the server sees it. */
enum np_peer_state { NP_PEER_LIVE = 0, NP_PEER_LOST, NP_PEER_ENDED, NP_PEER_STATES };
enum np_peer_event {
	NP_PEER_EV_LOST = 0, /* control channel went without Bye */
	NP_PEER_EV_BYE,
	NP_PEER_EV_TAKEOVER, /* the same client is back with a right takeover proof */
	NP_PEER_EV_TIMER,    /* LOST for 3 report intervals */
	NP_PEER_EV_KEY_CHANGED,
	NP_PEER_EVENTS
};
enum np_peer_action {
	NP_PEER_DO_TIMER = 1 << 0,	/* 3 report intervals; leaving LOST cancels it */
	NP_PEER_DO_CLOSE_IDLE = 1 << 1, /* busy channels finish their turn */
	NP_PEER_DO_REFUSE_PREAMBLES = 1 << 2,
	NP_PEER_ILLEGAL = 1 << 3,	   /* a bug; no change */
	NP_PEER_DO_CLOSE_CONTROL = 1 << 4, /* with Bye where the peer can still read it */
};
/* np_peer_fsm - one event; *state is the new state afterwards. Returns action bits. */
unsigned np_peer_fsm(enum np_peer_state *state, enum np_peer_event ev);

const char *np_client_state_name(enum np_client_state s);
const char *np_client_event_name(enum np_client_event e);
const char *np_peer_state_name(enum np_peer_state s);

#endif
