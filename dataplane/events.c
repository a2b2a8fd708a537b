/*
 * events.c - changes of instances, coalesced and batched; what was subscribed to. See events.h.
 */
#include "events.h"

#include "base/alloc.h"
#include "base/log.h"
#include "events_priv.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void events_send(struct events *e, struct ctl_event *ev)
{
	snprintf(ev->boot_id, sizeof(ev->boot_id), "%s", commands_boot_id(e->commands));
	snprintf(ev->node_id, sizeof(ev->node_id), "%s", commands_node_id(e->commands));
	ev->time_ms = wall_ms();
	ev->borrowed = true;
	event_edge_send(e->edge, ev);
}

/* -- changes -- */

static void send_statuses(struct events *e, struct ctl_status *statuses, size_t n)
{
	struct ctl_event ev = {.kind = CTL_EVENT_CHANGES, .n = n, .changes = statuses};

	if (n > 0)
		events_send(e, &ev);
}

/* The status now, or that there is none any more. */
static void look(struct events *e, const char *id, struct ctl_status *out)
{
	memset(out, 0, sizeof(*out));
	if (registry_status(e->registry, id, out))
		return;
	memset(out, 0, sizeof(*out));
	snprintf(out->id, sizeof(out->id), "%s", id);
	out->state = CTL_STOPPED;
	out->removed = true;
}

static void send_changes(struct events *e)
{
	size_t max = HASH_COUNT(e->changes), n = 0;
	struct ctl_status *statuses;
	struct change *c, *next;

	if (max > CTL_CHUNK_MAX)
		max = CTL_CHUNK_MAX;
	statuses = max > 0 ? np_calloc(max, sizeof(*statuses)) : NULL;
	HASH_ITER (hh, e->changes, c, next) {
		if (statuses == NULL)
			e->lost_changes++;
		else
			look(e, c->id, &statuses[n++]);
		HASH_DEL(e->changes, c);
		np_free(c);
		if (n == max && statuses != NULL) {
			send_statuses(e, statuses, n);
			n = 0;
		}
	}
	send_statuses(e, statuses, n);
	np_free(statuses);
	if (e->lost_changes > 0) { /* the receiver lists all */
		struct ctl_event ev = {.kind = CTL_EVENT_OVERFLOW, .dropped = e->lost_changes};

		events_send(e, &ev);
		e->lost_changes = 0;
	}
}

static void on_changes(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	send_changes(arg);
}

void events_changed(struct events *e, const char *id)
{
	const struct timeval soon = tv_of_ms(EVENTS_BATCH_MS);
	struct change *c = NULL;

	if (registry_is_removed(e->registry, id))
		events_stats_last(e, id);
	HASH_FIND_STR(e->changes, id, c);
	if (c == NULL) {
		c = np_calloc(1, sizeof(*c));
		if (c != NULL) {
			snprintf(c->id, sizeof(c->id), "%s", id);
			HASH_ADD_STR(e->changes, id, c);
		}
		if (c == NULL || c->hh.tbl == NULL) {
			np_free(c);
			e->lost_changes++;
		}
	}
	if (!evtimer_pending(e->changes_timer, NULL))
		evtimer_add(e->changes_timer, &soon);
}

/* -- Subscribe -- */

bool events_is_wanted(const struct events *e, const char *id)
{
	struct wanted *w = NULL;

	if (e->wanted == NULL || id[0] == '\0')
		return true;
	HASH_FIND_STR(e->wanted, id, w);
	return w != NULL;
}

static void forget_wanted(struct events *e)
{
	struct wanted *w, *next;

	HASH_ITER (hh, e->wanted, w, next) {
		HASH_DEL(e->wanted, w);
		np_free(w);
	}
}

static void want(struct events *e, const char *id)
{
	struct wanted *w = NULL;

	HASH_FIND_STR(e->wanted, id, w);
	if (w != NULL || HASH_COUNT(e->wanted) >= EVENTS_IDS_MAX)
		return;
	w = np_calloc(1, sizeof(*w));
	if (w == NULL)
		return;
	snprintf(w->id, sizeof(w->id), "%s", id);
	HASH_ADD_STR(e->wanted, id, w);
	if (w->hh.tbl == NULL)
		np_free(w);
}

static void set_stats_ms(struct events *e, int64_t ms)
{
	struct timeval every;

	if (ms > 0 && ms < EVENTS_STATS_MIN_MS)
		ms = EVENTS_STATS_MIN_MS;
	if (ms > EVENTS_STATS_MAX_MS)
		ms = EVENTS_STATS_MAX_MS;
	e->stats_ms = ms;
	e->last_stats = np_mono_now();
	event_del(e->stats_timer);
	every = tv_of_ms(ms);
	if (ms > 0)
		event_add(e->stats_timer, &every);
}

void events_subscribe(struct events *e, const struct ctl_request *r)
{
	forget_wanted(e);
	for (size_t i = 0; i < r->subscribe.nids; i++)
		want(e, r->subscribe.ids[i]);
	if (r->subscribe.has_stats_ms) {
		/* Who asks anew knows nothing yet: the next batch is a full one. */
		e->last_full = (struct np_mono){0};
		set_stats_ms(e, r->subscribe.stats_ms);
	}
	feed_subscribe(e, r);
}

void events_set_lease(struct events *e, uint32_t lease_ms)
{
	struct timeval every = tv_of_ms(lease_ms);

	event_del(e->lease_timer);
	event_add(e->lease_timer, &every);
	event_active(e->lease_timer, EV_TIMEOUT, 0);
}

void events_lease_now(struct events *e)
{
	event_active(e->lease_timer, EV_TIMEOUT, 0);
}

/* -- life -- */

static void timers_free(struct events *e)
{
	struct event *const timers[] = {e->changes_timer, e->stats_timer, e->lease_timer};

	for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++)
		if (timers[i] != NULL)
			event_free(timers[i]);
}

struct events *events_new(struct event_base *base, struct registry *registry,
			  const struct commands *commands, struct event_edge *edge,
			  int64_t stats_ms)
{
	struct events *e = np_calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	e->base = base;
	e->registry = registry;
	e->commands = commands;
	e->edge = edge;
	e->changes_timer = evtimer_new(base, on_changes, e);
	e->stats_timer = event_new(base, -1, EV_PERSIST, events_stats_on_timer, e);
	e->lease_timer = event_new(base, -1, EV_PERSIST, events_lease_on_timer, e);
	if (e->changes_timer == NULL || e->stats_timer == NULL || e->lease_timer == NULL ||
	    feed_start(e) != NP_OK) {
		timers_free(e);
		np_free(e);
		return NULL;
	}
	set_stats_ms(e, stats_ms);
	events_set_lease(e, COMMANDS_LEASE_MS);
	return e;
}

void events_free(struct events *e)
{
	if (e == NULL)
		return;
	send_changes(e);
	feed_stop(e);
	forget_wanted(e);
	timers_free(e);
	np_free(e);
}
