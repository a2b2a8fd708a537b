/*
 * managed.c - see managed.h.
 */
#include "managed.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/num.h"
#include "command_edge.h"
#include "commands.h"
#include "events.h"
#include "offload.h"
#include "probe.h"
#include "run_dir.h"
#include "runtime.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS	      1000
#define DRAIN_TICK_MS 50
/* After the grace: for instances to end. */
#define END_MS 2000
/* The answer to Shutdown is on its way. */
#define END_MIN_MS 100
/* Of NP_SHUTDOWN_TIMEOUT, for what comes after the drain. */
#define SHUTDOWN_RESERVE_MS 1000

enum phase { PHASE_SERVING = 0, PHASE_ENDING, PHASE_STOPPING, PHASE_OVER };

struct managed {
	struct event_base *base;
	struct registry *registry;
	struct commands *commands;
	struct command_edge *edge;
	struct event_edge *event_edge;
	struct events *events;
	struct probes *probes;
	struct event *signals, *tick;
	int lock_fd, sig_fd;
	enum phase phase;
	struct np_mono ending_since, deadline; /* of the phase */
	enum commands_drain drain;
	struct np_mono drain_deadline;
};

/* A probe's client, kept until it is measured. */
struct asked {
	struct command_call *call;
	enum ctl_encoding encoding;
	char request_id[CTL_REQUEST_ID_MAX + 1];
};

static int64_t wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* -- requests -- */

static void answer(struct managed *m, struct command_call *call, enum ctl_encoding enc,
		   struct ctl_reply *reply)
{
	struct np_buf out;

	np_buf_init(&out, CTL_MESSAGE_MAX);
	if (ctl_reply_encode(reply, enc, &out) != NP_OK || out.err != NP_OK) {
		char request_id[CTL_REQUEST_ID_MAX + 1];

		memcpy(request_id, reply->request_id, sizeof(request_id));
		ctl_reply_release(reply);
		commands_reply_to(m->commands, request_id, reply);
		reply->code = CTL_LIMIT;
		snprintf(reply->text, sizeof(reply->text), "the answer is too large");
		np_buf_wipe(&out);
		if (ctl_reply_encode(reply, enc, &out) != NP_OK)
			np_buf_wipe(&out);
	}
	command_edge_reply(m->edge, call, np_buf_ptr(&out), np_buf_len(&out));
	np_buf_wipe(&out); /* URLs */
}

static void refuse(struct managed *m, struct command_call *call, const struct ctl_request *r,
		   enum ctl_code code, const char *text)
{
	struct ctl_reply reply;

	commands_reply_to(m->commands, r->request_id, &reply);
	reply.code = code;
	snprintf(reply.text, sizeof(reply.text), "%s", text);
	answer(m, call, r->encoding, &reply);
}

static void on_request(void *arg, struct command_call *call, const void *data, size_t len,
		       bool allowed)
{
	struct managed *m = arg;
	struct np_diag diag = {.text = ""};
	struct ctl_request r = {0};
	struct ctl_reply reply;
	enum np_err err;

	if (!allowed) {
		r.encoding = len > 0 && *(const char *)data == '{' ? CTL_JSON : CTL_PROTOBUF;
		refuse(m, call, &r, CTL_DENIED, "not for this user");
		return;
	}
	err = ctl_request_decode(data, len, &r, &diag);
	if (err != NP_OK) {
		refuse(m, call, &r,
		       err == NP_ELIMIT	  ? CTL_LIMIT
		       : err == NP_EINVAL ? CTL_MALFORMED
					  : CTL_INTERNAL,
		       diag.text[0] != '\0' ? diag.text : np_err_text(err));
		return;
	}
	if (commands_handle(m->commands, &r, call, np_mono_now(), wall_ms(), &reply)) {
		answer(m, call, r.encoding, &reply);
		ctl_reply_release(&reply);
	}
	ctl_request_release(&r);
}

/* -- what commands ask for -- */

static void op_changed(void *arg, const char *id)
{
	struct managed *m = arg;

	events_changed(m->events, id);
}

static void op_subscribe(void *arg, const struct ctl_request *r)
{
	struct managed *m = arg;

	events_subscribe(m->events, r);
}

static void op_lease(void *arg, uint32_t lease_ms)
{
	struct managed *m = arg;

	events_set_lease(m->events, lease_ms);
}

static void tick_every(struct managed *m, int64_t ms)
{
	struct timeval every = tv_of_ms(ms);

	event_del(m->tick);
	event_add(m->tick, &every);
}

static void set_drain(struct managed *m, enum commands_drain drain)
{
	m->drain = drain;
	commands_set_drain(m->commands, drain);
	events_lease_now(m->events);
}

static void op_drain(void *arg, uint32_t grace_ms, bool cancel)
{
	struct managed *m = arg;

	if (m->phase != PHASE_SERVING)
		return;
	if (cancel) {
		if (m->drain == COMMANDS_SERVING)
			return;
		np_log(NP_LOG_INFO, NULL, "drain cancelled");
		tick_every(m, TICK_MS);
		registry_resume(m->registry);
		set_drain(m, COMMANDS_SERVING);
		return;
	}
	np_log(NP_LOG_INFO, NULL, "draining for at most %u ms", grace_ms);
	m->drain_deadline = np_mono_add_ms(np_mono_now(), grace_ms);
	registry_drain(m->registry, grace_ms);
	tick_every(m, DRAIN_TICK_MS);
	set_drain(m, COMMANDS_DRAINING);
}

static void begin_end(struct managed *m, int64_t grace_ms)
{
	if (m->phase != PHASE_SERVING)
		return;
	np_log(NP_LOG_INFO, NULL, "ending: sessions have %lld ms", (long long)grace_ms);
	m->phase = PHASE_ENDING;
	m->ending_since = np_mono_now();
	m->deadline = np_mono_add_ms(m->ending_since, grace_ms);
	registry_drain(m->registry, grace_ms);
	tick_every(m, DRAIN_TICK_MS);
	set_drain(m, COMMANDS_DRAINING);
}

static void op_shutdown(void *arg, uint32_t grace_ms)
{
	begin_end(arg, grace_ms);
}

static enum np_err op_probe(void *arg, struct command_call *call, const struct ctl_request *r)
{
	struct managed *m = arg;
	struct asked *a = np_calloc(1, sizeof(*a));
	uint32_t timeout = r->probe.timeout_ms, count = r->probe.count;
	enum np_err err;

	if (a == NULL)
		return NP_ENOMEM;
	a->call = call;
	a->encoding = r->encoding;
	memcpy(a->request_id, r->request_id, sizeof(a->request_id));
	if (timeout == 0)
		timeout = PROBE_TIMEOUT_MS;
	err = probe_start(m->probes, r->probe.target,
			  timeout > COMMANDS_PROBE_MAX_MS ? COMMANDS_PROBE_MAX_MS : timeout,
			  count == 0		       ? 1
			  : count > COMMANDS_PROBE_MAX ? COMMANDS_PROBE_MAX
						       : count,
			  a);
	if (err != NP_OK)
		np_free(a);
	return err;
}

static void on_probe(void *arg, void *tag, const struct probe_result *result)
{
	struct managed *m = arg;
	struct asked *a = tag;
	struct ctl_reply reply;

	commands_reply_to(m->commands, a->request_id, &reply);
	reply.result = CTL_CMD_PROBE;
	reply.probe.sent = result->sent;
	reply.probe.ok = result->ok;
	reply.probe.rtt_min_us = result->rtt_min_us;
	reply.probe.rtt_avg_us = result->rtt_avg_us;
	reply.probe.rtt_max_us = result->rtt_max_us;
	snprintf(reply.probe.error, sizeof(reply.probe.error), "%s", result->error);
	answer(m, a->call, a->encoding, &reply);
	np_free(a);
}

static void on_probe_dropped(void *arg, void *tag)
{
	struct managed *m = arg;
	struct asked *a = tag;

	command_edge_reply(m->edge, a->call, NULL, 0);
	np_free(a);
}

static const struct commands_ops ops = {.changed = op_changed,
					.subscribe = op_subscribe,
					.lease = op_lease,
					.drain = op_drain,
					.shutdown = op_shutdown,
					.probe = op_probe};

/* -- life -- */

static void on_change(void *arg, const char *id)
{
	struct managed *m = arg;

	if (m->events != NULL)
		events_changed(m->events, id);
}

static bool all_ended(struct managed *m)
{
	struct registry_counts counts;

	registry_counts(m->registry, &counts);
	return counts.running == 0 && counts.stopped + counts.failed == counts.all &&
	       counts.ending == 0;
}

static void go_on(struct managed *m, struct np_mono now)
{
	bool over = !np_mono_before(now, m->deadline);

	if (np_mono_diff_ms(now, m->ending_since) < END_MIN_MS)
		return;
	if (m->phase == PHASE_ENDING && (over || all_ended(m))) {
		m->phase = PHASE_STOPPING;
		m->deadline = np_mono_add_ms(now, END_MS);
		registry_stop(m->registry);
	} else if (m->phase == PHASE_STOPPING && (over || all_ended(m))) {
		m->phase = PHASE_OVER;
	}
	if (m->phase == PHASE_OVER)
		event_base_loopbreak(m->base);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct managed *m = arg;
	struct np_mono now = np_mono_now();
	enum ctl_node_state before = commands_state(m->commands);

	(void)fd;
	(void)what;
	if (m->phase != PHASE_SERVING) {
		go_on(m, now);
		return;
	}
	commands_tick(m->commands, now);
	if (commands_state(m->commands) != before)
		events_lease_now(m->events);
	if (m->drain == COMMANDS_DRAINING &&
	    (all_ended(m) || !np_mono_before(now, m->drain_deadline))) {
		np_log(NP_LOG_INFO, NULL, "drained");
		tick_every(m, TICK_MS);
		set_drain(m, COMMANDS_DRAINED);
	}
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct managed *m = arg;
	struct signalfd_siginfo si;
	int64_t grace = runtime.env.shutdown_timeout_ms - SHUTDOWN_RESERVE_MS;

	(void)what;
	if (read(fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	if (si.ssi_signo == SIGHUP) {
		registry_reload(m->registry);
	} else if (m->phase == PHASE_SERVING) {
		begin_end(m, grace > 0 ? grace : 0);
	} else { /* the second one ends at once */
		m->phase = PHASE_OVER;
		event_base_loopbreak(m->base);
	}
}

static enum np_err open_edges(struct managed *m, const char *dir, struct np_diag *diag)
{
	char ctl[PATH_MAX], events[PATH_MAX], json[PATH_MAX];
	enum np_err err;

	snprintf(ctl, sizeof(ctl), "%s/ctl.sock", dir);
	snprintf(events, sizeof(events), "%s/events.sock", dir);
	snprintf(json, sizeof(json), "%s/events.json.sock", dir);
	/* The lock is ours: what lies there is of a process that is gone. */
	unlink(ctl);
	unlink(events);
	unlink(json);
	err = event_edge_open(events, json, m->base, &m->event_edge, diag);
	if (err != NP_OK)
		return err;
	m->events = events_new(m->base, m->registry, m->commands, m->event_edge,
			       runtime.env.report_interval_ms);
	if (m->events == NULL)
		return NP_ENOMEM;
	/* Last: who can ask finds all the rest. */
	return command_edge_open(ctl, m->base, on_request, m, &m->edge, diag);
}

static enum np_err begin(struct managed *m, const struct managed_options *o, struct np_diag *diag)
{
	char boot_id[CTL_BOOT_ID_LEN + 1];

	np_format_hex(runtime.boot_id, sizeof(runtime.boot_id), boot_id);
	m->base = event_base_new();
	if (m->base == NULL)
		return NP_ENOMEM;
	m->registry = registry_new(m->base, on_change, m);
	m->signals = event_new(m->base, m->sig_fd, EV_READ | EV_PERSIST, on_signal, m);
	m->tick = event_new(m->base, -1, EV_PERSIST, on_tick, m);
	m->probes = probes_new(m->base, on_probe, on_probe_dropped, m);
	if (m->registry == NULL || m->signals == NULL || m->tick == NULL || m->probes == NULL ||
	    event_add(m->signals, NULL) != 0)
		return NP_ENOMEM;
	m->commands = commands_new(m->registry, &ops, m, boot_id, wall_ms());
	if (m->commands == NULL)
		return NP_ENOMEM;
	tick_every(m, TICK_MS);
	return open_edges(m, o->run_dir, diag);
}

static void end(struct managed *m)
{
	if (m->events != NULL)
		events_lease_now(m->events);
	if (m->base != NULL)
		event_base_loop(m->base, EVLOOP_NONBLOCK);
	offload_stop();
	if (workers_count() > 0)
		workers_stop();
	probes_free(m->probes);
	events_free(m->events);
	m->events = NULL;
	command_edge_close(m->edge);
	event_edge_close(m->event_edge);
	commands_free(m->commands);
	if (m->signals != NULL)
		event_free(m->signals);
	if (m->tick != NULL)
		event_free(m->tick);
	registry_free(
	    m->registry); /* with what helpers made meanwhile: that waits in its mailbox */
	if (m->base != NULL)
		event_base_free(m->base);
}

int managed_run(const struct managed_options *o)
{
	struct managed m = {.lock_fd = -1, .sig_fd = o->sig_fd};
	struct np_diag diag = {.text = ""};
	enum np_err err = run_dir_lock(o->run_dir, &m.lock_fd, &diag);

	if (err == NP_OK)
		err = begin(&m, o, &diag);
	if (err == NP_OK)
		err = workers_start(o->workers);
	if (err == NP_OK) {
		np_log(NP_LOG_INFO, NULL, "node is up run_dir=%s boot_id=%s", o->run_dir,
		       commands_boot_id(m.commands));
		if (o->ready_fd != -1 && write(o->ready_fd, "R", 1) != 1)
			np_log(NP_LOG_WARN, NULL, "--ready-fd=%d: %s", o->ready_fd,
			       strerror(errno));
		if (o->ready_fd != -1)
			close(o->ready_fd);
		event_base_dispatch(m.base);
		np_log(NP_LOG_INFO, NULL, "node is down");
	} else {
		np_log_stop();
		fprintf(stderr, "nodepass: %s\n",
			diag.text[0] != '\0' ? diag.text : np_err_text(err));
	}
	end(&m);
	if (m.lock_fd != -1)
		run_dir_unlock(m.lock_fd);
	return err == NP_OK ? 0 : 1;
}
