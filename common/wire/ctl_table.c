/*
 * ctl_table.c - requests, replies and events: which field of the generated messages is which member of
 * ours, and the bounds.
 *
 * Their bodies are bound to the whole own struct, since its union's members have no names of their
 * own.
 */
#include "wire/ctl_rows.h"

/* ------------------------------------------------------------- requests */

#define O struct ctl_request
#define P PB(Request)
static const struct ctl_bind request_rows[] = {
    U32(version, version),   TEXT(request_id, request_id),
    U64(epoch, epoch),	     U64(base_revision, base_revision),
    U64(revision, revision), BOOL(dry_run, dry_run),
};
const struct ctl_binds ctl_binds_request = TABLE(request, request_rows);
#undef P

#define P PB(Hello)
static const struct ctl_bind hello_rows[] = {
    TEXT(controller_id, hello.controller_id),
    U32(min_version, hello.min_version),
    U32(max_version, hello.max_version),
    U32(lease_ms, hello.lease_ms),
    TEXT(node_id, hello.node_id),
    U64(desired_revision, hello.desired_revision),
};
#undef P
#define P PB(Ping)
static const struct ctl_bind ping_rows[] = {
    U64(nonce, ping.nonce),
    U64(time_ms, ping.time_ms),
};
#undef P
#define P PB(Apply)
static const struct ctl_bind apply_rows[] = {
    ONE(spec, apply, ctl_binds_spec, true),
};
#undef P
#define P PB(Remove)
static const struct ctl_bind remove_rows[] = {
    ID(id, remove.id, true),
};
#undef P
#define P PB(Action)
static const struct ctl_bind action_rows[] = {
    ID(id, action.id, true),
    ENUM(verb, action.verb, verb),
};
#undef P
#define P PB(Snapshot)
static const struct ctl_bind snapshot_rows[] = {
    TEXT(snapshot_id, snapshot.snapshot_id),
    U32(index, snapshot.index),
    BOOL(last, snapshot.last),
    U32(total, snapshot.total),
    MANY(instances, snapshot.instances, snapshot.n, CTL_CHUNK_MAX, ctl_binds_spec),
};
#undef P
#define P PB(List)
static const struct ctl_bind list_rows[] = {
    ID(after, list.after, false),    U32(limit, list.limit),
    BOOL(with_spec, list.with_spec), BOOL(with_stats, list.with_stats),
    IDS(ids, list.ids, list.nids),
};
#undef P
#define P PB(Get)
static const struct ctl_bind get_rows[] = {
    ID(id, get.id, true),
};
#undef P
#define P PB(Subscribe)
static const struct ctl_bind subscribe_rows[] = {
    OPT(U32, stats_ms, subscribe.stats_ms, subscribe.has_stats_ms,
	NODEPASS__CTL__V1__SUBSCRIBE__OPT_STATS_MS_STATS_MS),
    OPT(LEVEL, log_level, subscribe.log_level, subscribe.has_log_level,
	NODEPASS__CTL__V1__SUBSCRIBE__OPT_LOG_LEVEL_LOG_LEVEL),
    OPT(U32, session_sample, subscribe.session_sample, subscribe.has_session_sample,
	NODEPASS__CTL__V1__SUBSCRIBE__OPT_SESSION_SAMPLE_SESSION_SAMPLE),
    IDS(ids, subscribe.ids, subscribe.nids),
};
#undef P
#define P PB(Drain)
static const struct ctl_bind drain_rows[] = {
    U32(grace_ms, drain.grace_ms),
    BOOL(cancel, drain.cancel),
};
#undef P
#define P PB(Shutdown)
static const struct ctl_bind shutdown_rows[] = {
    U32(grace_ms, drain.grace_ms),
};
#undef P
#define P PB(LogLevel)
static const struct ctl_bind log_level_rows[] = {
    ID(id, log_level.id, false),
    LEVEL(level, log_level.level, true),
};
#undef P
#define P PB(Probe)
static const struct ctl_bind probe_rows[] = {
    TEXT(target, probe.target),
    U32(timeout_ms, probe.timeout_ms),
    U32(count, probe.count),
};
#undef P

/* By enum ctl_command: the field numbers of Request.command, less 15. */
static const struct ctl_binds commands[] = {
    [CTL_CMD_HELLO] = TABLE(hello, hello_rows),
    [CTL_CMD_PING] = TABLE(ping, ping_rows),
    [CTL_CMD_INFO] = NO_ROWS(info),
    [CTL_CMD_APPLY] = TABLE(apply, apply_rows),
    [CTL_CMD_REMOVE] = TABLE(remove, remove_rows),
    [CTL_CMD_ACTION] = TABLE(action, action_rows),
    [CTL_CMD_SNAPSHOT] = TABLE(snapshot, snapshot_rows),
    [CTL_CMD_LIST] = TABLE(list, list_rows),
    [CTL_CMD_GET] = TABLE(get, get_rows),
    [CTL_CMD_SUBSCRIBE] = TABLE(subscribe, subscribe_rows),
    [CTL_CMD_DRAIN] = TABLE(drain, drain_rows),
    [CTL_CMD_LOG_LEVEL] = TABLE(log_level, log_level_rows),
    [CTL_CMD_PROBE] = TABLE(probe, probe_rows),
    [CTL_CMD_SHUTDOWN] = TABLE(shutdown, shutdown_rows),
};
#undef O

/* ------------------------------------------------------------- replies */

#define O struct ctl_reply
#define P PB(Reply)
static const struct ctl_bind reply_rows[] = {
    TEXT(request_id, request_id),
    ENUM(code, code, code),
    TEXT(text, text),
    TEXT(boot_id, boot_id),
    U64(applied_revision, applied_revision),
    U32(retry_after_ms, retry_after_ms),
};
const struct ctl_binds ctl_binds_reply = TABLE(reply, reply_rows);
#undef P

#define P PB(HelloResult)
static const struct ctl_bind hello_result_rows[] = {
    U32(version, hello.version),
    ONE(info, hello.info, ctl_binds_node_info, false),
    BOOL(need_snapshot, hello.need_snapshot),
};
#undef P
#define P PB(Pong)
static const struct ctl_bind pong_rows[] = {
    U64(nonce, ping.nonce),
    U64(time_ms, ping.time_ms),
};
#undef P
#define P PB(SnapshotResult)
static const struct ctl_bind snapshot_result_rows[] = {
    U32(staged, snapshot.staged),
    U32(added, snapshot.added),
    U32(changed, snapshot.changed),
    U32(removed, snapshot.removed),
    U32(unchanged, snapshot.unchanged),
    MANY(nacks, snapshot.nacks, snapshot.n, CTL_NACKS_MAX, ctl_binds_nack),
};
#undef P
#define P PB(InstancePage)
static const struct ctl_bind page_rows[] = {
    MANY(instances, list.views, list.n, CTL_PAGE_MAX, ctl_binds_view),
    ID(next, list.next, false),
};
#undef P
#define P PB(ProbeResult)
static const struct ctl_bind probe_result_rows[] = {
    U32(sent, probe.sent),
    U32(ok, probe.ok),
    U32(rtt_min_us, probe.rtt_min_us),
    U32(rtt_avg_us, probe.rtt_avg_us),
    U32(rtt_max_us, probe.rtt_max_us),
    TEXT(error, probe.error),
};
#undef P

/* Info, apply, action and get answer with one part: its table, see ctl_binds_result. */
static const struct ctl_binds results[] = {
    [CTL_CMD_HELLO] = TABLE(hello_result, hello_result_rows),
    [CTL_CMD_PING] = TABLE(pong, pong_rows),
    [CTL_CMD_REMOVE] = NO_ROWS(empty),
    [CTL_CMD_SNAPSHOT] = TABLE(snapshot_result, snapshot_result_rows),
    [CTL_CMD_LIST] = TABLE(instance_page, page_rows),
    [CTL_CMD_SUBSCRIBE] = NO_ROWS(empty),
    [CTL_CMD_DRAIN] = NO_ROWS(empty),
    [CTL_CMD_LOG_LEVEL] = NO_ROWS(empty),
    [CTL_CMD_PROBE] = TABLE(probe_result, probe_result_rows),
    [CTL_CMD_SHUTDOWN] = NO_ROWS(empty),
};
#undef O

/* ------------------------------------------------------------- events */

#define O struct ctl_event
#define P PB(Event)
static const struct ctl_bind event_rows[] = {
    TEXT(boot_id, boot_id),
    U64(seq, seq),
    U64(time_ms, time_ms),
    TEXT(node_id, node_id),
};
const struct ctl_binds ctl_binds_event = TABLE(event, event_rows);
#undef P

#define P PB(Lease)
static const struct ctl_bind lease_rows[] = {
    U64(applied_revision, lease.applied_revision),
    ENUM(state, lease.state, node_state),
    U32(instances, lease.instances),
    U32(running, lease.running),
    U32(errors, lease.errors),
    U32(cpu_permille, lease.cpu_permille),
    U64(mem_rss, lease.mem_rss),
    U32(fds, lease.fds),
    U32(tcps, lease.tcps),
    U32(udps, lease.udps),
    U64(tcp_rx, lease.tcp_rx),
    U64(tcp_tx, lease.tcp_tx),
    U64(udp_rx, lease.udp_rx),
    U64(udp_tx, lease.udp_tx),
};
#undef P
#define P PB(InstanceChanges)
static const struct ctl_bind changes_rows[] = {
    MANY(changes, changes, n, CTL_CHUNK_MAX, ctl_binds_status),
};
#undef P
#define P PB(StatsBatch)
static const struct ctl_bind stats_batch_rows[] = {
    U32(interval_ms, interval_ms),
    BOOL(full, full),
    MANY(stats, stats, n, CTL_PAGE_MAX, ctl_binds_stats),
};
#undef P
#define P PB(LogBatch)
static const struct ctl_bind logs_rows[] = {
    MANY(lines, lines, n, CTL_LINES_MAX, ctl_binds_line),
    U64(dropped, dropped),
};
#undef P
#define P PB(SessionBatch)
static const struct ctl_bind sessions_rows[] = {
    MANY(sessions, sessions, n, CTL_LINES_MAX, ctl_binds_session),
    U64(dropped, dropped),
};
#undef P
#define P PB(Overflow)
static const struct ctl_bind overflow_rows[] = {
    U64(dropped, dropped),
};
#undef P
#define P PB(MetricsBatch)
static const struct ctl_bind metrics_rows[] = {
    U32(interval_ms, interval_ms),
    MANY(instances, metrics, n, CTL_PAGE_MAX, ctl_binds_instance_metrics),
};
#undef P

static const struct ctl_binds bodies[] = {
    [CTL_EVENT_LEASE] = TABLE(lease, lease_rows),
    [CTL_EVENT_CHANGES] = TABLE(instance_changes, changes_rows),
    [CTL_EVENT_STATS] = TABLE(stats_batch, stats_batch_rows),
    [CTL_EVENT_LOGS] = TABLE(log_batch, logs_rows),
    [CTL_EVENT_SESSIONS] = TABLE(session_batch, sessions_rows),
    [CTL_EVENT_OVERFLOW] = TABLE(overflow, overflow_rows),
    [CTL_EVENT_METRICS] = TABLE(metrics_batch, metrics_rows),
};

static const struct ctl_binds *of(const struct ctl_binds *list, size_t n, size_t i)
{
	return i < n && list[i].pb != NULL ? &list[i] : NULL;
}

const struct ctl_binds *ctl_binds_command(enum ctl_command c)
{
	return of(commands, sizeof commands / sizeof commands[0], (size_t)c);
}

const struct ctl_binds *ctl_binds_result(enum ctl_command c, size_t *at)
{
	*at = 0;
	if (c == CTL_CMD_INFO) {
		*at = offsetof(struct ctl_reply, info);
		return &ctl_binds_node_info;
	}
	if (c == CTL_CMD_APPLY || c == CTL_CMD_ACTION) {
		*at = offsetof(struct ctl_reply, status);
		return &ctl_binds_status;
	}
	if (c == CTL_CMD_GET) {
		*at = offsetof(struct ctl_reply, get);
		return &ctl_binds_view;
	}
	return of(results, sizeof results / sizeof results[0], (size_t)c);
}

const struct ctl_binds *ctl_binds_body(enum ctl_event_kind k)
{
	return of(bodies, sizeof bodies / sizeof bodies[0], (size_t)k);
}
