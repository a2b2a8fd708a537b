/*
 * ctl_parts.c - tables of the messages that are parts of others: which field of the generated one is
 * which member of ours, and the bounds.
 */
#include "wire/ctl_rows.h"

#define P PB(InstanceSpec)
#define O struct ctl_spec
static const struct ctl_bind spec_rows[] = {
    ID(id, id, true),
    U64(revision, revision),
    LONG(url, url, CTL_URL_MAX, false),
    ENUM(desired, desired, desired),
    BLOB(cert_pem, cert_pem, CTL_PEM_MAX),
    BLOB(key_pem, key_pem, CTL_PEM_MAX),
    U32(restart_nonce, restart_nonce),
    BLOB(ca_pem, ca_pem, CTL_PEM_MAX),
    BLOB(auth_salt, auth_salt, CTL_SECRET_MAX),
    BLOB(auth_k, auth_k, CTL_SECRET_MAX),
    BOOL(incomplete, incomplete),
};
const struct ctl_binds ctl_binds_spec = TABLE(instance_spec, spec_rows);
#undef P
#undef O

#define P PB(InstanceStatus)
#define O struct ctl_status
static const struct ctl_bind status_rows[] = {
    ID(id, id, false),
    U64(revision, revision),
    ENUM(state, state, state),
    U64(since_ms, since_ms),
    U32(starts, starts),
    TEXT(error, error),
    TEXT(listen, listen),
    U64(nack_revision, nack_revision),
    TEXT(nack_text, nack_text),
    BOOL(removed, removed),
    U32(mode, mode),
    TEXT(mode_reason, mode_reason),
};
const struct ctl_binds ctl_binds_status = TABLE(instance_status, status_rows);
#undef P
#undef O

#define P PB(Traffic)
#define O struct ctl_traffic
static const struct ctl_bind traffic_rows[] = {
    U64(tcp_rx, tcp_rx),
    U64(tcp_tx, tcp_tx),
    U64(udp_rx, udp_rx),
    U64(udp_tx, udp_tx),
};
static const struct ctl_binds traffic_binds = TABLE(traffic, traffic_rows);
#undef P
#undef O

#define P PB(InstanceStats)
#define O struct ctl_stats
static const struct ctl_bind stats_rows[] = {
    ID(id, id, false),
    U32(starts, starts),
    OPT(U32, ping_ms, ping_ms, has_ping, NODEPASS__CTL__V1__INSTANCE_STATS__OPT_PING_MS_PING_MS),
    U32(pool, pool),
    U32(tcps, tcps),
    U32(udps, udps),
    U64(tcp_rx, tcp_rx),
    U64(tcp_tx, tcp_tx),
    U64(udp_rx, udp_rx),
    U64(udp_tx, udp_tx),
    MAYBE(boot, boot, has_boot, traffic_binds),
};
const struct ctl_binds ctl_binds_stats = TABLE(instance_stats, stats_rows);
#undef P
#undef O

#define P PB(InstanceView)
#define O struct ctl_view
static const struct ctl_bind view_rows[] = {
    MAYBE(spec, spec, has_spec, ctl_binds_spec),
    MAYBE(status, status, has_status, ctl_binds_status),
    MAYBE(stats, stats, has_stats, ctl_binds_stats),
};
const struct ctl_binds ctl_binds_view = TABLE(instance_view, view_rows);
#undef P
#undef O

#define P PB(NodeInfo)
#define O struct ctl_node_info
static const struct ctl_bind node_info_rows[] = {
    TEXT(node_id, node_id),
    TEXT(boot_id, boot_id),
    U64(start_time_ms, start_time_ms),
    TEXT(software, software),
    TEXT(os, os),
    TEXT(arch, arch),
    U32(cpus, cpus),
    U64(mem_total, mem_total),
    U32(instances, instances),
    U32(max_instances, max_instances),
    U64(applied_revision, applied_revision),
    U64(epoch, epoch),
    TEXT(controller_id, controller_id),
    ENUM(state, state, node_state),
    WORDS(features, features),
    U32(pid, pid),
};
const struct ctl_binds ctl_binds_node_info = TABLE(node_info, node_info_rows);
#undef P
#undef O

#define P PB(Nack)
#define O struct ctl_nack
static const struct ctl_bind nack_rows[] = {
    ID(id, id, false),
    U64(revision, revision),
    ENUM(code, code, code),
    TEXT(text, text),
};
const struct ctl_binds ctl_binds_nack = TABLE(nack, nack_rows);
#undef P
#undef O

#define P PB(LogLine)
#define O struct ctl_line
static const struct ctl_bind line_rows[] = {
    ID(id, id, false),
    LEVEL(level, level, false),
    U64(time_ms, time_ms),
    LONG(text, text, CTL_LINE_MAX, true),
};
const struct ctl_binds ctl_binds_line = TABLE(log_line, line_rows);
#undef P
#undef O

#define P PB(SessionEnd)
#define O struct ctl_session_end
static const struct ctl_bind session_rows[] = {
    ID(id, id, false),
    BOOL(udp, udp),
    TEXT(peer, peer),
    TEXT(target, target),
    U64(start_ms, start_ms),
    U32(duration_ms, duration_ms),
    U64(rx, rx),
    U64(tx, tx),
    TEXT(reason, reason),
};
const struct ctl_binds ctl_binds_session = TABLE(session_end, session_rows);
#undef P
#undef O

#define P PB(Metric)
#define O struct ctl_metric
static const struct ctl_bind metric_rows[] = {
    TEXT(name, name),
    NUMBERS(values, values, n, CTL_METRICS_MAX),
    U64(sum, sum),
    NUMBERS(bounds, bounds, nbounds, CTL_METRICS_MAX),
};
static const struct ctl_binds metric_binds = TABLE(metric, metric_rows);
#undef P
#undef O

#define P PB(InstanceMetrics)
#define O struct ctl_instance_metrics
static const struct ctl_bind instance_metrics_rows[] = {
    ID(id, id, false),
    U32(starts, starts),
    MANY(metrics, metrics, n, CTL_METRICS_MAX, metric_binds),
};
const struct ctl_binds ctl_binds_instance_metrics = TABLE(instance_metrics, instance_metrics_rows);
#undef P
#undef O
