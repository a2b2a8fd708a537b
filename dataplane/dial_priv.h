/*
 * dial_priv.h - inside of dial: what its life (dial.c) and its targets (dial_target.c) share.
 */
#ifndef NP_DIAL_PRIV_H
#define NP_DIAL_PRIV_H

#include "dial.h"
#include "resolve.h"

#define DIAL_MAGIC 0x6469616cU

struct dial_attempt {
	struct dial *dial;
	struct dial_target *target;
	struct event event;
	int fd;
	struct np_addr addr;
	struct np_mono started;
};

struct dial_target {
	struct dial *dial;
	size_t index; /* of dial_options.targets */
	uint16_t port;
	bool failed; /* every address refused, or none to be had: noted */
	bool resolving;
	struct np_mono started; /* not set = waits for its turn */
	struct resolve_request request;
	size_t n, next;
	struct np_addr *addr; /* owned */
	unsigned in_flight;
};

struct dial {
	unsigned magic;
	struct grave grave;
	struct worker *worker;
	dial_done_fn done;
	void *arg;
	struct np_balance *balance;	     /* borrowed from the caller until the end */
	const struct np_hostport *hostports; /* borrowed likewise; NULL = one fixed address */
	struct settings *settings;	     /* held: owner of both, or NULL */
	struct np_addr source;		     /* len 0 = any */
	int64_t dns_ms;
	struct np_mono deadline;
	struct event timer;
	struct task end_task;
	bool starting, ended;
	bool exhausted; /* no descriptor or memory here: nothing more is tried */
	unsigned in_flight;
	struct dial_attempt *attempt[DIAL_ATTEMPTS_MAX]; /* owned; NULL = free */
	struct dial_result result; /* of the failures so far; in the end of the dial */
	size_t current;		   /* the target started last; ntargets = none yet */
	size_t ntargets;
	struct dial_target target[]; /* in the order of the balance */
};

/* dial_step - something failed, was resolved, or the timer says so. It may end the dial. */
void dial_step(struct dial *d);

/* dial_note_failure, dial_note_errno, dial_note_no_memory - for the result: the one that says most is kept. */
NP_PRINTF(4, 5)
void dial_note_failure(struct dial *d, enum np_reason reason, int err, const char *fmt, ...);
void dial_note_errno(struct dial *d, const char *call, const struct np_addr *a, int err);
void dial_note_no_memory(struct dial *d);
/* dial_target_note - for the balance: this one failed. */
void dial_target_note(struct dial *d, struct dial_target *t);
/* dial_target_is_over - nothing more can come of it. */
bool dial_target_is_over(const struct dial_target *t);
/* dial_target_take - its addresses: @n of @list, as far as the source fits. */
void dial_target_take(struct dial_target *t, const struct np_addr *list, size_t n);
/*
 * dial_target_due - the target whose next address is to be tried now: the current one while it has
 * its second, then one that was not tried yet, then what is left of the earlier ones. NULL: none.
 */
struct dial_target *dial_target_due(struct dial *d, struct np_mono now);
bool dial_addresses_left(const struct dial *d);
bool dial_resolving(const struct dial *d);

#endif
