/*
 * turn.h - the machine of turns on a stream channel, one end of it: which frames may come and go,
 * and what follows. Pure; the payload and the sockets are the caller's.
 *
 * The caller asks np_turn_rx for every frame received and np_turn_tx before every frame sent, and
 * obeys the action bits. An exhaustive model of two such ends with crossing frames is in
 * tests/unit.
 *
 *   ingress: IDLE --tx OPEN--> OPENING --rx STATUS 0--> RUNNING
 *            --both halves ended, rx DONE--> IDLE
 *   egress:  IDLE --rx OPEN--> DIALING --tx STATUS 0--> RUNNING
 *            --both halves ended, tx DONE--> IDLE
 *
 * A half is ended by FIN or RESET (STATUS != 0 counts as a RESET of the egress). Who receives a
 * RESET and has sent neither FIN nor RESET owes a RESET as answer. After its own RESET an end drops
 * what comes.
 */
#ifndef NP_CORE_TURN_H
#define NP_CORE_TURN_H

#include "core/frame.h"

enum np_turn_role { NP_TURN_INGRESS = 0, NP_TURN_EGRESS };

enum np_turn_half { NP_HALF_OPEN = 0, NP_HALF_FIN, NP_HALF_RESET };

struct np_turn {
	enum np_turn_role role;
	uint16_t number; /* current or last turn; 0 before the first */
	bool active;	 /* between OPEN and idle */
	bool status;	 /* STATUS 0 went (egress) or came (ingress) */
	bool retired;	 /* RETIRE was sent (egress) or came (ingress) */
	enum np_turn_half sent, got;
};

/*
 * DELIVER, DROP and ABORT say what becomes of the payload; FIN and DONE have none. RESET: with
 * ABORT its byte is the reason, with DROP nobody wants it. STATUS != 0 gives DELIVER and ABORT.
 * SEND_RESET and SEND_DONE together: the RESET, then DONE when all is dropped. SEND_DONE may be
 * said again until DONE was sent; an egress that becomes through by its own FIN or RESET asks
 * np_turn_is_through.
 */
enum np_turn_action {
	/* the payload belongs to the session: OPEN, STATUS, DATA, PING, PONG */
	NP_TURN_DELIVER = 1 << 0,
	/* read and discard the payload */
	NP_TURN_DROP = 1 << 1,
	/* the peer's FIN: half-close the outer side after its bytes */
	NP_TURN_HALF_CLOSE = 1 << 2,
	/* the peer's RESET or STATUS != 0: abort the outer side, drop what waits */
	NP_TURN_ABORT = 1 << 3,
	/* answer RESET now */
	NP_TURN_SEND_RESET = 1 << 4,
	/* egress is through: send DONE once all is delivered or dropped */
	NP_TURN_SEND_DONE = 1 << 5,
	/* the turn is over, the channel idle (ingress, rx DONE) */
	NP_TURN_IDLE = 1 << 6,
	/* an OPEN that crossed RETIRE: answer STATUS retired, no dial (with DROP) */
	NP_TURN_SEND_STATUS_RETIRED = 1 << 7,
	/* close the channel; alone, and the state is as it was */
	NP_TURN_VIOLATION = 1 << 8,
	/* ingress got RETIRE: close the channel when it is idle */
	NP_TURN_RETIRED = 1 << 9,
};

void np_turn_init(struct np_turn *t, enum np_turn_role role);
/*
 * np_turn_rx - a frame header came, checked by np_frame_read. @status_code: first payload byte of
 * STATUS (0 otherwise). Returns action bits.
 */
unsigned np_turn_rx(struct np_turn *t, const struct np_frame *f, uint8_t status_code);
/*
 * np_turn_tx - may this frame be sent now? true: it was noted as sent (state advanced).
 * OPEN starts the next turn (np_turn_next; ingress and idle only, never after RETIRE). RESET may
 * follow FIN. A STATUS != 0 may take the place of an owed RESET. DONE (egress, through) makes it
 * idle. RETIRE is sent once. @status_code as above.
 */
bool np_turn_tx(struct np_turn *t, enum np_frame_type type, uint8_t status_code);
static inline bool np_turn_is_idle(const struct np_turn *t)
{
	return !t->active;
}
/* np_turn_is_through - FIN or RESET sent and FIN or RESET received. */
bool np_turn_is_through(const struct np_turn *t);

#endif
