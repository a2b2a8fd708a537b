/*
 * test_commands.c - the dispatcher over a registry that only notes what it is told.
 *
 * The functions of registry.h are defined here, so the real ones are not linked. Time is a number.
 */
#include "commands.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ENTRIES_MAX 1200
#define BOOT	    "00112233445566778899aabbccddeeff"

/* -- the registry -- */

struct registry {
	struct ctl_spec specs[ENTRIES_MAX]; /* in order of id */
	size_t n;
	enum ctl_code next; /* of the next apply; OK = as it is */
	unsigned applied, removed, actions;
	enum ctl_verb verb;
	int64_t drained_ms;
};

static struct registry reg;

static struct ctl_spec *find(const char *id)
{
	for (size_t i = 0; i < reg.n; i++)
		if (strcmp(reg.specs[i].id, id) == 0)
			return &reg.specs[i];
	return NULL;
}

enum ctl_code registry_apply(struct registry *r, const struct ctl_spec *spec, bool dry_run,
			     struct np_diag *diag)
{
	struct ctl_spec *s = find(spec->id), copy;
	enum ctl_code code = r->next;
	size_t at = 0;

	r->next = CTL_OK;
	if (code != CTL_OK) {
		np_diag_set(diag, NP_EINVAL, "url", "refused");
		return code;
	}
	if (dry_run)
		return CTL_OK;
	r->applied++;
	assert_int_equal(ctl_spec_copy(spec, &copy), NP_OK);
	if (s != NULL) {
		ctl_spec_release(s);
		*s = copy;
		return CTL_OK;
	}
	assert_true(r->n < ENTRIES_MAX);
	while (at < r->n && strcmp(r->specs[at].id, spec->id) < 0)
		at++;
	memmove(&r->specs[at + 1], &r->specs[at], (r->n - at) * sizeof(copy));
	r->specs[at] = copy;
	r->n++;
	return CTL_ACCEPTED;
}

enum ctl_code registry_remove(struct registry *r, const char *id)
{
	struct ctl_spec *s = find(id);

	if (s == NULL)
		return CTL_NOT_FOUND;
	ctl_spec_release(s);
	memmove(s, s + 1, (size_t)(r->specs + --r->n - s) * sizeof(*s));
	r->removed++;
	return CTL_ACCEPTED;
}

enum ctl_code registry_action(struct registry *r, const char *id, enum ctl_verb verb,
			      struct np_diag *diag)
{
	(void)diag;
	r->actions++;
	r->verb = verb;
	return find(id) != NULL ? CTL_ACCEPTED : CTL_NOT_FOUND;
}

enum ctl_code registry_log_level(struct registry *r, const char *id, enum np_log_level level)
{
	(void)r;
	(void)level;
	return id[0] == '\0' || find(id) != NULL ? CTL_OK : CTL_NOT_FOUND;
}

bool registry_status(struct registry *r, const char *id, struct ctl_status *out)
{
	const struct ctl_spec *s = find(id);

	(void)r;
	if (s == NULL)
		return false;
	memset(out, 0, sizeof(*out));
	memcpy(out->id, s->id, sizeof(out->id));
	out->revision = s->revision;
	out->state = CTL_RUNNING;
	return true;
}

bool registry_stats(struct registry *r, const char *id, struct ctl_stats *out)
{
	(void)r;
	memset(out, 0, sizeof(*out));
	snprintf(out->id, sizeof(out->id), "%s", id);
	return find(id) != NULL;
}

const struct ctl_spec *registry_spec(struct registry *r, const char *id)
{
	(void)r;
	return find(id);
}

const char *registry_next(struct registry *r, const char *after)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->specs[i].id, after) > 0)
			return r->specs[i].id;
	return NULL;
}

void registry_counts(struct registry *r, struct registry_counts *out)
{
	*out = (struct registry_counts){.all = (unsigned)r->n};
}

/* -- the surroundings -- */

static struct {
	unsigned changed, subscribed, shutdowns, drains, cancels, probes;
	uint32_t lease_ms, grace_ms;
	enum np_err probe;
} asked;

static void op_changed(void *arg, const char *id)
{
	(void)arg;
	(void)id;
	asked.changed++;
}

static void op_subscribe(void *arg, const struct ctl_request *r)
{
	(void)arg;
	(void)r;
	asked.subscribed++;
}

static void op_lease(void *arg, uint32_t lease_ms)
{
	(void)arg;
	asked.lease_ms = lease_ms;
}

static void op_drain(void *arg, uint32_t grace_ms, bool cancel)
{
	(void)arg;
	asked.grace_ms = grace_ms;
	asked.drains += !cancel;
	asked.cancels += cancel;
}

static void op_shutdown(void *arg, uint32_t grace_ms)
{
	(void)arg;
	asked.grace_ms = grace_ms;
	asked.shutdowns++;
}

static enum np_err op_probe(void *arg, struct command_call *call, const struct ctl_request *r)
{
	(void)arg;
	(void)call;
	(void)r;
	asked.probes++;
	return asked.probe;
}

static const struct commands_ops ops = {.changed = op_changed,
					.subscribe = op_subscribe,
					.lease = op_lease,
					.drain = op_drain,
					.shutdown = op_shutdown,
					.probe = op_probe};

/* -- asking -- */

static struct commands *c;
static struct np_mono now;
static struct ctl_reply reply;

static int setup(void **state)
{
	(void)state;
	memset(&reg, 0, sizeof(reg));
	memset(&asked, 0, sizeof(asked));
	reg.next = CTL_OK;
	now = (struct np_mono){.us = 1000000};
	c = commands_new(&reg, &ops, NULL, BOOT, 1);
	return c == NULL;
}

static int teardown(void **state)
{
	(void)state;
	ctl_reply_release(&reply);
	memset(&reply, 0, sizeof(reply));
	while (reg.n > 0)
		ctl_spec_release(&reg.specs[--reg.n]);
	commands_free(c);
	return 0;
}

/* Takes what @r owns; one that owns nothing may be asked again. */
static enum ctl_code ask(struct ctl_request *r)
{
	struct ctl_request gone;

	ctl_reply_release(&reply);
	memset(&reply, 0, sizeof(reply));
	assert_true(commands_handle(c, r, NULL, now, 42, &reply));
	gone = *r;
	ctl_request_release(&gone);
	return reply.code;
}

static enum ctl_code hello(uint64_t epoch, const char *who, uint64_t desired)
{
	struct ctl_request r = {.command = CTL_CMD_HELLO, .epoch = epoch};

	snprintf(r.hello.controller_id, sizeof(r.hello.controller_id), "%s", who);
	snprintf(r.hello.node_id, sizeof(r.hello.node_id), "node-1");
	r.hello.min_version = r.hello.max_version = 1;
	r.hello.lease_ms = 1000;
	r.hello.desired_revision = desired;
	return ask(&r);
}

static void fill(struct ctl_spec *s, const char *id, const char *url)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->id, sizeof(s->id), "%s", id);
	s->url = np_strdup(url);
	assert_non_null(s->url);
	s->desired = CTL_DESIRED_RUNNING;
}

static enum ctl_code apply(uint64_t epoch, uint64_t base, uint64_t revision, const char *id,
			   const char *url)
{
	struct ctl_request r = {
	    .command = CTL_CMD_APPLY, .epoch = epoch, .base_revision = base, .revision = revision};

	fill(&r.apply, id, url);
	return ask(&r);
}

static enum ctl_code simple(enum ctl_command command, uint64_t epoch)
{
	struct ctl_request r = {.command = command, .epoch = epoch};

	return ask(&r);
}

static enum ctl_code remove_one(uint64_t epoch, uint64_t base, uint64_t revision, const char *id)
{
	struct ctl_request r = {
	    .command = CTL_CMD_REMOVE, .epoch = epoch, .base_revision = base, .revision = revision};

	snprintf(r.remove.id, sizeof(r.remove.id), "%s", id);
	return ask(&r);
}

/* Instances named by the letters of @ids. */
static enum ctl_code chunk(uint64_t epoch, uint64_t revision, const char *snapshot, uint32_t index,
			   const char *ids, bool last, uint32_t total)
{
	struct ctl_request r = {.command = CTL_CMD_SNAPSHOT, .epoch = epoch, .revision = revision};
	size_t n = strlen(ids);

	snprintf(r.snapshot.snapshot_id, sizeof(r.snapshot.snapshot_id), "%s", snapshot);
	r.snapshot.index = index;
	r.snapshot.last = last;
	r.snapshot.total = total;
	r.snapshot.instances = np_calloc(n + 1, sizeof(struct ctl_spec));
	assert_non_null(r.snapshot.instances);
	r.snapshot.n = n;
	for (size_t i = 0; i < n; i++) {
		char id[2] = {ids[i], '\0'};

		fill(&r.snapshot.instances[i], id, "server://s");
		r.snapshot.instances[i].revision = revision;
	}
	return ask(&r);
}

/* -- session -- */

static void handle__hello__says_who_and_what_is_needed(void **state)
{
	(void)state;
	assert_int_equal(hello(5, "c1", 3), CTL_OK);
	assert_int_equal(reply.result, CTL_CMD_HELLO);
	assert_true(reply.hello.need_snapshot);
	assert_int_equal(reply.hello.version, 1);
	assert_string_equal(reply.boot_id, BOOT);
	assert_string_equal(reply.hello.info.node_id, "node-1");
	assert_string_equal(reply.hello.info.controller_id, "c1");
	assert_int_equal(reply.hello.info.state, CTL_NODE_MANAGED);
	assert_int_equal(asked.lease_ms, 1000);
	assert_int_equal(hello(5, "c1", 0), CTL_OK);
	assert_false(reply.hello.need_snapshot);
}

static void handle__hello_of_another_version__unsupported(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_HELLO};

	(void)state;
	r.hello.min_version = 2;
	r.hello.max_version = 3;
	assert_int_equal(ask(&r), CTL_UNSUPPORTED);
	assert_int_equal(simple(CTL_CMD_NONE, 0), CTL_UNSUPPORTED);
}

static void handle__epochs__fence_who_is_late(void **state)
{
	(void)state;
	assert_int_equal(hello(5, "c1", 0), CTL_OK);
	assert_int_equal(hello(5, "c2", 0), CTL_FENCED);
	assert_int_equal(hello(4, "c2", 0), CTL_FENCED);
	assert_int_equal(simple(CTL_CMD_PING, 4), CTL_FENCED);
	assert_int_equal(simple(CTL_CMD_PING, 5), CTL_OK);
	assert_int_equal(hello(6, "c2", 0), CTL_OK);
	assert_int_equal(apply(5, 0, 1, "a", "server://a"), CTL_FENCED);
	assert_int_equal(reg.applied, 0);
}

static void handle__scripts__change_only_what_nobody_owns(void **state)
{
	(void)state;
	assert_int_equal(apply(0, 0, 0, "a", "server://a"), CTL_ACCEPTED);
	assert_int_equal(hello(5, "c1", 1), CTL_OK);
	assert_int_equal(apply(0, 0, 0, "b", "server://b"), CTL_FENCED);
	assert_int_equal(remove_one(0, 0, 0, "a"), CTL_FENCED);
	assert_int_equal(simple(CTL_CMD_SUBSCRIBE, 0), CTL_FENCED);
	assert_int_equal(simple(CTL_CMD_SHUTDOWN, 0), CTL_FENCED);
	assert_int_equal(simple(CTL_CMD_LIST, 0), CTL_OK);
	assert_int_equal(simple(CTL_CMD_INFO, 0), CTL_OK);
	now = np_mono_add_ms(now, 4000);
	commands_tick(c, now);
	assert_int_equal(commands_state(c), CTL_NODE_MANAGED);
	now = np_mono_add_ms(now, 1);
	commands_tick(c, now);
	assert_int_equal(commands_state(c), CTL_NODE_ORPHANED);
	assert_int_equal(apply(0, 0, 0, "b", "server://b"), CTL_ACCEPTED);
	assert_int_equal(simple(CTL_CMD_PING, 5), CTL_OK);
	assert_int_equal(commands_state(c), CTL_NODE_MANAGED);
	assert_int_equal(asked.shutdowns, 0);
}

/* -- revisions -- */

static void apply__revisions__each_case_of_the_table(void **state)
{
	(void)state;
	assert_int_equal(hello(1, "c", 0), CTL_OK);
	assert_int_equal(apply(1, 0, 7, "a", "server://a"), CTL_ACCEPTED);
	assert_int_equal(reply.applied_revision, 7);
	assert_int_equal(reply.status.revision, 7);
	/* told again: nothing happens */
	assert_int_equal(apply(1, 0, 7, "a", "server://a"), CTL_OK);
	assert_int_equal(reply.result, CTL_CMD_APPLY);
	assert_int_equal(apply(1, 0, 7, "a", "server://other"), CTL_STALE);
	assert_int_equal(apply(1, 0, 3, "z", "server://z"), CTL_OK);
	assert_int_equal(reg.applied, 1);
	assert_int_equal(apply(1, 6, 8, "a", "server://b"), CTL_GAP);
	assert_int_equal(reg.applied, 1);
	assert_int_equal(apply(1, 7, 8, "a", "server://b"), CTL_OK);
	assert_string_equal(find("a")->url, "server://b");
	assert_int_equal(commands_applied(c), 8);
}

static void apply__refused__counts_as_decided(void **state)
{
	const enum ctl_code nacks[] = {CTL_INVALID, CTL_CONFLICT, CTL_LIMIT};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		reg.next = nacks[i];
		assert_int_equal(apply(0, i, i + 1, "a", "server://a"), nacks[i]);
		assert_string_equal(reply.text, "refused");
		assert_int_equal(commands_applied(c), i + 1);
		assert_int_equal(asked.changed, i + 1);
	}
	reg.next = CTL_STALE;
	assert_int_equal(apply(0, 3, 4, "a", "server://a"), CTL_STALE);
	assert_int_equal(commands_applied(c), 3);
}

static void apply__script__moves_the_revision_by_one(void **state)
{
	(void)state;
	assert_int_equal(apply(0, 0, 0, "a", "server://a"), CTL_ACCEPTED);
	assert_int_equal(apply(0, 0, 0, "b", "server://b"), CTL_ACCEPTED);
	assert_int_equal(commands_applied(c), 2);
	assert_int_equal(find("b")->revision, 2);
	assert_int_equal(remove_one(0, 0, 0, "a"), CTL_ACCEPTED);
	assert_int_equal(remove_one(0, 0, 0, "a"), CTL_NOT_FOUND);
	assert_int_equal(commands_applied(c), 3);
}

static void apply__dry_run__changes_nothing(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_APPLY, .dry_run = true};

	(void)state;
	assert_int_equal(hello(1, "c", 0), CTL_OK);
	fill(&r.apply, "a", "server://a");
	assert_int_equal(ask(&r), CTL_OK); /* allowed: it only reads */
	assert_int_equal(reg.n, 0);
	assert_int_equal(commands_applied(c), 0);
}

static void remove__not_there__a_controller_goes_on(void **state)
{
	(void)state;
	assert_int_equal(remove_one(1, 0, 1, "x"), CTL_OK);
	assert_int_equal(commands_applied(c), 1);
}

static void action__verbs__reach_the_registry(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_ACTION};

	(void)state;
	snprintf(r.action.id, sizeof(r.action.id), "a");
	assert_int_equal(ask(&r), CTL_INVALID);
	r.action.verb = CTL_RESTART;
	assert_int_equal(ask(&r), CTL_NOT_FOUND);
	assert_int_equal(commands_applied(c), 0);
	assert_int_equal(apply(0, 0, 0, "a", "server://a"), CTL_ACCEPTED);
	assert_int_equal(ask(&r), CTL_ACCEPTED);
	assert_int_equal(reg.verb, CTL_RESTART);
	assert_string_equal(reply.status.id, "a");
	assert_int_equal(commands_applied(c), 2);
}

static void apply__draining__only_what_stops(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_APPLY};

	(void)state;
	commands_set_drain(c, COMMANDS_DRAINING);
	assert_int_equal(apply(0, 0, 0, "a", "server://a"), CTL_DRAINING);
	assert_int_equal(commands_applied(c), 0);
	fill(&r.apply, "a", "server://a");
	r.apply.desired = CTL_DESIRED_STOPPED;
	assert_int_equal(ask(&r), CTL_ACCEPTED);
	assert_int_equal(chunk(0, 0, "s", 0, "", true, 0), CTL_DRAINING);
	assert_int_equal(commands_state(c), CTL_NODE_DRAINING);
	commands_set_drain(c, COMMANDS_DRAINED);
	assert_int_equal(commands_state(c), CTL_NODE_DRAINED);
}

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

static void list__more_than_a_page__goes_on_behind_it(void **state)
{
	struct ctl_request r = {.command = CTL_CMD_LIST};
	char id[CTL_ID_MAX + 1];
	size_t seen = 0;

	(void)state;
	for (int i = 0; i < 1100; i++) {
		snprintf(id, sizeof(id), "i%04d", i);
		assert_int_equal(apply(0, 0, 0, id, "server://a"), CTL_ACCEPTED);
	}
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
	char id[CTL_ID_MAX + 1], url[4000];
	size_t seen = 0;

	(void)state;
	memset(url, 'u', sizeof(url) - 1);
	url[sizeof(url) - 1] = '\0';
	for (int i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "i%04d", i);
		assert_int_equal(apply(0, 0, 0, id, url), CTL_ACCEPTED);
	}
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
	char id[CTL_ID_MAX + 1];
	long n = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "i%04d", i);
		assert_int_equal(apply(0, 0, 0, id, "server://a"), CTL_ACCEPTED);
	}
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(handle__hello__says_who_and_what_is_needed),
	    TEST(handle__hello_of_another_version__unsupported),
	    TEST(handle__epochs__fence_who_is_late),
	    TEST(handle__scripts__change_only_what_nobody_owns),
	    TEST(apply__revisions__each_case_of_the_table),
	    TEST(apply__refused__counts_as_decided),
	    TEST(apply__script__moves_the_revision_by_one),
	    TEST(apply__dry_run__changes_nothing),
	    TEST(remove__not_there__a_controller_goes_on),
	    TEST(action__verbs__reach_the_registry),
	    TEST(apply__draining__only_what_stops),
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
