/*
 * test_turn_retry_model.c - a visitor's byte never reaches two targets, whatever breaks when.
 *
 * One visitor, one byte of his, two channels: attempt 1 goes over channel 0, attempt 2 over
 * channel 1. Each end of a channel learns of its loss at a time of its own, frames in flight may
 * still arrive until then. Channel 1 ends at the same egress process or at another one (another
 * client, or the same one after a restart). The rules are those of "At most once" in
 * docs/PROTOCOL.md, the turns are np_turn; every interleaving is walked through. Then each rule is
 * left out once, and must be missed.
 */
#include "core/turn.h"

#include "state_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define QUEUE_MAX    4
#define REFUSED_CODE 19 /* maybe_delivered and its like */

enum kind { K_OPEN, K_STATUS0, K_STATUSX, K_DATA, K_RESET, K_FIN, K_DONE };

static const enum np_frame_type type_of[] = {
    NP_FRAME_OPEN,  NP_FRAME_STATUS, NP_FRAME_STATUS, NP_FRAME_DATA,
    NP_FRAME_RESET, NP_FRAME_FIN,    NP_FRAME_DONE,
};

enum side { IN = 0, EG = 1 };
enum target { T_NONE, T_DIALLING, T_CONNECTED, T_GONE };

struct channel {
	struct np_turn turn[2];
	bool lost[2]; /* this end knows */
	size_t n[2];  /* frames on their way, by receiver */
	enum kind queue[2][QUEUE_MAX];
	bool given; /* ingress: the byte was given to the socket */
	enum target target;
	bool waiting, written; /* egress: the byte came; it was written to the target */
};

/* What an egress process remembers of the trace id. */
struct record {
	unsigned seen; /* highest attempt */
	bool written, dropped;
};

struct world {
	struct channel ch[2];
	struct record rec[2]; /* by process */
	unsigned attempt;     /* of the ingress; 0 = not yet */
	bool other;	      /* channel 1 ends at process 1 */
	bool ended;	      /* the visitor was told */
};

/* The rules, one bit each: left out = the egress or the ingress does without. */
enum rule {
	R_SAME_BOOT = 1 << 0,	     /* a byte given: only the same process */
	R_LOOK_UP = 1 << 1,	     /* attempt 2 asks what attempt 1 wrote */
	R_ABANDON = 1 << 2,	     /* ... and ends attempt 1 */
	R_REFUSE_OLDER = 1 << 3,     /* attempt 1 after attempt 2 is refused */
	R_DROPPED_IS_GIVEN = 1 << 4, /* no record because there were too many: assume delivery */
	R_ALL = (1 << 5) - 1,
};

enum witness {
	W_RETRY_DELIVERS = 1 << 0,
	W_MAYBE_DELIVERED = 1 << 1,
	W_ABANDONED = 1 << 2,
	W_OLDER_REFUSED = 1 << 3,
	W_OTHER_PROCESS = 1 << 4,
	W_ALL = (1 << 5) - 1,
};

struct model {
	unsigned rules;
	struct state_set seen;
	const char *wrong;
	unsigned witness;
};

static void finding(struct model *m, const char *what)
{
	if (m->wrong == NULL)
		m->wrong = what;
}

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

static struct state_key key_of(const struct world *w)
{
	struct state_key k = {0, 0};
	unsigned a = 0, b = 0;

	for (int c = 0; c < 2; c++) {
		const struct channel *ch = &w->ch[c];

		for (int s = 0; s < 2; s++) {
			put(&k.a, &a, ch->turn[s].number, 1);
			put(&k.a, &a, ch->turn[s].active, 1);
			put(&k.a, &a, ch->turn[s].status, 1);
			put(&k.a, &a, ch->turn[s].sent, 2);
			put(&k.a, &a, ch->turn[s].got, 2);
			put(&k.a, &a, ch->lost[s], 1);
			put(&k.b, &b, (unsigned)ch->n[s], 3);
			for (size_t i = 0; i < ch->n[s]; i++)
				put(&k.b, &b, ch->queue[s][i], 3);
		}
		put(&k.a, &a, ch->given, 1);
		put(&k.a, &a, ch->target, 2);
		put(&k.a, &a, ch->waiting, 1);
		put(&k.a, &a, ch->written, 1);
		put(&k.a, &a, w->rec[c].seen, 2);
		put(&k.a, &a, w->rec[c].written, 1);
		put(&k.a, &a, w->rec[c].dropped, 1);
	}
	put(&k.a, &a, w->attempt, 2);
	put(&k.a, &a, w->other, 1);
	put(&k.a, &a, w->ended, 1);
	return k;
}

static struct world world_of(struct state_key k)
{
	unsigned a = 0, b = 0;
	struct world w;

	memset(&w, 0, sizeof(w));
	for (int c = 0; c < 2; c++) {
		struct channel *ch = &w.ch[c];

		for (int s = 0; s < 2; s++) {
			np_turn_init(&ch->turn[s], s == IN ? NP_TURN_INGRESS : NP_TURN_EGRESS);
			ch->turn[s].number = (uint16_t)take(k.a, &a, 1);
			ch->turn[s].active = take(k.a, &a, 1);
			ch->turn[s].status = take(k.a, &a, 1);
			ch->turn[s].sent = (enum np_turn_half)take(k.a, &a, 2);
			ch->turn[s].got = (enum np_turn_half)take(k.a, &a, 2);
			ch->lost[s] = take(k.a, &a, 1);
			ch->n[s] = take(k.b, &b, 3);
			for (size_t i = 0; i < ch->n[s]; i++)
				ch->queue[s][i] = (enum kind)take(k.b, &b, 3);
		}
		ch->given = take(k.a, &a, 1);
		ch->target = (enum target)take(k.a, &a, 2);
		ch->waiting = take(k.a, &a, 1);
		ch->written = take(k.a, &a, 1);
		w.rec[c].seen = take(k.a, &a, 2);
		w.rec[c].written = take(k.a, &a, 1);
		w.rec[c].dropped = take(k.a, &a, 1);
	}
	w.attempt = take(k.a, &a, 2);
	w.other = take(k.a, &a, 1);
	w.ended = take(k.a, &a, 1);
	return w;
}

static void reached(struct model *m, const struct world *w)
{
	if (w->ch[0].written && w->ch[1].written)
		finding(m, "one byte at two targets");
	if (w->ch[1].written)
		m->witness |= W_RETRY_DELIVERS | (w->other ? W_OTHER_PROCESS : 0u);
	state_set_add(&m->seen, key_of(w));
}

static struct record *record_of(struct world *w, int c)
{
	return &w->rec[c == 1 && w->other ? 1 : 0];
}

/* A frame is lost on the way when its receiver has given the channel up. */
static bool send(struct world *w, int c, enum side s, enum kind kind)
{
	struct channel *ch = &w->ch[c];
	enum side to = s == IN ? EG : IN;

	if (ch->lost[s] || ch->n[to] == QUEUE_MAX)
		return false;
	if (!np_turn_tx(&ch->turn[s], type_of[kind], kind == K_STATUSX ? REFUSED_CODE : 0))
		return false;
	if (!ch->lost[to])
		ch->queue[to][ch->n[to]++] = kind;
	return true;
}

static void refuse(struct world *w, int c)
{
	(void)send(w, c, EG, K_STATUSX);
	w->ch[c].target = T_GONE;
}

static void abandon_first(struct model *m, struct world *w)
{
	struct channel *ch = &w->ch[0];

	if ((m->rules & R_ABANDON) == 0 || ch->target == T_NONE)
		return;
	m->witness |= W_ABANDONED;
	ch->target = T_GONE;
	ch->waiting = false;
	(void)send(w, 0, EG, K_RESET);
}

static void egress_open(struct model *m, struct world *w, int c)
{
	struct record *r = record_of(w, c);
	unsigned attempt = (unsigned)c + 1;

	if (attempt < r->seen && (m->rules & R_REFUSE_OLDER) != 0) {
		m->witness |= W_OLDER_REFUSED;
		refuse(w, c);
		return;
	}
	r->seen = attempt > r->seen ? attempt : r->seen;
	if (attempt == 2 && (m->rules & R_LOOK_UP) != 0 &&
	    (r->written || (r->dropped && (m->rules & R_DROPPED_IS_GIVEN) != 0))) {
		m->witness |= W_MAYBE_DELIVERED;
		refuse(w, c);
		return;
	}
	if (attempt == 2 && !w->other)
		abandon_first(m, w);
	w->ch[c].target = T_DIALLING;
}

static void egress_frame(struct model *m, struct world *w, int c, enum kind kind, unsigned act)
{
	struct channel *ch = &w->ch[c];

	if (kind == K_OPEN)
		egress_open(m, w, c);
	else if (kind == K_DATA && (act & NP_TURN_DELIVER) != 0 && ch->target != T_GONE)
		ch->waiting = true;
	if ((act & NP_TURN_ABORT) != 0) {
		ch->target = T_GONE;
		ch->waiting = false;
	}
}

static void receive(struct model *m, struct world w, int c, enum side s)
{
	struct channel *ch = &w.ch[c];
	struct np_frame f = {.turn = 1};
	enum kind kind;
	unsigned act;

	if (ch->lost[s] || ch->n[s] == 0)
		return;
	kind = ch->queue[s][0];
	memmove(&ch->queue[s][0], &ch->queue[s][1], --ch->n[s] * sizeof(kind));
	f.type = type_of[kind];
	act = np_turn_rx(&ch->turn[s], &f, kind == K_STATUSX ? REFUSED_CODE : 0);
	if ((act & NP_TURN_VIOLATION) != 0)
		finding(m, "a violation between two correct ends");
	if (s == EG)
		egress_frame(m, &w, c, kind, act);
	else if ((act & NP_TURN_ABORT) != 0 && w.attempt == (unsigned)c + 1)
		w.ended = true;
	reached(m, &w);
}

/* The ingress learns that its channel is gone: try again, or reset the visitor. */
static void ingress_loses(struct model *m, struct world w, int c)
{
	struct channel *ch = &w.ch[c];
	bool current = w.attempt == (unsigned)c + 1 && !w.ended;
	bool may = current && c == 0 && !ch->turn[IN].status && ch->turn[IN].sent == NP_HALF_OPEN;

	if (ch->lost[IN])
		return;
	ch->lost[IN] = true;
	ch->n[IN] = 0;
	if (may && ch->given && w.other && (m->rules & R_SAME_BOOT) != 0)
		may = false;
	if (may) {
		struct world again = w;

		again.attempt = 2;
		if (send(&again, 1, IN, K_OPEN))
			reached(m, &again);
	}
	w.ended = w.ended || current;
	reached(m, &w);
}

static void egress_loses(struct model *m, struct world w, int c)
{
	struct channel *ch = &w.ch[c];

	if (ch->lost[EG])
		return;
	ch->lost[EG] = true;
	ch->n[EG] = 0;
	ch->waiting = false;
	ch->target = ch->target == T_NONE ? T_NONE : T_GONE;
	reached(m, &w);
}

static void egress_writes(struct model *m, struct world w, int c)
{
	struct channel *ch = &w.ch[c];

	if (ch->target != T_CONNECTED || !ch->waiting)
		return;
	ch->waiting = false;
	ch->written = true;
	record_of(&w, c)->written = true;
	reached(m, &w);
}

/* Too many records: those of turns that are over may go, and the process knows that some went. */
static void egress_forgets(struct model *m, struct world w)
{
	if (!w.ch[0].lost[EG] || w.rec[0].seen != 1)
		return;
	w.rec[0] = (struct record){.dropped = true};
	reached(m, &w);
}

static void sends(struct model *m, struct world w, int c, enum side s, enum kind kind)
{
	struct channel *ch = &w.ch[c];

	if (kind == K_STATUS0 && ch->target != T_DIALLING)
		return;
	if (kind == K_DATA && s == IN && ch->given)
		return;
	if (!send(&w, c, s, kind))
		return;
	if (s == IN && kind == K_DATA)
		ch->given = true;
	if (s == IN && kind == K_RESET)
		w.ended = true;
	if (kind == K_STATUS0)
		ch->target = T_CONNECTED;
	if (s == EG && (kind == K_STATUSX || kind == K_RESET)) {
		ch->target = T_GONE;
		ch->waiting = false;
	}
	reached(m, &w);
}

static void expand(struct model *m, const struct world *w)
{
	static const enum kind egress[] = {K_STATUS0, K_STATUSX, K_RESET, K_DONE};

	if (w->attempt == 0) {
		struct world next = *w;

		next.attempt = 1;
		if (send(&next, 0, IN, K_OPEN))
			reached(m, &next);
	}
	for (int c = 0; c < 2; c++) {
		receive(m, *w, c, IN);
		receive(m, *w, c, EG);
		ingress_loses(m, *w, c);
		egress_loses(m, *w, c);
		egress_writes(m, *w, c);
		sends(m, *w, c, IN, K_DATA);
		sends(m, *w, c, IN, K_RESET);
		sends(m, *w, c, IN, K_FIN);
		for (size_t i = 0; i < sizeof(egress) / sizeof(egress[0]); i++)
			sends(m, *w, c, EG, egress[i]);
	}
	egress_forgets(m, *w);
}

static void search(struct model *m)
{
	for (int other = 0; other < 2; other++) {
		struct world start;

		memset(&start, 0, sizeof(start));
		for (int c = 0; c < 2; c++) {
			np_turn_init(&start.ch[c].turn[IN], NP_TURN_INGRESS);
			np_turn_init(&start.ch[c].turn[EG], NP_TURN_EGRESS);
		}
		start.other = other != 0;
		reached(m, &start);
	}
	for (size_t i = 0; i < m->seen.n && m->wrong == NULL; i++) {
		struct world w = world_of(m->seen.keys[i]);

		expand(m, &w);
	}
}

static void at_most_once__all_interleavings__one_target(void **state)
{
	struct model m = {.rules = R_ALL};

	(void)state;
	search(&m);
	printf("           two channels, two attempts: %zu states\n", m.seen.n);
	if (m.wrong != NULL)
		fail_msg("%s", m.wrong);
	assert_int_equal(m.witness, W_ALL);
	state_set_release(&m.seen);
}

static void at_most_once__one_rule_left_out__two_targets(void **state)
{
	(void)state;
	for (unsigned rule = 1; rule < R_ALL; rule <<= 1) {
		struct model m = {.rules = R_ALL & ~rule};

		search(&m);
		if (m.wrong == NULL)
			fail_msg("rule %u is not missed in %zu states", rule, m.seen.n);
		assert_string_equal(m.wrong, "one byte at two targets");
		state_set_release(&m.seen);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(at_most_once__all_interleavings__one_target),
	    cmocka_unit_test(at_most_once__one_rule_left_out__two_targets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
