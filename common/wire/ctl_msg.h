/*
 * ctl_msg.h - the control protocol's messages as own structs, in protobuf and in JSON.
 *
 * bytes <-> struct ctl_request, ctl_reply, ctl_event. The first byte of a request says its
 * encoding ('{' = JSON), and the answer is given in the same. Everything that arrives is hostile
 * until checked here: sizes, UTF-8, NUL, enums, ids. Pure: no sockets, no clock.
 */
#ifndef NP_WIRE_CTL_MSG_H
#define NP_WIRE_CTL_MSG_H

#include "base/buf.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

#define CTL_VERSION	   1
#define CTL_ID_MAX	   64 /* of an instance: [a-z0-9-] */
#define CTL_REQUEST_ID_MAX 64
#define CTL_TEXT_MAX	   512
#define CTL_URL_MAX	   4096
#define CTL_PEM_MAX	   16384
#define CTL_MESSAGE_MAX	   1048576 /* bytes of one message on any socket */
#define CTL_BOOT_ID_LEN	   32	   /* hexadecimal digits */
#define CTL_PAGE_MAX	   1000	   /* instances of a page, of a batch of statistics */
#define CTL_CHUNK_MAX	   500	   /* instances of a snapshot chunk, of a batch of changes */
#define CTL_LINES_MAX	   100	   /* log lines, session ends of an event */
#define CTL_LINE_MAX	   2048

enum ctl_encoding { CTL_PROTOBUF = 0, CTL_JSON };

/* The numbers of control.proto. */
enum ctl_code {
	CTL_CODE_UNSPECIFIED = 0,
	CTL_OK,
	CTL_ACCEPTED,
	CTL_MALFORMED,
	CTL_UNSUPPORTED,
	CTL_INVALID,
	CTL_NOT_FOUND,
	CTL_CONFLICT,
	CTL_STALE,
	CTL_GAP,
	CTL_FENCED,
	CTL_DENIED,
	CTL_BUSY,
	CTL_LIMIT,
	CTL_DRAINING,
	CTL_TIMEOUT,
	CTL_INTERNAL,
};
enum ctl_desired { CTL_DESIRED_UNSPECIFIED = 0, CTL_DESIRED_RUNNING, CTL_DESIRED_STOPPED };
enum ctl_verb { CTL_VERB_UNSPECIFIED = 0, CTL_START, CTL_STOP, CTL_RESTART, CTL_RESET };
enum ctl_state {
	CTL_STATE_UNSPECIFIED = 0,
	CTL_STARTING,
	CTL_RUNNING,
	CTL_STOPPING,
	CTL_STOPPED,
	CTL_ERROR,
};
enum ctl_node_state {
	CTL_NODE_UNSPECIFIED = 0,
	CTL_NODE_STANDALONE,
	CTL_NODE_MANAGED,
	CTL_NODE_ORPHANED,
	CTL_NODE_DRAINING,
	CTL_NODE_DRAINED,
};

struct ctl_blob {
	uint8_t *data; /* owned */
	size_t len;
};

struct ctl_spec {
	char id[CTL_ID_MAX + 1];
	uint64_t revision;
	char *url; /* owned; may hold secrets: wiped on release */
	enum ctl_desired desired;
	uint32_t restart_nonce;
	struct ctl_blob cert_pem, key_pem, ca_pem, auth_salt, auth_k; /* len 0 = absent */
	bool incomplete; /* nothing is started with it; see control.proto */
};

struct ctl_status {
	char id[CTL_ID_MAX + 1];
	uint64_t revision;
	enum ctl_state state;
	int64_t since_ms; /* wall clock */
	uint32_t starts;
	char error[CTL_TEXT_MAX + 1];
	char listen[128];
	uint64_t nack_revision;
	char nack_text[CTL_TEXT_MAX + 1];
	bool removed;
	uint32_t mode; /* in effect: 0 unknown, 1, 2 */
	char mode_reason[160];
};

struct ctl_traffic {
	uint64_t tcp_rx, tcp_tx, udp_rx, udp_tx;
};

struct ctl_stats {
	char id[CTL_ID_MAX + 1];
	uint32_t starts;
	bool has_ping;
	uint32_t ping_ms, pool, tcps, udps;
	uint64_t tcp_rx, tcp_tx, udp_rx, udp_tx; /* totals since `starts` */
	bool has_boot;				 /* an older node does not count it */
	struct ctl_traffic boot;		 /* of all starts of the boot: never falls */
};

struct ctl_node_info {
	char node_id[65], boot_id[CTL_BOOT_ID_LEN + 1], controller_id[65];
	int64_t start_time_ms;
	char software[64], os[16], arch[16];
	uint32_t cpus, instances, max_instances, pid;
	uint64_t mem_total, applied_revision, epoch;
	enum ctl_node_state state;
	char features[256]; /* words separated by blanks; a repeated string on the wire */
};

enum ctl_command {
	CTL_CMD_NONE = 0, /* absent or unknown: CODE_UNSUPPORTED */
	CTL_CMD_HELLO,
	CTL_CMD_PING,
	CTL_CMD_INFO,
	CTL_CMD_APPLY,
	CTL_CMD_REMOVE,
	CTL_CMD_ACTION,
	CTL_CMD_SNAPSHOT,
	CTL_CMD_LIST,
	CTL_CMD_GET,
	CTL_CMD_SUBSCRIBE,
	CTL_CMD_DRAIN,
	CTL_CMD_LOG_LEVEL,
	CTL_CMD_PROBE,
	CTL_CMD_SHUTDOWN,
};

struct ctl_request {
	enum ctl_encoding encoding; /* set by decode; used by encode */
	uint32_t version;	    /* 0 is read as 1 */
	char request_id[CTL_REQUEST_ID_MAX + 1];
	uint64_t epoch, base_revision, revision;
	bool dry_run;
	enum ctl_command command;
	union { /* by command; owned parts are freed by ctl_request_release */
		struct {
			char controller_id[65], node_id[65];
			uint32_t min_version, max_version, lease_ms;
			uint64_t desired_revision;
		} hello;
		struct {
			uint64_t nonce;
			int64_t time_ms;
		} ping;
		struct ctl_spec apply;
		struct {
			char id[CTL_ID_MAX + 1];
			enum ctl_verb verb;
		} action;
		struct {
			char id[CTL_ID_MAX + 1];
		} remove, get;
		struct {
			char snapshot_id[65];
			uint32_t index, total;
			bool last;
			struct ctl_spec *instances; /* owned */
			size_t n;
		} snapshot;
		struct {
			char after[CTL_ID_MAX + 1];
			uint32_t limit; /* 0 = CTL_PAGE_MAX */
			bool with_spec, with_stats;
			char (*ids)[CTL_ID_MAX + 1]; /* owned */
			size_t nids;
		} list;
		struct {
			bool has_stats_ms, has_log_level, has_session_sample;
			uint32_t stats_ms, session_sample;
			enum np_log_level log_level;
			char (*ids)[CTL_ID_MAX + 1]; /* owned; none = all */
			size_t nids;
		} subscribe;
		struct {
			uint32_t grace_ms;
			bool cancel;
		} drain; /* and shutdown: grace_ms */
		struct {
			char id[CTL_ID_MAX + 1];
			enum np_log_level level;
		} log_level;
		struct {
			char target[300];
			uint32_t timeout_ms, count;
		} probe;
	};
};

struct ctl_nack {
	char id[CTL_ID_MAX + 1];
	uint64_t revision;
	enum ctl_code code;
	char text[CTL_TEXT_MAX + 1];
};

struct ctl_view {
	bool has_spec, has_status, has_stats;
	struct ctl_spec spec;
	struct ctl_status status;
	struct ctl_stats stats;
};

struct ctl_reply {
	char request_id[CTL_REQUEST_ID_MAX + 1];
	enum ctl_code code;
	char text[CTL_TEXT_MAX + 1];
	char boot_id[CTL_BOOT_ID_LEN + 1];
	uint64_t applied_revision;
	uint32_t retry_after_ms;
	enum ctl_command result; /* which member below is set; NONE = none */
	union {
		struct {
			uint32_t version;
			struct ctl_node_info info;
			bool need_snapshot;
		} hello;
		struct {
			uint64_t nonce;
			int64_t time_ms;
		} ping;
		struct ctl_node_info info;
		struct ctl_status status; /* apply, action */
		struct {
			uint32_t staged, added, changed, removed, unchanged;
			struct ctl_nack *nacks; /* owned */
			size_t n;
		} snapshot;
		struct {
			struct ctl_view *views; /* owned */
			size_t n;
			char next[CTL_ID_MAX + 1];
		} list;
		struct ctl_view get;
		struct {
			uint32_t sent, ok, rtt_min_us, rtt_avg_us, rtt_max_us;
			char error[CTL_TEXT_MAX + 1];
		} probe;
	};
};

struct ctl_line {
	char id[CTL_ID_MAX + 1]; /* "" = of the process */
	enum np_log_level level;
	int64_t time_ms;
	char *text; /* owned; message without time and level, escaped */
};

struct ctl_session_end {
	char id[CTL_ID_MAX + 1];
	bool udp;
	char peer[64], target[96], reason[32];
	int64_t start_ms;
	uint32_t duration_ms;
	uint64_t rx, tx;
};

struct ctl_metric {
	char name[48];
	uint64_t *values; /* owned */
	size_t n;
	uint64_t sum;	  /* of a histogram, as its bounds: one less than values */
	uint64_t *bounds; /* owned; NULL = no histogram */
	size_t nbounds;
};
struct ctl_instance_metrics {
	char id[CTL_ID_MAX + 1];
	uint32_t starts;
	struct ctl_metric *metrics; /* owned */
	size_t n;
};

enum ctl_event_kind { /* the field numbers of Event.body */
		      CTL_EVENT_NONE = 0,
		      CTL_EVENT_LEASE,
		      CTL_EVENT_CHANGES,
		      CTL_EVENT_STATS,
		      CTL_EVENT_LOGS,
		      CTL_EVENT_SESSIONS,
		      CTL_EVENT_OVERFLOW,
		      CTL_EVENT_METRICS,
};

struct ctl_lease {
	uint64_t applied_revision;
	enum ctl_node_state state;
	uint32_t instances, running, errors, cpu_permille, fds, tcps, udps;
	uint64_t mem_rss, tcp_rx, tcp_tx, udp_rx, udp_tx;
};

struct ctl_event {
	enum ctl_event_kind kind;
	char boot_id[CTL_BOOT_ID_LEN + 1];
	uint64_t seq;
	int64_t time_ms;
	char node_id[65];
	uint64_t dropped;     /* logs, sessions, overflow */
	uint32_t interval_ms; /* stats, metrics */
	bool full;	      /* stats */
	struct ctl_lease lease;
	size_t n;      /* of the array of the kind; owned unless `borrowed` */
	bool borrowed; /* release leaves the arrays alone */
	struct ctl_status *changes;
	struct ctl_stats *stats;
	struct ctl_line *lines;
	struct ctl_session_end *sessions;
	struct ctl_instance_metrics *metrics;
};

/*
 * ctl_request_decode - @in to *out, protobuf or JSON by its first byte. On success the caller
 * releases it. On error *out holds nothing to release, but encoding and (where it could be read)
 * request_id are set, so that an answer can be given.
 * Errors: NP_EINVAL (CODE_MALFORMED: form, unknown JSON names, a missing or wrong id),
 * NP_ELIMIT (CODE_LIMIT: a text, list or message that is too large), NP_ENOMEM. @diag (may be
 * NULL) says "path: reason", as in "apply.spec.id: missing", and never a value.
 * Unknown protobuf fields, commands and enum values are no errors: they are left out, NONE,
 * UNSPECIFIED. An unknown log level is INFO in a line, as absent in Subscribe. Thread: main.
 */
enum np_err ctl_request_decode(const void *in, size_t len, struct ctl_request *out,
			       struct np_diag *diag) NP_MUST_CHECK;
void ctl_request_release(struct ctl_request *r);
/* The same for what a controller receives; protobuf, or JSON when the first byte says so. */
enum np_err ctl_reply_decode(const void *in, size_t len, struct ctl_reply *out,
			     struct np_diag *diag) NP_MUST_CHECK;
void ctl_reply_release(struct ctl_reply *r);
enum np_err ctl_event_decode(const void *in, size_t len, struct ctl_event *out,
			     struct np_diag *diag) NP_MUST_CHECK;
void ctl_event_release(struct ctl_event *e);

/*
 * ctl_request_encode, ctl_reply_encode, ctl_event_encode - appended to @out; JSON ends in LF, and
 * an event's JSON has the body member first. Bytes of a text that are not UTF-8 go out as '?', log
 * lines are cut to CTL_LINE_MAX. On error @out has its old content. With a spec or its url within,
 * the content is secret: np_buf_wipe. Errors: NP_ENOMEM, NP_ELIMIT (@out is full, or a list or text
 * is larger than the receiver takes). Thread: any for protobuf and JSON.
 */
enum np_err ctl_request_encode(const struct ctl_request *r, struct np_buf *out) NP_MUST_CHECK;
enum np_err ctl_reply_encode(const struct ctl_reply *r, enum ctl_encoding enc,
			     struct np_buf *out) NP_MUST_CHECK;
enum np_err ctl_event_encode(const struct ctl_event *e, enum ctl_encoding enc,
			     struct np_buf *out) NP_MUST_CHECK;

/* Small helpers. ctl_spec_copy - a deep copy. Errors: NP_ENOMEM. */
enum np_err ctl_spec_copy(const struct ctl_spec *from, struct ctl_spec *to) NP_MUST_CHECK;
void ctl_spec_release(struct ctl_spec *s);
/* ctl_code_name - "CODE_OK", never NULL.  ctl_state_name - "STATE_RUNNING", never NULL. */
const char *ctl_code_name(enum ctl_code code);
const char *ctl_state_name(enum ctl_state state);
bool ctl_id_valid(const char *id);

#endif
