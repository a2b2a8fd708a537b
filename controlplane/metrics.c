/*
 * metrics.c - measurements of instances and processes as Prometheus text. See metrics.h.
 *
 * Samples of one name have to stand together, so the instances are walked once a name; their
 * labels are made only once. Counters that are 0 are left out, except those that everybody draws.
 */
#define HASH_NONFATAL_OOM 1
#include "metrics.h"

#include "base/alloc.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <uthash.h>

#include "base/banned.h"

enum metrics_counter {
#define NP_COUNTER(id, name, help) METRICS_##id,
#include "tbl/counters.def"
#undef NP_COUNTER
	METRICS_COUNTERS
};

enum metrics_histogram {
#define NP_HISTOGRAM(id, name, help) METRICS_##id,
#include "tbl/histograms.def"
#undef NP_HISTOGRAM
	METRICS_HISTOGRAMS
};

static const struct {
	const char *name, *help;
} counter_rows[METRICS_COUNTERS] = {
#define NP_COUNTER(id, name, help) [METRICS_##id] = {name, help},
#include "tbl/counters.def"
#undef NP_COUNTER
};

static const char *const reason_names[METRICS_REASONS_MAX] = {
#define NP_REASON(id, value, name, text) [value] = name,
#include "tbl/reasons.def"
#undef NP_REASON
};

static const struct {
	const char *name, *help;
} histogram_rows[METRICS_HISTOGRAMS] = {
#define NP_HISTOGRAM(id, name, help) [METRICS_##id] = {name, help},
#include "tbl/histograms.def"
#undef NP_HISTOGRAM
};

/* As the node counted; its bounds may be others than ours. */
struct histogram {
	size_t n;			      /* bounds; there is one count more */
	uint64_t bounds[METRICS_BUCKETS_MAX]; /* microseconds, rising */
	uint64_t counts[METRICS_BUCKETS_MAX + 1];
	uint64_t sum_us;
};

struct row {
	UT_hash_handle hh;
	char id[CTL_ID_MAX + 1];
	uint64_t counters[METRICS_COUNTERS];
	uint64_t closes[METRICS_REASONS_MAX];
	struct histogram *took[METRICS_HISTOGRAMS]; /* owned; NULL = nothing yet */
	bool alive;				    /* the model has it; used while rendering */
};

struct metrics {
	struct row *rows;
	bool has_lease;
	struct ctl_lease lease;
};

/* One instance while rendering. */
struct shown {
	const struct model_instance *inst;
	const struct row *row; /* NULL: the node has said nothing yet */
	size_t off, len;       /* in labels: id="…",alias="…",type="…" */
};

struct rendering {
	struct np_buf *out;
	struct np_buf labels;
	struct shown *list;
	size_t n;
};

enum np_err metrics_new(struct metrics **out)
{
	struct metrics *m = np_calloc(1, sizeof(*m));

	if (m == NULL)
		return NP_ENOMEM;
	*out = m;
	return NP_OK;
}

static void row_free(struct metrics *m, struct row *r)
{
	HASH_DEL(m->rows, r);
	for (int h = 0; h < METRICS_HISTOGRAMS; h++)
		np_free(r->took[h]);
	np_free(r);
}

void metrics_free(struct metrics *m)
{
	struct row *r, *tmp;

	if (m == NULL)
		return;
	HASH_ITER (hh, m->rows, r, tmp)
		row_free(m, r);
	np_free(m);
}

void metrics_forget(struct metrics *m, const char *id)
{
	struct row *r = NULL;

	HASH_FIND_STR(m->rows, id, r);
	if (r != NULL)
		row_free(m, r);
}

static struct row *row_of(struct metrics *m, const char *id)
{
	struct row *r = NULL;

	HASH_FIND_STR(m->rows, id, r);
	if (r != NULL || HASH_COUNT(m->rows) >= METRICS_INSTANCES_MAX)
		return r;
	r = np_calloc(1, sizeof(*r));
	if (r == NULL)
		return NULL;
	(void)snprintf(r->id, sizeof(r->id), "%s", id);
	HASH_ADD_STR(m->rows, id, r);
	if (r->hh.tbl == NULL) {
		np_free(r);
		return NULL;
	}
	return r;
}

static bool is_histogram(const struct ctl_metric *metric)
{
	if (metric->nbounds == 0 || metric->nbounds > METRICS_BUCKETS_MAX ||
	    metric->n != metric->nbounds + 1)
		return false;
	for (size_t i = 1; i < metric->nbounds; i++)
		if (metric->bounds[i] <= metric->bounds[i - 1])
			return false;
	return true;
}

static void take_histogram(struct histogram **to, const struct ctl_metric *metric)
{
	if (!is_histogram(metric))
		return;
	if (*to == NULL)
		*to = np_calloc(1, sizeof(**to));
	if (*to == NULL)
		return; /* the next report tries again */
	(*to)->n = metric->nbounds;
	memcpy((*to)->bounds, metric->bounds, metric->nbounds * sizeof(*metric->bounds));
	memcpy((*to)->counts, metric->values, metric->n * sizeof(*metric->values));
	(*to)->sum_us = metric->sum;
}

static void take(struct row *r, const struct ctl_metric *metric)
{
	if (strcmp(metric->name, "closes") == 0) {
		for (size_t i = 0; i < metric->n && i < METRICS_REASONS_MAX; i++)
			r->closes[i] = metric->values[i];
		return;
	}
	for (size_t h = 0; h < METRICS_HISTOGRAMS; h++)
		if (strcmp(metric->name, histogram_rows[h].name) == 0)
			take_histogram(&r->took[h], metric);
	for (size_t i = 0; i < METRICS_COUNTERS; i++) {
		if (metric->n > 0 && strcmp(metric->name, counter_rows[i].name) == 0) {
			r->counters[i] = metric->values[0];
			return;
		}
	}
}

void metrics_observe(struct metrics *m, const struct ctl_instance_metrics *im)
{
	struct row *r = row_of(m, im->id);

	if (r == NULL)
		return;
	for (size_t i = 0; i < im->n; i++)
		take(r, &im->metrics[i]);
}

void metrics_lease(struct metrics *m, const struct ctl_lease *lease)
{
	m->lease = *lease;
	m->has_lease = true;
}

/* -- text -- */

static void put_label(struct np_buf *b, const char *name, const char *value)
{
	np_buf_putf(b, "%s=\"", name);
	for (; *value != '\0'; value++) {
		if (*value == '\\' || *value == '"')
			np_buf_put_u8(b, '\\');
		if (*value == '\n')
			np_buf_put_str(b, "\\n");
		else
			np_buf_put_u8(b, (uint8_t)*value);
	}
	np_buf_put_u8(b, '"');
}

static void put_family(struct np_buf *b, const char *name, const char *type, const char *help)
{
	np_buf_putf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_one(struct np_buf *b, const char *name, const char *type, const char *help,
		    uint64_t value)
{
	put_family(b, name, type, help);
	np_buf_putf(b, "%s %" PRIu64 "\n", name, value);
}

static void put_real(struct np_buf *b, const char *name, const char *type, const char *help,
		     double value)
{
	put_family(b, name, type, help);
	np_buf_putf(b, "%s %.3f\n", name, value);
}

/* name{labels of @s, more} up to the value. */
static void put_sample(const struct rendering *r, const struct shown *s, const char *name,
		       const char *more)
{
	np_buf_put_str(r->out, name);
	np_buf_put_u8(r->out, '{');
	np_buf_put(r->out, np_buf_ptr(&r->labels) + s->off, s->len);
	np_buf_put_str(r->out, more);
	np_buf_put_str(r->out, "} ");
}

static void put_sample_u64(const struct rendering *r, const struct shown *s, const char *name,
			   const char *more, uint64_t value)
{
	put_sample(r, s, name, more);
	np_buf_putf(r->out, "%" PRIu64 "\n", value);
}

static void put_gauges(const struct rendering *r)
{
	static const char status[] = "nodepass_instance_status", mode[] = "nodepass_instance_mode",
			  ping[] = "nodepass_instance_ping_seconds",
			  pool[] = "nodepass_instance_pool_connections",
			  sessions[] = "nodepass_instance_sessions";
	char more[32];
	size_t i;

	put_family(r->out, status, "gauge", "1 for the status that the instance has");
	for (i = 0; i < r->n; i++) {
		(void)snprintf(more, sizeof(more), ",status=\"%s\"",
			       model_status_name(r->list[i].inst));
		put_sample_u64(r, &r->list[i], status, more, 1);
	}
	put_family(r->out, mode, "gauge", "mode in effect, 0 while it is not known");
	for (i = 0; i < r->n; i++)
		put_sample_u64(r, &r->list[i], mode, "", r->list[i].inst->mode);
	put_family(r->out, ping, "gauge", "round trip to the other end or the target");
	for (i = 0; i < r->n; i++) {
		uint32_t ms = r->list[i].inst->ping_ms;

		put_sample(r, &r->list[i], ping, "");
		np_buf_putf(r->out, "%u.%03u\n", ms / 1000, ms % 1000);
	}
	put_family(r->out, pool, "gauge", "idle data channels");
	for (i = 0; i < r->n; i++)
		put_sample_u64(r, &r->list[i], pool, "", r->list[i].inst->pool);
	put_family(r->out, sessions, "gauge", "sessions that run now");
	for (i = 0; i < r->n; i++) {
		put_sample_u64(r, &r->list[i], sessions, ",proto=\"tcp\"", r->list[i].inst->tcps);
		put_sample_u64(r, &r->list[i], sessions, ",proto=\"udp\"", r->list[i].inst->udps);
	}
}

static void put_bytes(const struct rendering *r)
{
	static const char name[] = "nodepass_instance_bytes_total";
	static const char *const more[MODEL_COUNTERS] = {
	    [MODEL_TCP_RX] = ",proto=\"tcp\",direction=\"rx\"",
	    [MODEL_TCP_TX] = ",proto=\"tcp\",direction=\"tx\"",
	    [MODEL_UDP_RX] = ",proto=\"udp\",direction=\"rx\"",
	    [MODEL_UDP_TX] = ",proto=\"udp\",direction=\"tx\"",
	};

	put_family(r->out, name, "counter", "payload bytes on the outer side, as clients see them");
	for (size_t i = 0; i < r->n; i++)
		for (size_t k = 0; k < MODEL_COUNTERS; k++)
			put_sample_u64(r, &r->list[i], name, more[k], r->list[i].inst->total[k]);
}

static void put_closes(const struct rendering *r)
{
	static const char name[] = "nodepass_instance_sessions_closed_total";
	char more[64];

	put_family(r->out, name, "counter", "sessions that ended, by reason, since the last start");
	for (size_t i = 0; i < r->n; i++) {
		const struct row *row = r->list[i].row;

		for (size_t k = 0; row != NULL && k < METRICS_REASONS_MAX; k++) {
			if (row->closes[k] == 0)
				continue;
			if (reason_names[k] != NULL)
				(void)snprintf(more, sizeof(more), ",reason=\"%s\"",
					       reason_names[k]);
			else /* of a newer node */
				(void)snprintf(more, sizeof(more), ",reason=\"%zu\"", k);
			put_sample_u64(r, &r->list[i], name, more, row->closes[k]);
		}
	}
}

static void put_counter(const struct rendering *r, enum metrics_counter c)
{
	bool always = c == METRICS_TCP_SESSIONS || c == METRICS_UDP_SESSIONS;
	char name[80];

	(void)snprintf(name, sizeof(name), "nodepass_instance_%s_total", counter_rows[c].name);
	put_family(r->out, name, "counter", counter_rows[c].help);
	for (size_t i = 0; i < r->n; i++) {
		const struct row *row = r->list[i].row;

		if (row != NULL && (always || row->counters[c] > 0))
			put_sample_u64(r, &r->list[i], name, "", row->counters[c]);
	}
}

static void put_histogram(const struct rendering *r, const struct shown *s, const char *name,
			  const struct histogram *h)
{
	char part[96], more[64];
	uint64_t all = 0;

	(void)snprintf(part, sizeof(part), "%s_bucket", name);
	for (size_t i = 0; i < h->n; i++) {
		all += h->counts[i];
		(void)snprintf(more, sizeof(more), ",le=\"%.9g\"", (double)h->bounds[i] / 1e6);
		put_sample_u64(r, s, part, more, all);
	}
	all += h->counts[h->n];
	put_sample_u64(r, s, part, ",le=\"+Inf\"", all);
	(void)snprintf(part, sizeof(part), "%s_sum", name);
	put_sample(r, s, part, "");
	np_buf_putf(r->out, "%.6f\n", (double)h->sum_us / 1e6);
	(void)snprintf(part, sizeof(part), "%s_count", name);
	put_sample_u64(r, s, part, "", all);
}

static void put_histograms(const struct rendering *r, size_t which)
{
	char name[80];

	(void)snprintf(name, sizeof(name), "nodepass_instance_%s_seconds",
		       histogram_rows[which].name);
	put_family(r->out, name, "histogram", histogram_rows[which].help);
	for (size_t i = 0; i < r->n; i++) {
		const struct row *row = r->list[i].row;

		if (row != NULL && row->took[which] != NULL)
			put_histogram(r, &r->list[i], name, row->took[which]);
	}
}

static void put_node(const struct metrics *m, const struct metrics_view *v, struct np_buf *b)
{
	const struct ctl_lease *l = &m->lease;

	put_one(b, "nodepass_dataplane_up", "gauge", "1 while the data plane is connected",
		v->node_up);
	put_one(b, "nodepass_dataplane_synced", "gauge", "1 while it holds the desired state",
		v->synced);
	if (!v->node_up || !m->has_lease)
		return;
	put_one(b, "nodepass_dataplane_resident_memory_bytes", "gauge", "resident memory",
		l->mem_rss);
	put_one(b, "nodepass_dataplane_open_fds", "gauge", "open file descriptors", l->fds);
	put_real(b, "nodepass_dataplane_cpu_ratio", "gauge", "processor time used, 1 = one core",
		 l->cpu_permille / 1000.0);
	put_one(b, "nodepass_dataplane_instances", "gauge", "instances", l->instances);
	put_one(b, "nodepass_dataplane_instances_running", "gauge", "instances that run",
		l->running);
	put_one(b, "nodepass_dataplane_instances_failed", "gauge", "instances in error", l->errors);
	put_one(b, "nodepass_dataplane_applied_revision", "gauge",
		"revision of the state that it holds", l->applied_revision);
	put_family(b, "nodepass_dataplane_sessions", "gauge", "sessions that run now");
	np_buf_putf(b, "nodepass_dataplane_sessions{proto=\"tcp\"} %u\n", l->tcps);
	np_buf_putf(b, "nodepass_dataplane_sessions{proto=\"udp\"} %u\n", l->udps);
	put_family(b, "nodepass_dataplane_bytes_total", "counter",
		   "payload bytes since the data plane started");
	np_buf_putf(b,
		    "nodepass_dataplane_bytes_total{proto=\"tcp\",direction=\"rx\"} %" PRIu64
		    "\nnodepass_dataplane_bytes_total{proto=\"tcp\",direction=\"tx\"} %" PRIu64
		    "\n",
		    l->tcp_rx, l->tcp_tx);
	np_buf_putf(b,
		    "nodepass_dataplane_bytes_total{proto=\"udp\",direction=\"rx\"} %" PRIu64
		    "\nnodepass_dataplane_bytes_total{proto=\"udp\",direction=\"tx\"} %" PRIu64
		    "\n",
		    l->udp_rx, l->udp_tx);
}

static void put_process(const struct metrics_view *v, struct np_buf *b)
{
	const struct metrics_process *p = &v->process;

	put_family(b, "nodepass_build_info", "gauge", "1; the version is a label");
	np_buf_put_str(b, "nodepass_build_info{version=\"v" NP_VERSION "\"} 1\n");
	if (p->known) {
		put_real(b, "process_cpu_seconds_total", "counter",
			 "processor time of the control plane", p->cpu_s);
		put_one(b, "process_resident_memory_bytes", "gauge", "resident memory", p->rss);
		put_one(b, "process_virtual_memory_bytes", "gauge", "virtual memory", p->vsize);
		put_one(b, "process_threads", "gauge", "threads", p->threads);
		put_one(b, "process_open_fds", "gauge", "open file descriptors", p->fds);
		put_one(b, "process_max_fds", "gauge", "limit of file descriptors", p->max_fds);
		put_real(b, "process_start_time_seconds", "gauge", "start, seconds since 1970",
			 p->start_s);
	}
	put_one(b, "nodepass_http_connections", "gauge", "connections to the API",
		v->http_connections);
	put_one(b, "nodepass_events_subscribers", "gauge", "event streams that are open",
		v->sse.subscribers);
	put_one(b, "nodepass_events_published_total", "counter", "events made", v->sse.events);
	put_one(b, "nodepass_events_dropped_logs_total", "counter",
		"log events that slow readers did not get", v->sse.dropped_logs);
	put_one(b, "nodepass_events_coalesced_total", "counter",
		"updates that were replaced by a newer one before a reader took them",
		v->sse.coalesced);
	put_one(b, "nodepass_events_evicted_total", "counter",
		"event streams that were aborted because of their reader", v->sse.evicted);
	put_one(b, "nodepass_log_dropped_total", "counter", "log lines that were dropped",
		np_log_dropped());
}

/* The instances with their labels; rows of others are forgotten. */
static enum np_err collect(struct metrics *m, const struct model *model, struct rendering *r)
{
	const struct model_instance *inst = NULL;
	size_t count = model_count(model);
	struct row *row, *tmp;

	r->list = np_calloc(count + 1, sizeof(*r->list));
	if (r->list == NULL)
		return NP_ENOMEM;
	HASH_ITER (hh, m->rows, row, tmp)
		row->alive = false;
	while (r->n < count && (inst = model_next(model, inst)) != NULL) {
		struct shown *s = &r->list[r->n++];

		row = NULL;
		HASH_FIND_STR(m->rows, inst->id, row);
		if (row != NULL)
			row->alive = true;
		*s = (struct shown){.inst = inst, .row = row, .off = np_buf_len(&r->labels)};
		put_label(&r->labels, "id", inst->id);
		np_buf_put_u8(&r->labels, ',');
		put_label(&r->labels, "alias", inst->alias);
		np_buf_put_u8(&r->labels, ',');
		put_label(&r->labels, "type", np_role_name(inst->role));
		s->len = np_buf_len(&r->labels) - s->off;
	}
	HASH_ITER (hh, m->rows, row, tmp) {
		if (!row->alive)
			row_free(m, row);
	}
	return r->labels.err;
}

void metrics_render(struct metrics *m, const struct metrics_view *v, struct np_buf *out)
{
	struct rendering r = {.out = out};
	enum np_err err;

	np_buf_init(&r.labels, METRICS_TEXT_MAX);
	err = collect(m, v->model, &r);
	if (err == NP_OK) {
		put_process(v, out);
		put_node(m, v, out);
		put_gauges(&r);
		put_bytes(&r);
		put_closes(&r);
		for (unsigned c = METRICS_TCP_SESSIONS; c < METRICS_COUNTERS; c++)
			put_counter(&r, (enum metrics_counter)c);
		for (size_t h = 0; h < METRICS_HISTOGRAMS; h++)
			put_histograms(&r, h);
	} else {
		out->err = err;
	}
	np_buf_release(&r.labels);
	np_free(r.list);
}
