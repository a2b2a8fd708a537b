/*
 * model.h - desired and observed state of all instances, the API key and the master's names.
 * Thread: the loop's.
 *
 * Every change is validated, written to the store, and only then applied, published and answered.
 * Changes of one instance are done one after the other, of different ones side by side.
 */
#ifndef CP_MODEL_H
#define CP_MODEL_H

#include "core/config.h"
#include "keys.h"
#include "node.h"
#include "pem_files.h"
#include "store.h"
#include "validate.h"

#include <uthash.h>

#define MODEL_INSTANCES_MAX 10000
#define MODEL_TEXT_MAX	    256		/* bytes of alias, sid, type, tag name and value */
#define MODEL_META_MAX	    (32 * 1024) /* bytes of all of an instance's meta as JSON */
#define MODEL_PENDING_MAX   4096	/* changes that wait for the store */
#define MODEL_KEY_ID	    "********"
#define MODEL_KEY_LEN	    32 /* hexadecimal digits of the API key */
#define MODEL_MID_LEN	    16
#define MODEL_ID_LEN	    8 /* hexadecimal digits of an instance's id */

struct model;

enum model_status { MODEL_RUNNING = 0, MODEL_STOPPED, MODEL_FAILED };

struct model_tag {
	char *name, *value; /* owned */
};
struct model_meta {
	char *sid, *type, *alias; /* owned, never NULL */
	struct model_tag *tags;	  /* owned */
	size_t ntags;
};

enum model_counter { MODEL_TCP_RX = 0, MODEL_TCP_TX, MODEL_UDP_RX, MODEL_UDP_TX, MODEL_COUNTERS };

/* K of a server's word, with the mark that binds it to the key. Stored. */
struct model_auth {
	bool has;
	struct key_auth key;
	uint8_t mark[NP_KEY_MARK_LEN];
};
/* What the node needs beside the URL; of the URL. */
struct model_needs {
	bool files, word;
	uint8_t key_digest[NP_DIGEST_LEN]; /* of the word */
	enum np_log_level log;
};

/* Owned by the model; everybody else reads it, and keeps no pointer across callbacks. */
struct model_instance {
	struct model_instance *prev, *next; /* model->list: order of creation */
	UT_hash_handle hh;		    /* model->by_id */
	char id[STORE_ID_MAX + 1];	    /* 8 hexadecimal digits */
	char *alias, *url, *config;	    /* owned, never NULL; url holds the tunnel key */
	enum np_role role;
	bool restart;
	struct model_meta meta;
	enum ctl_desired desired;
	uint32_t restart_nonce;
	uint64_t revision;
	char refused[CTL_TEXT_MAX + 1]; /* why its URL cannot be served (lenient import); "" */
	struct model_auth auth;
	struct {
		bool has;
		uint8_t digest[NP_DIGEST_LEN];
	} pem_mark; /* of the files as they were told */
	bool busy;  /* a change waits for the store */
	/* material: see model_material.c */
	struct model_needs needs;
	struct pem_user files;
	struct pem_content *pem; /* a reference; what is told, NULL = none */
	struct model_old *old;	 /* owned; what the node has while this waits */
	/* observed */
	enum ctl_state state; /* UNSPECIFIED until the node said something */
	uint64_t nacked;      /* the last revision of which it was said that the node refused it */
	uint32_t mode, ping_ms, pool, tcps, udps;
	uint64_t total[MODEL_COUNTERS]; /* shown */
	struct {
		char boot_id[CTL_BOOT_ID_LEN + 1];
		uint32_t starts;
		uint64_t last[MODEL_COUNTERS]; /* of the node: since boot_id, or since starts */
		bool dirty;
	} seen;
	struct model_shown *shown; /* owned; what model_render keeps */
};

struct model_events {
	/* create, update, delete, log of @inst as it is now. */
	void (*publish)(void *arg, int sse_type, const struct model_instance *inst,
			const char *logs);
	void (*changed)(void *arg, const char *id); /* tell the node */
	void (*key_changed)(void *arg);
	/* A line of the instance that no data plane says. @goes_on: what it had before stays in use. */
	void (*say)(void *arg, const char *id, enum np_log_level level, const char *text,
		    bool goes_on);
};

/* Outcome of a change: status for HTTP and text; @inst is NULL when it is gone or was refused. */
typedef void (*model_done_fn)(void *arg, int status, const char *text,
			      const struct model_instance *inst);

enum np_err model_new(struct event_base *base, struct store *store,
		      const struct validate_defaults *d, const struct model_events *ev, void *arg,
		      struct model **out) NP_MUST_CHECK;
/* model_load - rows of the store. model_ensure_key - makes API key and master id when there are
 * none (*created). Errors: of the store, NP_ENOMEM, NP_ECRYPTO. */
enum np_err model_load(struct model *m, struct np_diag *diag) NP_MUST_CHECK;
enum np_err model_ensure_key(struct model *m, bool *created, struct np_diag *diag) NP_MUST_CHECK;
/* model_flush - runs the loop until the store has all changes. Errors: the store's. */
enum np_err model_flush(struct model *m, struct np_diag *diag) NP_MUST_CHECK;
/*
 * model_watch - once, after model_load: files of instances are read and watched from now on, keys are
 * derived. @reload_ms: NP_RELOAD_INTERVAL. @on_settled (may be NULL) is called, at once or later,
 * when all files were looked at or have taken too long: the node may be told then. Errors: NP_ENOMEM,
 * NP_ESYS. model_reload - looks at the files now.
 */
enum np_err model_watch(struct model *m, int64_t reload_ms,
			void (*on_settled)(void *arg)) NP_MUST_CHECK;
void model_reload(struct model *m);
/* model_boot_rule - no data plane held the state: start what has restart, stop the rest. */
void model_boot_rule(struct model *m);
void model_free(struct model *m);

const char *model_key(const struct model *m);
const char *model_mid(const struct model *m);
const char *model_alias(const struct model *m);
uint64_t model_revision(const struct model *m);

/* model_find - by id; NULL: none. model_next - in order of creation; NULL begins and ends. */
const struct model_instance *model_find(const struct model *m, const char *id);
const struct model_instance *model_next(const struct model *m, const struct model_instance *prev);
size_t model_count(const struct model *m);
enum model_status model_status(const struct model_instance *inst);

/* Changes. @done is called later or at once, exactly once. */
struct model_patch { /* NULL, false: not given */
	const char *alias;
	enum ctl_verb action; /* UNSPECIFIED = none */
	bool has_restart, restart;
	const struct model_meta *peer; /* sid, type, alias are taken */
	const struct model_meta *tags; /* tags are taken */
	bool has_meta;
};
void model_create(struct model *m, const char *url, const char *alias, model_done_fn done,
		  void *arg);
void model_patch(struct model *m, const char *id, const struct model_patch *p, model_done_fn done,
		 void *arg);
void model_put(struct model *m, const char *id, const char *url, model_done_fn done, void *arg);
void model_delete(struct model *m, const char *id, model_done_fn done, void *arg);
void model_set_alias(struct model *m, const char *alias, model_done_fn done, void *arg);
void model_rotate_key(struct model *m, model_done_fn done, void *arg);

/* From upstream's state file; between model_load and model_ensure_key. One row of an import. */
struct model_import {
	const char *id, *alias, *url, *config;
	bool restart;
	struct model_meta meta;
	uint64_t total[MODEL_COUNTERS];
};
enum np_err model_import_key(struct model *m, const char *key, const char *mid,
			     const char *alias) NP_MUST_CHECK;
enum np_err model_import(struct model *m, const struct model_import *row) NP_MUST_CHECK;

/* model_render - the JSON object of the API; model_render_key - that of the API key. */
void model_render(const struct model_instance *inst, struct np_buf *out);
void model_render_key(const struct model *m, struct np_buf *out);
const char *model_status_name(const struct model_instance *inst);

/* What the node says. */
bool model_next_spec(void *m, const char *after, struct ctl_spec *out);
enum node_spec model_get_spec(void *m, const char *id, struct ctl_spec *out);
void model_observe_status(struct model *m, const struct ctl_status *st);
/* model_all_observed - of each instance that the node is to have it has said something. */
bool model_all_observed(const struct model *m);
void model_observe_stats(struct model *m, const char *boot_id, const struct ctl_stats *st);
void model_observe_down(struct model *m);
/* model_tick - one update event per running instance (NP_REPORT_INTERVAL). model_save_counters -
 * those that moved, in one transaction (every 5 s, and at the end). */
void model_tick(struct model *m);
void model_save_counters(struct model *m);

#endif
