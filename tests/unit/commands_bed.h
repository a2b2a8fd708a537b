/*
 * commands_bed.h - for tests: the dispatcher over a registry that only notes what it is told.
 *
 * The functions of registry.h are defined here, so the real ones are not linked. Time is a number.
 */
#ifndef NP_TEST_COMMANDS_BED_H
#define NP_TEST_COMMANDS_BED_H

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

static inline struct ctl_spec *find(const char *id)
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

static inline void op_changed(void *arg, const char *id)
{
	(void)arg;
	(void)id;
	asked.changed++;
}

static inline void op_subscribe(void *arg, const struct ctl_request *r)
{
	(void)arg;
	(void)r;
	asked.subscribed++;
}

static inline void op_lease(void *arg, uint32_t lease_ms)
{
	(void)arg;
	asked.lease_ms = lease_ms;
}

static inline void op_drain(void *arg, uint32_t grace_ms, bool cancel)
{
	(void)arg;
	asked.grace_ms = grace_ms;
	asked.drains += !cancel;
	asked.cancels += cancel;
}

static inline void op_shutdown(void *arg, uint32_t grace_ms)
{
	(void)arg;
	asked.grace_ms = grace_ms;
	asked.shutdowns++;
}

static inline enum np_err op_probe(void *arg, struct command_call *call,
				   const struct ctl_request *r)
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

static inline int setup(void **state)
{
	(void)state;
	memset(&reg, 0, sizeof(reg));
	memset(&asked, 0, sizeof(asked));
	reg.next = CTL_OK;
	now = (struct np_mono){.us = 1000000};
	c = commands_new(&reg, &ops, NULL, BOOT, 1);
	return c == NULL;
}

static inline int teardown(void **state)
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
static inline enum ctl_code ask(struct ctl_request *r)
{
	struct ctl_request gone;

	ctl_reply_release(&reply);
	memset(&reply, 0, sizeof(reply));
	assert_true(commands_handle(c, r, NULL, now, 42, &reply));
	gone = *r;
	ctl_request_release(&gone);
	return reply.code;
}

static inline enum ctl_code hello(uint64_t epoch, const char *who, uint64_t desired)
{
	struct ctl_request r = {.command = CTL_CMD_HELLO, .epoch = epoch};

	snprintf(r.hello.controller_id, sizeof(r.hello.controller_id), "%s", who);
	snprintf(r.hello.node_id, sizeof(r.hello.node_id), "node-1");
	r.hello.min_version = r.hello.max_version = 1;
	r.hello.lease_ms = 1000;
	r.hello.desired_revision = desired;
	return ask(&r);
}

static inline void fill(struct ctl_spec *s, const char *id, const char *url)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->id, sizeof(s->id), "%s", id);
	s->url = np_strdup(url);
	assert_non_null(s->url);
	s->desired = CTL_DESIRED_RUNNING;
}

static inline enum ctl_code apply(uint64_t epoch, uint64_t base, uint64_t revision, const char *id,
				  const char *url)
{
	struct ctl_request r = {
	    .command = CTL_CMD_APPLY, .epoch = epoch, .base_revision = base, .revision = revision};

	fill(&r.apply, id, url);
	return ask(&r);
}

static inline enum ctl_code simple(enum ctl_command command, uint64_t epoch)
{
	struct ctl_request r = {.command = command, .epoch = epoch};

	return ask(&r);
}

static inline enum ctl_code remove_one(uint64_t epoch, uint64_t base, uint64_t revision,
				       const char *id)
{
	struct ctl_request r = {
	    .command = CTL_CMD_REMOVE, .epoch = epoch, .base_revision = base, .revision = revision};

	snprintf(r.remove.id, sizeof(r.remove.id), "%s", id);
	return ask(&r);
}

/* Instances named by the letters of @ids. */
static inline enum ctl_code chunk(uint64_t epoch, uint64_t revision, const char *snapshot,
				  uint32_t index, const char *ids, bool last, uint32_t total)
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
