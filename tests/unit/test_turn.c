/*
 * test_turn.c - the machine of turns: its whole table in both directions, illegal cells too, then
 * single stories. Two ends together are in test_turn_model.c.
 */
#include "core/turn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define RETIRED_CODE 18

/*
 * What one frame does: V violation, D deliver, X drop, H half-close, A abort, r send RESET, d send
 * DONE, I idle, T answer STATUS retired, R retired.
 */
static const char *act_text(unsigned act, char out[16])
{
	static const struct {
		unsigned bit;
		char letter;
	} names[] = {
	    {NP_TURN_VIOLATION, 'V'},  {NP_TURN_DELIVER, 'D'}, {NP_TURN_DROP, 'X'},
	    {NP_TURN_HALF_CLOSE, 'H'}, {NP_TURN_ABORT, 'A'},   {NP_TURN_SEND_RESET, 'r'},
	    {NP_TURN_SEND_DONE, 'd'},  {NP_TURN_IDLE, 'I'},    {NP_TURN_SEND_STATUS_RETIRED, 'T'},
	    {NP_TURN_RETIRED, 'R'},
	};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if ((act & names[i].bit) != 0)
			out[n++] = names[i].letter;
		act &= ~names[i].bit;
	}
	if (act != 0)
		out[n++] = '?';
	out[n] = '\0';
	return out;
}

enum column { C_OPEN, C_STATUS0, C_STATUSX, C_DATA, C_FIN, C_RESET, C_DONE, C_COUNT };

static const struct {
	enum np_frame_type type;
	uint8_t code;
} columns[C_COUNT] = {
    {NP_FRAME_OPEN, 0}, {NP_FRAME_STATUS, 0}, {NP_FRAME_STATUS, 7}, {NP_FRAME_DATA, 0},
    {NP_FRAME_FIN, 0},	{NP_FRAME_RESET, 0},  {NP_FRAME_DONE, 0},
};

/* state = active? status? sent got, each half o(pen) f(in) r(eset) */
struct row {
	const char *state;
	const char *rx[C_COUNT]; /* OPEN is the successor's, the others the current turn's */
	const char *tx;		 /* y/n for OPEN STATUS0 STATUSx DATA FIN RESET DONE */
};

static const struct row ingress_rows[] = {
    {"-0oo", {"V", "V", "V", "V", "V", "V", "V"}, "ynnnnnn"},
    {"-1ff", {"V", "V", "V", "V", "V", "V", "V"}, "ynnnnnn"},
    {"-0rr", {"V", "V", "V", "V", "V", "V", "V"}, "ynnnnnn"},
    {"a0oo", {"V", "D", "DAr", "V", "V", "Ar", "V"}, "nnnyyyn"},
    {"a0fo", {"V", "D", "DA", "V", "V", "A", "V"}, "nnnnnyn"},
    {"a0ro", {"V", "X", "X", "V", "V", "X", "V"}, "nnnnnnn"},
    {"a0or", {"V", "V", "V", "V", "V", "V", "V"}, "nnnnnyn"},
    {"a0fr", {"V", "V", "V", "V", "V", "V", "I"}, "nnnnnyn"},
    {"a0rr", {"V", "V", "V", "V", "V", "V", "I"}, "nnnnnnn"},
    {"a1oo", {"V", "V", "V", "D", "H", "Ar", "V"}, "nnnyyyn"},
    {"a1fo", {"V", "V", "V", "D", "H", "A", "V"}, "nnnnnyn"},
    {"a1ro", {"V", "V", "V", "X", "X", "X", "V"}, "nnnnnnn"},
    {"a1of", {"V", "V", "V", "V", "V", "Ar", "V"}, "nnnyyyn"},
    {"a1ff", {"V", "V", "V", "V", "V", "A", "I"}, "nnnnnyn"},
    {"a1rf", {"V", "V", "V", "V", "V", "X", "I"}, "nnnnnnn"},
    {"a1or", {"V", "V", "V", "V", "V", "V", "V"}, "nnnnnyn"},
    {"a1fr", {"V", "V", "V", "V", "V", "V", "I"}, "nnnnnyn"},
    {"a1rr", {"V", "V", "V", "V", "V", "V", "I"}, "nnnnnnn"},
};

static const struct row egress_rows[] = {
    {"-0oo", {"D", "V", "V", "V", "V", "V", "V"}, "nnnnnnn"},
    {"-1ff", {"D", "V", "V", "V", "V", "X", "V"}, "nnnnnnn"},
    {"-1rf", {"D", "V", "V", "V", "V", "X", "V"}, "nnnnnnn"},
    {"-1fr", {"D", "V", "V", "V", "V", "V", "V"}, "nnnnnnn"},
    {"-0rr", {"D", "V", "V", "V", "V", "V", "V"}, "nnnnnnn"},
    {"a0oo", {"V", "V", "V", "D", "H", "Ard", "V"}, "nyynnyn"},
    {"a0of", {"V", "V", "V", "V", "V", "Ard", "V"}, "nyynnyn"},
    {"a0or", {"V", "V", "V", "V", "V", "V", "V"}, "nnynnyn"},
    {"a0ro", {"V", "V", "V", "X", "Xd", "Xd", "V"}, "nnnnnnn"},
    {"a0rf", {"V", "V", "V", "V", "V", "Xd", "V"}, "nnnnnny"},
    {"a0rr", {"V", "V", "V", "V", "V", "V", "V"}, "nnnnnny"},
    {"a1oo", {"V", "V", "V", "D", "H", "Ard", "V"}, "nnnyyyn"},
    {"a1fo", {"V", "V", "V", "D", "Hd", "Ad", "V"}, "nnnnnyn"},
    {"a1ro", {"V", "V", "V", "X", "Xd", "Xd", "V"}, "nnnnnnn"},
    {"a1of", {"V", "V", "V", "V", "V", "Ard", "V"}, "nnnyyyn"},
    {"a1ff", {"V", "V", "V", "V", "V", "Ad", "V"}, "nnnnnyy"},
    {"a1rf", {"V", "V", "V", "V", "V", "Xd", "V"}, "nnnnnny"},
    {"a1or", {"V", "V", "V", "V", "V", "V", "V"}, "nnnnnyn"},
    {"a1fr", {"V", "V", "V", "V", "V", "V", "V"}, "nnnnnyy"},
    {"a1rr", {"V", "V", "V", "V", "V", "V", "V"}, "nnnnnny"},
};

static enum np_turn_half half_of(char c)
{
	return c == 'o' ? NP_HALF_OPEN : c == 'f' ? NP_HALF_FIN : NP_HALF_RESET;
}

static struct np_turn turn_of(enum np_turn_role role, const char *text, uint16_t number)
{
	struct np_turn t;

	np_turn_init(&t, role);
	t.number = number;
	t.active = text[0] == 'a';
	t.status = text[1] == '1';
	t.sent = half_of(text[2]);
	t.got = half_of(text[3]);
	return t;
}

static bool same(const struct np_turn *a, const struct np_turn *b)
{
	return a->role == b->role && a->number == b->number && a->active == b->active &&
	       a->status == b->status && a->retired == b->retired && a->sent == b->sent &&
	       a->got == b->got;
}

static unsigned rx(struct np_turn *t, enum np_frame_type type, uint16_t turn, uint8_t code)
{
	struct np_frame f = {type, turn, 0};

	return np_turn_rx(t, &f, code);
}

static void expect(const char *where, const char *column, unsigned act, const char *want)
{
	char text[16];

	if (strcmp(act_text(act, text), want) != 0)
		fail_msg("%s, %s: got %s, want %s", where, column, text, want);
}

static void check_rx_row(enum np_turn_role role, const struct row *row, uint16_t number)
{
	for (size_t c = 0; c < C_COUNT; c++) {
		struct np_turn t = turn_of(role, row->state, number), before = t;
		uint16_t turn = c == C_OPEN ? np_turn_next(number) : number;
		unsigned act = rx(&t, columns[c].type, turn, columns[c].code);

		expect(row->state, np_frame_name(columns[c].type), act, row->rx[c]);
		if (act == NP_TURN_VIOLATION)
			assert_true(same(&t, &before));
		else if (c == C_OPEN)
			assert_true(t.active && !t.status && t.number == turn &&
				    t.sent == NP_HALF_OPEN && t.got == NP_HALF_OPEN);
	}
}

/* The same cells with every other turn number: nothing but a violation. */
static void check_foreign_turns(enum np_turn_role role, const struct row *row, uint16_t number)
{
	static const uint16_t others[] = {1, 2, 299, 300, 301, 302, 65534, 65535};

	for (size_t c = 0; c < C_COUNT; c++) {
		for (size_t o = 0; o < sizeof(others) / sizeof(others[0]); o++) {
			struct np_turn t = turn_of(role, row->state, number);

			if (others[o] == (c == C_OPEN ? np_turn_next(number) : number))
				continue;
			expect(row->state, "foreign turn",
			       rx(&t, columns[c].type, others[o], columns[c].code), "V");
		}
	}
}

static void check_tx_row(enum np_turn_role role, const struct row *row)
{
	for (size_t c = 0; c < C_COUNT; c++) {
		struct np_turn t = turn_of(role, row->state, 300), before = t;
		bool may = np_turn_tx(&t, columns[c].type, columns[c].code);

		if (may != (row->tx[c] == 'y'))
			fail_msg("%s, tx %s: %d", row->state, np_frame_name(columns[c].type), may);
		if (!may)
			assert_true(same(&t, &before));
	}
}

#define CELLS                                                        \
	(C_COUNT * (sizeof(ingress_rows) / sizeof(ingress_rows[0]) + \
		    sizeof(egress_rows) / sizeof(egress_rows[0])))

static void check_both(void (*row)(enum np_turn_role role, const struct row *row, uint16_t number),
		       uint16_t number)
{
	for (size_t i = 0; i < sizeof(ingress_rows) / sizeof(ingress_rows[0]); i++)
		row(NP_TURN_INGRESS, &ingress_rows[i], number);
	for (size_t i = 0; i < sizeof(egress_rows) / sizeof(egress_rows[0]); i++)
		row(NP_TURN_EGRESS, &egress_rows[i], number);
}

static void np_turn_rx__every_state_and_frame__as_the_table(void **state)
{
	(void)state;
	check_both(check_rx_row, 300);
	check_both(check_rx_row, 65534);
	check_both(check_rx_row, 65535);
	print_message("cells of np_turn_rx: %zu, of every state that can be reached\n", CELLS);
}

static void np_turn_rx__foreign_turn__violation(void **state)
{
	(void)state;
	check_both(check_foreign_turns, 300);
}

static void np_turn_tx__every_state_and_frame__as_the_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ingress_rows) / sizeof(ingress_rows[0]); i++)
		check_tx_row(NP_TURN_INGRESS, &ingress_rows[i]);
	for (size_t i = 0; i < sizeof(egress_rows) / sizeof(egress_rows[0]); i++)
		check_tx_row(NP_TURN_EGRESS, &egress_rows[i]);
	print_message("cells of np_turn_tx: %zu, of every state that can be reached\n", CELLS);
}

static void check_channel_frames(enum np_turn_role role, const struct row *row, uint16_t number)
{
	struct np_turn t = turn_of(role, row->state, number), before = t;

	expect(row->state, "PING", rx(&t, NP_FRAME_PING, 0, 0), "D");
	expect(row->state, "PONG", rx(&t, NP_FRAME_PONG, 0, 0), "D");
	assert_true(np_turn_tx(&t, NP_FRAME_PING, 0) && np_turn_tx(&t, NP_FRAME_PONG, 0));
	expect(row->state, "PING in a turn", rx(&t, NP_FRAME_PING, number, 0), "V");
	expect(row->state, "PONG in a turn", rx(&t, NP_FRAME_PONG, number, 0), "V");
	expect(row->state, "RETIRE in a turn", rx(&t, NP_FRAME_RETIRE, number, 0), "V");
	expect(row->state, "DOPEN", rx(&t, NP_FRAME_DOPEN, 0, 0), "V");
	expect(row->state, "DGRAM", rx(&t, NP_FRAME_DGRAM, 0, 0), "V");
	expect(row->state, "DCLOSE", rx(&t, NP_FRAME_DCLOSE, 0, 0), "V");
	expect(row->state, "no type", rx(&t, (enum np_frame_type)99, number, 0), "V");
	assert_false(np_turn_tx(&t, NP_FRAME_DOPEN, 0));
	assert_false(np_turn_tx(&t, NP_FRAME_DGRAM, 0));
	assert_false(np_turn_tx(&t, NP_FRAME_DCLOSE, 0));
	assert_false(np_turn_tx(&t, (enum np_frame_type)99, 0));
	assert_true(same(&t, &before));
	if (role == NP_TURN_INGRESS) {
		assert_false(np_turn_tx(&t, NP_FRAME_RETIRE, 0));
		expect(row->state, "RETIRE", rx(&t, NP_FRAME_RETIRE, 0, 0), "R");
		expect(row->state, "RETIRE again", rx(&t, NP_FRAME_RETIRE, 0, 0), "R");
	} else {
		expect(row->state, "RETIRE", rx(&t, NP_FRAME_RETIRE, 0, 0), "V");
		assert_true(np_turn_tx(&t, NP_FRAME_RETIRE, 0));
		assert_false(np_turn_tx(&t, NP_FRAME_RETIRE, 0));
	}
	before.retired = true;
	assert_true(same(&t, &before));
}

static void np_turn__frames_of_the_channel__legal_in_every_state(void **state)
{
	(void)state;
	check_both(check_channel_frames, 300);
}

/* A story: '>' this end sends, '<' it receives; then what must come of it ("n": not allowed to
 * send). */
struct step {
	char dir;
	enum column what;
	const char *want;
};

static void play(struct np_turn *t, const struct step *steps, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		enum np_frame_type type = columns[steps[i].what].type;
		uint8_t code = columns[steps[i].what].code;
		uint16_t turn = steps[i].what == C_OPEN ? np_turn_next(t->number) : t->number;
		char where[32];

		snprintf(where, sizeof(where), "step %zu", i);
		if (steps[i].dir == '<')
			expect(where, np_frame_name(type), rx(t, type, turn, code), steps[i].want);
		else if (np_turn_tx(t, type, code) != (steps[i].want[0] != 'n'))
			fail_msg("%s: tx %s", where, np_frame_name(type));
	}
}
#define PLAY(t, ...)                                \
	play(t, (const struct step[]){__VA_ARGS__}, \
	     sizeof((const struct step[]){__VA_ARGS__}) / sizeof(struct step))

static void np_turn__clean_session_seen_by_the_ingress__idle_again(void **state)
{
	struct np_turn t;

	(void)state;
	np_turn_init(&t, NP_TURN_INGRESS);
	assert_true(np_turn_is_idle(&t));
	PLAY(&t, {'>', C_OPEN, "y"}, {'>', C_OPEN, "n"}, {'>', C_DATA, "y"}, {'>', C_FIN, "y"},
	     {'>', C_DATA, "n"}, {'<', C_STATUS0, "D"}, {'<', C_DATA, "D"}, {'<', C_FIN, "H"});
	assert_true(np_turn_is_through(&t) && !np_turn_is_idle(&t));
	PLAY(&t, {'>', C_OPEN, "n"}, {'<', C_DONE, "I"});
	assert_true(np_turn_is_idle(&t));
	PLAY(&t, {'>', C_OPEN, "y"});
	assert_int_equal(t.number, 2);
	assert_false(np_turn_is_through(&t));
}

static void np_turn__clean_session_seen_by_the_egress__done_after_both_ends(void **state)
{
	struct np_turn t;

	(void)state;
	np_turn_init(&t, NP_TURN_EGRESS);
	PLAY(&t, {'<', C_OPEN, "D"}, {'<', C_DATA, "D"}, {'>', C_DATA, "n"}, {'>', C_FIN, "n"},
	     {'>', C_STATUS0, "y"}, {'>', C_STATUS0, "n"}, {'>', C_STATUSX, "n"},
	     {'>', C_DATA, "y"}, {'>', C_DONE, "n"}, {'>', C_FIN, "y"}, {'>', C_DONE, "n"},
	     {'<', C_FIN, "Hd"}, {'>', C_DONE, "y"}, {'>', C_DONE, "n"}, {'<', C_OPEN, "D"});
	assert_int_equal(t.number, 2);
}

static void np_turn__target_refused__one_reset_each_way(void **state)
{
	struct np_turn in, eg;

	(void)state;
	np_turn_init(&in, NP_TURN_INGRESS);
	np_turn_init(&eg, NP_TURN_EGRESS);
	PLAY(&in, {'>', C_OPEN, "y"}, {'>', C_DATA, "y"}, {'<', C_STATUSX, "DAr"},
	     {'>', C_DATA, "n"}, {'>', C_FIN, "n"}, {'<', C_DONE, "V"}, {'>', C_RESET, "y"},
	     {'>', C_RESET, "n"}, {'<', C_DONE, "I"});
	PLAY(&eg, {'<', C_OPEN, "D"}, {'>', C_STATUSX, "y"}, {'>', C_RESET, "n"},
	     {'<', C_DATA, "X"}, {'<', C_RESET, "Xd"}, {'>', C_DONE, "y"});
}

static void np_turn__reset_while_dialing__answered_by_reset_or_status(void **state)
{
	struct np_turn t;

	(void)state;
	np_turn_init(&t, NP_TURN_EGRESS);
	PLAY(&t, {'<', C_OPEN, "D"}, {'<', C_DATA, "D"}, {'<', C_RESET, "Ard"},
	     {'>', C_STATUS0, "n"}, {'>', C_DONE, "n"}, {'>', C_RESET, "y"}, {'>', C_DONE, "y"});
	PLAY(&t, {'<', C_OPEN, "D"}, {'<', C_RESET, "Ard"}, {'>', C_STATUSX, "y"},
	     {'>', C_RESET, "n"}, {'>', C_DONE, "y"}, {'<', C_RESET, "V"});
}

static void np_turn__resets_cross__nobody_answers(void **state)
{
	struct np_turn in, eg;

	(void)state;
	np_turn_init(&in, NP_TURN_INGRESS);
	np_turn_init(&eg, NP_TURN_EGRESS);
	PLAY(&in, {'>', C_OPEN, "y"}, {'>', C_RESET, "y"}, {'<', C_STATUS0, "X"},
	     {'<', C_DATA, "X"}, {'<', C_RESET, "X"}, {'<', C_DONE, "I"});
	PLAY(&eg, {'<', C_OPEN, "D"}, {'>', C_STATUS0, "y"}, {'>', C_DATA, "y"},
	     {'>', C_RESET, "y"}, {'<', C_DATA, "X"}, {'<', C_RESET, "Xd"}, {'>', C_DONE, "y"});
}

static void np_turn__visitor_resets_after_both_fins__late_reset_dropped_once(void **state)
{
	struct np_turn in, eg;

	(void)state;
	np_turn_init(&in, NP_TURN_INGRESS);
	np_turn_init(&eg, NP_TURN_EGRESS);
	PLAY(&in, {'>', C_OPEN, "y"}, {'<', C_STATUS0, "D"}, {'>', C_FIN, "y"}, {'<', C_FIN, "H"},
	     {'>', C_RESET, "y"}, {'<', C_DONE, "I"}, {'>', C_RESET, "n"}, {'>', C_OPEN, "y"});
	PLAY(&eg, {'<', C_OPEN, "D"}, {'>', C_STATUS0, "y"}, {'<', C_FIN, "H"}, {'>', C_FIN, "y"},
	     {'>', C_DONE, "y"}, {'<', C_RESET, "X"}, {'<', C_RESET, "V"}, {'<', C_OPEN, "D"});
}

static void np_turn__open_crosses_retire__refused_before_any_dial(void **state)
{
	struct np_turn in, eg;

	(void)state;
	np_turn_init(&in, NP_TURN_INGRESS);
	np_turn_init(&eg, NP_TURN_EGRESS);
	assert_true(np_turn_tx(&in, NP_FRAME_OPEN, 0));
	assert_true(np_turn_tx(&eg, NP_FRAME_RETIRE, 0));
	expect("egress", "OPEN", rx(&eg, NP_FRAME_OPEN, 1, 0), "XT");
	assert_true(np_turn_tx(&eg, NP_FRAME_STATUS, RETIRED_CODE));
	expect("ingress", "RETIRE", rx(&in, NP_FRAME_RETIRE, 0, 0), "R");
	expect("ingress", "STATUS", rx(&in, NP_FRAME_STATUS, 1, RETIRED_CODE), "DAr");
	assert_true(np_turn_tx(&in, NP_FRAME_RESET, 0));
	expect("egress", "RESET", rx(&eg, NP_FRAME_RESET, 1, 0), "Xd");
	assert_true(np_turn_tx(&eg, NP_FRAME_DONE, 0));
	expect("ingress", "DONE", rx(&in, NP_FRAME_DONE, 1, 0), "I");
	assert_false(np_turn_tx(&in, NP_FRAME_OPEN, 0));
}

static void np_turn__retire_inside_a_turn__turn_goes_on(void **state)
{
	struct np_turn t;

	(void)state;
	np_turn_init(&t, NP_TURN_INGRESS);
	PLAY(&t, {'>', C_OPEN, "y"}, {'<', C_STATUS0, "D"});
	expect("ingress", "RETIRE", rx(&t, NP_FRAME_RETIRE, 0, 0), "R");
	PLAY(&t, {'>', C_DATA, "y"}, {'<', C_DATA, "D"}, {'>', C_FIN, "y"}, {'<', C_FIN, "H"},
	     {'<', C_DONE, "I"}, {'>', C_OPEN, "n"});
}

static void np_turn__numbers_wrap__one_follows_65535(void **state)
{
	struct np_turn in, eg;
	uint16_t last = 0;

	(void)state;
	np_turn_init(&in, NP_TURN_INGRESS);
	np_turn_init(&eg, NP_TURN_EGRESS);
	for (unsigned i = 0; i < 2 * 65535 + 3; i++) {
		assert_true(np_turn_tx(&in, NP_FRAME_OPEN, 0));
		assert_int_equal(in.number, last == 65535 ? 1 : last + 1);
		last = in.number;
		assert_int_equal(rx(&eg, NP_FRAME_OPEN, last, 0), NP_TURN_DELIVER);
		assert_true(np_turn_tx(&eg, NP_FRAME_RESET, 0));
		assert_true(np_turn_tx(&in, NP_FRAME_RESET, 0));
		assert_int_equal(rx(&in, NP_FRAME_RESET, last, 0), NP_TURN_DROP);
		assert_int_equal(rx(&eg, NP_FRAME_RESET, last, 0),
				 NP_TURN_DROP | NP_TURN_SEND_DONE);
		assert_true(np_turn_tx(&eg, NP_FRAME_DONE, 0));
		assert_int_equal(rx(&in, NP_FRAME_DONE, last, 0), NP_TURN_IDLE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(np_turn_rx__every_state_and_frame__as_the_table),
	    cmocka_unit_test(np_turn_rx__foreign_turn__violation),
	    cmocka_unit_test(np_turn_tx__every_state_and_frame__as_the_table),
	    cmocka_unit_test(np_turn__frames_of_the_channel__legal_in_every_state),
	    cmocka_unit_test(np_turn__clean_session_seen_by_the_ingress__idle_again),
	    cmocka_unit_test(np_turn__clean_session_seen_by_the_egress__done_after_both_ends),
	    cmocka_unit_test(np_turn__target_refused__one_reset_each_way),
	    cmocka_unit_test(np_turn__reset_while_dialing__answered_by_reset_or_status),
	    cmocka_unit_test(np_turn__resets_cross__nobody_answers),
	    cmocka_unit_test(np_turn__visitor_resets_after_both_fins__late_reset_dropped_once),
	    cmocka_unit_test(np_turn__open_crosses_retire__refused_before_any_dial),
	    cmocka_unit_test(np_turn__retire_inside_a_turn__turn_goes_on),
	    cmocka_unit_test(np_turn__numbers_wrap__one_follows_65535),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
