/*
 * instance.h - one URL being served: its configuration, its home worker, its share on every worker.
 *
 * An instance belongs to its home worker: listeners, control channels, waiting visitors and the
 * pool live there. Sessions and channels live on the worker they were given to, in the instance's
 * shard of that worker. What several workers touch is atomic and says so.
 */
#ifndef NP_INSTANCE_H
#define NP_INSTANCE_H

#include "arrivals.h"
#include "core/bucket.h"
#include "core/fair.h"
#include "core/proof.h"
#include "core/proxyproto.h"
#include "counters.h"
#include "pool.h"
#include "resolve.h"
#include "settings.h"
#include "tls.h"
#include "worker.h"

#define INSTANCE_MAGIC	    0x494e5354u
#define SHARD_MAGIC	    0x53485244u
#define INSTANCE_ID_MAX	    64
#define INSTANCE_REASON_MAX 128 /* why the mode is what it is */
/* Session-end lines a second and instance; the rest is counted and said in one line. */
#define SESSION_LINES_PER_S 100
/* How often a worker looks for deadlines of its sessions and channels. */
#define SHARD_TICK_MS 200

/* WARN lines of refused clients a second and instance; the rest is counted and said in one line. */
#define STRANGER_LINES_PER_S 10
/* Addresses that one host name may mean when it is listened on. */
#define INSTANCE_LISTENERS_MAX 4
/* While draining: how often it is asked whether the last session is over. */
#define DRAIN_CHECK_MS	 20
#define BYTES_S_PER_MBIT 125000 /* rate= */
#define RETIRE_CHECK_MS	 200	/* the same of one that was replaced */
#define RETIRE_SETTLE_MS 2000	/* its idle channels have as long until the other end closes them */

enum instance_state {
	INSTANCE_STARTING = 0,
	INSTANCE_RUNNING,
	INSTANCE_DRAINING,
	INSTANCE_STOPPED,
	INSTANCE_ERROR,
};

enum instance_mode {
	MODE_UNDECIDED = 0,
	MODE_SINGLE,	     /* client mode=1 */
	MODE_SERVER_REVERSE, /* server mode=1: the server receives visitors */
	MODE_SERVER_FORWARD, /* server mode=2: the server dials the target */
	MODE_CLIENT,	     /* client mode=2: the server says which flow */
};

enum { RATE_RX = 0, RATE_TX = 1 }; /* from the outer side, to the outer side */

/* Listening sockets on their way from an instance to the one that takes its place. */
#define INSTANCE_HANDED_MAX (3 * INSTANCE_LISTENERS_MAX)
struct handed {
	unsigned n;
	struct {
		int fd; /* owned; -1 = taken out */
		bool udp;
	} socket[INSTANCE_HANDED_MAX];
};

/* Which address of the URL could not be listened on because another socket has it. */
enum instance_taken { TAKEN_NONE = 0, TAKEN_TUNNEL, TAKEN_TARGET };

/* A key's derivation that was made elsewhere. */
struct instance_auth {
	uint8_t salt[NP_SALT_LEN], k[NP_K_LEN]; /* k is a secret */
};

/* What the files of a URL say and its key gives, from who told us of the instance. Borrowed. */
struct instance_material {
	bool has_auth; /* else K is derived here */
	struct instance_auth auth;
	struct np_pem crt, key, ca; /* len 0: the URL's files are read here */
};

struct instance;
struct visitor;
struct session;
struct channel;

/* One instance's part of one worker. Owned by the instance; touched by its worker alone but for the
 * counters. */
struct shard {
	unsigned magic;
	struct instance *inst;
	struct worker *worker;
	struct counters counters;
	struct session *sessions; /* list */
	struct channel *channels; /* list */
	struct maker *makers;	  /* list: channels being dialled */
	struct visitor *visitors; /* list: handshaking or being sniffed here */
	struct session_wait
	    *throttled[2]; /* lists: directions that wait for the token bucket, in order */
	struct event *tick, *throttle_timer;
	struct trace *traces; /* hash: egress turns lost within a minute, oldest first */
	struct np_mono
	    traces_forgotten; /* records had to be dropped then: assume delivery for a minute */
	bool stopping;
	struct mail mail; /* stop, stopped */
};

struct instance {
	unsigned magic;
	char id[INSTANCE_ID_MAX + 1];
	/* One reference is its own. Replaced on the home worker; the old one is given up when no
	 * worker can be reading it any more. */
	struct settings *_Atomic settings;
	uint32_t mark;	       /* of moved.h; before it starts */
	_Atomic int log_level; /* enum np_log_level: log=, or what was asked for since */
	bool joins;	       /* mode=0: not to try the tunnel address; before it starts */
	bool controlled;       /* statistics travel as messages: no CHECK_POINT lines */
	struct worker *home;
	enum instance_state state;
	enum instance_mode mode;
	enum np_flow flow; /* of a tunnel; the client learns it from Welcome */
	char *mode_reason; /* owned; NULL = not known, or no memory */
	char *error;	   /* owned; written once, before state ERROR */
	enum instance_taken taken;
	struct handed *handed;	/* owned; NULL = none: sockets to use before making new ones */
	_Atomic int end_reason; /* enum np_reason of sessions that its end cuts */
	bool retiring;		/* replaced: sessions run on */
	void (*on_state)(struct instance *inst,
			 void *arg); /* any state change, and once in STARTING when the mode
				      * is known; on the home worker */
	void *on_state_arg;
	/* Replaced: takes a visitor that has no channel yet, for who took its place. On home. */
	void (*on_visitor)(struct instance *inst, struct visitor *v);

	struct listener *visitors[INSTANCE_LISTENERS_MAX]; /* owned; TCP visitors */
	struct udp_ingress *udp[INSTANCE_LISTENERS_MAX];   /* owned; UDP visitors */
	struct pool pool;      /* ingress of a tunnel: waiting visitors, peers */
	struct server *server; /* owned; by mode, one of the three */
	struct client *client;
	struct single *single;
	struct arrivals arrivals;    /* of a single-end client's visitors */
	struct tls_files *tls_files; /* owned; identity and its reload, NULL = none */

	struct shard *_Atomic
	    *shards; /* owned; workers_count(), made on first need by the home worker */
	uint8_t salt[NP_SALT_LEN], k[NP_K_LEN]; /* server: the key's derivation; k is a secret */
	bool auth_none;				/* the key is derived from the port */
	unsigned nshards, stopping_shards;
	struct np_bucket rate[2];		  /* atomic inside */
	_Atomic uint32_t rate_waits[2];		  /* directions of TCP that wait for it */
	struct np_fair udp_fair[2];		  /* what flows of datagrams have of it; home */
	struct np_fair_flow udp_new[2];		  /* all that are not flows yet; home */
	_Atomic uint32_t sessions;		  /* TCP and UDP at once: slot */
	unsigned strangers_said, strangers_more;  /* WARN lines of this second; what was not said */
	_Atomic uint32_t lines, lines_suppressed; /* session-end lines of this second */
	_Atomic uint32_t trace_queries;		  /* on their way between workers */
	uint8_t trace_base[8];			  /* random; see pool_assign */
	_Atomic int64_t ping_us;		  /* round trip of the control channel; -1 = none */
	_Atomic uint32_t pool_seen;		  /* instance_pool_idle, looked at once a second */
	_Atomic int64_t dial_us;		  /* last connect to a target; -1 = none */
	_Atomic bool draining;
	struct event *report_timer, *drain_timer;
	struct instance *report_prev, *report_next; /* once a second: see report.c */
	bool reported;
	struct np_mono drain_deadline;
	struct resolve_request resolving; /* of an address to listen on */
	void (*resolved)(struct instance *inst, const struct resolve_answer *a);
	size_t udp_held; /* bytes of datagrams that wait for their target's address */
	unsigned lists;	 /* how often allow= or deny= changed; home */
	bool stopping, released;
};

/* What it is told to be, for the running callback. Thread: any worker. */
static inline struct settings *instance_settings(const struct instance *inst)
{
	return atomic_load_explicit(&inst->settings, memory_order_acquire);
}
static inline const struct np_config *instance_cfg(const struct instance *inst)
{
	return &instance_settings(inst)->cfg;
}
/* instance_admits - do allow= and deny= let a visitor of this address in? */
static inline bool instance_admits(const struct instance *inst, const struct np_addr *a)
{
	const struct np_config *cfg = instance_cfg(inst);

	return np_netlist_admits(&cfg->allow, &cfg->deny, a);
}
static inline enum np_log_level instance_log_level(const struct instance *inst)
{
	return (enum np_log_level)atomic_load_explicit(&inst->log_level, memory_order_relaxed);
}

/* instance_dialed - a target took a connection after @us; @sh: of this worker. */
void instance_dialed(struct shard *sh, int64_t us);
/* instance_measured - @what is ping_us or dial_us of @inst. Thread: any worker. */
static inline void instance_measured(struct instance *inst, _Atomic int64_t *what, int64_t us)
{
	atomic_store_explicit(what, us, memory_order_relaxed);
	moved_mark(inst->mark);
}

#define INSTANCE_LOG(inst, level, ...)                                        \
	do {                                                                  \
		if (np_log_enabled(instance_log_level(inst), NP_LOG_##level)) \
			np_log(NP_LOG_##level, (inst)->id, __VA_ARGS__);      \
	} while (0)

/*
 * instance_new - from a checked configuration (taken on success). Makes or loads its certificate,
 * so it may block: call it outside of the loops. @home: its worker. Errors: NP_ENOMEM, NP_EINVAL
 * (files, material; @diag), NP_ECRYPTO.
 */
enum np_err instance_new(const char *id, struct np_config *cfg,
			 const struct instance_material *material, struct worker *home,
			 struct instance **out, struct np_diag *diag) NP_MUST_CHECK;
/* instance_new_blocks - would instance_new read files, make keys? */
bool instance_new_blocks(const struct np_config *cfg);
/* instance_start - on the home worker: binds, decides the mode, begins. Outcome through on_state.
 * Thread: home. */
void instance_start(struct instance *inst);
/* instance_drain - no new visitors; sessions finish until @ms are over, then they end with @reason;
 * STOPPED. Thread: home. */
void instance_drain(struct instance *inst, int64_t ms, enum np_reason reason);
/* instance_lend - copies of its listening sockets. Thread: home. */
void instance_lend(const struct instance *inst, struct handed *out);
/* handed_take - the one that is bound to @addr (@any: all addresses), the caller's; -1 = none. @h may
 * be NULL. */
int handed_take(struct handed *h, const struct np_addr *addr, bool any, bool udp);
/* handed_join - @to with what only @from has; takes both, either may be NULL. */
struct handed *handed_join(struct handed *to, struct handed *from);
/* handed_prune - closes those that an instance of @cfg will never listen on; one that joins a server
 * (@tunnel false) listens on its target address at most. */
void handed_prune(struct handed *h, const struct np_config *cfg, bool tunnel);
void handed_free(struct handed *h); /* closes what was not taken; NULL is fine */
/* instance_retire - another one took its place: it listens no more, tells the other end, and its
 * sessions run on until they end by themselves; then STOPPED. Thread: home. */
void instance_retire(struct instance *inst);
/* instance_configure - takes over @st (taken; its difference is LIVE) and @identity (taken; NULL = no
 * new certificate) without cutting a session. Returns what it had: to be released when no worker can be reading it. Thread: home. */
struct settings *instance_configure(struct instance *inst, struct settings *st,
				    struct tls_identity *identity) NP_MUST_CHECK;
/* instance_close_listeners - of TCP visitors; UDP: nothing more is read. Thread: home. */
void instance_close_listeners(struct instance *inst);
/* instance_stop - ends everything now; STOPPED when all shards are empty. Thread: home. */
void instance_stop(struct instance *inst);
/* instance_discard - one that was never started. */
void instance_discard(struct instance *inst);
/* instance_free - a stopped one. Thread: home, or main after the workers ended. */
void instance_free(struct instance *inst);
/* instance_reload - re-reads certificates now. Thread: home. */
void instance_reload(struct instance *inst);

/* instance_shard - the instance's part of @w; NULL without memory. Thread: home. */
struct shard *instance_shard(struct instance *inst, struct worker *w);
/* instance_failed - state ERROR with a text that was logged. Thread: home. */
void instance_failed(struct instance *inst, const char *fmt, ...) NP_PRINTF(2, 3);
void instance_set_running(struct instance *inst);
/* instance_is_ingress - do visitors reach this end? */
bool instance_is_ingress(const struct instance *inst);
/* instance_is_egress - does this end dial targets? */
bool instance_is_egress(const struct instance *inst);
/* instance_open_visitors - client, forward flow: listens on its target address. Outcome: a log
 * line, or ERROR. Thread: home. */
void instance_open_visitors(struct instance *inst);
void instance_close_visitors(struct instance *inst);
/* instance_slot_take - counts a session in, or false at slot=. Thread: any. instance_slot_give -
 * counts it out. */
bool instance_slot_take(struct instance *inst);
void instance_slot_give(struct instance *inst);
/* instance_accept_pauses - the log line of a listener that pauses (@err) or goes on (0). */
void instance_accept_pauses(const struct instance *inst, int err);
/* instance_pool_idle - idle channels or target connections now: POOL of the checkpoint. Thread:
 * home. */
uint32_t instance_pool_idle(const struct instance *inst);
/* instance_mode_number - MODE as in the URL: what is in effect, 0 while it is not known. */
uint32_t instance_mode_number(enum instance_mode mode);
/* instance_sum - @sum gets the counters of all shards added up. Thread: any. */
struct counter_sum {
	uint64_t total[COUNTER_COUNT];
	uint64_t closes[NP_REASON_COUNT];
	struct {
		uint64_t count[HISTOGRAM_BUCKETS], sum_us;
	} took[HISTOGRAM_COUNT];
	uint32_t tcps, udps;
};
void instance_sum(const struct instance *inst, struct counter_sum *sum);

/* A session, flow or refused visitor is over: counted by reason, logged once. Thread: the shard's
 * worker. */
struct session_record {
	bool udp;
	enum np_reason reason;
	const struct np_addr *visitor;
	const char *target; /* NULL: it is target_addr, which few ask for as text */
	const struct np_addr *target_addr;
	uint64_t rx, tx;
	int64_t ms;
};
void shard_record(struct shard *sh, const struct session_record *r);
/* session_record_target - the target's text, in @out where it has to be made. */
const char *session_record_target(const struct session_record *r, char out[NP_ADDR_TEXT_MAX]);

#endif
