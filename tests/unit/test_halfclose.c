/*
 * test_halfclose.c - the half-close machine of a relay: the complete table, then every sequence of
 * events.
 */
#include "core/halfclose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define OPEN   NP_DIR_OPEN
#define DRAIN  NP_DIR_DRAINING
#define CLOSED NP_DIR_CLOSED
#define S      NP_HC_SHUTDOWN
#define F      NP_HC_FINISHED
#define R      NP_HC_RESET_OTHER

/* One event on direction "own": its state and the other's before, the event; what follows. */
struct cell {
	enum np_dir_state own, other;
	enum np_hc_event ev;
	bool pending;
	unsigned act;
	enum np_dir_state own_after, other_after;
	bool reset;
};

static const struct cell table[] = {
    {OPEN, OPEN, NP_HC_EOF, false, S, CLOSED, OPEN, false},
    {OPEN, OPEN, NP_HC_EOF, true, 0, DRAIN, OPEN, false},
    {OPEN, OPEN, NP_HC_DRAINED, false, 0, OPEN, OPEN, false},
    {OPEN, OPEN, NP_HC_DRAINED, true, 0, OPEN, OPEN, false},
    {OPEN, OPEN, NP_HC_RESET, false, R, CLOSED, CLOSED, true},
    {OPEN, OPEN, NP_HC_RESET, true, R, CLOSED, CLOSED, true},

    {OPEN, DRAIN, NP_HC_EOF, false, S, CLOSED, DRAIN, false},
    {OPEN, DRAIN, NP_HC_EOF, true, 0, DRAIN, DRAIN, false},
    {OPEN, DRAIN, NP_HC_DRAINED, false, 0, OPEN, DRAIN, false},
    {OPEN, DRAIN, NP_HC_DRAINED, true, 0, OPEN, DRAIN, false},
    {OPEN, DRAIN, NP_HC_RESET, false, R, CLOSED, CLOSED, true},
    {OPEN, DRAIN, NP_HC_RESET, true, R, CLOSED, CLOSED, true},

    {OPEN, CLOSED, NP_HC_EOF, false, S | F, CLOSED, CLOSED, false},
    {OPEN, CLOSED, NP_HC_EOF, true, 0, DRAIN, CLOSED, false},
    {OPEN, CLOSED, NP_HC_DRAINED, false, 0, OPEN, CLOSED, false},
    {OPEN, CLOSED, NP_HC_DRAINED, true, 0, OPEN, CLOSED, false},
    {OPEN, CLOSED, NP_HC_RESET, false, R, CLOSED, CLOSED, true},
    {OPEN, CLOSED, NP_HC_RESET, true, R, CLOSED, CLOSED, true},

    {DRAIN, OPEN, NP_HC_EOF, false, 0, DRAIN, OPEN, false},
    {DRAIN, OPEN, NP_HC_EOF, true, 0, DRAIN, OPEN, false},
    {DRAIN, OPEN, NP_HC_DRAINED, false, S, CLOSED, OPEN, false},
    {DRAIN, OPEN, NP_HC_DRAINED, true, 0, DRAIN, OPEN, false},
    {DRAIN, OPEN, NP_HC_RESET, false, R, CLOSED, CLOSED, true},
    {DRAIN, OPEN, NP_HC_RESET, true, R, CLOSED, CLOSED, true},

    {DRAIN, DRAIN, NP_HC_EOF, false, 0, DRAIN, DRAIN, false},
    {DRAIN, DRAIN, NP_HC_EOF, true, 0, DRAIN, DRAIN, false},
    {DRAIN, DRAIN, NP_HC_DRAINED, false, S, CLOSED, DRAIN, false},
    {DRAIN, DRAIN, NP_HC_DRAINED, true, 0, DRAIN, DRAIN, false},
    {DRAIN, DRAIN, NP_HC_RESET, false, R, CLOSED, CLOSED, true},
    {DRAIN, DRAIN, NP_HC_RESET, true, R, CLOSED, CLOSED, true},

    {DRAIN, CLOSED, NP_HC_EOF, false, 0, DRAIN, CLOSED, false},
    {DRAIN, CLOSED, NP_HC_EOF, true, 0, DRAIN, CLOSED, false},
    {DRAIN, CLOSED, NP_HC_DRAINED, false, S | F, CLOSED, CLOSED, false},
    {DRAIN, CLOSED, NP_HC_DRAINED, true, 0, DRAIN, CLOSED, false},
    {DRAIN, CLOSED, NP_HC_RESET, false, R, CLOSED, CLOSED, true},
    {DRAIN, CLOSED, NP_HC_RESET, true, R, CLOSED, CLOSED, true},

    {CLOSED, OPEN, NP_HC_EOF, false, 0, CLOSED, OPEN, false},
    {CLOSED, OPEN, NP_HC_EOF, true, 0, CLOSED, OPEN, false},
    {CLOSED, OPEN, NP_HC_DRAINED, false, 0, CLOSED, OPEN, false},
    {CLOSED, OPEN, NP_HC_DRAINED, true, 0, CLOSED, OPEN, false},
    {CLOSED, OPEN, NP_HC_RESET, false, R, CLOSED, CLOSED, true},
    {CLOSED, OPEN, NP_HC_RESET, true, R, CLOSED, CLOSED, true},

    {CLOSED, DRAIN, NP_HC_EOF, false, 0, CLOSED, DRAIN, false},
    {CLOSED, DRAIN, NP_HC_EOF, true, 0, CLOSED, DRAIN, false},
    {CLOSED, DRAIN, NP_HC_DRAINED, false, 0, CLOSED, DRAIN, false},
    {CLOSED, DRAIN, NP_HC_DRAINED, true, 0, CLOSED, DRAIN, false},
    {CLOSED, DRAIN, NP_HC_RESET, false, R, CLOSED, CLOSED, true},
    {CLOSED, DRAIN, NP_HC_RESET, true, R, CLOSED, CLOSED, true},

    {CLOSED, CLOSED, NP_HC_EOF, false, 0, CLOSED, CLOSED, false},
    {CLOSED, CLOSED, NP_HC_EOF, true, 0, CLOSED, CLOSED, false},
    {CLOSED, CLOSED, NP_HC_DRAINED, false, 0, CLOSED, CLOSED, false},
    {CLOSED, CLOSED, NP_HC_DRAINED, true, 0, CLOSED, CLOSED, false},
    {CLOSED, CLOSED, NP_HC_RESET, false, 0, CLOSED, CLOSED, false},
    {CLOSED, CLOSED, NP_HC_RESET, true, 0, CLOSED, CLOSED, false},
};
#define TABLE_N (sizeof(table) / sizeof(table[0]))

static void np_halfclose_event__every_cell_both_ways__as_the_table(void **state)
{
	(void)state;
	assert_int_equal(TABLE_N, 3 * 3 * 3 * 2);
	for (size_t i = 0; i < TABLE_N; i++) {
		for (enum np_dir own = NP_DIR_UP; own <= NP_DIR_DOWN; own++) {
			enum np_dir other = own == NP_DIR_UP ? NP_DIR_DOWN : NP_DIR_UP;
			const struct cell *c = &table[i];
			struct np_halfclose h;

			np_halfclose_init(&h);
			h.dir[own] = c->own;
			h.dir[other] = c->other;
			assert_int_equal(np_halfclose_event(&h, own, c->ev, c->pending), c->act);
			assert_int_equal(h.dir[own], c->own_after);
			assert_int_equal(h.dir[other], c->other_after);
			assert_int_equal(h.reset, c->reset);
		}
	}
	print_message("cells of np_halfclose_event: %zu of %d\n", TABLE_N, 3 * 3 * 3 * 2);
}

static void np_halfclose_event__no_such_event__nothing(void **state)
{
	struct np_halfclose h;

	(void)state;
	np_halfclose_init(&h);
	assert_int_equal(np_halfclose_event(&h, NP_DIR_UP, (enum np_hc_event)7, false), 0);
	assert_true(h.dir[0] == OPEN && h.dir[1] == OPEN && !h.reset);
}

/* Every sequence of five events: each direction is shut down once at most, the session ends once.
 */
static void np_halfclose_event__every_sequence__ends_once(void **state)
{
	enum { EVENTS = 12, LENGTH = 5 };
	unsigned long total = 1, finished = 0, aborted = 0;

	(void)state;
	for (unsigned i = 0; i < LENGTH; i++)
		total *= EVENTS;
	for (unsigned long n = 0; n < total; n++) {
		unsigned shut[2] = {0, 0}, over = 0;
		unsigned long rest = n;
		struct np_halfclose h;

		np_halfclose_init(&h);
		for (unsigned i = 0; i < LENGTH; i++, rest /= EVENTS) {
			unsigned what = (unsigned)(rest % EVENTS);
			enum np_dir dir = (enum np_dir)(what & 1);
			unsigned act = np_halfclose_event(&h, dir, (enum np_hc_event)(what >> 2),
							  (what & 2) != 0);

			if (over != 0)
				assert_int_equal(act, 0);
			shut[dir] += (act & S) != 0;
			over += (act & (F | R)) != 0;
			finished += (act & F) != 0;
			aborted += (act & R) != 0;
			if ((act & F) != 0)
				assert_true(shut[0] == 1 && shut[1] == 1);
		}
		assert_true(shut[0] <= 1 && shut[1] <= 1 && over <= 1);
		assert_int_equal(over, h.dir[0] == CLOSED && h.dir[1] == CLOSED);
	}
	assert_true(finished > 0 && aborted > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(np_halfclose_event__every_cell_both_ways__as_the_table),
	    cmocka_unit_test(np_halfclose_event__no_such_event__nothing),
	    cmocka_unit_test(np_halfclose_event__every_sequence__ends_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
