/*
 * commands.c - session, fencing, revisions, changes of single instances. See commands.h.
 */
#include "commands.h"

#include "base/alloc.h"
#include "base/log.h"
#include "commands_priv.h"

#include <stdio.h>
#include <string.h>

struct commands *commands_new(struct registry *registry, const struct commands_ops *ops, void *arg,
			      const char *boot_id, int64_t start_time_ms)
{
	struct commands *c = np_calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->registry = registry;
	c->ops = ops;
	c->arg = arg;
	c->start_time_ms = start_time_ms;
	c->lease_ms = COMMANDS_LEASE_MS;
	snprintf(c->boot_id, sizeof(c->boot_id), "%s", boot_id);
	return c;
}

void commands_free(struct commands *c)
{
	if (c == NULL)
		return;
	staging_drop(c);
	np_free(c);
}

void reply_error(struct ctl_reply *out, enum ctl_code code, const char *fmt, ...)
{
	va_list ap;

	out->code = code;
	out->result = CTL_CMD_NONE;
	va_start(ap, fmt);
	vsnprintf(out->text, sizeof(out->text), fmt, ap);
	va_end(ap);
}

void commands_reply_to(struct commands *c, const char *request_id, struct ctl_reply *out)
{
	memset(out, 0, sizeof(*out));
	snprintf(out->request_id, sizeof(out->request_id), "%s", request_id);
	memcpy(out->boot_id, c->boot_id, sizeof(out->boot_id));
	out->applied_revision = c->applied;
	out->code = CTL_OK;
}

enum ctl_node_state commands_state(const struct commands *c)
{
	if (c->drain == COMMANDS_DRAINING)
		return CTL_NODE_DRAINING;
	if (c->drain == COMMANDS_DRAINED)
		return CTL_NODE_DRAINED;
	if (c->epoch == 0)
		return CTL_NODE_STANDALONE;
	return c->orphaned ? CTL_NODE_ORPHANED : CTL_NODE_MANAGED;
}

void commands_set_drain(struct commands *c, enum commands_drain drain)
{
	c->drain = drain;
}

uint64_t commands_applied(const struct commands *c)
{
	return c->applied;
}

const char *commands_node_id(const struct commands *c)
{
	return c->node_id;
}

const char *commands_boot_id(const struct commands *c)
{
	return c->boot_id;
}

/* -- who may ask -- */

/* Reads only; Probe opens connections, but changes nothing here. */
static bool is_reading(const struct ctl_request *r)
{
	switch (r->command) {
	case CTL_CMD_HELLO:
	case CTL_CMD_PING:
	case CTL_CMD_INFO:
	case CTL_CMD_LIST:
	case CTL_CMD_GET:
	case CTL_CMD_PROBE:
		return true;
	case CTL_CMD_APPLY:
		return r->dry_run;
	case CTL_CMD_NONE:
	case CTL_CMD_REMOVE:
	case CTL_CMD_ACTION:
	case CTL_CMD_SNAPSHOT:
	case CTL_CMD_SUBSCRIBE:
	case CTL_CMD_DRAIN:
	case CTL_CMD_LOG_LEVEL:
	case CTL_CMD_SHUTDOWN:
		break;
	}
	return false;
}

static void own(struct commands *c, uint64_t epoch, const char *controller_id, struct np_mono now)
{
	if (c->epoch != epoch || strcmp(c->controller_id, controller_id) != 0) {
		np_log(NP_LOG_INFO, NULL, "managed by controller=%s epoch=%llu",
		       controller_id[0] != '\0' ? controller_id : "-", (unsigned long long)epoch);
		staging_drop(c);
	}
	c->epoch = epoch;
	memmove(c->controller_id, controller_id, strlen(controller_id) + 1);
	if (c->orphaned)
		np_log(NP_LOG_INFO, NULL, "the controller is back");
	c->orphaned = false;
	c->last_request = now;
}

/* False: refused, *out says so. */
static bool fence(struct commands *c, const struct ctl_request *r, struct np_mono now,
		  struct ctl_reply *out)
{
	const char *who = r->command == CTL_CMD_HELLO ? r->hello.controller_id : "";

	if (r->epoch == 0) {
		if (is_reading(r) || c->epoch == 0 || c->orphaned)
			return true;
		reply_error(out, CTL_FENCED, "this node is managed by controller %s, epoch %llu",
			    c->controller_id, (unsigned long long)c->epoch);
		return false;
	}
	if (r->epoch < c->epoch) {
		reply_error(out, CTL_FENCED, "epoch %llu is over, the node has seen %llu",
			    (unsigned long long)r->epoch, (unsigned long long)c->epoch);
		return false;
	}
	if (r->epoch == c->epoch && who[0] != '\0' && c->controller_id[0] != '\0' &&
	    strcmp(who, c->controller_id) != 0) {
		reply_error(out, CTL_FENCED, "epoch %llu belongs to controller %s",
			    (unsigned long long)r->epoch, c->controller_id);
		return false;
	}
	if (r->epoch == c->epoch && who[0] == '\0')
		who = c->controller_id;
	own(c, r->epoch, who, now);
	return true;
}

static void handle_hello(struct commands *c, const struct ctl_request *r, struct ctl_reply *out)
{
	uint32_t min = r->hello.min_version, max = r->hello.max_version;

	if (min > CTL_VERSION || (max != 0 && max < CTL_VERSION)) {
		reply_error(out, CTL_UNSUPPORTED, "version %u is spoken here, %u to %u are offered",
			    CTL_VERSION, min, max);
		return;
	}
	if (r->epoch > 0) {
		uint32_t ms = r->hello.lease_ms;

		snprintf(c->node_id, sizeof(c->node_id), "%s", r->hello.node_id);
		if (ms == 0)
			ms = COMMANDS_LEASE_MS;
		if (ms < COMMANDS_LEASE_MIN_MS)
			ms = COMMANDS_LEASE_MIN_MS;
		if (ms > COMMANDS_LEASE_MAX_MS)
			ms = COMMANDS_LEASE_MAX_MS;
		c->lease_ms = ms;
		c->ops->lease(c->arg, ms);
	}
	out->result = CTL_CMD_HELLO;
	out->hello.version = CTL_VERSION;
	out->hello.need_snapshot = c->applied != r->hello.desired_revision;
	if (r->epoch > 0)
		c->resync = out->hello.need_snapshot;
	commands_info(c, &out->hello.info);
}

/* -- changes -- */

/*
 * What the revision of a change asks for: true = do it (c->applied moves when it was done),
 * false = *out has the answer already.
 */
static bool admit(struct commands *c, const struct ctl_request *r, struct ctl_reply *out)
{
	if (c->staging.id[0] != '\0') {
		reply_error(out, CTL_BUSY, "a snapshot is being received");
		out->retry_after_ms = COMMANDS_RETRY_MS;
		return false;
	}
	if (r->revision == 0 || r->dry_run)
		return true;
	if (r->revision <= c->applied)
		return false; /* CTL_OK: a duplicate */
	if (r->base_revision != c->applied) {
		reply_error(out, CTL_GAP, "the change is based on revision %llu, the node has %llu",
			    (unsigned long long)r->base_revision, (unsigned long long)c->applied);
		return false;
	}
	return true;
}

static bool is_gap(const struct ctl_reply *out)
{
	return out->code != CTL_OK;
}

static void advance(struct commands *c, const struct ctl_request *r, struct ctl_reply *out)
{
	c->applied = r->revision == 0 ? c->applied + 1 : r->revision;
	out->applied_revision = c->applied;
}

static void put_status(struct commands *c, const char *id, enum ctl_command result,
		       struct ctl_reply *out)
{
	if (registry_status(c->registry, id, &out->status))
		out->result = result;
}

/* Counts as done although refused: one bad instance never blocks the others. */
static bool is_decided(enum ctl_code code)
{
	return code == CTL_OK || code == CTL_ACCEPTED || code == CTL_INVALID ||
	       code == CTL_CONFLICT || code == CTL_LIMIT;
}

static void handle_apply(struct commands *c, struct ctl_request *r, struct ctl_reply *out)
{
	struct np_diag diag = {.text = ""};
	struct ctl_spec *spec = &r->apply;
	const struct ctl_spec *now;
	enum ctl_code code;

	if (!admit(c, r, out)) {
		if (is_gap(out))
			return;
		now = registry_spec(c->registry, spec->id);
		if (now != NULL && now->revision == r->revision && !spec_equal(now, spec))
			reply_error(out, CTL_STALE, "revision %llu of %s is another one here",
				    (unsigned long long)r->revision, spec->id);
		else
			put_status(c, spec->id, CTL_CMD_APPLY, out);
		return;
	}
	if (c->drain != COMMANDS_SERVING && spec->desired == CTL_DESIRED_RUNNING && !r->dry_run) {
		reply_error(out, CTL_DRAINING, "the node is being drained");
		out->retry_after_ms = COMMANDS_LEASE_MS;
		return;
	}
	/* An instance carries the revision of its last change, also when a script made it. */
	spec->revision = r->revision == 0 ? c->applied + 1 : r->revision;
	code = registry_apply(c->registry, spec, r->dry_run, &diag);
	if (code != CTL_OK && code != CTL_ACCEPTED)
		reply_error(out, code, "%s", diag.text);
	out->code = code;
	if (!r->dry_run && is_decided(code))
		advance(c, r, out);
	if (!r->dry_run && code != CTL_OK && code != CTL_ACCEPTED)
		c->ops->changed(c->arg, spec->id);
	put_status(c, spec->id, CTL_CMD_APPLY, out);
}

static void handle_remove(struct commands *c, const struct ctl_request *r, struct ctl_reply *out)
{
	out->result = CTL_CMD_REMOVE;
	if (!admit(c, r, out))
		return;
	if (r->dry_run) {
		if (registry_spec(c->registry, r->remove.id) == NULL)
			reply_error(out, CTL_NOT_FOUND, "no instance %s", r->remove.id);
		return;
	}
	out->code = registry_remove(c->registry, r->remove.id);
	/* Not there is what was asked for: a controller goes on, a script is told. */
	if (out->code == CTL_NOT_FOUND && r->revision == 0) {
		reply_error(out, CTL_NOT_FOUND, "no instance %s", r->remove.id);
		return;
	}
	if (out->code == CTL_NOT_FOUND)
		out->code = CTL_OK;
	if (is_decided(out->code))
		advance(c, r, out);
}

static void handle_action(struct commands *c, const struct ctl_request *r, struct ctl_reply *out)
{
	struct np_diag diag = {.text = ""};
	enum ctl_code code;

	if (!admit(c, r, out)) {
		if (!is_gap(out))
			put_status(c, r->action.id, CTL_CMD_ACTION, out);
		return;
	}
	if (r->action.verb == CTL_VERB_UNSPECIFIED) {
		reply_error(out, CTL_INVALID, "action.verb: start, stop, restart or reset");
		return;
	}
	if (registry_spec(c->registry, r->action.id) == NULL) {
		reply_error(out, CTL_NOT_FOUND, "no instance %s", r->action.id);
		return;
	}
	if (c->drain != COMMANDS_SERVING &&
	    (r->action.verb == CTL_START || r->action.verb == CTL_RESTART)) {
		reply_error(out, CTL_DRAINING, "the node is being drained");
		return;
	}
	if (r->dry_run) {
		put_status(c, r->action.id, CTL_CMD_ACTION, out);
		return;
	}
	code = registry_action(c->registry, r->action.id, r->action.verb, &diag);
	if (code != CTL_OK && code != CTL_ACCEPTED)
		reply_error(out, code, "%s", diag.text);
	out->code = code;
	if (is_decided(code))
		advance(c, r, out);
	put_status(c, r->action.id, CTL_CMD_ACTION, out);
}

static void handle_drain(struct commands *c, const struct ctl_request *r, struct ctl_reply *out)
{
	uint32_t grace = r->drain.grace_ms;

	if (grace > COMMANDS_GRACE_MAX_MS)
		grace = COMMANDS_GRACE_MAX_MS;
	out->result = r->command;
	if (r->command == CTL_CMD_SHUTDOWN)
		c->ops->shutdown(c->arg, grace);
	else
		c->ops->drain(c->arg, grace, r->drain.cancel);
}

static void handle_log_level(struct commands *c, const struct ctl_request *r, struct ctl_reply *out)
{
	out->result = CTL_CMD_LOG_LEVEL;
	out->code = registry_log_level(c->registry, r->log_level.id, r->log_level.level);
	if (out->code == CTL_NOT_FOUND)
		reply_error(out, CTL_NOT_FOUND, "no instance %s", r->log_level.id);
}

/* True: the answer comes later. */
static bool handle_probe(struct commands *c, const struct ctl_request *r, struct command_call *call,
			 struct ctl_reply *out)
{
	enum np_err err = c->ops->probe(c->arg, call, r);

	if (err == NP_OK)
		return true;
	if (err == NP_EINVAL || err == NP_ERANGE) {
		reply_error(out, CTL_INVALID, "probe.target: host:port expected");
		return false;
	}
	reply_error(out, CTL_BUSY, "other measurements are under way");
	out->retry_after_ms = COMMANDS_RETRY_MS;
	return false;
}

bool commands_handle(struct commands *c, struct ctl_request *r, struct command_call *call,
		     struct np_mono now, int64_t wall_ms, struct ctl_reply *out)
{
	commands_reply_to(c, r->request_id, out);
	if (r->version > CTL_VERSION) {
		reply_error(out, CTL_UNSUPPORTED, "version %u is not spoken here", r->version);
		return true;
	}
	commands_tick(c, now);
	if (!fence(c, r, now, out))
		return true;
	switch (r->command) {
	case CTL_CMD_HELLO:
		handle_hello(c, r, out);
		break;
	case CTL_CMD_PING:
		out->result = CTL_CMD_PING;
		out->ping.nonce = r->ping.nonce;
		out->ping.time_ms = wall_ms;
		break;
	case CTL_CMD_INFO:
		out->result = CTL_CMD_INFO;
		commands_info(c, &out->info);
		break;
	case CTL_CMD_APPLY:
		handle_apply(c, r, out);
		break;
	case CTL_CMD_REMOVE:
		handle_remove(c, r, out);
		break;
	case CTL_CMD_ACTION:
		handle_action(c, r, out);
		break;
	case CTL_CMD_SNAPSHOT:
		commands_snapshot(c, r, now, out);
		break;
	case CTL_CMD_LIST:
		commands_list(c, r, out);
		break;
	case CTL_CMD_GET:
		commands_get(c, r, out);
		break;
	case CTL_CMD_SUBSCRIBE:
		out->result = CTL_CMD_SUBSCRIBE;
		c->ops->subscribe(c->arg, r);
		break;
	case CTL_CMD_DRAIN:
	case CTL_CMD_SHUTDOWN:
		handle_drain(c, r, out);
		break;
	case CTL_CMD_LOG_LEVEL:
		handle_log_level(c, r, out);
		break;
	case CTL_CMD_PROBE:
		return !handle_probe(c, r, call, out);
	case CTL_CMD_NONE:
		reply_error(out, CTL_UNSUPPORTED, "no command that is known here");
		break;
	}
	return true;
}

void commands_tick(struct commands *c, struct np_mono now)
{
	int64_t silent = np_mono_diff_ms(now, c->last_request);

	if (c->epoch > 0 && !c->orphaned && silent > (int64_t)COMMANDS_LEASES * c->lease_ms) {
		c->orphaned = true;
		np_log(NP_LOG_WARN, NULL,
		       "no request of the controller for %lld ms: tunnels go on without it",
		       (long long)silent);
	}
	if (c->staging.id[0] != '\0' && !np_mono_before(now, c->staging.deadline)) {
		np_log(NP_LOG_WARN, NULL, "a snapshot was dropped: no chunk of it for %d s",
		       COMMANDS_STAGING_MS / 1000);
		staging_drop(c);
	}
}
