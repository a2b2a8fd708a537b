/*
 * tcping.h - can a TCP connection be made from here, and how long does it take?
 * Thread: the loop's; names are looked up on a thread per slot.
 */
#ifndef CP_TCPING_H
#define CP_TCPING_H

#include "base/err.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#define TCPING_SLOTS   10
#define TCPING_WAIT_MS 1000 /* for a slot */
#define TCPING_QUEUED  64   /* questions that wait for one; a further one is refused at once */
#define TCPING_TEXT    512

struct tcping;
struct tcping_probe;

struct tcping_result {
	bool connected;
	int64_t latency_ms;
	char error[TCPING_TEXT]; /* "" = none */
};
typedef void (*tcping_done_fn)(void *arg, const struct tcping_result *res);

/* tcping_new - @timeout_ms: for the lookup and the connection together. Errors: NP_ENOMEM. */
enum np_err tcping_new(struct event_base *base, int64_t timeout_ms,
		       struct tcping **out) NP_MUST_CHECK;
/* tcping_start - "host:port". @done is called later, exactly once, unless cancelled. NULL: no
 * memory, @done is not called. */
struct tcping_probe *tcping_start(struct tcping *t, const char *target, tcping_done_fn done,
				  void *arg);
void tcping_cancel(struct tcping_probe *p);
/* tcping_free - probes are answered with an error; lookups still running end by themselves. */
void tcping_free(struct tcping *t);

#endif
