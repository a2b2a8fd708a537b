/*
 * arrivals.h - visitors of a single-end client between accept and the worker that serves them.
 *
 * They go to the workers in turn, so that all have the same to do: by the number of sessions alone,
 * the worker that gets less of a CPU would get ever less to do, too. Targets see them in the order in
 * which they came, but in a storm: who is to go elsewhere than those before it waits until these have
 * been begun.
 */
#ifndef NP_ARRIVALS_H
#define NP_ARRIVALS_H

#include "core/storm.h"
#include "reason.h"
#include "worker.h"

struct instance;
struct visitor;

/* So many in a row to one worker when it has much to do: each change of the worker may cost a mail
 * back and forth. When it has little they go one by one: streams that last are spread. */
#define ARRIVALS_RUN_MAX 8

/* Is home to be told when those on their way have been begun? */
enum arrivals_call { CALL_NONE = 0, CALL_WANTED, CALL_SENT };

/* Touched on home alone, but for what is atomic and the mail while it is sent. */
struct arrivals {
	struct worker *turn;	 /* whose turn it is; NULL = nobody came yet */
	unsigned left;		 /* so many more are its */
	struct np_storm storm;	 /* while it is on, nobody waits for another */
	struct visitor *line;	 /* list: they wait for those before them */
	struct worker *way;	 /* where those on their way go */
	_Atomic uint32_t on_way; /* how many they are */
	_Atomic int call;	 /* enum arrivals_call */
	struct mail mail;	 /* the call */
};

/* arrivals_turn - the worker that the next visitor, who came at @now, goes to. Thread: home. */
struct worker *arrivals_turn(struct arrivals *a, struct np_mono now);
/* arrivals_add - @v, whose shard is that of its worker, is begun there when its time has come. Thread:
 * home. */
void arrivals_add(struct instance *inst, struct visitor *v);
/* arrivals_refuse_all - those in the line. Thread: home. */
void arrivals_refuse_all(struct instance *inst, enum np_reason reason);

#endif
