/*
 * events_stats.c - statistics and metrics: what changed since it was last said, all once a minute.
 */
#include "events_priv.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

/* closes, and a row of counters.def and histograms.def each. */
#define METRICS_PER_INSTANCE (1 + COUNTER_COUNT + HISTOGRAM_COUNT)
#define VALUES_PER_INSTANCE  (NP_REASON_COUNT + COUNTER_COUNT + HISTOGRAM_COUNT * HISTOGRAM_BUCKETS)

static const char *const counter_names[COUNTER_COUNT] = {
#define NP_COUNTER(id, name, help) [COUNTER_##id] = name,
#include "tbl/counters.def"
#undef NP_COUNTER
};

static const char *const histogram_names[HISTOGRAM_COUNT] = {
#define NP_HISTOGRAM(id, name, help) [HISTOGRAM_##id] = name,
#include "tbl/histograms.def"
#undef NP_HISTOGRAM
};

/* Digests in registry_view.said. */
enum { SAID_STATS = 0, SAID_METRICS };

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

static uint64_t stats_digest(const struct ctl_stats *s)
{
	const uint64_t v[] = {s->starts,      s->has_ping,   s->ping_ms,     s->pool,
			      s->tcps,	      s->udps,	     s->tcp_rx,	     s->tcp_tx,
			      s->udp_rx,      s->udp_tx,     s->boot.tcp_rx, s->boot.tcp_tx,
			      s->boot.udp_rx, s->boot.udp_tx};

	return digest(v, sizeof(v) / sizeof(v[0]), 0);
}

/* One that has counted nothing is left out. */
static void put_histogram(struct ctl_instance_metrics *m, int h, const struct counter_sum *sum,
			  uint64_t *values)
{
	struct ctl_metric *metric = &m->metrics[m->n];

	for (int i = 0; i < HISTOGRAM_BUCKETS && metric->n == 0; i++)
		metric->n = values[i] > 0 ? HISTOGRAM_BUCKETS : 0;
	if (metric->n == 0)
		return;
	snprintf(metric->name, sizeof(metric->name), "%s", histogram_names[h]);
	metric->values = values;
	metric->sum = sum->took[h].sum_us;
	metric->bounds = (uint64_t *)(uintptr_t)histogram_bounds; /* the event borrows all it has */
	metric->nbounds = HISTOGRAM_BOUNDS;
	m->n++;
}

static void put_metrics(struct batch *b, const struct registry_view *v)
{
	struct ctl_instance_metrics *m = &b->instances[b->nmetrics];
	struct ctl_metric *metric = &b->metrics[b->nmetrics * METRICS_PER_INSTANCE];
	uint64_t *values = &b->values[b->nmetrics * VALUES_PER_INSTANCE], d;

	memcpy(values, v->sum->closes, sizeof(v->sum->closes));
	memcpy(values + NP_REASON_COUNT, v->sum->total, sizeof(v->sum->total));
	for (int h = 0; h < HISTOGRAM_COUNT; h++)
		memcpy(values + NP_REASON_COUNT + COUNTER_COUNT + h * HISTOGRAM_BUCKETS,
		       v->sum->took[h].count, sizeof(v->sum->took[h].count));
	d = digest(values, VALUES_PER_INSTANCE, v->stats->starts);
	if (!b->full && v->said[SAID_METRICS] == d)
		return;
	v->said[SAID_METRICS] = d;
	memset(m, 0, sizeof(*m));
	memset(metric, 0, METRICS_PER_INSTANCE * sizeof(*metric));
	snprintf(m->id, sizeof(m->id), "%s", v->stats->id);
	m->starts = v->stats->starts;
	m->metrics = metric;
	m->n = 1 + COUNTER_COUNT;
	snprintf(metric[0].name, sizeof(metric[0].name), "closes");
	metric[0].values = values;
	metric[0].n = NP_REASON_COUNT;
	for (int i = 0; i < COUNTER_COUNT; i++) {
		struct ctl_metric *c = &metric[1 + i];

		snprintf(c->name, sizeof(c->name), "%s", counter_names[i]);
		c->values = values + NP_REASON_COUNT + i;
		c->n = 1;
	}
	for (int h = 0; h < HISTOGRAM_COUNT; h++)
		put_histogram(m, h, v->sum,
			      values + NP_REASON_COUNT + COUNTER_COUNT + h * HISTOGRAM_BUCKETS);
	if (++b->nmetrics == EVENTS_METRICS_MAX)
		send_metrics(b);
}

static void put_instance(void *arg, const struct registry_view *v)
{
	struct batch *b = arg;
	uint64_t d;

	if (!events_is_wanted(b->e, v->stats->id))
		return;
	put_metrics(b, v);
	d = stats_digest(v->stats);
	if (!b->full && v->said[SAID_STATS] == d)
		return;
	v->said[SAID_STATS] = d;
	b->stats[b->nstats++] = *v->stats;
	if (b->nstats == CTL_PAGE_MAX)
		send_stats(b);
}

static void put_last(void *arg, const struct registry_view *v)
{
	struct events *e = arg;
	struct ctl_stats stats = *v->stats;
	struct ctl_event ev = {.kind = CTL_EVENT_STATS, .n = 1, .stats = &stats};

	ev.interval_ms = (uint32_t)np_mono_diff_ms(np_mono_now(), e->last_stats);
	if (v->said[SAID_STATS] != stats_digest(&stats))
		events_send(e, &ev);
}

void events_stats_last(struct events *e, const char *id)
{
	if (e->stats_ms > 0 && event_edge_listeners(e->edge) > 0 && events_is_wanted(e, id))
		(void)registry_look_at(e->registry, id, put_last, e);
}

void events_stats_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct events *e = arg;
	struct np_mono now = np_mono_now();
	struct batch b = {.e = e};

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
		registry_look(e->registry, b.full, put_instance, &b);
		send_stats(&b);
		send_metrics(&b);
	}
	np_free(b.stats);
	np_free(b.instances);
	np_free(b.metrics);
	np_free(b.values);
}
