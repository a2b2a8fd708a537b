/*
 * turn.c - the machine of turns, one end of a stream channel.
 *
 * Only np_turn_rx and np_turn_tx change a struct np_turn. Everything that depends on payload, time
 * or sockets (limits, timers, whether all bytes were delivered) is the caller's. A frame that a
 * correct peer cannot have sent is a violation; one that merely crossed ours is dropped. tests/unit
 * walks through every interleaving of two ends (test_turn_model.c).
 */
#include "core/turn.h"

void np_turn_init(struct np_turn *t, enum np_turn_role role)
{
	*t = (struct np_turn){.role = role};
}

bool np_turn_is_through(const struct np_turn *t)
{
	return t->sent != NP_HALF_OPEN && t->got != NP_HALF_OPEN;
}

static void begin(struct np_turn *t)
{
	t->number = np_turn_next(t->number);
	t->active = true;
	t->status = false;
	t->sent = NP_HALF_OPEN;
	t->got = NP_HALF_OPEN;
}

/* The egress owes a DONE from the moment on that nothing more of the turn can come or go. */
static unsigned done_when_through(const struct np_turn *t, bool answers)
{
	if (t->role != NP_TURN_EGRESS || (!answers && !np_turn_is_through(t)))
		return 0;
	return NP_TURN_SEND_DONE;
}

/* The peer's half ended by RESET, or by a STATUS that says the same. */
static unsigned peer_reset(struct np_turn *t)
{
	bool answers = t->sent == NP_HALF_OPEN;
	unsigned act;

	t->got = NP_HALF_RESET;
	if (t->sent == NP_HALF_RESET)
		act = NP_TURN_DROP;
	else
		act = NP_TURN_ABORT | (answers ? (unsigned)NP_TURN_SEND_RESET : 0);
	return act | done_when_through(t, answers);
}

static unsigned peer_data(const struct np_turn *t)
{
	if (t->got != NP_HALF_OPEN)
		return NP_TURN_VIOLATION;
	return t->sent == NP_HALF_RESET ? NP_TURN_DROP : NP_TURN_DELIVER;
}

static unsigned peer_fin(struct np_turn *t)
{
	if (t->got != NP_HALF_OPEN)
		return NP_TURN_VIOLATION;
	t->got = NP_HALF_FIN;
	return (t->sent == NP_HALF_RESET ? NP_TURN_DROP : NP_TURN_HALF_CLOSE) |
	       done_when_through(t, false);
}

static unsigned egress_open(struct np_turn *t, uint16_t turn)
{
	if (t->active || turn != np_turn_next(t->number))
		return NP_TURN_VIOLATION;
	begin(t);
	return t->retired ? NP_TURN_DROP | NP_TURN_SEND_STATUS_RETIRED : NP_TURN_DELIVER;
}

/*
 * An ingress that is through may still abort: its visitor resets while DONE is on its way. That
 * RESET meets an egress which is idle already, and is the only frame that may.
 */
static unsigned egress_idle_reset(struct np_turn *t)
{
	if (t->got != NP_HALF_FIN)
		return NP_TURN_VIOLATION;
	t->got = NP_HALF_RESET;
	return NP_TURN_DROP;
}

static unsigned rx_egress(struct np_turn *t, const struct np_frame *f)
{
	if (f->type == NP_FRAME_OPEN)
		return egress_open(t, f->turn);
	if (f->turn != t->number || t->got == NP_HALF_RESET)
		return NP_TURN_VIOLATION;
	if (!t->active)
		return f->type == NP_FRAME_RESET ? egress_idle_reset(t) : NP_TURN_VIOLATION;
	if (f->type == NP_FRAME_DATA)
		return peer_data(t);
	if (f->type == NP_FRAME_FIN)
		return peer_fin(t);
	if (f->type == NP_FRAME_RESET)
		return peer_reset(t);
	return NP_TURN_VIOLATION;
}

static unsigned ingress_status(struct np_turn *t, uint8_t code)
{
	if (t->status || t->got == NP_HALF_RESET)
		return NP_TURN_VIOLATION;
	if (code != 0) {
		unsigned act = peer_reset(t);

		return (act & NP_TURN_DROP) != 0 ? act : act | NP_TURN_DELIVER;
	}
	t->status = true;
	return t->sent == NP_HALF_RESET ? NP_TURN_DROP : NP_TURN_DELIVER;
}

static unsigned ingress_done(struct np_turn *t)
{
	if (!np_turn_is_through(t))
		return NP_TURN_VIOLATION;
	t->active = false;
	return NP_TURN_IDLE;
}

static unsigned rx_ingress(struct np_turn *t, const struct np_frame *f, uint8_t status_code)
{
	if (!t->active || f->turn != t->number)
		return NP_TURN_VIOLATION;
	if (f->type == NP_FRAME_STATUS)
		return ingress_status(t, status_code);
	if (f->type == NP_FRAME_DATA)
		return t->status ? peer_data(t) : NP_TURN_VIOLATION;
	if (f->type == NP_FRAME_FIN)
		return t->status ? peer_fin(t) : NP_TURN_VIOLATION;
	if (f->type == NP_FRAME_RESET)
		return t->got == NP_HALF_RESET ? NP_TURN_VIOLATION : peer_reset(t);
	if (f->type == NP_FRAME_DONE)
		return ingress_done(t);
	return NP_TURN_VIOLATION;
}

unsigned np_turn_rx(struct np_turn *t, const struct np_frame *f, uint8_t status_code)
{
	switch (f->type) {
	case NP_FRAME_PING:
	case NP_FRAME_PONG:
		return f->turn == 0 ? NP_TURN_DELIVER : NP_TURN_VIOLATION;
	case NP_FRAME_RETIRE:
		if (f->turn != 0 || t->role != NP_TURN_INGRESS)
			return NP_TURN_VIOLATION;
		t->retired = true;
		return NP_TURN_RETIRED;
	case NP_FRAME_OPEN:
	case NP_FRAME_STATUS:
	case NP_FRAME_DATA:
	case NP_FRAME_FIN:
	case NP_FRAME_RESET:
	case NP_FRAME_DONE:
		return t->role == NP_TURN_INGRESS ? rx_ingress(t, f, status_code) : rx_egress(t, f);
	case NP_FRAME_DOPEN:
	case NP_FRAME_DGRAM:
	case NP_FRAME_DCLOSE:
		break;
	}
	return NP_TURN_VIOLATION;
}

/* After the peer's RESET only our own RESET is worth sending. */
static bool may_send_bytes(const struct np_turn *t)
{
	return t->active && t->sent == NP_HALF_OPEN && t->got != NP_HALF_RESET &&
	       (t->role == NP_TURN_INGRESS || t->status);
}

static bool tx_open(struct np_turn *t)
{
	if (t->role != NP_TURN_INGRESS || t->active || t->retired)
		return false;
	begin(t);
	return true;
}

/* A refusal may still answer the peer's RESET: it is a RESET that says more. */
static bool tx_status(struct np_turn *t, uint8_t code)
{
	if (t->role != NP_TURN_EGRESS || !t->active || t->status || t->sent != NP_HALF_OPEN)
		return false;
	if (code == 0 && t->got == NP_HALF_RESET)
		return false;
	if (code == 0)
		t->status = true;
	else
		t->sent = NP_HALF_RESET;
	return true;
}

static bool tx_end(struct np_turn *t, enum np_turn_half half)
{
	bool may = half == NP_HALF_FIN ? may_send_bytes(t) : t->active && t->sent != NP_HALF_RESET;

	if (may)
		t->sent = half;
	return may;
}

static bool tx_done(struct np_turn *t)
{
	if (t->role != NP_TURN_EGRESS || !t->active || !np_turn_is_through(t))
		return false;
	t->active = false;
	return true;
}

static bool tx_retire(struct np_turn *t)
{
	if (t->role != NP_TURN_EGRESS || t->retired)
		return false;
	t->retired = true;
	return true;
}

bool np_turn_tx(struct np_turn *t, enum np_frame_type type, uint8_t status_code)
{
	switch (type) {
	case NP_FRAME_PING:
	case NP_FRAME_PONG:
		return true;
	case NP_FRAME_OPEN:
		return tx_open(t);
	case NP_FRAME_STATUS:
		return tx_status(t, status_code);
	case NP_FRAME_DATA:
		return may_send_bytes(t);
	case NP_FRAME_FIN:
		return tx_end(t, NP_HALF_FIN);
	case NP_FRAME_RESET:
		return tx_end(t, NP_HALF_RESET);
	case NP_FRAME_DONE:
		return tx_done(t);
	case NP_FRAME_RETIRE:
		return tx_retire(t);
	case NP_FRAME_DOPEN:
	case NP_FRAME_DGRAM:
	case NP_FRAME_DCLOSE:
		break;
	}
	return false;
}
