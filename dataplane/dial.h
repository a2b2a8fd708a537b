/*
 * dial.h - one TCP connection to the first of several targets that answers.
 *
 * Targets are tried in the order given; each is resolved, its addresses are tried in RFC 8305
 * order. The next address starts after DIAL_NEXT_ADDR_MS, the next target after DIAL_NEXT_TARGET_MS
 * without an answer, or at once when an attempt fails. The first that connects wins, the others are
 * closed. All of it has timeout_ms.
 */
#ifndef NP_DIAL_H
#define NP_DIAL_H

#include "core/addr.h"
#include "core/balance.h"
#include "reason.h"
#include "settings.h"
#include "worker.h"

#define DIAL_NEXT_ADDR_MS   250
#define DIAL_NEXT_TARGET_MS 1000
#define DIAL_ATTEMPTS_MAX   8 /* connects in flight of one dial */

struct dial_options {
	const struct np_hostport *targets; /* borrowed until the end of the dial */
	size_t ntargets;
	struct np_balance *balance;  /* borrowed; NULL = in the order given, nothing noted */
	struct settings *settings;   /* targets and balance are its: held until the end; or NULL */
	const struct np_addr *fixed; /* instead of targets: this one address (copied) */
	const struct np_addr
	    *source; /* NULL = any; strict: if it cannot be bound the attempt fails (copied) */
	int64_t dns_ms, timeout_ms;
};

struct dial_result {
	int fd; /* connected, non-blocking, TCP_NODELAY; the callee owns it; -1 on failure */
	enum np_reason reason; /* on failure: DIAL_REFUSED, DIAL_TIMEOUT, DIAL_FAILED,
				  RESOLVE_FAILED, NO_DESCRIPTORS, NO_MEMORY */
	int sys_errno;	       /* of the last failed attempt, 0 = none */
	bool host_answered;    /* somebody answered, if only to refuse */
	size_t target;	       /* index of the winner */
	struct np_addr addr;
	int64_t connect_us;
	char text[160]; /* on failure, for the log: "connect 10.0.0.1:80: Connection refused" */
};

/* dial_options_of - for the targets of an instance as @st says. */
struct dial_options dial_options_of(struct settings *st, int64_t timeout_ms);

struct dial;
typedef void (*dial_done_fn)(void *arg, const struct dial_result *r);
/*
 * dial_start - @done is called exactly once, never from inside dial_start, unless dial_cancel comes
 * first. Thread: owner worker. Errors: NP_ENOMEM.
 */
enum np_err dial_start(struct worker *w, const struct dial_options *o, dial_done_fn done, void *arg,
		       struct dial **out) NP_MUST_CHECK;
void dial_cancel(struct dial *d);
/* dial_targets - for the log: whom it dials, as configured; in @done, too. */
void dial_targets(const struct dial *d, char *out, size_t max);

/* dial_udp - a connected, non-blocking UDP socket to @addr from @source (NULL = any). fd or -1 with
 * errno. */
int dial_udp(const struct np_addr *addr, const struct np_addr *source);

#endif
