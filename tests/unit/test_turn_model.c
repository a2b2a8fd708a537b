/*
 * test_turn_model.c - two np_turn ends, joined by two bounded queues of frames: every interleaving.
 *
 * A breadth-first search over all reachable states. The ends do whatever np_turn_tx lets them do,
 * in any order; frames stay in flight as long as they like; the channel may break anywhere. Turn
 * numbers are stored relative to the ingress, so the number of turns in a row has no bound and the
 * states have.
 *
 * In every state: no violation, no byte in a foreign turn, one STATUS a turn, the ingress idle only
 * when the egress is, and progress: some frame can be received or some half be ended, each such
 * step lowers a measure, and where none is left both ends are idle. So no schedule can hang two
 * ends that end their halves. Deliberate faults show that the checks can fail.
 */
#include "core/turn.h"

#include "state_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEPTH_MAX    6
#define BASE	     1000 /* the ingress's number in a decoded state */
#define RETIRED_CODE 18

/* A frame in flight. STATUS0 and STATUSX differ in their code. */
enum kind {
	K_OPEN,
	K_STATUS0,
	K_STATUSX,
	K_DATA,
	K_FIN,
	K_RESET,
	K_DONE,
	K_RETIRE,
	K_PING,
	K_PONG
};

static const enum np_frame_type type_of[] = {
    NP_FRAME_OPEN,  NP_FRAME_STATUS, NP_FRAME_STATUS, NP_FRAME_DATA, NP_FRAME_FIN,
    NP_FRAME_RESET, NP_FRAME_DONE,   NP_FRAME_RETIRE, NP_FRAME_PING, NP_FRAME_PONG,
};

struct flight {
	enum kind kind;
	uint16_t
	    session; /* the turn that its sender was in, kept apart from the number it claims */
};

struct queue {
	size_t n;
	struct flight f[DEPTH_MAX];
};

enum side { IN = 0, EG = 1 };

struct end {
	struct np_turn t;
	uint16_t session;
	bool ping_out;	/* a PING without its PONG */
	bool pong_owed; /* a PING came */
};

struct world {
	struct end end[2];
	struct queue to[2]; /* by receiver */
	bool refuse;	    /* egress: this turn's OPEN crossed RETIRE */
	bool told;	    /* ingress: STATUS was delivered in this turn */
};

enum fault { F_NONE, F_NO_ANSWER, F_OPEN_EARLY, F_DONE_EARLY, F_BYTES_AFTER_RESET };

/* Crossings that a search must have come through, or it proves little. */
enum witness {
	W_LATE_RESET = 1 << 0,	   /* RESET met an egress that had sent DONE */
	W_REFUSED_OPEN = 1 << 1,   /* OPEN crossed RETIRE */
	W_RESETS_CROSSED = 1 << 2, /* RESET came after one's own */
	W_STATUS_DROPPED = 1 << 3, /* STATUS came after the ingress's RESET */
	W_BYTES_DROPPED = 1 << 4,
	W_RESET_UNDIALLED = 1 << 5, /* RESET of the egress before STATUS */
	W_RESET_AFTER_FIN = 1 << 6,
	W_ALL = (1 << 7) - 1,
};

struct model {
	size_t depth; /* of each queue */
	bool pings;
	bool blind; /* numbers are made to fit: what protects a turn must be order and DONE alone */
	enum fault fault;
	struct state_set seen;
	const struct world *at; /* the state being expanded */
	const char *wrong;	/* the first finding; NULL = none */
	unsigned long long steps;
	unsigned witness;
};

static void finding(struct model *m, const char *what)
{
	if (m->wrong == NULL)
		m->wrong = what;
}

/* ------------------------------------------------------------------ states as keys */

static void put(uint64_t *word, unsigned *at, unsigned value, unsigned bits)
{
	*word |= (uint64_t)value << *at;
	*at += bits;
}

static unsigned take(uint64_t word, unsigned *at, unsigned bits)
{
	unsigned value = (unsigned)(word >> *at & ((1u << bits) - 1));

	*at += bits;
	return value;
}

/* Sessions are that of the ingress or the one before; anything else is a finding of its own. */
static unsigned age(struct model *m, const struct world *w, uint16_t session)
{
	unsigned d = (unsigned)(w->end[IN].session - session);

	if (d > 1)
		finding(m, "a turn older than the last one is still about");
	return d & 1;
}

static struct state_key key_of(struct model *m, const struct world *w)
{
	struct state_key k = {0, 0};
	unsigned at = 0;

	for (int s = 0; s < 2; s++) {
		const struct end *e = &w->end[s];

		put(&k.a, &at, e->t.active, 1);
		put(&k.a, &at, e->t.status, 1);
		put(&k.a, &at, e->t.retired, 1);
		put(&k.a, &at, e->t.sent, 2);
		put(&k.a, &at, e->t.got, 2);
		put(&k.a, &at, (unsigned)(w->end[IN].t.number - e->t.number), 1);
		put(&k.a, &at, age(m, w, e->session), 1);
		put(&k.a, &at, e->ping_out, 1);
		put(&k.a, &at, e->pong_owed, 1);
		put(&k.a, &at, (unsigned)w->to[s].n, 3);
	}
	put(&k.a, &at, w->refuse, 1);
	put(&k.a, &at, w->told, 1);
	at = 0;
	for (int s = 0; s < 2; s++) {
		for (size_t i = 0; i < w->to[s].n; i++) {
			put(&k.b, &at, w->to[s].f[i].kind, 4);
			put(&k.b, &at, age(m, w, w->to[s].f[i].session), 1);
		}
	}
	return k;
}

static struct world world_of(struct state_key k)
{
	struct world w = {0};
	unsigned at = 0;

	for (int s = 0; s < 2; s++) {
		struct end *e = &w.end[s];

		e->t.role = s == IN ? NP_TURN_INGRESS : NP_TURN_EGRESS;
		e->t.active = take(k.a, &at, 1);
		e->t.status = take(k.a, &at, 1);
		e->t.retired = take(k.a, &at, 1);
		e->t.sent = (enum np_turn_half)take(k.a, &at, 2);
		e->t.got = (enum np_turn_half)take(k.a, &at, 2);
		e->t.number = (uint16_t)(BASE - take(k.a, &at, 1));
		e->session = (uint16_t)(BASE - take(k.a, &at, 1));
		e->ping_out = take(k.a, &at, 1);
		e->pong_owed = take(k.a, &at, 1);
		w.to[s].n = take(k.a, &at, 3);
	}
	w.refuse = take(k.a, &at, 1);
	w.told = take(k.a, &at, 1);
	at = 0;
	for (int s = 0; s < 2; s++) {
		for (size_t i = 0; i < w.to[s].n; i++) {
			w.to[s].f[i].kind = (enum kind)take(k.b, &at, 4);
			w.to[s].f[i].session = (uint16_t)(BASE - take(k.b, &at, 1));
		}
	}
	return w;
}

/* ------------------------------------------------------------------ progress */

/* An upper bound of what is still sent and received if nobody opens, adds bytes or pings. */
static unsigned measure(const struct world *w)
{
	static const unsigned weight[] = {
	    [K_OPEN] = 12, [K_STATUS0] = 1, [K_STATUSX] = 1, [K_DATA] = 1, [K_FIN] = 1,
	    [K_RESET] = 1, [K_DONE] = 1,    [K_RETIRE] = 1,  [K_PING] = 4, [K_PONG] = 1,
	};
	unsigned sum = 0;

	for (int s = 0; s < 2; s++) {
		const struct np_turn *t = &w->end[s].t;

		if (t->active)
			sum += 2 * (unsigned)(2 - t->sent);
		if (t->active && s == EG)
			sum += t->status ? 2 : 4;
		sum += w->end[s].pong_owed ? 2 : 0;
		for (size_t i = 0; i < w->to[s].n; i++)
			sum += weight[w->to[s].f[i].kind];
	}
	return sum;
}

static bool at_rest(const struct world *w)
{
	return !w->end[IN].t.active && !w->end[EG].t.active && w->to[IN].n == 0 &&
	       w->to[EG].n == 0 && !w->end[IN].pong_owed && !w->end[EG].pong_owed;
}

static void reached(struct model *m, const struct world *w, bool winding_down)
{
	m->steps++;
	if (w->end[EG].t.active && !w->end[IN].t.active)
		finding(m, "the ingress is idle before the egress");
	if (winding_down && measure(w) >= measure(m->at))
		finding(m, "a step towards the end brings it no nearer");
	state_set_add(&m->seen, key_of(m, w));
}

/* ------------------------------------------------------------------ receiving */

static void check_owed(struct model *m, const struct end *e, unsigned act)
{
	bool owed = e->t.active && e->t.sent == NP_HALF_OPEN && e->t.got == NP_HALF_RESET;

	if (((act & NP_TURN_SEND_RESET) != 0) != owed)
		finding(m, "SEND_RESET does not say whether an answer is owed");
	if ((act & NP_TURN_SEND_DONE) != 0 && e->t.role != NP_TURN_EGRESS)
		finding(m, "SEND_DONE for the ingress");
	if (e->t.role == NP_TURN_EGRESS && e->t.active && np_turn_is_through(&e->t) &&
	    (act & NP_TURN_SEND_DONE) == 0)
		finding(m, "the egress became through and was not told");
	if ((act & NP_TURN_DELIVER) != 0 && (act & NP_TURN_DROP) != 0)
		finding(m, "DELIVER and DROP");
}

static void delivered(struct model *m, struct world *w, enum side s, struct flight f)
{
	if (f.kind == K_DATA && f.session != w->end[s].session)
		finding(m, "a byte in a foreign turn");
	if (f.kind == K_DATA && s == IN && !w->told)
		finding(m, "a byte before STATUS");
	if (f.kind == K_STATUS0 || f.kind == K_STATUSX) {
		if (w->told)
			finding(m, "a second STATUS in one turn");
		w->told = true;
	}
}

static unsigned witness_of(const struct np_turn *before, struct flight f, unsigned act)
{
	bool dropped = (act & NP_TURN_DROP) != 0;
	bool status = f.kind == K_STATUS0 || f.kind == K_STATUSX;
	unsigned seen = 0;

	if (f.kind == K_RESET && before->role == NP_TURN_EGRESS && !before->active)
		seen |= W_LATE_RESET;
	if ((act & NP_TURN_SEND_STATUS_RETIRED) != 0)
		seen |= W_REFUSED_OPEN;
	if (f.kind == K_RESET && before->sent == NP_HALF_RESET && dropped)
		seen |= W_RESETS_CROSSED;
	if (status && dropped)
		seen |= W_STATUS_DROPPED;
	if (f.kind == K_DATA && dropped)
		seen |= W_BYTES_DROPPED;
	if (f.kind == K_RESET && before->role == NP_TURN_INGRESS && !before->status)
		seen |= W_RESET_UNDIALLED;
	if (f.kind == K_RESET && before->got == NP_HALF_FIN && (act & NP_TURN_ABORT) != 0)
		seen |= W_RESET_AFTER_FIN;
	return seen;
}

static void receive_in_turn(struct model *m, struct world *w, enum side s, struct flight f)
{
	struct end *e = &w->end[s];
	struct np_frame head = {type_of[f.kind], f.kind == K_RETIRE ? 0 : f.session, 0};
	struct np_turn before = e->t;
	unsigned act;

	if (m->blind && f.kind != K_RETIRE)
		head.turn = f.kind == K_OPEN ? np_turn_next(e->t.number) : e->t.number;
	act = np_turn_rx(&e->t, &head, f.kind == K_STATUSX ? RETIRED_CODE : 0);
	if ((act & NP_TURN_VIOLATION) != 0) {
		finding(m, "a violation between two correct ends");
		return;
	}
	m->witness |= witness_of(&before, f, act);
	if (f.kind == K_OPEN) {
		e->session = f.session;
		w->refuse = (act & NP_TURN_SEND_STATUS_RETIRED) != 0;
		if (w->refuse != e->t.retired)
			finding(m, "an OPEN after RETIRE is not refused");
	}
	if (f.kind != K_RETIRE)
		check_owed(m, e, act);
	if ((act & NP_TURN_DELIVER) != 0)
		delivered(m, w, s, f);
	if (f.kind == K_DONE && (act & NP_TURN_IDLE) == 0)
		finding(m, "DONE and not idle");
}

static bool receive(struct model *m, enum side s)
{
	struct world w = *m->at;
	struct queue *q = &w.to[s];
	struct flight f;

	if (q->n == 0)
		return false;
	f = q->f[0];
	memmove(&q->f[0], &q->f[1], --q->n * sizeof(q->f[0]));
	if (f.kind == K_PING) {
		w.end[s].pong_owed = true;
	} else if (f.kind == K_PONG) {
		w.end[s].ping_out = false;
	} else {
		receive_in_turn(m, &w, s, f);
	}
	reached(m, &w, true);
	return true;
}

/* ------------------------------------------------------------------ sending */

/* What a faulty end does where a correct one would have been told no (or yes). */
static bool tx_faulty(const struct model *m, struct end *e, enum kind kind)
{
	struct np_turn *t = &e->t;

	if (m->fault == F_NO_ANSWER && kind == K_RESET && t->sent == NP_HALF_OPEN &&
	    t->got == NP_HALF_RESET)
		return false;
	if (m->fault == F_OPEN_EARLY && kind == K_OPEN && np_turn_is_through(t))
		t->active = false;
	if (m->fault == F_DONE_EARLY && kind == K_DONE && t->active && t->sent != NP_HALF_OPEN) {
		t->active = false;
		return true;
	}
	if (m->fault == F_BYTES_AFTER_RESET && kind == K_DATA && t->active &&
	    t->sent == NP_HALF_RESET)
		return true;
	return np_turn_tx(t, type_of[kind], kind == K_STATUSX ? RETIRED_CODE : 0);
}

static bool send(struct model *m, enum side s, enum kind kind, bool winding_down)
{
	struct world w = *m->at;
	struct end *e = &w.end[s];
	struct queue *q = &w.to[1 - s];

	if (q->n == m->depth)
		return false;
	if (s == EG && kind == K_STATUS0 && w.refuse)
		return false;
	if (!tx_faulty(m, e, kind))
		return false;
	if (kind == K_OPEN) {
		e->session++;
		w.told = false;
		/* the new turn becomes BASE */
		for (int i = 0; i < 2; i++) {
			w.end[i].t.number--;
			w.end[i].session--;
			for (size_t j = 0; j < w.to[i].n; j++)
				w.to[i].f[j].session--;
		}
	}
	if (kind == K_PING)
		e->ping_out = true;
	if (kind == K_PONG)
		e->pong_owed = false;
	q->f[q->n++] = (struct flight){kind, e->session};
	if (kind == K_DONE)
		w.refuse = false;
	reached(m, &w, winding_down);
	return true;
}

static void lose_channel(struct model *m)
{
	struct world w = {.end = {[IN] = {.session = BASE}, [EG] = {.session = BASE}}};

	np_turn_init(&w.end[IN].t, NP_TURN_INGRESS);
	np_turn_init(&w.end[EG].t, NP_TURN_EGRESS);
	w.end[IN].t.number = BASE;
	w.end[EG].t.number = BASE;
	state_set_add(&m->seen, key_of(m, &w));
}

static void expand(struct model *m)
{
	static const enum kind ends[2][5] = {{K_FIN, K_RESET, K_RESET, K_RESET, K_RESET},
					     {K_STATUS0, K_STATUSX, K_FIN, K_RESET, K_DONE}};
	bool moves = false;

	for (enum side s = IN; s <= EG; s++) {
		moves |= receive(m, s);
		for (size_t i = 0; i < (s == IN ? 2 : 5); i++)
			moves |= send(m, s, ends[s][i], true);
		if (m->at->end[s].pong_owed)
			moves |= send(m, s, K_PONG, true);
		send(m, s, K_DATA, false);
		if (m->pings && !m->at->end[s].ping_out)
			send(m, s, K_PING, false);
	}
	send(m, IN, K_OPEN, false);
	send(m, EG, K_RETIRE, false);
	lose_channel(m);
	if (!moves && !at_rest(m->at))
		finding(m, "stuck");
}

/* The whole search; stops at the first finding. */
static void search(struct model *m)
{
	lose_channel(m);
	for (size_t i = 0; i < m->seen.n && m->wrong == NULL; i++) {
		struct world w = world_of(m->seen.keys[i]);

		m->at = &w;
		expand(m);
		m->at = NULL;
	}
}

static void expect_sound(const char *name, struct model *m)
{
	search(m);
	printf("           %s, %zu frames each way: %zu states, %llu steps\n", name, m->depth,
	       m->seen.n, m->steps);
	if (m->wrong != NULL)
		fail_msg("%s", m->wrong);
	assert_true(m->seen.n > 400);
	if (m->depth > 1)
		assert_int_equal(m->witness, W_ALL);
	state_set_release(&m->seen);
}

static void expect_finding(enum fault fault, bool blind, const char *what)
{
	struct model m = {.depth = 3, .fault = fault, .blind = blind};

	search(&m);
	if (m.wrong == NULL)
		fail_msg("fault %d went unseen in %zu states", (int)fault, m.seen.n);
	assert_string_equal(m.wrong, what);
	state_set_release(&m.seen);
}

static void np_turn__two_ends_all_interleavings__sound(void **state)
{
	(void)state;
	for (size_t depth = 1; depth <= DEPTH_MAX; depth++)
		expect_sound("turns", &(struct model){.depth = depth});
}

static void np_turn__two_ends_with_pings__sound(void **state)
{
	(void)state;
	expect_sound("turns and pings", &(struct model){.depth = 5, .pings = true});
}

/* Were a turn's number lost, order and DONE would still keep the turns apart. */
static void np_turn__numbers_made_to_fit__order_alone_keeps_turns_apart(void **state)
{
	(void)state;
	expect_sound("turns without numbers", &(struct model){.depth = DEPTH_MAX, .blind = true});
}

static void np_turn__faulty_ends__the_model_sees_them(void **state)
{
	(void)state;
	expect_finding(F_NO_ANSWER, false, "stuck");
	expect_finding(F_OPEN_EARLY, false, "a violation between two correct ends");
	expect_finding(F_DONE_EARLY, false, "a violation between two correct ends");
	expect_finding(F_BYTES_AFTER_RESET, false, "a violation between two correct ends");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(np_turn__two_ends_all_interleavings__sound),
	    cmocka_unit_test(np_turn__two_ends_with_pings__sound),
	    cmocka_unit_test(np_turn__numbers_made_to_fit__order_alone_keeps_turns_apart),
	    cmocka_unit_test(np_turn__faulty_ends__the_model_sees_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
