/*
 * node_bed.h - for tests: a connection to a data plane that the test plays (node_fake.h), and its owner,
 * who has specs and counts what it is told.
 */
#ifndef NP_TEST_NODE_BED_H
#define NP_TEST_NODE_BED_H

#include "node_fake.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#define PATIENCE_MS 20000
#define SPECS_MAX   1300

/* -- the owner -- */

static struct owner {
	uint64_t revision;
	size_t nspecs; /* ids s0000, s0001, … */
	uint64_t revisions[SPECS_MAX];
	int ups, downs, synced, shutdowns;
	bool held, hide_last; /* hide_last: the last spec is gone */
	bool misses;	      /* something was not heard of */
	size_t statuses, stats, leases, lines;
	size_t listed; /* for is_listed_again: pages so far */
	struct ctl_status last;
} owner;

static inline bool spec_at(size_t i, struct ctl_spec *out)
{
	if (i >= owner.nspecs || (owner.hide_last && i == owner.nspecs - 1))
		return false;
	*out = (struct ctl_spec){.revision = owner.revisions[i], .desired = CTL_DESIRED_RUNNING};
	snprintf(out->id, sizeof(out->id), "s%04zu", i);
	out->url = np_strdup("client://key@127.0.0.1:1/127.0.0.1:2");
	return true;
}

static inline bool next_spec(void *arg, const char *after, struct ctl_spec *out)
{
	(void)arg;
	return spec_at(after[0] == '\0' ? 0 : strtoul(after + 1, NULL, 10) + 1, out);
}

static inline enum node_spec get_spec(void *arg, const char *id, struct ctl_spec *out)
{
	(void)arg;
	return spec_at(strtoul(id + 1, NULL, 10), out) ? NODE_SPEC_IS : NODE_SPEC_NONE;
}

static inline uint64_t desired_revision(void *arg)
{
	(void)arg;
	return owner.revision;
}

static inline void on_up(void *arg, const struct ctl_node_info *info, bool held)
{
	(void)arg;
	assert_int_equal(info->pid, 4242);
	owner.ups++;
	owner.held = held;
}

static inline void on_synced(void *arg)
{
	(void)arg;
	owner.synced++;
}

static inline void on_down(void *arg)
{
	(void)arg;
	owner.downs++;
}

static inline void on_status(void *arg, const struct ctl_status *st)
{
	(void)arg;
	owner.statuses++;
	owner.last = *st;
}

static inline bool all_heard(void *arg)
{
	(void)arg;
	return !owner.misses;
}

static inline void on_stats(void *arg, const char *boot_id, const struct ctl_stats *stats)
{
	(void)arg;
	(void)stats;
	assert_string_equal(boot_id, fake.boot_id);
	owner.stats++;
}

static inline void on_line(void *arg, const struct ctl_line *line)
{
	(void)arg;
	(void)line;
	owner.lines++;
}

static inline void on_lines_dropped(void *arg, uint64_t n)
{
	(void)arg;
	(void)n;
}

static inline void on_lease(void *arg, const struct ctl_lease *lease)
{
	(void)arg;
	(void)lease;
	owner.leases++;
}

static inline void on_metrics(void *arg, const struct ctl_instance_metrics *m)
{
	(void)arg;
	(void)m;
}

static const struct node_callbacks callbacks = {
    .next_spec = next_spec,
    .get_spec = get_spec,
    .desired_revision = desired_revision,
    .on_up = on_up,
    .on_synced = on_synced,
    .on_down = on_down,
    .on_status = on_status,
    .all_heard = all_heard,
    .on_stats = on_stats,
    .on_line = on_line,
    .on_lines_dropped = on_lines_dropped,
    .on_lease = on_lease,
    .on_metrics = on_metrics,
};

/* -- both together -- */

static struct event_base *base;
static struct node *node;

static inline bool until(bool (*is_so)(void))
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

static inline bool is_past(void)
{
	return !np_mono_before(np_mono_now(), pass_end);
}

static inline void pass(int ms)
{
	pass_end = np_mono_add_ms(np_mono_now(), ms);
	assert_true(until(is_past));
}

/* nng 1.5.2 may wait for ever when a socket is closed while a message comes, and here both ends of
 * all sockets share its threads. */
static inline void quiet(void)
{
	pass(50);
}

static inline int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/np-test-XXXXXX");
	memset(&owner, 0, sizeof(owner));
	base = event_base_new();
	return base == NULL || mkdtemp(dir) == NULL ? -1 : 0;
}

static inline int teardown(void **state)
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

static inline void specs(size_t n)
{
	owner.nspecs = n;
	owner.revision = n;
	for (size_t i = 0; i < n; i++)
		owner.revisions[i] = i + 1;
}

static inline void change(size_t i)
{
	char id[16];

	if (i >= owner.nspecs)
		owner.nspecs = i + 1;
	owner.revisions[i] = ++owner.revision;
	snprintf(id, sizeof(id), "s%04zu", i);
	node_changed(node, id);
}

static inline void connect_to(const char *boot_id)
{
	fake_open(boot_id);
	assert_int_equal(node_new(base, dir, "test", 3, 500, &callbacks, NULL, &node), NP_OK);
}

static inline bool is_synced_and_listed(void)
{
	return owner.synced > 0 && owner.stats >= 2;
}

static inline bool is_all_applied(void)
{
	return fake.applied == owner.revision;
}

static inline bool is_listed_again(void)
{
	return asked_count(CTL_CMD_LIST) >= owner.listed + 2;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
