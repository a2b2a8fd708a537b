/*
 * worker.h - a thread with its own event base, its mailbox, its deferred tasks and its graveyard.
 *
 * Everything that happens to an object happens on the worker it belongs to. Other threads only post
 * mail. The queue's lock is the only lock in the data plane.
 */
#ifndef NP_WORKER_H
#define NP_WORKER_H

#include "base/err.h"
#include "base/mono.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

struct worker;
struct mail;
typedef void (*mail_fn)(struct worker *w, struct mail *m);

/*
 * A message between threads: first member of what travels, so posting never needs memory. Owned by
 * the receiver from worker_post on; @deliver runs on the receiver's thread and disposes of it.
 */
struct mail {
	struct mail *next;
	mail_fn deliver;
};

/* Work that goes on in the next loop pass, as an object's bounded share of this one is used up, or a
 * little later. */
struct task {
	struct task *prev, *next;
	void (*run)(struct worker *w, struct task *t);
	uint32_t since; /* the pass when it was queued; milliseconds when it is for later */
	bool queued, later;
};

/* A dead object that callers on the stack may still hold; freed after the loop pass. First member
 * or embedded. */
struct grave {
	struct grave *next;
	void (*release)(struct grave *g);
};

#define WORKERS_MAX	256
#define WORKER_LATER_MS 10
/* Bytes of the scratch buffer that the running callback of a worker may use; never kept across
 * callbacks. */
#define WORKER_SCRATCH (128 * 1024)

struct worker {
	unsigned index;
	struct event_base *base;
	uint8_t *scratch; /* owned; WORKER_SCRATCH bytes */
	uint32_t random;  /* state of worker_random */
	_Atomic uint32_t
	    load; /* sessions, handshakes, visitors on their way: for the choice of a worker */
	struct resolver *resolver;	     /* owned; see resolve.h */
	struct pipe_pool *pipes;	     /* owned; see pipe.h */
	struct udp_io *udp;		     /* owned; NULL before the first use; see udp_io.h */
	void (*udp_free)(struct udp_io *io); /* set with it */
	struct worker_private *p;
};

/* workers_start - @n threads (1..WORKERS_MAX). Thread: main, once. Errors: NP_ENOMEM, NP_ESYS. */
enum np_err workers_start(unsigned n) NP_MUST_CHECK;
/* workers_stop - ends all loops and joins the threads; mail still waiting is delivered first.
 * Thread: main. */
void workers_stop(void);
/*
 * worker_attach - a mailbox for a loop that is not a worker's (main): worker_post and
 * offload_submit take it as receiver; it has no shards, no resolver and no scratch. worker_detach
 * delivers what still waits and frees it: after workers_stop. Thread: the loop's. Errors:
 * NP_ENOMEM, NP_ESYS.
 */
enum np_err worker_attach(struct event_base *base, struct worker **out) NP_MUST_CHECK;
void worker_detach(struct worker *w);
unsigned workers_count(void);
struct worker *worker_at(unsigned index);
/*
 * worker_pick - the least loaded one, ties in turn. worker_after - the next in turn behind @w, but
 * none that carries clearly more than another; @w NULL: as worker_pick. Thread: any.
 */
struct worker *worker_pick(void);
struct worker *worker_after(const struct worker *w);
/* worker_self - the calling worker, NULL on other threads. */
struct worker *worker_self(void);

/* worker_post - @m is delivered on @w, in order of posting. Thread: any. Blocks: never. */
void worker_post(struct worker *w, struct mail *m);
/*
 * worker_defer - runs @t in the next pass (once, however often it is asked). worker_defer_later - in
 * WORKER_LATER_MS, unless it is deferred before. Thread: owner.
 */
void worker_defer(struct worker *w, struct task *t);
void worker_defer_later(struct worker *w, struct task *t);
void worker_undefer(struct worker *w, struct task *t);
/* worker_bury - releases @g after this pass. Thread: owner. */
void worker_bury(struct worker *w, struct grave *g);
/*
 * worker_now - the time. worker_pass_now - the time of some moment of this loop pass: for what is
 * noted for every read and write and compared in ticks. Thread: owner.
 */
struct np_mono worker_now(struct worker *w);
struct np_mono worker_pass_now(struct worker *w);
uint32_t worker_random(struct worker *w);

/* tv_of_ms, tv_of_us - a duration for libevent's timers. */
static inline struct timeval tv_of_us(int64_t us)
{
	return (struct timeval){.tv_sec = us / 1000000, .tv_usec = us % 1000000};
}
static inline struct timeval tv_of_ms(int64_t ms)
{
	return tv_of_us(ms * 1000);
}

#endif
