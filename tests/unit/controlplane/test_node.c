/*
 * Tests of the connection to a data plane, against one that is played by the test: an nng rep
 * socket in raw mode and a pub socket, which note what is asked and answer as they are told to.
 */
#include "node.h"

#include "base/alloc.h"
#include "base/mono.h"
#include "nng_end.h"

#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/reqrep0/rep.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000
#define ASKED_MAX   256
#define SPECS_MAX   1300

/* -- the data plane -- */

struct asked {
	enum ctl_command command;
	char id[CTL_ID_MAX + 1];
	uint64_t epoch, base, revision;
	size_t n;
	uint32_t index;
	bool last;
};

static struct fake {
	nng_socket ctl, events;
	bool open, silent; /* silent: no answers */
	char boot_id[CTL_BOOT_ID_LEN + 1];
	uint64_t applied, seq;
	enum ctl_code apply_code; /* 0 = as it should be */
	size_t staged, instances, gaps;
	struct asked asked[ASKED_MAX];
	size_t nasked;
	struct np_mono last_lease;
} fake;

static char dir[64];

static void fake_open(const char *boot_id)
{
	char url[128];

	memset(&fake, 0, sizeof(fake));
	snprintf(fake.boot_id, sizeof(fake.boot_id), "%s", boot_id);
	assert_int_equal(nng_rep0_open_raw(&fake.ctl), 0);
	assert_int_equal(nng_pub0_open(&fake.events), 0);
	snprintf(url, sizeof(url), "ipc://%s/ctl.sock", dir);
	assert_int_equal(nng_listen(fake.ctl, url, NULL, 0), 0);
	snprintf(url, sizeof(url), "ipc://%s/events.sock", dir);
	assert_int_equal(nng_listen(fake.events, url, NULL, 0), 0);
	fake.open = true;
}

static void fake_close(void)
{
	if (!fake.open)
		return;
	nng_end(fake.ctl);
	nng_end(fake.events);
	fake.open = false;
}

static void fake_event(struct ctl_event *ev)
{
	struct np_buf b;

	memcpy(ev->boot_id, fake.boot_id, sizeof(fake.boot_id));
	ev->seq = ++fake.seq;
	ev->borrowed = true;
	np_buf_init(&b, CTL_MESSAGE_MAX);
	assert_int_equal(ctl_event_encode(ev, CTL_PROTOBUF, &b), NP_OK);
	assert_int_equal(nng_send(fake.events, (void *)(uintptr_t)np_buf_ptr(&b), np_buf_len(&b),
				  NNG_FLAG_NONBLOCK),
			 0);
	np_buf_release(&b);
}

static void fake_lease(void)
{
	struct ctl_event ev = {.kind = CTL_EVENT_LEASE};

	ev.lease.applied_revision = fake.applied;
	ev.lease.state = CTL_NODE_MANAGED;
	fake_event(&ev);
	fake.last_lease = np_mono_now();
}

static void fake_status(const char *id, enum ctl_state state)
{
	struct ctl_status st = {.revision = 1, .state = state};
	struct ctl_event ev = {.kind = CTL_EVENT_CHANGES, .n = 1, .changes = &st};

	snprintf(st.id, sizeof(st.id), "%s", id);
	fake_event(&ev);
}

static void answer_change(const struct ctl_request *r, struct ctl_reply *out)
{
	if (r->revision <= fake.applied)
		return;
	if (r->base_revision != fake.applied) {
		out->code = CTL_GAP;
		fake.gaps++;
		return;
	}
	if (r->command == CTL_CMD_APPLY && fake.apply_code != 0) {
		out->code = fake.apply_code;
		snprintf(out->text, sizeof(out->text), "no such port");
		if (out->code == CTL_BUSY)
			return;
	}
	fake.applied = r->revision;
}

static void answer_snapshot(const struct ctl_request *r, struct ctl_reply *out)
{
	out->result = CTL_CMD_SNAPSHOT;
	if (r->snapshot.index == 0)
		fake.staged = 0;
	fake.staged += r->snapshot.n;
	if (!r->snapshot.last)
		return;
	assert_int_equal(fake.staged, r->snapshot.total);
	fake.instances = fake.staged;
	fake.applied = r->revision;
}

/* Two pages of one instance each. */
static void answer_list(const struct ctl_request *r, struct ctl_reply *out)
{
	struct ctl_view *v = np_calloc(1, sizeof(*v));
	bool first = r->list.after[0] == '\0';

	out->result = CTL_CMD_LIST;
	out->list.views = v;
	out->list.n = 1;
	v->has_status = v->has_stats = true;
	snprintf(v->status.id, sizeof(v->status.id), "%s", first ? "p1" : "p2");
	memcpy(v->stats.id, v->status.id, sizeof(v->stats.id));
	v->status.state = CTL_RUNNING;
	v->stats.starts = 1;
	if (first)
		snprintf(out->list.next, sizeof(out->list.next), "p1");
}

static void note(const struct ctl_request *r)
{
	struct asked *a = &fake.asked[fake.nasked];

	assert_true(fake.nasked < ASKED_MAX);
	fake.nasked++;
	*a = (struct asked){.command = r->command,
			    .epoch = r->epoch,
			    .base = r->base_revision,
			    .revision = r->revision};
	if (r->command == CTL_CMD_APPLY)
		memcpy(a->id, r->apply.id, sizeof(a->id));
	if (r->command == CTL_CMD_REMOVE)
		memcpy(a->id, r->remove.id, sizeof(a->id));
	if (r->command == CTL_CMD_SNAPSHOT) {
		a->n = r->snapshot.n;
		a->index = r->snapshot.index;
		a->last = r->snapshot.last;
	}
}

static void answer(nng_msg *msg)
{
	struct ctl_request r;
	struct ctl_reply out = {.code = CTL_OK};
	struct np_diag diag;
	struct np_buf b;
	nng_msg *reply;

	assert_int_equal(ctl_request_decode(nng_msg_body(msg), nng_msg_len(msg), &r, &diag), NP_OK);
	note(&r);
	memcpy(out.request_id, r.request_id, sizeof(out.request_id));
	memcpy(out.boot_id, fake.boot_id, sizeof(out.boot_id));
	if (r.command == CTL_CMD_HELLO) {
		out.result = CTL_CMD_HELLO;
		out.hello.version = 1;
		out.hello.need_snapshot = r.hello.desired_revision != fake.applied;
		out.hello.info.applied_revision = fake.applied;
		out.hello.info.pid = 4242;
		memcpy(out.hello.info.boot_id, fake.boot_id, sizeof(fake.boot_id));
	} else if (r.command == CTL_CMD_APPLY || r.command == CTL_CMD_REMOVE) {
		answer_change(&r, &out);
	} else if (r.command == CTL_CMD_SNAPSHOT) {
		answer_snapshot(&r, &out);
	} else if (r.command == CTL_CMD_LIST) {
		answer_list(&r, &out);
	}
	out.applied_revision = fake.applied;
	np_buf_init(&b, CTL_MESSAGE_MAX);
	assert_int_equal(ctl_reply_encode(&out, r.encoding, &b), NP_OK);
	assert_int_equal(nng_msg_alloc(&reply, 0), 0);
	assert_int_equal(nng_msg_header_append(reply, nng_msg_header(msg), nng_msg_header_len(msg)),
			 0);
	assert_int_equal(nng_msg_append(reply, np_buf_ptr(&b), np_buf_len(&b)), 0);
	if (nng_sendmsg(fake.ctl, reply, 0) != 0)
		nng_msg_free(reply);
	np_buf_release(&b);
	ctl_request_release(&r);
	ctl_reply_release(&out);
}

static void fake_turn(void)
{
	nng_msg *msg;

	while (fake.open && !fake.silent && nng_recvmsg(fake.ctl, &msg, NNG_FLAG_NONBLOCK) == 0) {
		answer(msg);
		nng_msg_free(msg);
	}
	if (fake.open && !fake.silent &&
	    np_mono_diff_ms(np_mono_now(), fake.last_lease) >= NODE_LEASE_MS)
		fake_lease();
}

static size_t asked_count(enum ctl_command command)
{
	size_t n = 0;

	for (size_t i = 0; i < fake.nasked; i++)
		n += fake.asked[i].command == command;
	return n;
}

static const struct asked *asked_last(enum ctl_command command)
{
	for (size_t i = fake.nasked; i > 0; i--)
		if (fake.asked[i - 1].command == command)
			return &fake.asked[i - 1];
	fail_msg("never asked for %d", (int)command);
	return NULL;
}

/* -- the owner -- */

static struct owner {
	uint64_t revision;
	size_t nspecs; /* ids s0000, s0001, … */
	uint64_t revisions[SPECS_MAX];
	int ups, downs, synced, shutdowns;
	bool held, hide_last; /* hide_last: the last spec is gone */
	size_t statuses, stats, leases, lines;
	struct ctl_status last;
} owner;

static bool spec_at(size_t i, struct ctl_spec *out)
{
	if (i >= owner.nspecs || (owner.hide_last && i == owner.nspecs - 1))
		return false;
	*out = (struct ctl_spec){.revision = owner.revisions[i], .desired = CTL_DESIRED_RUNNING};
	snprintf(out->id, sizeof(out->id), "s%04zu", i);
	out->url = np_strdup("client://key@127.0.0.1:1/127.0.0.1:2");
	return true;
}

static bool next_spec(void *arg, const char *after, struct ctl_spec *out)
{
	(void)arg;
	return spec_at(after[0] == '\0' ? 0 : strtoul(after + 1, NULL, 10) + 1, out);
}

static enum node_spec get_spec(void *arg, const char *id, struct ctl_spec *out)
{
	(void)arg;
	return spec_at(strtoul(id + 1, NULL, 10), out) ? NODE_SPEC_IS : NODE_SPEC_NONE;
}

static uint64_t desired_revision(void *arg)
{
	(void)arg;
	return owner.revision;
}

static void on_up(void *arg, const struct ctl_node_info *info, bool held)
{
	(void)arg;
	assert_int_equal(info->pid, 4242);
	owner.ups++;
	owner.held = held;
}

static void on_synced(void *arg)
{
	(void)arg;
	owner.synced++;
}

static void on_down(void *arg)
{
	(void)arg;
	owner.downs++;
}

static void on_status(void *arg, const struct ctl_status *st)
{
	(void)arg;
	owner.statuses++;
	owner.last = *st;
}

static void on_stats(void *arg, const char *boot_id, const struct ctl_stats *stats)
{
	(void)arg;
	(void)stats;
	assert_string_equal(boot_id, fake.boot_id);
	owner.stats++;
}

static void on_line(void *arg, const struct ctl_line *line)
{
	(void)arg;
	(void)line;
	owner.lines++;
}

static void on_lines_dropped(void *arg, uint64_t n)
{
	(void)arg;
	(void)n;
}

static void on_lease(void *arg, const struct ctl_lease *lease)
{
	(void)arg;
	(void)lease;
	owner.leases++;
}

static void on_metrics(void *arg, const struct ctl_instance_metrics *m)
{
	(void)arg;
	(void)m;
}

static void on_shutdown(void *arg)
{
	(void)arg;
	owner.shutdowns++;
}

static const struct node_callbacks callbacks = {
    .next_spec = next_spec,
    .get_spec = get_spec,
    .desired_revision = desired_revision,
    .on_up = on_up,
    .on_synced = on_synced,
    .on_down = on_down,
    .on_status = on_status,
    .on_stats = on_stats,
    .on_line = on_line,
    .on_lines_dropped = on_lines_dropped,
    .on_lease = on_lease,
    .on_metrics = on_metrics,
};

/* -- both together -- */

static struct event_base *base;
static struct node *node;

static bool until(bool (*is_so)(void))
{
	struct np_mono end = np_mono_add_ms(np_mono_now(), PATIENCE_MS);

	while (!is_so() && np_mono_before(np_mono_now(), end)) {
		event_base_loopexit(base, &(struct timeval){.tv_usec = 1000});
		event_base_dispatch(base);
		fake_turn();
	}
	return is_so();
}

static struct np_mono pass_end;

static bool is_past(void)
{
	return !np_mono_before(np_mono_now(), pass_end);
}

static void pass(int ms)
{
	pass_end = np_mono_add_ms(np_mono_now(), ms);
	assert_true(until(is_past));
}

/* nng 1.5.2 may wait for ever when a socket is closed while a message comes, and here both ends of
 * all sockets share its threads. */
static void quiet(void)
{
	pass(50);
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/np-test-XXXXXX");
	memset(&owner, 0, sizeof(owner));
	base = event_base_new();
	return base == NULL || mkdtemp(dir) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
	char path[96];

	(void)state;
	if (node != NULL)
		quiet();
	node_free(node);
	node = NULL;
	fake_close();
	event_base_free(base);
	snprintf(path, sizeof(path), "%s/ctl.sock", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/events.sock", dir);
	unlink(path);
	return rmdir(dir);
}

static void specs(size_t n)
{
	owner.nspecs = n;
	owner.revision = n;
	for (size_t i = 0; i < n; i++)
		owner.revisions[i] = i + 1;
}

static void change(size_t i)
{
	char id[16];

	if (i >= owner.nspecs)
		owner.nspecs = i + 1;
	owner.revisions[i] = ++owner.revision;
	snprintf(id, sizeof(id), "s%04zu", i);
	node_changed(node, id);
}

static void connect_to(const char *boot_id)
{
	fake_open(boot_id);
	assert_int_equal(node_new(base, dir, "test", 3, 500, &callbacks, NULL, &node), NP_OK);
}

static bool is_synced_and_listed(void)
{
	return owner.synced > 0 && owner.stats >= 2;
}

static bool is_all_applied(void)
{
	return fake.applied == owner.revision;
}

static bool is_down(void)
{
	return owner.downs > 0;
}

static bool is_up_twice(void)
{
	return owner.ups >= 2 && owner.synced >= 2;
}

static void node_new__empty_node__hello_snapshot_list(void **state)
{
	(void)state;
	specs(3);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	assert_false(owner.held);
	assert_true(node_is_up(node));
	assert_int_equal(node_pid(node), 4242);
	assert_int_equal(fake.asked[0].command, CTL_CMD_HELLO);
	assert_int_equal(fake.asked[0].epoch, 3);
	assert_int_equal(asked_count(CTL_CMD_SUBSCRIBE), 1);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 1);
	assert_int_equal(asked_count(CTL_CMD_LIST), 2);
	assert_int_equal(fake.instances, 3);
	assert_int_equal(fake.applied, 3);
	assert_int_equal(owner.statuses, 2);
}

static void node_new__state_is_held__no_snapshot(void **state)
{
	(void)state;
	specs(3);
	fake_open("aa");
	fake.applied = 3;
	assert_int_equal(node_new(base, dir, "test", 3, 500, &callbacks, NULL, &node), NP_OK);
	assert_true(until(is_synced_and_listed));
	assert_true(owner.held);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 0);
}

static void node_new__many_instances__chunks(void **state)
{
	(void)state;
	specs(SPECS_MAX);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	assert_true(asked_count(CTL_CMD_SNAPSHOT) >= 3);
	assert_true(asked_last(CTL_CMD_SNAPSHOT)->last);
	assert_int_equal(fake.instances, SPECS_MAX);
}

static void node_changed__many_at_once__one_chain_in_order(void **state)
{
	(void)state;
	specs(1);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	for (size_t i = 1; i <= 100; i++)
		change(i);
	change(1);
	assert_true(until(is_all_applied));
	assert_int_equal(fake.gaps, 0);
	assert_int_equal(asked_count(CTL_CMD_APPLY), 100);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 1);
	assert_string_equal(asked_last(CTL_CMD_APPLY)->id, "s0001");
}

static void node_changed__instance_gone__removed(void **state)
{
	(void)state;
	specs(2);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	owner.hide_last = true;
	owner.revision = 5; /* others are being stored */
	node_changed(node, "s0001");
	assert_true(until(is_all_applied));
	assert_string_equal(fake.asked[fake.nasked - 2].id, "s0001");
	assert_int_equal(fake.asked[fake.nasked - 2].revision, 3);
	assert_int_equal(asked_count(CTL_CMD_REMOVE), 2);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 1);
}

static bool is_error_reported(void)
{
	return owner.last.state == CTL_ERROR;
}

static void node_changed__refused__error_reported(void **state)
{
	(void)state;
	specs(2);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	fake.apply_code = CTL_INVALID;
	change(1);
	assert_true(until(is_error_reported));
	assert_string_equal(owner.last.id, "s0001");
	assert_string_equal(owner.last.error, "no such port");
	assert_int_equal(owner.last.revision, 3);
	/* The others go on. */
	fake.apply_code = 0;
	change(0);
	assert_true(until(is_all_applied));
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 1);
}

static void node_changed__gap__snapshot_after_pause(void **state)
{
	struct np_mono begin = np_mono_now();

	(void)state;
	specs(2);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	fake.applied = 77; /* somebody else was there */
	owner.revision = 100;
	change(1);
	assert_true(until(is_all_applied));
	assert_int_equal(fake.gaps, 1);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 2);
	assert_true(np_mono_diff_ms(np_mono_now(), begin) >= 5000);
}

static size_t listed;

static bool is_listed_again(void)
{
	return asked_count(CTL_CMD_LIST) >= listed + 2;
}

static void node_event__seq_gap__list(void **state)
{
	(void)state;
	specs(1);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	fake_lease();
	listed = asked_count(CTL_CMD_LIST);
	fake_status("s0000", CTL_RUNNING);
	pass(200);
	assert_int_equal(asked_count(CTL_CMD_LIST), listed);
	fake.seq += 3;
	fake_status("s0000", CTL_STOPPED);
	assert_true(until(is_listed_again));
}

static void node__data_plane_dies__snapshot_to_the_next(void **state)
{
	struct np_mono begin;

	(void)state;
	specs(5);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	quiet();
	fake_close();
	assert_true(until(is_down));
	assert_false(node_is_up(node));
	change(2);
	fake_open("bb");
	node_kick(node);
	begin = np_mono_now();
	assert_true(until(is_up_twice));
	assert_true(np_mono_diff_ms(np_mono_now(), begin) < 1000);
	assert_false(owner.held);
	assert_int_equal(fake.instances, 5);
	assert_int_equal(fake.applied, 6);
}

static void node__silent_data_plane__connected_anew(void **state)
{
	(void)state;
	specs(1);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	fake.silent = true;
	assert_true(until(is_down));
	fake.silent = false;
	assert_true(until(is_up_twice));
	assert_true(owner.held);
	assert_int_equal(asked_count(CTL_CMD_SNAPSHOT), 1);
}

static bool is_pinged(void)
{
	return asked_count(CTL_CMD_PING) >= 2 && owner.leases >= 2;
}

static void node__idle__pings(void **state)
{
	(void)state;
	specs(1);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	assert_true(until(is_pinged));
	assert_int_equal(owner.downs, 0);
	assert_int_equal(owner.synced, 1);
}

static bool is_shut_down(void)
{
	return owner.shutdowns > 0;
}

static void node_shutdown__answered__done(void **state)
{
	(void)state;
	specs(1);
	connect_to("aa");
	assert_true(until(is_synced_and_listed));
	node_shutdown(node, 1000, on_shutdown, NULL);
	assert_true(until(is_shut_down));
	assert_int_equal(asked_count(CTL_CMD_SHUTDOWN), 1);
	assert_int_equal(owner.shutdowns, 1);
}

static void node_new__no_data_plane__waits(void **state)
{
	(void)state;
	assert_int_equal(node_new(base, dir, "test", 3, 500, &callbacks, NULL, &node), NP_OK);
	pass(300);
	assert_false(node_is_up(node));
	node_shutdown(node, 1000, on_shutdown, NULL);
	assert_int_equal(owner.shutdowns, 1);
	/* Found without being told. */
	fake_open("aa");
	assert_true(until(is_synced_and_listed));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(node_new__empty_node__hello_snapshot_list),
	    TEST(node_new__state_is_held__no_snapshot),
	    TEST(node_new__many_instances__chunks),
	    TEST(node_changed__many_at_once__one_chain_in_order),
	    TEST(node_changed__instance_gone__removed),
	    TEST(node_changed__refused__error_reported),
	    TEST(node_changed__gap__snapshot_after_pause),
	    TEST(node_event__seq_gap__list),
	    TEST(node__data_plane_dies__snapshot_to_the_next),
	    TEST(node__silent_data_plane__connected_anew),
	    TEST(node__idle__pings),
	    TEST(node_shutdown__answered__done),
	    TEST(node_new__no_data_plane__waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
