/*
 * test_commands_state.c - the dispatcher: snapshots, reading.
 */
#include "commands_bed.h"

/* -- snapshots -- */

static void snapshot__chunks__become_the_state(void **state)
{
	(void)state;
	assert_int_equal(apply(0, 0, 0, "x", "server://x"), CTL_ACCEPTED);
	assert_int_equal(apply(0, 0, 0, "a", "server://s"), CTL_ACCEPTED);
	assert_int_equal(hello(1, "c", 9), CTL_OK);
	assert_int_equal(chunk(1, 9, "s1", 0, "ba", false, 0), CTL_OK);
	assert_int_equal(reply.snapshot.staged, 2);
	assert_int_equal(reg.n, 2);
	assert_int_equal(apply(1, 2, 3, "q", "server://q"), CTL_BUSY);
	assert_true(reply.retry_after_ms > 0);
	assert_int_equal(chunk(1, 9, "s1", 1, "c", true, 3), CTL_OK);
	assert_int_equal(reply.applied_revision, 9);
	assert_int_equal(reply.snapshot.added, 2);
	assert_int_equal(reply.snapshot.removed, 1);
	assert_int_equal(reply.snapshot.unchanged, 1);
	assert_int_equal(reply.snapshot.changed, 0);
	assert_int_equal(reg.n, 3);
	assert_null(find("x"));
	assert_int_equal(apply(1, 9, 10, "q", "server://q"), CTL_ACCEPTED);
}

static void snapshot__chunk_out_of_order__thrown_away(void **state)
{
	(void)state;
	assert_int_equal(chunk(0, 9, "s1", 0, "a", false, 0), CTL_OK);
	assert_int_equal(chunk(0, 9, "s1", 2, "b", true, 2), CTL_GAP);
	assert_int_equal(chunk(0, 9, "s1", 1, "b", true, 2), CTL_GAP);
	assert_int_equal(chunk(0, 9, "s2", 0, "a", false, 0), CTL_OK);
	assert_int_equal(chunk(0, 8, "s2", 1, "b", true, 2), CTL_GAP);
	assert_int_equal(chunk(0, 9, "s3", 0, "a", true, 2), CTL_GAP); /* one is missing */
	assert_int_equal(chunk(0, 9, "s4", 0, "aa", true, 2), CTL_INVALID);
	assert_int_equal(reg.n, 0);
	assert_int_equal(commands_applied(c), 0);
	assert_int_equal(apply(0, 0, 1, "q", "server://q"), CTL_ACCEPTED);
}

static void snapshot__no_chunk_for_long__dropped(void **state)
{
	(void)state;
	assert_int_equal(chunk(0, 9, "s1", 0, "a", false, 0), CTL_OK);
	now = np_mono_add_ms(now, COMMANDS_STAGING_MS);
	commands_tick(c, now);
	assert_int_equal(apply(0, 0, 0, "q", "server://q"), CTL_ACCEPTED);
	assert_int_equal(chunk(0, 9, "s1", 1, "b", true, 2), CTL_GAP);
}

static void snapshot__older__stale_unless_asked_for(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(apply(0, 0, 0, "a", "server://a"), i == 0 ? CTL_ACCEPTED : CTL_OK);
	assert_int_equal(chunk(0, 3, "s", 0, "b", true, 1), CTL_STALE);
	/* Scripts went further than the controller's own count: its word counts after Hello. */
	assert_int_equal(hello(1, "c", 3), CTL_OK);
	assert_int_equal(chunk(1, 3, "s", 0, "b", true, 1), CTL_OK);
	assert_int_equal(commands_applied(c), 3);
	assert_int_equal(chunk(1, 2, "s", 0, "b", true, 1), CTL_STALE);
}

static void snapshot__one_refused__the_others_stand(void **state)
{
	(void)state;
	reg.next = CTL_INVALID; /* the first one, which is a */
	assert_int_equal(chunk(0, 4, "s", 0, "ab", true, 2), CTL_OK);
	assert_int_equal(reply.snapshot.n, 1);
	assert_string_equal(reply.snapshot.nacks[0].id, "a");
	assert_int_equal(reply.snapshot.nacks[0].code, CTL_INVALID);
	assert_int_equal(reply.snapshot.nacks[0].revision, 4);
	assert_int_equal(reply.snapshot.added, 1);
	assert_int_equal(commands_applied(c), 4);
}

/* -- reading -- */

/* Instances i0000, i0001, … */
static void put_many(int n, const char *url)
{
	char id[CTL_ID_MAX + 1];

	for (int i = 0; i < n; i++) {
		snprintf(id, sizeof(id), "i%04d", i);
		assert_int_equal(apply(0, 0, 0, id, url), CTL_ACCEPTED);
	}
}

static void list__more_than_a_page__goes_on_behind_it(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_LIST};
	char id[CTL_ID_MAX + 1];
	size_t seen = 0;

	(void)state;
	put_many(1100, "server://a");
	r.list.limit = 300;
	do {
		assert_int_equal(ask(&r), CTL_OK);
		assert_true(reply.list.n <= 300);
		for (size_t i = 0; i < reply.list.n; i++) {
			snprintf(id, sizeof(id), "i%04zu", seen++);
			assert_string_equal(reply.list.views[i].status.id, id);
			assert_false(reply.list.views[i].has_spec);
		}
		snprintf(r.list.after, sizeof(r.list.after), "%s", reply.list.next);
	} while (reply.list.next[0] != '\0');
	assert_int_equal(seen, 1100);
}

static void list__long_urls__the_page_ends_by_size(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_LIST};
	char url[4000];
	size_t seen = 0;

	(void)state;
	memset(url, 'u', sizeof(url) - 1);
	url[sizeof(url) - 1] = '\0';
	put_many(300, url);
	r.list.with_spec = true;
	do {
		assert_int_equal(ask(&r), CTL_OK);
		assert_true(reply.list.n > 0 && reply.list.n < 200);
		seen += reply.list.n;
		snprintf(r.list.after, sizeof(r.list.after), "%s", reply.list.next);
	} while (reply.list.next[0] != '\0');
	assert_int_equal(seen, 300);
}

static void get__secrets__stay_here(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_APPLY}, g = {.command = CTL_CMD_GET};

	(void)state;
	fill(&r.apply, "a", "server://pw@h");
	r.apply.key_pem = (struct ctl_blob){(uint8_t *)np_strdup("key"), 3};
	r.apply.cert_pem = (struct ctl_blob){(uint8_t *)np_strdup("cert"), 4};
	r.apply.auth_k = (struct ctl_blob){(uint8_t *)np_strdup("k"), 1};
	assert_int_equal(ask(&r), CTL_ACCEPTED);
	snprintf(g.get.id, sizeof(g.get.id), "a");
	assert_int_equal(ask(&g), CTL_OK);
	assert_string_equal(reply.get.spec.url, "server://pw@h");
	assert_int_equal(reply.get.spec.cert_pem.len, 4);
	assert_int_equal(reply.get.spec.key_pem.len, 0);
	assert_int_equal(reply.get.spec.auth_k.len, 0);
	assert_true(reply.get.has_stats && reply.get.has_status);
	snprintf(g.get.id, sizeof(g.get.id), "b");
	assert_int_equal(ask(&g), CTL_NOT_FOUND);
}

static void list__each_allocation_fails__says_so_and_leaks_nothing(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_LIST, .request_id = "r9"};
	enum ctl_code code = CTL_INTERNAL;
	long n = 0;

	(void)state;
	put_many(20, "server://a");
	r.list.with_spec = true;
	for (; code != CTL_OK; n++) {
		np_alloc_fail_after(n);
		code = ask(&r);
		np_alloc_fail_after(-1);
		assert_string_equal(reply.request_id, "r9");
		assert_true(code == CTL_OK || code == CTL_INTERNAL);
	}
	assert_true(n > 20);
	assert_int_equal(reply.list.n, 20);
}

static void snapshot__each_allocation_fails__nothing_is_changed(void **state)
{
	enum ctl_code code = CTL_INTERNAL;
	struct ctl_request r;

	(void)state;
	for (long n = 0; code != CTL_OK; n++) {
		r = (struct ctl_request){.command = CTL_CMD_SNAPSHOT,
					 .snapshot = {.snapshot_id = "s"}};
		r.snapshot.instances = np_calloc(1, sizeof(struct ctl_spec));
		r.snapshot.n = 1;
		fill(&r.snapshot.instances[0], "a", "server://a");
		np_alloc_fail_after(n);
		code = ask(&r);
		np_alloc_fail_after(-1);
		assert_true(code == CTL_OK || code == CTL_INTERNAL);
		assert_int_equal(reg.n, 0); /* staged at most */
	}
}

static void handle__small_ones__reach_who_does_them(void **state)
{
	struct ctl_request ping = {.command = CTL_CMD_PING, .request_id = "r1"};
	struct ctl_request probe = {.command = CTL_CMD_PROBE};

	(void)state;
	ping.ping.nonce = 5;
	assert_int_equal(ask(&ping), CTL_OK);
	assert_string_equal(reply.request_id, "r1");
	assert_int_equal(reply.ping.nonce, 5);
	assert_int_equal(reply.ping.time_ms, 42);
	assert_int_equal(simple(CTL_CMD_SUBSCRIBE, 0), CTL_OK);
	assert_int_equal(asked.subscribed, 1);
	assert_int_equal(simple(CTL_CMD_DRAIN, 0), CTL_OK);
	assert_int_equal(asked.drains, 1);
	assert_int_equal(simple(CTL_CMD_LOG_LEVEL, 0), CTL_OK);
	assert_int_equal(simple(CTL_CMD_SHUTDOWN, 0), CTL_OK);
	assert_int_equal(asked.shutdowns, 1);
	asked.probe = NP_EINVAL;
	assert_int_equal(ask(&probe), CTL_INVALID);
	asked.probe = NP_ELIMIT;
	assert_int_equal(ask(&probe), CTL_BUSY);
	asked.probe = NP_OK;
	assert_false(commands_handle(c, &probe, NULL, now, 42, &reply));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(snapshot__chunks__become_the_state),
	    TEST(snapshot__chunk_out_of_order__thrown_away),
	    TEST(snapshot__no_chunk_for_long__dropped),
	    TEST(snapshot__older__stale_unless_asked_for),
	    TEST(snapshot__one_refused__the_others_stand),
	    TEST(list__more_than_a_page__goes_on_behind_it),
	    TEST(list__long_urls__the_page_ends_by_size),
	    TEST(get__secrets__stay_here),
	    TEST(list__each_allocation_fails__says_so_and_leaks_nothing),
	    TEST(snapshot__each_allocation_fails__nothing_is_changed),
	    TEST(handle__small_ones__reach_who_does_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
