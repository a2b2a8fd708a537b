/*
 * shard.h - inside of instance: its part on one worker. Deadlines of what lives there, and its end.
 */
#ifndef NP_SHARD_H
#define NP_SHARD_H

#include "instance.h"

/* shard_new - Thread: home; the worker learns of it by the first mail that names it. NULL without
 * memory. */
struct shard *shard_new(struct instance *inst, struct worker *w);
/* shard_wake - there is something to watch deadlines of. Thread: its worker. */
void shard_wake(struct shard *sh);
/* shard_throttle_after - relay_throttle_run in @us, unless it comes sooner. Without memory the tick does
 * it. Thread: its worker. */
void shard_throttle_after(struct shard *sh, int64_t us);
/* shard_stop - ends all that lives there; instance_shard_stopped follows on home. Thread: home. */
void shard_stop(struct shard *sh);
/* shard_free - after it stopped. */
void shard_free(struct shard *sh);
/* instance_shard_stopped - one shard less. Thread: home. */
void instance_shard_stopped(struct instance *inst);

#endif
