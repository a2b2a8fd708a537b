/*
 * Tests of the model against a store that the test holds in its hand: nothing is applied before the
 * store has it, nothing is changed when it fails, changes of one instance keep their order.
 */
#include "model.h"

#include "base/alloc.h"
#include "sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* -- the store: what was given to it waits until the test lets it through -- */

#define TXNS_MAX 64

static struct {
	store_done_fn done;
	void *arg;
} txns[TXNS_MAX];
static size_t ntxns, first;

enum np_err store_txn(struct store *s, const struct store_op *ops, size_t n, store_done_fn done,
		      void *arg)
{
	(void)s;
	(void)ops;
	assert_true(n > 0 && ntxns < TXNS_MAX);
	txns[ntxns].done = done;
	txns[ntxns++].arg = arg;
	return NP_OK;
}

enum np_err store_load(struct store *s, store_row_fn fn, void *arg, struct np_diag *diag)
{
	static const char rows[2][200] = {
	    "{\"url\":\"client://127.0.0.1:1/127.0.0.1:2?mode=1\",\"alias\":\"one\","
	    "\"desired\":\"stopped\",\"restart\":true,\"meta\":{\"tags\":{\"k\":\"v\"}}}",
	    "{\"total\":[5,6,7,8],\"boot_id\":\"aa\",\"starts\":3,\"last\":[1,2,3,4]}"};
	struct store_row inst = {STORE_INSTANCE, "0badcafe", 4, rows[0], strlen(rows[0])};
	struct store_row counters = {STORE_COUNTERS, "0badcafe", 0, rows[1], strlen(rows[1])};

	(void)s;
	(void)diag;
	fn(arg, &inst);
	fn(arg, &counters);
	return NP_OK;
}

static void let_through(enum np_err err)
{
	const struct np_diag diag = {.text = "disk full"};

	assert_true(first < ntxns);
	first++;
	txns[first - 1].done(txns[first - 1].arg, err, &diag);
}

/* -- what the model says -- */

static char said[1024];

static void on_publish(void *arg, int type, const struct model_instance *inst, const char *logs)
{
	static const char *const names[] = {"initial", "create", "update", "delete", "end", "log"};
	size_t len = strlen(said);

	(void)arg;
	(void)logs;
	snprintf(said + len, sizeof(said) - len, "%s(%s) ", names[type], model_status_name(inst));
}

static void on_changed(void *arg, const char *id)
{
	size_t len = strlen(said);

	(void)arg;
	snprintf(said + len, sizeof(said) - len, "node ");
	assert_int_equal(strlen(id), 8);
}

static void on_done(void *arg, int status, const char *text, const struct model_instance *inst)
{
	size_t len = strlen(said);

	(void)text;
	if (arg != NULL && inst != NULL)
		snprintf(arg, 16, "%.15s", inst->id);
	snprintf(said + len, sizeof(said) - len, "%d ", status);
}

static void has_said(const char *want)
{
	assert_string_equal(said, want);
	said[0] = '\0';
}

static void on_say(void *arg, const char *id, enum np_log_level level, const char *text,
		   bool goes_on)
{
	size_t len = strlen(said);

	(void)arg;
	(void)goes_on;
	assert_int_equal(level, NP_LOG_ERROR);
	snprintf(said + len, sizeof(said) - len, "%s: %s ", id, text);
}

static const struct model_events events = {
    .publish = on_publish, .changed = on_changed, .say = on_say};
static const struct validate_defaults defaults = {.log = "info"};

static int setup(void **state)
{
	struct model *m;

	ntxns = first = 0;
	said[0] = '\0';
	assert_int_equal(model_new(NULL, NULL, &defaults, &events, NULL, &m), NP_OK);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	model_free(*state);
	return 0;
}

#define URL "client://127.0.0.1:5000/127.0.0.1:5001?mode=1"

static void create(struct model *m, char id[16])
{
	model_create(m, URL, NULL, on_done, id);
	let_through(NP_OK);
	has_said("create(stopped) node 201 ");
}

static void model_create__store_has_it__published_then_answered(void **state)
{
	char id[16] = "";

	model_create(*state, URL, "name", on_done, id);
	has_said("");
	assert_int_equal(model_count(*state), 0);
	let_through(NP_OK);
	has_said("create(stopped) node 201 ");
	assert_string_equal(model_find(*state, id)->alias, "name");
	assert_true(model_find(*state, id)->restart);
	assert_true(model_revision(*state) > 0);
}

static void model_create__store_fails__nothing_is_there(void **state)
{
	model_create(*state, URL, NULL, on_done, NULL);
	let_through(NP_ESYS);
	has_said("500 ");
	assert_int_equal(model_count(*state), 0);
}

static void model_create__bad_url__refused_without_the_store(void **state)
{
	model_create(*state, "ftp://x", NULL, on_done, NULL);
	has_said("400 ");
	assert_int_equal(ntxns, 0);
}

static void model_patch__while_another_is_stored__waits_for_it(void **state)
{
	struct model_patch stop = {.action = CTL_STOP}, name = {.alias = "later"};
	char id[16];

	create(*state, id);
	model_patch(*state, id, &stop, on_done, NULL);
	model_patch(*state, id, &name, on_done, NULL);
	model_delete(*state, id, on_done, NULL);
	assert_int_equal(ntxns, 2);
	let_through(NP_OK);
	has_said("node 200 ");
	assert_int_equal(model_find(*state, id)->desired, CTL_DESIRED_STOPPED);
	let_through(NP_OK);
	has_said("update(stopped) 200 ");
	let_through(NP_OK);
	has_said("delete(stopped) node 204 ");
	assert_null(model_find(*state, id));
}

static void model_patch__behind_a_delete__not_found(void **state)
{
	struct model_patch name = {.alias = "later"};
	char id[16];

	create(*state, id);
	model_delete(*state, id, on_done, NULL);
	model_patch(*state, id, &name, on_done, NULL);
	let_through(NP_OK);
	has_said("delete(stopped) node 204 404 ");
}

static void model_patch__store_fails__as_before(void **state)
{
	struct model_patch p = {.alias = "new", .has_restart = true};
	char id[16];

	create(*state, id);
	model_patch(*state, id, &p, on_done, NULL);
	let_through(NP_ESYS);
	has_said("500 ");
	assert_string_equal(model_find(*state, id)->alias, "");
	assert_true(model_find(*state, id)->restart);
}

static void model_put__same_url__conflict(void **state)
{
	char id[16];

	create(*state, id);
	model_put(*state, id, URL "&log=", on_done, NULL);
	has_said("409 ");
	model_put(*state, id, URL "&rate=1", on_done, NULL);
	let_through(NP_OK);
	has_said("update(running) node 200 ");
}

static struct ctl_status status_of(struct model *m, const char *id, enum ctl_state state)
{
	struct ctl_status st = {.state = state, .revision = model_find(m, id)->revision};

	snprintf(st.id, sizeof(st.id), "%s", id);
	return st;
}

static void model_observe_status__change_of_status__one_update(void **state)
{
	struct ctl_status st;
	char id[16];

	create(*state, id);
	st = status_of(*state, id, CTL_STARTING);
	model_observe_status(*state, &st);
	st.state = CTL_RUNNING;
	model_observe_status(*state, &st);
	has_said("update(running) ");
	st.state = CTL_STOPPING;
	model_observe_status(*state, &st);
	has_said("");
	st.state = CTL_STOPPED;
	model_observe_status(*state, &st);
	has_said("update(stopped) ");
	st.state = CTL_ERROR;
	model_observe_status(*state, &st);
	has_said("update(error) ");
}

static void model_observe_status__of_an_older_revision__ignored(void **state)
{
	struct ctl_status st;
	char id[16];

	create(*state, id);
	st = status_of(*state, id, CTL_RUNNING);
	st.revision--;
	model_observe_status(*state, &st);
	has_said("");
}

/* What the node runs instead is no news; that it refused the change is, once. */
static void model_observe_status__change_refused__said_once_and_an_error(void **state)
{
	struct ctl_status st;
	char id[16], expected[128];

	create(*state, id);
	st = status_of(*state, id, CTL_RUNNING);
	model_observe_status(*state, &st);
	has_said("update(running) ");
	st.nack_revision = st.revision--;
	snprintf(st.nack_text, sizeof(st.nack_text), "no such port");
	model_observe_status(*state, &st);
	snprintf(expected, sizeof(expected),
		 "update(error) %s: the data plane refused this change: no such port ", id);
	has_said(expected);
	model_observe_status(*state, &st);
	has_said("");
	/* Of the change before. */
	st = status_of(*state, id, CTL_RUNNING);
	st.nack_revision = st.revision - 1;
	model_observe_status(*state, &st);
	has_said("update(running) ");
}

static void observe(struct model *m, const char *id, const char *boot, uint32_t starts, uint64_t rx)
{
	struct ctl_stats st = {.starts = starts, .tcp_rx = rx};

	snprintf(st.id, sizeof(st.id), "%s", id);
	model_observe_stats(m, boot, &st);
}

static void model_observe_stats__restarts__differences_add_up(void **state)
{
	const struct model_instance *inst;
	struct np_diag diag;

	assert_int_equal(model_load(*state, &diag), NP_OK);
	inst = model_find(*state, "0badcafe");
	assert_int_equal(inst->total[MODEL_TCP_RX], 5);
	observe(*state, "0badcafe", "aa", 3, 11); /* goes on from the stored 1 */
	assert_int_equal(inst->total[MODEL_TCP_RX], 15);
	observe(*state, "0badcafe", "aa", 4, 7); /* the instance began anew */
	assert_int_equal(inst->total[MODEL_TCP_RX], 22);
	observe(*state, "0badcafe", "bb", 4, 1); /* the node began anew */
	assert_int_equal(inst->total[MODEL_TCP_RX], 23);
}

static void observe_boot(struct model *m, const char *boot, uint32_t starts, uint64_t of_start,
			 uint64_t of_boot)
{
	struct ctl_stats st = {.id = "0badcafe",
			       .starts = starts,
			       .tcp_rx = of_start,
			       .has_boot = true,
			       .boot = {.tcp_rx = of_boot}};

	model_observe_stats(m, boot, &st);
}

static void model_observe_stats__of_the_boot__what_a_start_drops_is_counted(void **state)
{
	struct ctl_status gone = {.id = "0badcafe", .removed = true};
	const struct model_instance *inst;
	struct np_diag diag;

	assert_int_equal(model_load(*state, &diag), NP_OK);
	inst = model_find(*state, "0badcafe");
	observe_boot(*state, "bb", 1, 10, 10);
	assert_int_equal(inst->total[MODEL_TCP_RX], 15);
	observe_boot(*state, "bb", 2, 3, 20); /* 7 of the first start were never reported */
	assert_int_equal(inst->total[MODEL_TCP_RX], 25);
	observe_boot(*state, "bb", 1, 15, 15); /* was sent before it, came after it */
	assert_int_equal(inst->total[MODEL_TCP_RX], 25);
	observe_boot(*state, "bb", 2, 4, 21);
	assert_int_equal(inst->total[MODEL_TCP_RX], 26);
	observe_boot(*state, "cc", 1, 2, 2); /* the node began anew */
	assert_int_equal(inst->total[MODEL_TCP_RX], 28);
	model_observe_status(*state, &gone); /* and the instance there */
	observe_boot(*state, "cc", 1, 1, 1);
	assert_int_equal(inst->total[MODEL_TCP_RX], 29);
}

static void model_patch__reset__counts_from_there(void **state)
{
	struct model_patch reset = {.action = CTL_RESET};
	char id[16];

	create(*state, id);
	observe(*state, id, "aa", 1, 100);
	model_patch(*state, id, &reset, on_done, NULL);
	let_through(NP_OK);
	has_said("update(stopped) 200 ");
	observe(*state, id, "aa", 1, 130);
	assert_int_equal(model_find(*state, id)->total[MODEL_TCP_RX], 30);
}

static void shows(struct model *m, const char *id, const char *want)
{
	struct np_buf b;

	/* Twice: the second one may be what was kept of the first. */
	for (int i = 0; i < 2; i++) {
		np_buf_init(&b, 65536);
		model_render(model_find(m, id), &b);
		assert_non_null(np_buf_cstr(&b));
		if (strstr(np_buf_cstr(&b), want) == NULL)
			fail_msg("no %s in %s", want, np_buf_cstr(&b));
		np_buf_release(&b);
	}
}

static void patch(struct model *m, const char *id, const struct model_patch *p)
{
	model_patch(m, id, p, on_done, NULL);
	let_through(NP_OK);
}

static void model_render__each_change__shown(void **state)
{
	static char name[] = "na<me", value[] = "v", empty[] = "", sid[] = "the sid", text[5000];
	struct model_tag tag = {.name = name, .value = value};
	const struct model_meta tags = {.tags = &tag, .ntags = 1};
	const struct model_meta peer = {.sid = sid, .type = empty, .alias = empty};
	char id[16];
	struct ctl_status status;
	struct ctl_stats st = {.has_ping = true, .ping_ms = 11, .pool = 12, .tcps = 13, .udps = 14};

	create(*state, id);
	shows(*state, id, "\"status\":\"stopped\"");
	status = status_of(*state, id, CTL_RUNNING);
	status.mode = 2;
	model_observe_status(*state, &status);
	shows(*state, id, "\"status\":\"running\"");
	shows(*state, id, "\"mode\":2,\"ping\":0,");
	snprintf(st.id, sizeof(st.id), "%s", id);
	for (uint64_t i = 1; i < 3; i++) {
		char want[128];

		st.tcp_rx = i;
		st.tcp_tx = 2 * i;
		st.udp_rx = 3 * i;
		st.udp_tx = 4 * i;
		model_observe_stats(*state, "aa", &st);
		snprintf(
		    want, sizeof(want),
		    "\"ping\":11,\"pool\":12,\"tcps\":13,\"udps\":14,\"tcprx\":%u,\"tcptx\":%u,"
		    "\"udprx\":%u,\"udptx\":%u}",
		    (unsigned)i, 2 * (unsigned)i, 3 * (unsigned)i, 4 * (unsigned)i);
		shows(*state, id, want);
	}
	model_observe_down(*state);
	shows(*state, id, "\"ping\":0,\"pool\":0,\"tcps\":0,\"udps\":0,\"tcprx\":2,");
	patch(*state, id, &(struct model_patch){.alias = "other"});
	shows(*state, id, "\"alias\":\"other\"");
	patch(*state, id, &(struct model_patch){.has_restart = true});
	shows(*state, id, "\"restart\":false");
	patch(*state, id, &(struct model_patch){.tags = &tags});
	shows(*state, id, "{\"na\\u003cme\":\"v\"}");
	patch(*state, id, &(struct model_patch){.peer = &peer});
	shows(*state, id, "\"sid\":\"the sid\"");
	memset(text, 'x', sizeof(text) - 1);
	tag.value = text; /* too long to be kept */
	patch(*state, id, &(struct model_patch){.tags = &tags});
	shows(*state, id, text);
	tag.value = value;
	patch(*state, id, &(struct model_patch){.tags = &tags});
	shows(*state, id, "{\"na\\u003cme\":\"v\"}");
	model_put(*state, id, "client://127.0.0.1:5000/127.0.0.1:5002?mode=1", on_done, NULL);
	let_through(NP_OK);
	shows(*state, id, "127.0.0.1:5002?");
}

static void model_load__rows__as_they_were_stored(void **state)
{
	const struct model_instance *inst;
	struct ctl_spec spec;
	struct np_diag diag;

	assert_int_equal(model_load(*state, &diag), NP_OK);
	inst = model_find(*state, "0badcafe");
	assert_string_equal(inst->alias, "one");
	assert_int_equal(inst->meta.ntags, 1);
	assert_string_equal(inst->meta.tags[0].value, "v");
	assert_int_equal(inst->desired, CTL_DESIRED_STOPPED);
	assert_int_equal(inst->revision, 4);
	model_boot_rule(*state);
	assert_int_equal(inst->desired, CTL_DESIRED_RUNNING);
	assert_true(model_next_spec(*state, "", &spec));
	assert_string_equal(spec.id, "0badcafe");
	assert_false(model_next_spec(*state, "0badcafe", &(struct ctl_spec){.revision = 0}));
	np_free(spec.url);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(model_create__store_has_it__published_then_answered),
	    TEST(model_create__store_fails__nothing_is_there),
	    TEST(model_create__bad_url__refused_without_the_store),
	    TEST(model_patch__while_another_is_stored__waits_for_it),
	    TEST(model_patch__behind_a_delete__not_found),
	    TEST(model_patch__store_fails__as_before),
	    TEST(model_put__same_url__conflict),
	    TEST(model_observe_status__change_of_status__one_update),
	    TEST(model_observe_status__change_refused__said_once_and_an_error),
	    TEST(model_observe_status__of_an_older_revision__ignored),
	    TEST(model_observe_stats__restarts__differences_add_up),
	    TEST(model_observe_stats__of_the_boot__what_a_start_drops_is_counted),
	    TEST(model_patch__reset__counts_from_there),
	    TEST(model_render__each_change__shown),
	    TEST(model_load__rows__as_they_were_stored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
