/*
 * fuzz_frame_turn.c - one end of a stream channel fed with arbitrary headers and asked to send at
 * arbitrary moments: the machine's promises hold whatever the peer does.
 *
 * First byte: which end, and bit 1 = near the wrap of numbers. Then steps: a byte below 0x80 = a
 * header of 8 bytes and the status code follow, with bit 0 the turn is made to fit; above = try to
 * send frame type (byte & 0xf), code bit 6.
 */
#include "core/turn.h"

#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct np_turn *a, const struct np_turn *b)
{
	return a->role == b->role && a->number == b->number && a->active == b->active &&
	       a->status == b->status && a->retired == b->retired && a->sent == b->sent &&
	       a->got == b->got;
}

static void check_state(const struct np_turn *t)
{
	NP_ASSERT(t->sent <= NP_HALF_RESET && t->got <= NP_HALF_RESET);
	NP_ASSERT(t->number != 0 || !t->active);
	/* what has ended cleanly had begun */
	if (t->role == NP_TURN_INGRESS)
		NP_ASSERT(t->got != NP_HALF_FIN || t->status);
	else
		NP_ASSERT(t->sent != NP_HALF_FIN || t->status);
	NP_ASSERT(t->active || t->number == 0 || np_turn_is_through(t));
}

static void check_rx(const struct np_turn *before, const struct np_turn *t,
		     const struct np_frame *f, unsigned act)
{
	bool owed = t->active && t->sent == NP_HALF_OPEN && t->got == NP_HALF_RESET;
	bool egress = t->role == NP_TURN_EGRESS;

	NP_ASSERT(act != 0);
	if ((act & NP_TURN_VIOLATION) != 0) {
		NP_ASSERT(act == NP_TURN_VIOLATION && same(before, t));
		return;
	}
	NP_ASSERT((act & (NP_TURN_DELIVER | NP_TURN_DROP)) != (NP_TURN_DELIVER | NP_TURN_DROP));
	NP_ASSERT(t->sent == before->sent || f->type == NP_FRAME_OPEN);
	NP_ASSERT((act & NP_TURN_SEND_RESET) == 0 || owed);
	NP_ASSERT((act & NP_TURN_ABORT) == 0 || t->got == NP_HALF_RESET);
	NP_ASSERT((act & NP_TURN_IDLE) == 0 || (!egress && !t->active && before->active));
	NP_ASSERT((act & NP_TURN_SEND_DONE) == 0 || (egress && (owed || np_turn_is_through(t))));
	NP_ASSERT((act & NP_TURN_RETIRED) == 0 || (!egress && t->retired));
	NP_ASSERT((act & NP_TURN_SEND_STATUS_RETIRED) == 0 || (egress && t->retired && t->active));
	if (f->type == NP_FRAME_DATA)
		NP_ASSERT(before->active && before->got == NP_HALF_OPEN &&
			  ((act & NP_TURN_DELIVER) == 0 || before->sent != NP_HALF_RESET));
}

static void check_tx(const struct np_turn *before, const struct np_turn *t, enum np_frame_type type,
		     bool may)
{
	NP_ASSERT(t->got == before->got || type == NP_FRAME_OPEN);
	if (!may) {
		NP_ASSERT(same(before, t));
		return;
	}
	if (type == NP_FRAME_DATA || type == NP_FRAME_FIN)
		NP_ASSERT(before->active && before->sent == NP_HALF_OPEN &&
			  (before->role == NP_TURN_INGRESS || before->status));
	if (type == NP_FRAME_DONE)
		NP_ASSERT(before->role == NP_TURN_EGRESS && before->active && !t->active &&
			  np_turn_is_through(t));
	if (type == NP_FRAME_OPEN)
		NP_ASSERT(before->role == NP_TURN_INGRESS && !before->active && !before->retired &&
			  t->number == np_turn_next(before->number));
}

static bool receive(struct np_turn *t, const uint8_t *in, bool fit)
{
	uint8_t head[NP_FRAME_HEADER], again[NP_FRAME_HEADER];
	struct np_turn before = *t;
	struct np_frame f, datagram;
	unsigned act;

	memcpy(head, in, sizeof(head));
	if (fit && head[0] <= NP_FRAME_DONE) {
		uint16_t turn = head[0] == NP_FRAME_OPEN ? np_turn_next(t->number) : t->number;

		head[2] = (uint8_t)(turn >> 8);
		head[3] = (uint8_t)(turn & 0xff);
	}
	if (np_frame_read(head, NP_CHANNEL_DATAGRAM, &datagram) == NP_OK) {
		NP_ASSERT(datagram.type >= NP_FRAME_PING && datagram.turn == 0);
		NP_ASSERT(datagram.len <= 4 + NP_DGRAM_MAX);
		np_frame_write(&datagram, again);
		NP_ASSERT(memcmp(head, again, sizeof(head)) == 0);
	}
	if (np_frame_read(head, NP_CHANNEL_STREAM, &f) != NP_OK)
		return true;
	NP_ASSERT(f.type <= NP_FRAME_RETIRE && f.len <= NP_FRAME_DATA_MAX);
	np_frame_write(&f, again);
	NP_ASSERT(memcmp(head, again, sizeof(head)) == 0);
	act = np_turn_rx(t, &f, in[NP_FRAME_HEADER]);
	check_rx(&before, t, &f, act);
	return act != NP_TURN_VIOLATION;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct np_turn t;

	if (size == 0)
		return 0;
	np_turn_init(&t, (data[0] & 1) != 0 ? NP_TURN_EGRESS : NP_TURN_INGRESS);
	if ((data[0] & 2) != 0) {
		/* idle after a clean turn, the numbers about to wrap */
		t.number = 65534;
		t.status = true;
		t.sent = NP_HALF_FIN;
		t.got = NP_HALF_FIN;
	}
	for (size_t at = 1; at < size;) {
		uint8_t what = data[at++];

		if (what >= 0x80) {
			enum np_frame_type type = (enum np_frame_type)(what & 0xf);
			struct np_turn before = t;

			check_tx(&before, &t, type, np_turn_tx(&t, type, what >> 6 & 1));
		} else if (size - at >= NP_FRAME_HEADER + 1) {
			/* a violation closes the channel; going on checks that it changed nothing
			 */
			(void)receive(&t, data + at, (what & 1) != 0);
			at += NP_FRAME_HEADER + 1;
		} else {
			break;
		}
		check_state(&t);
	}
	return 0;
}
