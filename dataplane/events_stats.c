/*
 * events_stats.c - statistics and metrics: what changed since it was last said, all once a minute.
 */
#include "events_priv.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

/* closes, and a row of counters.def each. */
#define METRICS_PER_INSTANCE (1 + COUNTER_COUNT)
#define VALUES_PER_INSTANCE  (NP_REASON_COUNT + COUNTER_COUNT)

static const char *const counter_names[COUNTER_COUNT] = {
#define NP_COUNTER(id, name, help) [COUNTER_##id] = name,
#include "tbl/counters.def"
#undef NP_COUNTER
};

/* Of one walk over the instances: what is collected and not sent yet. */
struct batch {
	struct events *e;
	bool full;
	uint32_t interval_ms;
	struct ctl_stats *stats; /* CTL_PAGE_MAX */
	size_t nstats, nmetrics;
	struct ctl_instance_metrics *instances; /* EVENTS_METRICS_MAX of each */
	struct ctl_metric *metrics;
	uint64_t *values;
};

void events_stats_forget(struct events *e, const char *id)
{
	struct seen *s = NULL;

	HASH_FIND_STR(e->seen, id, s);
	if (s != NULL) {
		HASH_DEL(e->seen, s);
		np_free(s);
	}
}

void events_stats_free(struct events *e)
{
	struct seen *s, *next;

	HASH_ITER (hh, e->seen, s, next) {
		HASH_DEL(e->seen, s);
		np_free(s);
	}
}

/* NULL without memory: the instance is then reported every time. */
static struct seen *seen_of(struct events *e, const char *id)
{
	struct seen *s = NULL;

	HASH_FIND_STR(e->seen, id, s);
	if (s != NULL)
		return s;
	s = np_calloc(1, sizeof(*s));
	if (s == NULL)
		return NULL;
	snprintf(s->id, sizeof(s->id), "%s", id);
	HASH_ADD_STR(e->seen, id, s);
	if (s->hh.tbl == NULL) {
		np_free(s);
		return NULL;
	}
	return s;
}

static bool stats_equal(const struct ctl_stats *a, const struct ctl_stats *b)
{
	return a->starts == b->starts && a->has_ping == b->has_ping && a->ping_ms == b->ping_ms &&
	       a->pool == b->pool && a->tcps == b->tcps && a->udps == b->udps &&
	       a->tcp_rx == b->tcp_rx && a->tcp_tx == b->tcp_tx && a->udp_rx == b->udp_rx &&
	       a->udp_tx == b->udp_tx && memcmp(&a->boot, &b->boot, sizeof(a->boot)) == 0;
}

static void send_stats(struct batch *b)
{
	struct ctl_event ev = {.kind = CTL_EVENT_STATS,
			       .interval_ms = b->interval_ms,
			       .full = b->full,
			       .n = b->nstats,
			       .stats = b->stats};

	if (b->nstats > 0)
		events_send(b->e, &ev);
	b->nstats = 0;
}

static void send_metrics(struct batch *b)
{
	struct ctl_event ev = {.kind = CTL_EVENT_METRICS,
			       .interval_ms = b->interval_ms,
			       .n = b->nmetrics,
			       .metrics = b->instances};

	if (b->nmetrics > 0)
		events_send(b->e, &ev);
	b->nmetrics = 0;
}

static uint64_t digest(const uint64_t *values, size_t n, uint64_t seed)
{
	uint64_t h = seed ^ 0xcbf29ce484222325u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ values[i]) * 0x100000001b3u ^ h >> 29;
	return h;
}

static void put_metrics(struct batch *b, struct seen *seen, const char *id, uint32_t starts)
{
	struct counter_sum sum;
	struct ctl_instance_metrics *m = &b->instances[b->nmetrics];
	struct ctl_metric *metric = &b->metrics[b->nmetrics * METRICS_PER_INSTANCE];
	uint64_t *values = &b->values[b->nmetrics * VALUES_PER_INSTANCE], d;

	if (!registry_sum(b->e->registry, id, &sum))
		return;
	memcpy(values, sum.closes, sizeof(sum.closes));
	memcpy(values + NP_REASON_COUNT, sum.total, sizeof(sum.total));
	d = digest(values, VALUES_PER_INSTANCE, starts);
	if (!b->full && seen != NULL && seen->metrics == d)
		return;
	if (seen != NULL)
		seen->metrics = d;
	memset(m, 0, sizeof(*m));
	snprintf(m->id, sizeof(m->id), "%s", id);
	m->starts = starts;
	m->metrics = metric;
	m->n = METRICS_PER_INSTANCE;
	snprintf(metric[0].name, sizeof(metric[0].name), "closes");
	metric[0].values = values;
	metric[0].n = NP_REASON_COUNT;
	for (int i = 0; i < COUNTER_COUNT; i++) {
		struct ctl_metric *c = &metric[1 + i];

		snprintf(c->name, sizeof(c->name), "%s", counter_names[i]);
		c->values = values + NP_REASON_COUNT + i;
		c->n = 1;
	}
	if (++b->nmetrics == EVENTS_METRICS_MAX)
		send_metrics(b);
}

static void put_instance(struct batch *b, const char *id)
{
	struct seen *seen = seen_of(b->e, id);
	struct ctl_stats now = {0};

	if (!registry_stats(b->e->registry, id, &now))
		return;
	put_metrics(b, seen, id, now.starts);
	if (!b->full && seen != NULL && stats_equal(&seen->stats, &now))
		return;
	if (seen != NULL)
		seen->stats = now;
	b->stats[b->nstats++] = now;
	if (b->nstats == CTL_PAGE_MAX)
		send_stats(b);
}

void events_stats_last(struct events *e, const char *id)
{
	struct ctl_stats now = {0};
	struct ctl_event ev = {.kind = CTL_EVENT_STATS, .n = 1, .stats = &now};
	struct seen *seen = NULL;

	if (e->stats_ms == 0 || event_edge_listeners(e->edge) == 0 || !events_is_wanted(e, id) ||
	    !registry_stats(e->registry, id, &now))
		return;
	HASH_FIND_STR(e->seen, id, seen);
	ev.interval_ms = (uint32_t)np_mono_diff_ms(np_mono_now(), e->last_stats);
	if (seen == NULL || !stats_equal(&seen->stats, &now))
		events_send(e, &ev);
}

void events_stats_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct events *e = arg;
	struct np_mono now = np_mono_now();
	struct batch b = {.e = e};
	const char *id = "";

	(void)fd;
	(void)what;
	if (event_edge_listeners(e->edge) == 0) /* who comes is told all */
		e->last_full = (struct np_mono){0};
	b.interval_ms = (uint32_t)np_mono_diff_ms(now, e->last_stats);
	b.full =
	    !np_mono_is_set(e->last_full) || np_mono_diff_ms(now, e->last_full) >= EVENTS_FULL_MS;
	e->last_stats = now;
	if (event_edge_listeners(e->edge) == 0)
		return;
	b.stats = np_calloc(CTL_PAGE_MAX, sizeof(*b.stats));
	b.instances = np_calloc(EVENTS_METRICS_MAX, sizeof(*b.instances));
	b.metrics = np_calloc(EVENTS_METRICS_MAX * METRICS_PER_INSTANCE, sizeof(*b.metrics));
	b.values = np_calloc(EVENTS_METRICS_MAX * VALUES_PER_INSTANCE, sizeof(*b.values));
	if (b.stats != NULL && b.instances != NULL && b.metrics != NULL && b.values != NULL) {
		if (b.full)
			e->last_full = now;
		while ((id = registry_next(e->registry, id)) != NULL)
			if (events_is_wanted(e, id))
				put_instance(&b, id);
		send_stats(&b);
		send_metrics(&b);
	}
	np_free(b.stats);
	np_free(b.instances);
	np_free(b.metrics);
	np_free(b.values);
}
