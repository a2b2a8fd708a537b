/*
 * registry_priv.h - inside of the registry: its entries, and the lives of their instances.
 *
 * An entry is what an instance should be; a run is one struct instance from its making to its
 * freeing. An entry has at most one run that serves (cur), one that is about to take its place
 * (next), and any number that finish (old). All of it belongs to main, but for what a run's home
 * worker reads from the mail that is addressed to it.
 */
#ifndef NP_REGISTRY_PRIV_H
#define NP_REGISTRY_PRIV_H

#include "offload.h"
#include "registry.h"

/* Instances that are being made on helper threads at once; the others wait in line. */
#define REGISTRY_MAKING_MAX 256
/* What making this many leaves behind is given back to the system, some seconds later. */
#define REGISTRY_TRIM	   64
#define REGISTRY_TRIM_MS   5000
#define REGISTRY_TRIM_KEEP (256 * 1024)
/* An instance that served this long begins its next failure with the shortest pause. */
#define REGISTRY_HEALTHY_MS 10000
#define REGISTRY_BUCKETS    1024 /* of the tunnel addresses that servers want, by port */

/* Bits. Each is sent at most once in a run's life, LEND again when it was answered. Those that travel
 * together are carried out from the lowest bit on. */
enum order {
	ORDER_START = 1 << 0,
	ORDER_DRAIN = 1 << 1,
	ORDER_STOP = 1 << 2,
	ORDER_RETIRE = 1 << 3,
	ORDER_LEND = 1 << 4,
	ORDER_FREE = 1 << 5,
};

/*
 * A run has little memory of its own for what travels, since there are thousands of them. Orders and
 * news wait as bits of an atomic word; a mail is on its way while there are any. What must not
 * overtake other mail has a mail of its own: LEND and its answer, and STOPPED, FREE and the answer
 * to that, which follow each other.
 */
struct news {
	enum instance_state state;
	enum instance_mode mode;
	enum np_flow flow;
};

enum run_phase {
	RUN_MAKING = 0, /* on a helper thread, or in line for one */
	RUN_MADE,	/* waits for the sockets of the one before it */
	RUN_STARTED,
	RUN_ENDING, /* told to end */
	RUN_OVER,   /* STOPPED; being freed */
};

struct run {
	struct registry *registry;
	struct entry *entry;	 /* NULL: forgotten */
	struct run *prev, *next; /* entry->old or registry->orphans */
	struct run *line;	 /* registry->line: the next one to be made */
	enum run_phase phase;
	struct instance *inst;	   /* owned; NULL until it is made */
	struct settings *settings; /* held: what it is told to be now */
	uint64_t change;	   /* entry->change that it follows */
	struct make_job *job;	   /* borrowed; while it is being made */
	bool job_is_out;	   /* the helpers': it may be gone when they were not waited for */
	bool abandoned;		   /* not wanted any more, but it is still being made */
	bool retired;
	_Atomic int state; /* enum instance_state, written by the home worker */
	enum instance_mode mode;
	enum np_flow flow;
	bool was_running; /* ever */
	struct np_mono running_since;
	int64_t drain_ms; /* of ORDER_DRAIN, and its reason */
	enum np_reason drain_reason;
	struct handed *lent; /* owned; filled by ORDER_LEND at home */
	struct mail order_mail, news_mail, lend_mail, end_mail;
	unsigned ordered;	 /* enum order: bits that were sent */
	_Atomic unsigned orders; /* those that home has not seen */
	unsigned said;		 /* bits of states; home's */
	_Atomic unsigned news;	 /* those that main has not seen; see news_word in registry_run.c */
};

struct entry {
	struct registry *registry;
	struct ctl_spec spec;  /* what it should be */
	struct wanted *wanted; /* owned; a server's tunnel address; NULL = no server */
	struct ctl_spec *last; /* owned; the one that serves while spec is being tried */
	struct run *cur, *next, *old;
	uint64_t change;	      /* counts accepted changes of the URL */
	uint64_t renew;		      /* the last one that no running instance can take over */
	uint64_t pair;		      /* the last one that came with another certificate */
	struct tls_identity identity; /* owned; of that certificate, for who serves; or empty */
	uint64_t files_checking, files_checked; /* the change whose files are, were read */
	enum ctl_state state;
	int64_t since_ms;
	uint32_t starts;
	char *error; /* owned; NULL = none */
	uint64_t nack_revision;
	char *nack_text;     /* owned */
	bool removing;	     /* to be forgotten when all its runs are over */
	bool removed;	     /* that is said just now */
	bool restarting;     /* stop first, then a pause, then start */
	struct event *timer; /* retry or pause; NULL = none is pending */
	int64_t retry_ms;
	struct counter_sum *past; /* owned; of runs that are over; NULL = nothing */
	struct counter_sum *zero; /* owned; reset: what is taken off */
	uint64_t base[4];	  /* totals when starts changed */
	uint32_t number;	  /* of moved.h; 0 without base */
	unsigned moving; /* rounds in which it is looked at yet; > 0: on registry->moving */
	struct entry *mprev, *mnext;
	struct counted *counted; /* owned; its part in registry->sums; NULL = nothing moved yet */
	uint64_t said[REGISTRY_SAID];
};

/* What of an entry is in the sums of the process. */
struct counted {
	uint64_t boot[4];
	uint32_t tcps, udps;
};

struct registry {
	struct event_base *base; /* borrowed; NULL: one URL */
	struct worker *main;	 /* owned; main's mailbox, NULL without base */
	void (*on_change)(void *arg, const char *id);
	void *arg;
	struct entry **entries; /* owned; in order of their ids' bytes */
	size_t n, cap;
	struct entry **by_number; /* owned; REGISTRY_MAX + 1, made with the first one */
	uint32_t *free_numbers;	  /* owned; as many; a stack */
	uint32_t nfree;
	struct entry *moving; /* list: their numbers may have changed */
	struct counted sums;  /* since the boot, those that are gone included */
	unsigned running, failed;
	unsigned next_home, making;
	unsigned made;				 /* since the last trim */
	struct event *trim;			 /* NULL without base */
	struct run *line, **line_end;		 /* to be made */
	struct run *orphans;			 /* list: of entries that are gone */
	struct wanted *wanted[REGISTRY_BUCKETS]; /* lists */
	bool closing;				 /* nothing is started any more */
	bool freeing;				 /* mail that still comes finds no workers */
};

/* registry.c. Thread: main, as all here. */
struct entry *registry_find(struct registry *r, const char *id);
/* registry_insert - Errors: NP_ENOMEM. */
enum np_err registry_insert(struct registry *r, struct entry *e) NP_MUST_CHECK;
/* entry_forget - out of the table, said once, freed; its runs go on as orphans. */
void entry_forget(struct entry *e);
void entry_set_state(struct entry *e, enum ctl_state state, const char *error);
void entry_changed(struct entry *e);

/* registry_made - one more was made, and what that took was freed. */
void registry_made(struct registry *r);

/* registry_life.c */
/* entry_step - does the next thing that brings @e to what it should be. May free @e. */
void entry_step(struct entry *e);
/* entry_nack - @text is why @revision was refused. */
void entry_nack(struct entry *e, uint64_t revision, const char *text);
void entry_timer_clear(struct entry *e);
bool entry_listens_on_target(const struct run *run);

/* registry_run.c */
/* run_new - from @cfg (taken on success). NULL without memory. run_begin - makes its instance; with a
 * base run_on_made follows, at once or later. */
struct run *run_new(struct registry *r, struct entry *e, struct np_config *cfg);
void run_begin(struct run *run);
/* run_make_here - both at once, on this thread, for a registry without base. Errors: NP_ENOMEM, those
 * of instance_new. */
enum np_err run_make_here(struct registry *r, struct entry *e, struct np_config *cfg,
			  struct run **out, struct np_diag *diag) NP_MUST_CHECK;
/* registry_mail.c: run_order - @ms, @reason: of DRAIN. run_on_state, run_on_visitor - what its instance
 * calls, on the home worker. run_reload - its certificate files are read now. */
void run_order(struct run *run, enum order order, int64_t ms, enum np_reason reason);
void run_on_state(struct instance *inst, void *arg);
void run_on_visitor(struct instance *inst, struct visitor *v);
void run_reload(struct run *run);
/* run_configure - @cfg and @identity (taken on success; may be empty) differ LIVE. Errors: NP_ENOMEM. */
enum np_err run_configure(struct run *run, struct np_config *cfg,
			  struct tls_identity *identity) NP_MUST_CHECK;
/* run_end - it is to stop, its sessions get @ms. One that is being made is only marked. run_release -
 * its memory; after it is gone. */
void run_end(struct run *run, int64_t ms, enum np_reason reason);
void run_release(struct run *run);
/* run_forget - one that was set aside and is over: off its list, freed; its entry goes on. */
void run_forget(struct run *run);
/* What comes back, for registry_life.c. */
void run_on_made(struct run *run, enum np_err err, const struct np_diag *diag);
void run_on_lent(struct run *run);
void run_on_news(struct run *run, const struct news *n);

/*
 * registry_addresses.c: wants_set - @e wants the tunnel address of @cfg, if that is a server's;
 * wants_update - that of its URL; wants_clear - none. Without memory it wants none, and clients try
 * for themselves. run_yield - before @run is started: a mode=0 client whose tunnel address a server of
 * this registry wants is to join it. run_failure_say - logs and gives the text of a failure, with who
 * of us has the address.
 */
void wants_set(struct entry *e, const struct np_config *cfg);
void wants_update(struct entry *e);
void wants_clear(struct entry *e);
void run_yield(struct run *run);
void run_failure_say(const struct run *run, char text[CTL_TEXT_MAX + 1]);

/* registry_files.c: entry_needs_check - is the certificate another one than the one in use, and was it
 * not read yet? entry_check_files - entry_files_checked (registry_life.c) follows; a given one is then
 * in e->identity. Errors: NP_ENOMEM, those of offload_submit. */
bool entry_needs_check(const struct entry *e, const struct np_config *cfg);
enum np_err entry_check_files(struct entry *e, const struct np_config *cfg) NP_MUST_CHECK;
/* material_of - of @spec, whose URL is @cfg; borrowed from both. */
struct instance_material material_of(const struct ctl_spec *spec, const struct np_config *cfg);
void entry_files_checked(struct entry *e, enum np_err err, const struct np_diag *diag);

/* registry_stats.c */
/* sums_bury - @run's counters join those of its entry. */
void sums_bury(struct run *run);
void sums_restart(struct entry *e); /* starts changed */
void sums_reset(struct entry *e);
/* sums_forget - @e is about to go; its traffic stays in the sums. */
void sums_forget(struct entry *e);

#endif
