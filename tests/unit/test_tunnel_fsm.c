/*
 * test_tunnel_fsm.c - both machines of a tunnel, cell by cell: "NEXT action+action", "-" = illegal.
 * Then what must hold whatever the tables say, and the stories they are for.
 */
#include "core/tunnel_fsm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define AGAIN "backoff close+wait"
#define QUIT  "stopped end+close"
#define WIND  "draining end+close"

/* clang-format off */
static const char *const client_cells[NP_CLIENT_STATES][NP_CLIENT_EVENTS] = {
	/*		start           connected  hello              derived           welcome  reject failed              lost                bye                       timer           drain                 stop */
	/* idle */     {"dialing dial", "-",       "-",               "-",              "-",     "-",   "-",                "-",                "-",                      "-",            "stopped",            "stopped"},
	/* dialing */  {"-",            "hello",   "-",               "dialing",        "-",     "-",   AGAIN,              AGAIN,              "-",                      "-",            WIND,                 QUIT},
	/* hello */    {"-",            "-",       "deriving derive", "hello",          "-",     AGAIN, AGAIN,              AGAIN,              AGAIN,                    "-",            WIND,                 QUIT},
	/* deriving */ {"-",            "-",       "-",               "auth auth",      "-",     AGAIN, AGAIN,              AGAIN,              AGAIN,                    "-",            WIND,                 QUIT},
	/* auth */     {"-",            "-",       "-",               "auth",           "up up", AGAIN, AGAIN,              AGAIN,              AGAIN,                    "-",            WIND,                 QUIT},
	/* up */       {"-",            "-",       "-",               "up",             "-",     "-",   AGAIN,              AGAIN,              "backoff end+close+wait", "-",            "draining drain",     "stopped bye+end+close"},
	/* backoff */  {"-",            "-",       "-",               "backoff",        "-",     "-",   "-",                "-",                "-",                      "dialing dial", "draining end",       "stopped end"},
	/* draining */ {"-",            "-",       "-",               "draining",       "-",     "-",   "draining close",   "draining close",   "draining end+close",     "-",            "draining",           "stopped bye+end+close"},
	/* stopped */  {"-",            "-",       "-",               "stopped",        "-",     "-",   "-",                "-",                "-",                      "-",            "stopped",            "stopped"},
};

static const char *const peer_cells[NP_PEER_STATES][NP_PEER_EVENTS] = {
	/*	     lost                         bye                         takeover                    timer         key changed */
	/* live */  {"lost timer+refuse+control", "ended idle+refuse+control", "ended idle+refuse+control", "-",          "ended idle+refuse+control"},
	/* lost */  {"-",                         "-",                         "ended idle",                "ended idle", "ended idle"},
	/* ended */ {"ended",                     "ended",                     "ended",                     "-",          "ended"},
};
/* clang-format on */

static const char *const client_bits[] = {"dial", "derive", "auth",  "up",   "drain",
					  "bye",  "end",    "close", "wait", "ILLEGAL"};
static const char *const peer_bits[] = {"timer", "idle", "refuse", "ILLEGAL", "control"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* "next a+b", or "-" for a cell that is illegal, alone, and changed nothing. */
static void describe(const char *before, const char *after, unsigned actions, unsigned illegal,
		     const char *const *bits, unsigned nbits, char out[128])
{
	size_t n;
	unsigned i;
	char sep = ' ';

	if (actions == illegal && strcmp(before, after) == 0) {
		memcpy(out, "-", 2);
		return;
	}
	n = (size_t)snprintf(out, 128, "%s", after);
	for (i = 0; i < 32; i++) {
		if ((actions >> i & 1) == 0)
			continue;
		n += (size_t)snprintf(out + n, 128 - n, "%c%s", sep, i < nbits ? bits[i] : "?");
		assert_true(n < 128);
		sep = '+';
	}
}

static void client_fsm__every_cell__as_in_the_table(void **state)
{
	unsigned s, e, cells = 0;

	(void)state;
	for (s = 0; s < NP_CLIENT_STATES; s++) {
		for (e = 0; e < NP_CLIENT_EVENTS; e++, cells++) {
			enum np_client_state now = (enum np_client_state)s;
			unsigned acts = np_client_fsm(&now, (enum np_client_event)e);
			char got[128];

			describe(np_client_state_name((enum np_client_state)s),
				 np_client_state_name(now), acts, NP_CLIENT_ILLEGAL, client_bits,
				 COUNT(client_bits), got);
			if (strcmp(got, client_cells[s][e]) != 0)
				fail_msg("%s, %s: \"%s\", not \"%s\"",
					 np_client_state_name((enum np_client_state)s),
					 np_client_event_name((enum np_client_event)e), got,
					 client_cells[s][e]);
		}
	}
	print_message("cells of np_client_fsm: %u of %d\n", cells,
		      NP_CLIENT_STATES * NP_CLIENT_EVENTS);
}

static void peer_fsm__every_cell__as_in_the_table(void **state)
{
	unsigned s, e, cells = 0;

	(void)state;
	for (s = 0; s < NP_PEER_STATES; s++) {
		for (e = 0; e < NP_PEER_EVENTS; e++, cells++) {
			enum np_peer_state now = (enum np_peer_state)s;
			unsigned acts = np_peer_fsm(&now, (enum np_peer_event)e);
			char got[128];

			describe(np_peer_state_name((enum np_peer_state)s), np_peer_state_name(now),
				 acts, NP_PEER_ILLEGAL, peer_bits, COUNT(peer_bits), got);
			assert_string_equal(got, peer_cells[s][e]);
		}
	}
	print_message("cells of np_peer_fsm: %u of %d\n", cells, NP_PEER_STATES * NP_PEER_EVENTS);
}

static bool has_connection(enum np_client_state s)
{
	return s == NP_CLIENT_DIALING || s == NP_CLIENT_HELLO || s == NP_CLIENT_DERIVING ||
	       s == NP_CLIENT_AUTH || s == NP_CLIENT_UP;
}

/* Holds for every cell, independent of the table above. */
static void client_invariants(enum np_client_state from, enum np_client_event e,
			      enum np_client_state to, unsigned acts)
{
	bool entered = to != from;

	if ((acts & NP_CLIENT_ILLEGAL) != 0) {
		assert_int_equal(acts, NP_CLIENT_ILLEGAL);
		assert_int_equal(from, to);
		return;
	}
	/* Nothing is done that the new state does not wait for, and nothing is waited for that was
	 * not begun. */
	assert_int_equal((acts & NP_CLIENT_DO_DIAL) != 0, to == NP_CLIENT_DIALING && entered);
	assert_int_equal((acts & NP_CLIENT_DO_DERIVE) != 0, to == NP_CLIENT_DERIVING && entered);
	assert_int_equal((acts & NP_CLIENT_DO_SEND_AUTH) != 0, to == NP_CLIENT_AUTH && entered);
	assert_int_equal((acts & NP_CLIENT_DO_UP) != 0, to == NP_CLIENT_UP && entered);
	assert_int_equal((acts & NP_CLIENT_DO_BACKOFF) != 0, to == NP_CLIENT_BACKOFF && entered);
	/* A connection is never left behind; UP keeps its own while it drains. */
	if (has_connection(from) && !has_connection(to) && to != NP_CLIENT_DRAINING)
		assert_true((acts & NP_CLIENT_DO_CLOSE) != 0);
	/* Losing the control connection never ends a session. */
	if (e == NP_CLIENT_EV_LOST || e == NP_CLIENT_EV_FAILED || e == NP_CLIENT_EV_REJECT)
		assert_int_equal(acts & NP_CLIENT_DO_END_SESSION, 0);
	if (from == NP_CLIENT_STOPPED)
		assert_true(to == NP_CLIENT_STOPPED && acts == 0);
	if (e == NP_CLIENT_EV_STOP)
		assert_int_equal(to, NP_CLIENT_STOPPED);
	/* No proof, no session: UP only by a Welcome whose proof is right. */
	if (to == NP_CLIENT_UP && entered)
		assert_int_equal(e, NP_CLIENT_EV_WELCOME);
}

static void client_fsm__every_cell__keeps_the_invariants(void **state)
{
	unsigned s, e;

	(void)state;
	for (s = 0; s < NP_CLIENT_STATES; s++) {
		for (e = 0; e < NP_CLIENT_EVENTS; e++) {
			enum np_client_state to = (enum np_client_state)s;
			unsigned acts = np_client_fsm(&to, (enum np_client_event)e);

			client_invariants((enum np_client_state)s, (enum np_client_event)e, to,
					  acts);
		}
	}
}

/* From each state some events lead on to UP, except from those that mean the end. */
static void client_fsm__every_state__can_come_up_again(void **state)
{
	unsigned s, e, i;
	bool reaches[NP_CLIENT_STATES] = {[NP_CLIENT_UP] = true};

	(void)state;
	for (i = 0; i < NP_CLIENT_STATES; i++) {
		for (s = 0; s < NP_CLIENT_STATES; s++) {
			for (e = 0; e < NP_CLIENT_EVENTS; e++) {
				enum np_client_state to = (enum np_client_state)s;

				(void)np_client_fsm(&to, (enum np_client_event)e);
				reaches[s] = reaches[s] || reaches[to];
			}
		}
	}
	for (s = 0; s < NP_CLIENT_STATES; s++)
		assert_int_equal(reaches[s], s != NP_CLIENT_DRAINING && s != NP_CLIENT_STOPPED);
}

static void client_fsm__connection_lost_and_made_again__session_not_ended(void **state)
{
	static const enum np_client_event events[] = {
	    NP_CLIENT_EV_START,	  NP_CLIENT_EV_CONNECTED, NP_CLIENT_EV_HELLO, NP_CLIENT_EV_DERIVED,
	    NP_CLIENT_EV_WELCOME, NP_CLIENT_EV_LOST,	  NP_CLIENT_EV_TIMER, NP_CLIENT_EV_FAILED,
	    NP_CLIENT_EV_TIMER,	  NP_CLIENT_EV_CONNECTED, NP_CLIENT_EV_HELLO, NP_CLIENT_EV_LOST,
	    NP_CLIENT_EV_DERIVED, /* of the attempt that broke */
	    NP_CLIENT_EV_TIMER,	  NP_CLIENT_EV_CONNECTED, NP_CLIENT_EV_HELLO, NP_CLIENT_EV_DERIVED,
	    NP_CLIENT_EV_WELCOME};
	enum np_client_state s = NP_CLIENT_IDLE;
	unsigned all = 0;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(events); i++)
		all |= np_client_fsm(&s, events[i]);
	assert_int_equal(s, NP_CLIENT_UP);
	assert_int_equal(all & (NP_CLIENT_ILLEGAL | NP_CLIENT_DO_END_SESSION), 0);
}

static void client_fsm__drain_without_connection__sessions_finish(void **state)
{
	enum np_client_state s = NP_CLIENT_UP;

	(void)state;
	assert_int_equal(np_client_fsm(&s, NP_CLIENT_EV_DRAIN), NP_CLIENT_DO_SEND_DRAIN);
	assert_int_equal(np_client_fsm(&s, NP_CLIENT_EV_LOST), NP_CLIENT_DO_CLOSE);
	assert_int_equal(s, NP_CLIENT_DRAINING);
	(void)np_client_fsm(&s, NP_CLIENT_EV_STOP);
	assert_int_equal(s, NP_CLIENT_STOPPED);
}

static void names__every_value__distinct(void **state)
{
	unsigned a, b;

	(void)state;
	for (a = 0; a <= NP_CLIENT_STATES; a++) {
		for (b = 0; b < a; b++)
			assert_string_not_equal(np_client_state_name((enum np_client_state)a),
						np_client_state_name((enum np_client_state)b));
	}
	for (a = 0; a <= NP_CLIENT_EVENTS; a++) {
		for (b = 0; b < a; b++)
			assert_string_not_equal(np_client_event_name((enum np_client_event)a),
						np_client_event_name((enum np_client_event)b));
	}
	assert_string_equal(np_peer_state_name(NP_PEER_LIVE), "live");
	assert_string_equal(np_peer_state_name(NP_PEER_LOST), "lost");
	assert_string_equal(np_peer_state_name(NP_PEER_ENDED), "ended");
	assert_string_equal(np_peer_state_name(NP_PEER_STATES), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(client_fsm__every_cell__as_in_the_table),
	    cmocka_unit_test(peer_fsm__every_cell__as_in_the_table),
	    cmocka_unit_test(client_fsm__every_cell__keeps_the_invariants),
	    cmocka_unit_test(client_fsm__every_state__can_come_up_again),
	    cmocka_unit_test(client_fsm__connection_lost_and_made_again__session_not_ended),
	    cmocka_unit_test(client_fsm__drain_without_connection__sessions_finish),
	    cmocka_unit_test(names__every_value__distinct),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
