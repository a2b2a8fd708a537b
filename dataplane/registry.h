/*
 * registry.h - the instances of this process: id -> what it should be and what it is. Thread: main.
 *
 * Told the same thing twice it does it once. A change that the running instance can take over is
 * handed to it; any other change makes a new instance first (its listeners are bound, or handed
 * over when the address is the same one) and lets the old one finish. A failed instance is tried
 * again after 1 s, doubling to 10 s. Commands come from commands.c, or from url_set.c for URLs.
 */
#ifndef NP_REGISTRY_H
#define NP_REGISTRY_H

#include "instance.h"
#include "wire/ctl_msg.h"

#define REGISTRY_MAX	      10000
#define REGISTRY_RETRY_MIN_MS 1000
#define REGISTRY_RETRY_MAX_MS 10000
/* stop, remove: sessions get this long; a change lets them finish for as long as they want. */
#define REGISTRY_STOP_GRACE_MS	  3000
#define REGISTRY_RESTART_PAUSE_MS 250

struct registry;

/*
 * registry_new - @base: main's loop, for retry and restart timers; NULL for a process with URLs
 * (no retry, no restart then). @on_change is called when the status of @id changed (state, mode,
 * error, listen, starts, removal): with a base on main, within its loop; without one on any
 * worker, with id "". Look with registry_status or registry_counts.
 */
struct registry *registry_new(struct event_base *base, void (*on_change)(void *arg, const char *id),
			      void *arg);

/* registry_add - a process with URLs: makes an instance from @cfg (taken on success); registry_start
 * starts those that were made. Errors: NP_EEXIST, NP_ELIMIT, those of instance_new. */
enum np_err registry_add(struct registry *r, const char *id, struct np_config *cfg,
			 struct np_diag *diag) NP_MUST_CHECK;
void registry_start(struct registry *r);

/*
 * registry_apply - @spec is what the instance should be from now on (copied). @dry_run: checks
 * only. CTL_OK: nothing to do or taken over. CTL_ACCEPTED: the outcome comes through on_change.
 * Refused (the last good spec goes on, status.nack_* say why): CTL_INVALID, CTL_CONFLICT,
 * CTL_LIMIT; CTL_STALE: not newer than what is there and different. @diag->text for people.
 * A listener that belongs to another instance is no refusal: it ends in state ERROR, "… in use by
 * instance <id>", and is tried again.
 */
enum ctl_code registry_apply(struct registry *r, const struct ctl_spec *spec, bool dry_run,
			     struct np_diag *diag);
/* registry_remove - stops and forgets it; on_change with removed when it is gone. CTL_NOT_FOUND,
 * CTL_ACCEPTED, CTL_OK (was stopped). */
enum ctl_code registry_remove(struct registry *r, const char *id);
/* registry_action - start, stop, restart (desired changes with it), reset (counters to 0). */
enum ctl_code registry_action(struct registry *r, const char *id, enum ctl_verb verb,
			      struct np_diag *diag);
/* registry_log_level - of one instance, or of all (""), until the next change of its URL. */
enum ctl_code registry_log_level(struct registry *r, const char *id, enum np_log_level level);

/* False: no such id (a removed one is reported once through on_change with status.removed). */
bool registry_status(struct registry *r, const char *id, struct ctl_status *out);
bool registry_stats(struct registry *r, const char *id, struct ctl_stats *out);
/* registry_is_removed - is it gone when on_change returns? Within on_change only. */
bool registry_is_removed(struct registry *r, const char *id);
/* registry_spec - borrowed until the next call; NULL: no such id. */
const struct ctl_spec *registry_spec(struct registry *r, const char *id);
/* registry_next - ids in order of their bytes: the first one behind @after ("" = from the start),
 * NULL at the end. Borrowed until the next change. */
const char *registry_next(struct registry *r, const char *after);
/*
 * registry_look - calls @fn for all instances, or (@all false) for those whose numbers may have
 * changed since the last call but one. What it gets is valid for the call; said[] is the caller's,
 * kept with the instance, 0 at first. @fn changes nothing here.
 */
#define REGISTRY_SAID 2
struct registry_view {
	const struct ctl_stats *stats;
	const struct counter_sum *sum;
	uint64_t *said;
};
typedef void (*registry_look_fn)(void *arg, const struct registry_view *v);
void registry_look(struct registry *r, bool all, registry_look_fn fn, void *arg);
/* registry_look_at - the same for one; false: no such id. */
bool registry_look_at(struct registry *r, const char *id, registry_look_fn fn, void *arg);
/* registry_load - counts and sums of the process for a lease; costs what moved. */
void registry_load(struct registry *r, struct ctl_lease *out);
/* registry_sum - counters and closes of an instance, over its restarts of this boot minus reset. */
bool registry_sum(struct registry *r, const char *id, struct counter_sum *out);

/* For all instances; each is told on its home worker. */
void registry_drain(struct registry *r, int64_t ms);
void registry_stop(struct registry *r);
/* registry_resume - after registry_drain: what should run is started again. */
void registry_resume(struct registry *r);
void registry_reload(struct registry *r);

struct registry_counts {
	unsigned all, stopped, failed, running;
	unsigned ending; /* instances that were replaced or removed and still finish */
};
void registry_counts(struct registry *r, struct registry_counts *out);
/* registry_free - after workers_stop. All instances have stopped or their workers are gone. */
void registry_free(struct registry *r);

#endif
