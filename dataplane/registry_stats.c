/*
 * registry_stats.c - what the entries say of themselves: status, statistics, sums over the runs that
 * are over.
 */
#include "registry_priv.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

/* -- sums -- */

static void add(struct counter_sum *to, const struct counter_sum *from)
{
	for (int i = 0; i < COUNTER_COUNT; i++)
		to->total[i] += from->total[i];
	for (int i = 0; i < NP_REASON_COUNT; i++)
		to->closes[i] += from->closes[i];
	for (int h = 0; h < HISTOGRAM_COUNT; h++) {
		for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
			to->took[h].count[i] += from->took[h].count[i];
		to->took[h].sum_us += from->took[h].sum_us;
	}
	to->tcps += from->tcps;
	to->udps += from->udps;
}

static void take_off(struct counter_sum *from, const struct counter_sum *what)
{
	for (int i = 0; i < COUNTER_COUNT; i++)
		from->total[i] -= what->total[i];
	for (int i = 0; i < NP_REASON_COUNT; i++)
		from->closes[i] -= what->closes[i];
	for (int h = 0; h < HISTOGRAM_COUNT; h++) {
		for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
			from->took[h].count[i] -= what->took[h].count[i];
		from->took[h].sum_us -= what->took[h].sum_us;
	}
}

static bool is_nothing(const struct counter_sum *s)
{
	static const struct counter_sum nothing;

	return memcmp(s, &nothing, sizeof(*s)) == 0;
}

static void add_run(struct counter_sum *to, const struct run *run)
{
	struct counter_sum s;

	/* One that is over was added to the past already. */
	if (run == NULL || run->inst == NULL || run->phase == RUN_OVER)
		return;
	instance_sum(run->inst, &s);
	add(to, &s);
}

static void sum_all(const struct entry *e, struct counter_sum *out)
{
	const struct run *run;

	*out = (struct counter_sum){0};
	add_run(out, e->cur);
	add_run(out, e->next);
	DL_FOREACH (e->old, run)
		add_run(out, run);
	if (e->past != NULL)
		add(out, e->past);
}

void sums_bury(struct run *run)
{
	struct entry *e = run->entry;
	struct counter_sum s;

	if (e == NULL || run->inst == NULL)
		return;
	instance_sum(run->inst, &s);
	s.tcps = s.udps = 0;
	if (is_nothing(&s))
		return;
	if (e->past == NULL)
		e->past = np_calloc(1, sizeof(*e->past));
	if (e->past != NULL)
		add(e->past, &s);
}

static void traffic(const struct counter_sum *s, uint64_t out[4])
{
	out[0] = s->total[COUNTER_TCP_RX];
	out[1] = s->total[COUNTER_TCP_TX];
	out[2] = s->total[COUNTER_UDP_RX];
	out[3] = s->total[COUNTER_UDP_TX];
}

void sums_restart(struct entry *e)
{
	struct counter_sum s;

	sum_all(e, &s);
	traffic(&s, e->base);
	moved_mark(e->number);
}

void sums_reset(struct entry *e)
{
	struct counter_sum s;

	sum_all(e, &s);
	traffic(&s, e->base);
	s.tcps = s.udps = 0;
	if (e->zero == NULL)
		e->zero = np_calloc(1, sizeof(*e->zero));
	if (e->zero != NULL)
		*e->zero = s;
	moved_mark(e->number);
}

/* -- what moved -- */

static void count(struct entry *e, const struct counter_sum *s)
{
	struct counted *all = &e->registry->sums;
	uint64_t now[4];

	traffic(s, now);
	if (e->counted == NULL) {
		if ((now[0] | now[1] | now[2] | now[3]) == 0 && s->tcps == 0 && s->udps == 0)
			return;
		e->counted = np_calloc(1, sizeof(*e->counted));
		if (e->counted == NULL)
			return; /* it is tried again with what moves next */
	}
	for (int i = 0; i < 4; i++) {
		all->boot[i] += now[i] - e->counted->boot[i];
		e->counted->boot[i] = now[i];
	}
	all->tcps += s->tcps - e->counted->tcps;
	all->udps += s->udps - e->counted->udps;
	e->counted->tcps = s->tcps;
	e->counted->udps = s->udps;
}

void sums_forget(struct entry *e)
{
	struct counter_sum s;

	sum_all(e, &s);
	s.tcps = s.udps = 0;
	count(e, &s);
	if (e->moving > 0)
		DL_DELETE2(e->registry->moving, e, mprev, mnext);
	e->moving = 0;
}

/* Looked at in this round and the next, see moved.h. */
static void on_mark(void *arg, uint32_t number)
{
	struct registry *r = arg;
	struct entry *e =
	    r->by_number != NULL && number <= REGISTRY_MAX ? r->by_number[number] : NULL;

	if (e == NULL)
		return;
	if (e->moving == 0)
		DL_APPEND2(r->moving, e, mprev, mnext);
	e->moving = 2;
}

static void put_stats(const struct entry *e, const struct counter_sum *s, struct ctl_stats *out)
{
	uint64_t now[4];

	memset(out, 0, sizeof(*out));
	snprintf(out->id, sizeof(out->id), "%s", e->spec.id);
	out->starts = e->starts;
	traffic(s, now);
	out->tcps = s->tcps;
	out->udps = s->udps;
	out->tcp_rx = now[0] - e->base[0];
	out->tcp_tx = now[1] - e->base[1];
	out->udp_rx = now[2] - e->base[2];
	out->udp_tx = now[3] - e->base[3];
	out->has_boot = true;
	out->boot = (struct ctl_traffic){now[0], now[1], now[2], now[3]};
	if (e->cur != NULL && e->cur->inst != NULL && e->cur->phase == RUN_STARTED) {
		const struct instance *inst = e->cur->inst;
		int64_t us =
		    atomic_load(e->cur->mode == MODE_SINGLE ? &inst->dial_us : &inst->ping_us);

		out->has_ping = us >= 0;
		out->ping_ms = us < 0 ? 0 : (uint32_t)((us + 500) / 1000);
		out->pool = atomic_load_explicit(&inst->pool_seen, memory_order_relaxed);
	}
}

static void look(struct entry *e, registry_look_fn fn, void *arg)
{
	struct counter_sum sum;
	struct ctl_stats stats;
	struct registry_view v = {.stats = &stats, .sum = &sum, .said = e->said};

	sum_all(e, &sum);
	count(e, &sum);
	put_stats(e, &sum, &stats);
	if (e->zero != NULL)
		take_off(&sum, e->zero);
	fn(arg, &v);
}

void registry_look(struct registry *r, bool all, registry_look_fn fn, void *arg)
{
	struct entry *e, *next;

	moved_take(on_mark, r);
	for (size_t i = 0; all && i < r->n; i++)
		look(r->entries[i], fn, arg);
	DL_FOREACH_SAFE2(r->moving, e, next, mnext)
	{
		if (!all)
			look(e, fn, arg);
		if (--e->moving == 0)
			DL_DELETE2(r->moving, e, mprev, mnext);
	}
}

bool registry_look_at(struct registry *r, const char *id, registry_look_fn fn, void *arg)
{
	struct entry *e = registry_find(r, id);

	if (e != NULL)
		look(e, fn, arg);
	return e != NULL;
}

void registry_load(struct registry *r, struct ctl_lease *out)
{
	struct counter_sum sum;
	struct entry *e;

	moved_take(on_mark, r);
	DL_FOREACH2(r->moving, e, mnext)
	{
		sum_all(e, &sum);
		count(e, &sum);
	}
	out->instances = (uint32_t)r->n;
	out->running = r->running;
	out->errors = r->failed;
	out->tcps = r->sums.tcps;
	out->udps = r->sums.udps;
	out->tcp_rx = r->sums.boot[0];
	out->tcp_tx = r->sums.boot[1];
	out->udp_rx = r->sums.boot[2];
	out->udp_tx = r->sums.boot[3];
}

bool registry_sum(struct registry *r, const char *id, struct counter_sum *out)
{
	const struct entry *e = registry_find(r, id);

	if (e == NULL)
		return false;
	sum_all(e, out);
	if (e->zero != NULL)
		take_off(out, e->zero);
	return true;
}

bool registry_stats(struct registry *r, const char *id, struct ctl_stats *out)
{
	const struct entry *e = registry_find(r, id);
	struct counter_sum s;

	if (e == NULL)
		return false;
	sum_all(e, &s);
	put_stats(e, &s, out);
	return true;
}

/* -- status -- */

static void put_address(const struct np_hostport *hp, struct ctl_status *out)
{
	char text[NP_HOST_MAX + 16];
	size_t have = strlen(out->listen);

	np_hostport_format(hp, text, sizeof(text));
	snprintf(out->listen + have, sizeof(out->listen) - have, "%s%.100s", have > 0 ? "," : "",
		 text);
}

static void put_listen(const struct run *run, struct ctl_status *out)
{
	const struct np_config *cfg = &run->settings->cfg;

	switch (run->mode) {
	case MODE_SINGLE:
	case MODE_SERVER_FORWARD:
		put_address(&cfg->tunnel, out);
		break;
	case MODE_SERVER_REVERSE:
		put_address(&cfg->tunnel, out);
		put_address(&cfg->targets[0], out);
		break;
	case MODE_CLIENT:
		if (run->was_running && run->flow == NP_FLOW_FORWARD)
			put_address(&cfg->targets[0], out);
		break;
	case MODE_UNDECIDED:
		break;
	}
}

bool registry_status(struct registry *r, const char *id, struct ctl_status *out)
{
	const struct entry *e = registry_find(r, id);
	const struct run *run;

	if (e == NULL)
		return false;
	memset(out, 0, sizeof(*out));
	snprintf(out->id, sizeof(out->id), "%s", e->spec.id);
	out->revision = e->spec.revision;
	out->state = e->state;
	out->since_ms = e->since_ms;
	out->starts = e->starts;
	out->removed = e->removed;
	if (e->error != NULL)
		snprintf(out->error, sizeof(out->error), "%s", e->error);
	out->nack_revision = e->nack_revision;
	if (e->nack_text != NULL)
		snprintf(out->nack_text, sizeof(out->nack_text), "%s", e->nack_text);
	run = e->cur;
	if (run == NULL || run->phase != RUN_STARTED || run->mode == MODE_UNDECIDED)
		return true;
	out->mode = instance_mode_number(run->mode);
	snprintf(out->mode_reason, sizeof(out->mode_reason), "%s",
		 run->inst->mode_reason != NULL ? run->inst->mode_reason : "");
	put_listen(run, out);
	return true;
}

bool registry_is_removed(struct registry *r, const char *id)
{
	const struct entry *e = registry_find(r, id);

	return e == NULL || e->removed;
}

void registry_counts(struct registry *r, struct registry_counts *out)
{
	const struct run *run;

	*out = (struct registry_counts){0};
	for (size_t i = 0; i < r->n; i++) {
		const struct entry *e = r->entries[i];
		enum instance_state state = INSTANCE_STOPPED;

		out->all++;
		if (r->base == NULL) {
			if (e->cur != NULL)
				state = (enum instance_state)atomic_load(&e->cur->state);
			out->stopped += state == INSTANCE_STOPPED;
			out->failed += state == INSTANCE_ERROR;
			out->running += state == INSTANCE_RUNNING;
			continue;
		}
		out->stopped += e->state == CTL_STOPPED;
		out->failed += e->state == CTL_ERROR;
		out->running += e->state == CTL_RUNNING;
		DL_FOREACH (e->old, run)
			out->ending += run->phase != RUN_OVER;
	}
	DL_FOREACH (r->orphans, run)
		out->ending += run->phase != RUN_OVER;
}
