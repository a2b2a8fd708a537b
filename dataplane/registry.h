/*
 * registry.h - the instances of this process: id -> instance. Thread: main.
 */
#ifndef NP_REGISTRY_H
#define NP_REGISTRY_H

#include "instance.h"

#define REGISTRY_MAX 10000

struct registry;

/*
 * registry_new - @on_change is called (on any worker) when the state of an instance changed; look
 * with registry_counts.
 */
struct registry *registry_new(void (*on_change)(void *arg), void *arg);
/* registry_add - a new instance from @cfg (taken on success), started on the next home worker.
 * Errors: NP_EEXIST, NP_ELIMIT, those of instance_new. */
enum np_err registry_add(struct registry *r, const char *id, struct np_config *cfg,
			 struct np_diag *diag) NP_MUST_CHECK;
/* For all instances; each is told on its home worker. */
void registry_drain(struct registry *r, int64_t ms);
void registry_stop(struct registry *r);
void registry_reload(struct registry *r);

struct registry_counts {
	unsigned all, stopped, failed;
};
void registry_counts(struct registry *r, struct registry_counts *out);
/* registry_free - after workers_stop. All instances have stopped or their workers are gone. */
void registry_free(struct registry *r);

#endif
