/*
 * test_registry.c - the registry with real workers and loopback sockets: what is applied runs, what is
 * told twice is done once, changes cut no session.
 */
#include "registry_bed.h"

/* -- apply -- */

static void registry_apply__new__runs(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct ctl_status st;
	char listen[64];
	int fd;

	start_one(f, port);
	fd = visitor_open(port);
	assert_int_equal(greeting(fd), 'A');
	assert_true(echoes(fd, "hello"));
	st = status(f, "a");
	snprintf(listen, sizeof(listen), "127.0.0.1:%u", port);
	assert_string_equal(st.listen, listen);
	assert_int_equal(st.mode, 1);
	assert_int_equal(st.starts, 1);
	assert_string_equal(st.error, "");
	assert_true(st.since_ms > 0);
	close(fd);
}

static void registry_apply__same_twice__done_once(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	start_one(f, port);
	assert_int_equal(apply(f, "a", 1, CTL_DESIRED_RUNNING, SINGLE, port, f->a.port), CTL_OK);
	assert_int_equal(apply(f, "a", 2, CTL_DESIRED_RUNNING, SINGLE, port, f->a.port), CTL_OK);
	assert_int_equal(status(f, "a").revision, 2);
	assert_int_equal(status(f, "a").starts, 1);
	assert_int_equal(apply(f, "a", 2, CTL_DESIRED_RUNNING, SINGLE, port, f->b.port), CTL_STALE);
}

static void registry_apply__bad_url__last_one_goes_on(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct ctl_status st;
	int fd;

	start_one(f, port);
	assert_int_equal(
	    apply(f, "a", 2, CTL_DESIRED_RUNNING, SINGLE "&rate=fast", port, f->a.port),
	    CTL_INVALID);
	st = status(f, "a");
	assert_int_equal(st.state, CTL_RUNNING);
	assert_int_equal(st.revision, 1);
	assert_int_equal(st.nack_revision, 2);
	assert_non_null(strstr(st.nack_text, "fast"));
	fd = visitor_open(port);
	assert_int_equal(greeting(fd), 'A');
	close(fd);
}

static void registry_apply__bad_files__last_one_goes_on(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct ctl_status st;

	start_one(f, port);
	assert_int_equal(apply(f, "a", 2, CTL_DESIRED_RUNNING,
			       SINGLE "&tls=2&crt=/nonexistent/c&key=/nonexistent/k", port,
			       f->a.port),
			 CTL_ACCEPTED);
	UNTIL(f, status(f, "a").nack_revision == 2);
	st = status(f, "a");
	assert_int_equal(st.state, CTL_RUNNING);
	assert_int_equal(st.revision, 1);
	assert_non_null(strstr(st.nack_text, "/nonexistent/c"));
	assert_int_equal(apply(f, "a", 3, CTL_DESIRED_RUNNING, SINGLE, port, f->a.port), CTL_OK);
	assert_int_equal(status(f, "a").starts, 1);
}

static void registry_apply__stopped__listens_not(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	assert_int_equal(apply(f, "a", 1, CTL_DESIRED_STOPPED, SINGLE, port, f->a.port), CTL_OK);
	assert_int_equal(status(f, "a").state, CTL_STOPPED);
	assert_int_equal(visitor_open(port), -1);
}

/* Who waits for the newest revision must hear of it, also when the state stays what it is. */
static void registry_apply__stopped_once_more__said(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct ctl_spec spec = {.id = "a", .desired = CTL_DESIRED_STOPPED, .restart_nonce = 1};
	struct np_diag diag;
	unsigned before;
	char url[512];

	snprintf(url, sizeof(url), SINGLE, port, f->a.port);
	assert_int_equal(apply(f, "a", 1, CTL_DESIRED_STOPPED, "%s", url), CTL_OK);
	before = f->changes;
	spec.url = url;
	spec.revision = 3; /* between: started, which nobody saw */
	assert_int_equal(registry_apply(f->r, &spec, false, &diag), CTL_OK);
	assert_true(f->changes > before);
	assert_int_equal(status(f, "a").revision, 3);
	before = f->changes;
	assert_int_equal(apply(f, "a", 4, CTL_DESIRED_STOPPED, SINGLE, port, f->b.port), CTL_OK);
	assert_true(f->changes > before);
}

static void registry_next__ids__in_order(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++)
		(void)apply(f, (const char *[]){"m", "b", "z"}[i], 1, CTL_DESIRED_STOPPED, SINGLE,
			    1000U, 2000U);
	assert_string_equal(registry_next(f->r, ""), "b");
	assert_string_equal(registry_next(f->r, "b"), "m");
	assert_string_equal(registry_next(f->r, "c"), "m");
	assert_null(registry_next(f->r, "z"));
}

/* -- live change -- */

static void registry_apply__other_target__session_stays(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	int old, fd;

	start_one(f, port);
	old = visitor_open(port);
	assert_int_equal(greeting(old), 'A');
	assert_int_equal(apply(f, "a", 2, CTL_DESIRED_RUNNING, SINGLE "&rate=100", port, f->b.port),
			 CTL_OK);
	for (char c = 'A'; c != 'B';) { /* the order is on its way to the home worker */
		fd = visitor_open(port);
		c = greeting(fd);
		assert_int_not_equal(c, 0);
		close(fd);
	}
	assert_true(echoes(old, "still there"));
	assert_int_equal(status(f, "a").starts, 1);
	assert_int_equal(status(f, "a").revision, 2);
	close(old);
}

static void registry_apply__slot__counts_at_once(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	int one, two;
	char c = 'A';

	start_one(f, port);
	one = visitor_open(port);
	assert_int_equal(greeting(one), 'A');
	assert_int_equal(apply(f, "a", 2, CTL_DESIRED_RUNNING, SINGLE "&slot=1", port, f->a.port),
			 CTL_OK);
	while (c == 'A') {
		two = visitor_open(port);
		c = greeting(two);
		close(two);
	}
	assert_int_equal(c, 0);
	assert_true(echoes(one, "x"));
	close(one);
}

/* -- replaced -- */

static void registry_apply__other_protocols__no_visitor_is_refused(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	int old, fd;

	start_one(f, port);
	old = visitor_open(port);
	assert_int_equal(greeting(old), 'A');
	for (unsigned i = 2; i < 12; i++) {
		assert_int_equal(apply(f, "a", i, CTL_DESIRED_RUNNING,
				       i % 2 == 0 ? SINGLE "&tls=0&sni=other" : SINGLE, port,
				       i % 2 == 0 ? f->b.port : f->a.port),
				 CTL_ACCEPTED);
		while (status(f, "a").starts != i) {
			fd = visitor_open(port);
			assert_int_not_equal(fd, -1);
			assert_int_not_equal(greeting(fd), 0);
			close(fd);
			pass(f);
		}
		assert_int_equal(status(f, "a").revision, i);
	}
	UNTIL(f, status(f, "a").state == CTL_RUNNING);
	assert_true(echoes(old, "still there"));
	UNTIL(f, ending(f) == 1); /* the first one, for the sake of this visitor */
	close(old);
	UNTIL(f, ending(f) == 0);
}

static void registry_apply__newest_wish__wins(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port(), other = free_port();
	int fd;

	assert_int_equal(apply(f, "a", 1, CTL_DESIRED_RUNNING, SINGLE, port, f->a.port),
			 CTL_ACCEPTED);
	for (unsigned i = 2; i < 20; i++)
		(void)apply(f, "a", i, i % 3 == 0 ? CTL_DESIRED_STOPPED : CTL_DESIRED_RUNNING,
			    SINGLE, i % 2 == 0 ? port : other, i % 4 == 0 ? f->a.port : f->b.port);
	(void)apply(f, "a", 20, CTL_DESIRED_RUNNING, SINGLE, other, f->b.port);
	UNTIL(f, status(f, "a").state == CTL_RUNNING && ending(f) == 0);
	fd = visitor_open(other);
	assert_int_equal(greeting(fd), 'B');
	close(fd);
	assert_int_equal(visitor_open(port), -1);
}

static void registry_apply__tunnel_with_new_key__sessions_stay(void **state)
{
	struct fixture *f = *state;
	uint16_t tunnel = free_port(), port = free_port();
	int old = -1, fd;

	for (unsigned round = 1; round <= 2; round++) {
		(void)apply(
		    f, "server", round, CTL_DESIRED_RUNNING,
		    "server://key-number-%u@127.0.0.1:%u/127.0.0.1:%u?mode=1&noudp=1&log=none",
		    round, tunnel, port);
		(void)apply(
		    f, "client", round, CTL_DESIRED_RUNNING,
		    "client://key-number-%u@127.0.0.1:%u/127.0.0.1:%u?mode=2&noudp=1&log=none",
		    round, tunnel, f->a.port);
		UNTIL(f, running(f) == 2 && status(f, "server").starts == round &&
			     status(f, "client").starts == round);
		fd = visitor_open(port);
		assert_int_not_equal(fd, -1);
		assert_int_equal(greeting(fd), 'A');
		if (round == 1)
			old = fd;
		else
			close(fd);
	}
	assert_true(echoes(old, "over the first key"));
	close(old);
	UNTIL(f, ending(f) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(registry_apply__new__runs),
	    TEST(registry_apply__same_twice__done_once),
	    TEST(registry_apply__bad_url__last_one_goes_on),
	    TEST(registry_apply__bad_files__last_one_goes_on),
	    TEST(registry_apply__stopped__listens_not),
	    TEST(registry_apply__stopped_once_more__said),
	    TEST(registry_next__ids__in_order),
	    TEST(registry_apply__other_target__session_stays),
	    TEST(registry_apply__slot__counts_at_once),
	    TEST(registry_apply__other_protocols__no_visitor_is_refused),
	    TEST(registry_apply__newest_wish__wins),
	    TEST(registry_apply__tunnel_with_new_key__sessions_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
