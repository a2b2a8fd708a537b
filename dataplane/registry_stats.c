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
	to->tcps += from->tcps;
	to->udps += from->udps;
}

static void take_off(struct counter_sum *from, const struct counter_sum *what)
{
	for (int i = 0; i < COUNTER_COUNT; i++)
		from->total[i] -= what->total[i];
	for (int i = 0; i < NP_REASON_COUNT; i++)
		from->closes[i] -= what->closes[i];
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
	uint64_t now[4];

	if (e == NULL)
		return false;
	memset(out, 0, sizeof(*out));
	snprintf(out->id, sizeof(out->id), "%s", e->spec.id);
	out->starts = e->starts;
	sum_all(e, &s);
	traffic(&s, now);
	out->tcps = s.tcps;
	out->udps = s.udps;
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
		if (run->news[INSTANCE_RUNNING].run != NULL && run->flow == NP_FLOW_FORWARD)
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
	snprintf(out->mode_reason, sizeof(out->mode_reason), "%s", run->inst->mode_reason);
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
