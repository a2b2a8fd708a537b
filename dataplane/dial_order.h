/*
 * dial_order.h - an egress dials in the order in which the visitors came, whichever workers have their
 * channels.
 *
 * The trace ids of a session's visitors count up (docs/PROTOCOL.md). An OPEN that is ahead of one not
 * seen yet waits for it, ORDER_WAIT_MS at most: it is on its way on another channel, or another worker
 * has not come to it. Ids that do not count up are dialled as they come, and so is everything in a storm.
 */
#ifndef NP_DIAL_ORDER_H
#define NP_DIAL_ORDER_H

#include "core/proxyproto.h"
#include "core/storm.h"
#include "worker.h"

#include <pthread.h>

#define ORDER_WAIT_MS	20
#define ORDER_AHEAD_MAX 64 /* farther ahead: something else is wrong, nothing is waited for */
#define ORDER_BASE_LEN	8

struct session;
struct order_wait;

/* Of one session with the other end; in struct peer. Its lock is held for a few instructions. */
struct dial_order {
	pthread_mutex_t lock; /* guards the rest */
	uint8_t base[ORDER_BASE_LEN];
	uint64_t last; /* dialled, and all before it as far as was waited for */
	struct order_wait *waiting;
	struct np_storm storm;
};

void dial_order_init(struct dial_order *o);
void dial_order_release(struct dial_order *o); /* nothing waits any more */

/* dial_order_trace - ingress: the id of visitor number @n (1, 2, ...) under @base. */
void dial_order_trace(const uint8_t base[ORDER_BASE_LEN], uint64_t n, uint8_t trace[NP_TRACE_LEN]);
/*
 * dial_order_enter - may @s, whose trace is set, be dialled now? false: session_order_go(s) follows, unless
 * dial_order_forget comes first. Thread: @w, the worker of @s.
 */
bool dial_order_enter(struct dial_order *o, struct worker *w, struct session *s);
/* dial_order_passed - the dial of @trace has begun, or never will: whoever waits for it goes on. */
void dial_order_passed(struct dial_order *o, const uint8_t trace[NP_TRACE_LEN]);
void dial_order_forget(struct session *s);

#endif
