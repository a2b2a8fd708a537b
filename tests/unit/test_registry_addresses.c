/*
 * test_registry_addresses.c - whose an address is: a server's tunnel address is left to it by clients
 * without mode=, in whatever state it is, and what is taken says by whom.
 */
#include "registry_bed.h"

static void registry_apply__address_of_another__named_and_tried_again(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct ctl_status st;

	start_one(f, port);
	assert_int_equal(apply(f, "b", 1, CTL_DESIRED_RUNNING, SINGLE, port, f->b.port),
			 CTL_ACCEPTED);
	UNTIL(f, status(f, "b").state == CTL_ERROR);
	st = status(f, "b");
	assert_non_null(strstr(st.error, "in use by instance a"));
	assert_int_equal(registry_remove(f->r, "a"), CTL_ACCEPTED);
	UNTIL(f, status(f, "b").state == CTL_RUNNING);
	assert_string_equal(status(f, "b").error, "");
}

#define SERVER "server://a-word@%s:%u/127.0.0.1:%u?mode=2&log=error"
#define CLIENT "client://a-word@%s:%u/127.0.0.1:%u?log=error"

static bool joins(struct fixture *f, const char *id, const char *whose)
{
	struct ctl_status st = status(f, id);

	return st.mode == 2 && strstr(st.mode_reason, whose) != NULL;
}

/* K of the server takes its time; the client is made at once. */
static void registry_apply__client_behind_its_server__joins_it(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	assert_int_equal(
	    apply(f, "s", 1, CTL_DESIRED_RUNNING, SERVER, "127.0.0.1", port, f->a.port),
	    CTL_ACCEPTED);
	assert_int_equal(
	    apply(f, "a", 1, CTL_DESIRED_RUNNING, CLIENT, "127.0.0.1", port, free_port()),
	    CTL_ACCEPTED);
	UNTIL(f, joins(f, "a", "instance s"));
	UNTIL(f, running(f) == 2);
}

/* The server's URL, the client's, are they the same address? */
static const struct {
	const char *server, *client;
	bool same;
} hosts[] = {
    {"", "127.0.0.1", true},	       {"0.0.0.0", "127.0.0.1", true},
    {"[::]", "127.0.0.1", true},       {"127.0.0.1", "localhost", true},
    {"LOCALHOST", "127.0.0.1", true},  {"[::1]", "[0:0:0:0:0:0:0:1]", true},
    {"127.0.0.2", "127.0.0.3", false},
};

static void registry_apply__client_of_a_host__probes_what_is_not_its_servers(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		uint16_t port = free_port();
		struct ctl_status st;

		(void)apply(f, "s", 0, CTL_DESIRED_RUNNING, SERVER, hosts[i].server, port,
			    f->a.port);
		(void)apply(f, "a", 0, CTL_DESIRED_RUNNING, CLIENT, hosts[i].client, port,
			    free_port());
		UNTIL(f, status(f, "a").mode != 0);
		st = status(f, "a");
		assert_int_equal(st.mode, hosts[i].same ? 2 : 1);
		assert_true((strstr(st.mode_reason, "instance s") != NULL) == hosts[i].same);
		(void)registry_remove(f->r, "s");
		(void)registry_remove(f->r, "a");
		UNTIL(f, registry_next(f->r, "") == NULL);
	}
}

/* One that fails and is tried again wants it; one that is stopped, or gone to another address, not. */
static void registry_apply__server_of_every_state__wanted_while_it_is_to_run(void **state)
{
	struct fixture *f = *state;
	uint16_t port, other = free_port();
	int taken = listen_any(&port);

	(void)apply(f, "s", 1, CTL_DESIRED_RUNNING, SERVER, "127.0.0.1", port, f->a.port);
	UNTIL(f, status(f, "s").state == CTL_ERROR);
	close(taken);
	(void)apply(f, "a", 1, CTL_DESIRED_RUNNING, CLIENT, "127.0.0.1", port, free_port());
	UNTIL(f, joins(f, "a", "instance s"));
	(void)apply(f, "s", 2, CTL_DESIRED_RUNNING, SERVER, "127.0.0.1", other, f->a.port);
	UNTIL(f, status(f, "s").state == CTL_RUNNING);
	(void)apply(f, "b", 1, CTL_DESIRED_RUNNING, CLIENT, "127.0.0.1", port, free_port());
	UNTIL(f, status(f, "b").mode == 1);
	assert_int_equal(registry_action(f->r, "s", CTL_STOP, NULL), CTL_ACCEPTED);
	UNTIL(f, status(f, "s").state == CTL_STOPPED);
	(void)apply(f, "c", 1, CTL_DESIRED_RUNNING, CLIENT, "127.0.0.1", other, free_port());
	UNTIL(f, status(f, "c").mode == 1);
}

/* What was chosen stands through a change of something else; the server gets it after a restart. */
static void registry_apply__client_was_first__stands_until_it_is_started_again(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	(void)apply(f, "a", 1, CTL_DESIRED_RUNNING, CLIENT, "127.0.0.1", port, f->b.port);
	UNTIL(f, status(f, "a").state == CTL_RUNNING);
	assert_int_equal(status(f, "a").mode, 1);
	(void)apply(f, "s", 1, CTL_DESIRED_RUNNING, SERVER, "127.0.0.1", port, f->a.port);
	UNTIL(f, status(f, "s").state == CTL_ERROR);
	assert_non_null(strstr(status(f, "s").error,
			       "in use by instance a, a mode=0 client that was there first"));
	(void)apply(f, "a", 2, CTL_DESIRED_RUNNING, CLIENT "&noudp=1", "127.0.0.1", port,
		    f->b.port);
	UNTIL(f, status(f, "a").starts == 2 && status(f, "a").state == CTL_RUNNING);
	assert_int_equal(status(f, "a").mode, 1);
	assert_int_equal(registry_action(f->r, "a", CTL_RESTART, NULL), CTL_ACCEPTED);
	UNTIL(f, joins(f, "a", "instance s"));
	UNTIL(f, status(f, "s").state == CTL_RUNNING);
}

/* The single end's listener was lent to who joins a server now: it must not keep the address. */
static void registry_apply__single_end_becomes_client__leaves_the_address(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	(void)apply(f, "a", 1, CTL_DESIRED_RUNNING, CLIENT, "127.0.0.1", port, f->b.port);
	UNTIL(f, status(f, "a").state == CTL_RUNNING);
	(void)apply(f, "a", 2, CTL_DESIRED_RUNNING, CLIENT "&mode=2", "127.0.0.1", port,
		    free_port());
	UNTIL(f, status(f, "a").mode == 2 && ending(f) == 0);
	assert_int_equal(visitor_open(port), -1);
}

/* -- what comes in parts -- */

static enum ctl_code apply_part(struct fixture *f, const char *id, uint64_t revision, uint16_t port,
				bool incomplete)
{
	struct ctl_spec spec = {
	    .revision = revision, .desired = CTL_DESIRED_RUNNING, .incomplete = incomplete};
	uint8_t salt[NP_SALT_LEN], k[NP_K_LEN];
	struct np_diag diag = {.text = ""};
	char url[128];

	memset(salt, 1, sizeof(salt));
	memset(k, 2, sizeof(k));
	snprintf(spec.id, sizeof(spec.id), "%s", id);
	snprintf(url, sizeof(url), SERVER, "127.0.0.1", port, f->a.port);
	spec.url = url;
	if (!incomplete) {
		spec.auth_salt = (struct ctl_blob){salt, sizeof(salt)};
		spec.auth_k = (struct ctl_blob){k, sizeof(k)};
	}
	return registry_apply(f->r, &spec, false, &diag);
}

static void registry_apply__incomplete__starts_nothing_but_has_its_address(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	assert_int_equal(apply_part(f, "s", 1, port, true), CTL_ACCEPTED);
	assert_int_equal(status(f, "s").state, CTL_STARTING);
	(void)apply(f, "a", 1, CTL_DESIRED_RUNNING, CLIENT, "127.0.0.1", port, free_port());
	UNTIL(f, joins(f, "a", "instance s"));
	assert_int_equal(visitor_open(port), -1);
	assert_int_equal(status(f, "s").starts, 0);
	assert_int_equal(apply_part(f, "s", 2, port, false), CTL_ACCEPTED);
	UNTIL(f, status(f, "s").state == CTL_RUNNING);
	assert_int_equal(status(f, "s").starts, 1);
}

static void registry_apply__incomplete_of_what_runs__goes_on_with_what_it_has(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port(), other = free_port();

	(void)apply_part(f, "s", 1, port, false);
	UNTIL(f, status(f, "s").state == CTL_RUNNING);
	assert_int_equal(apply_part(f, "s", 2, port, true), CTL_OK);
	assert_int_equal(status(f, "s").starts, 1);
	assert_int_equal(status(f, "s").revision, 2);
	/* With another URL, too, until the rest is there. */
	(void)apply_part(f, "s", 3, other, true);
	for (int i = 0; i < 20; i++)
		pass(f);
	assert_int_equal(status(f, "s").state, CTL_RUNNING);
	assert_int_equal(visitor_open(other), -1);
	assert_int_equal(apply_part(f, "s", 4, other, false), CTL_ACCEPTED);
	UNTIL(f, status(f, "s").starts == 2 && ending(f) == 0);
	assert_int_equal(visitor_open(port), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(registry_apply__address_of_another__named_and_tried_again),
	    TEST(registry_apply__client_behind_its_server__joins_it),
	    TEST(registry_apply__client_of_a_host__probes_what_is_not_its_servers),
	    TEST(registry_apply__server_of_every_state__wanted_while_it_is_to_run),
	    TEST(registry_apply__client_was_first__stands_until_it_is_started_again),
	    TEST(registry_apply__single_end_becomes_client__leaves_the_address),
	    TEST(registry_apply__incomplete__starts_nothing_but_has_its_address),
	    TEST(registry_apply__incomplete_of_what_runs__goes_on_with_what_it_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
