/*
 * registry_mail.c - what travels between main and the home worker of a run: orders and settings there,
 * states, sockets and visitors back. See struct news for who may overtake whom.
 */
#include "registry_priv.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "runtime.h"
#include "visitor.h"

#include <stddef.h>
#include <string.h>

/* Travels to the home worker and through all workers; the old settings are nobody's behind it. */
struct settings_mail {
	struct mail mail;
	struct run *run;
	struct instance *inst;
	struct settings *settings;
	struct tls_identity identity; /* owned; or empty */
	unsigned next;
};

struct reload_mail {
	struct mail mail;
	struct instance *inst;
};

/* -- orders -- */

static void on_gone(struct worker *w, struct mail *m);
static void on_lent(struct worker *w, struct mail *m);

/* A mail's place in its run. */
#define RUN_OF(m, member) ((struct run *)((char *)(m)-offsetof(struct run, member)))

static void on_free(struct worker *w, struct mail *m)
{
	struct run *run = RUN_OF(m, end_mail);
	struct instance *inst = run->inst;

	(void)w;
	if (inst->released)
		instance_free(inst);
	else
		instance_discard(inst);
	m->deliver = on_gone;
	worker_post(run->registry->main, m);
}

static void on_lend(struct worker *w, struct mail *m)
{
	struct run *run = RUN_OF(m, lend_mail);

	(void)w;
	run->lent = np_calloc(1, sizeof(*run->lent));
	if (run->lent != NULL)
		instance_lend(run->inst, run->lent);
	m->deliver = on_lent;
	worker_post(run->registry->main, m);
}

static void on_orders(struct worker *w, struct mail *m)
{
	struct run *run = RUN_OF(m, order_mail);
	struct instance *inst = run->inst;
	unsigned orders = atomic_exchange(&run->orders, 0); /* it may be posted again from here */

	(void)w;
	if ((orders & ORDER_START) != 0)
		instance_start(inst);
	if ((orders & ORDER_DRAIN) != 0)
		instance_drain(inst, run->drain_ms, run->drain_reason);
	if ((orders & ORDER_STOP) != 0)
		instance_stop(inst);
	if ((orders & ORDER_RETIRE) != 0)
		instance_retire(inst);
}

static void post_home(struct run *run, struct mail *m, mail_fn deliver)
{
	m->deliver = deliver;
	worker_post(run->inst->home, m);
}

void run_order(struct run *run, enum order order, int64_t ms, enum np_reason reason)
{
	if ((run->ordered & order) != 0 || run->inst == NULL)
		return;
	run->ordered |= order;
	if (order == ORDER_DRAIN) {
		run->drain_ms = ms;
		run->drain_reason = reason;
	}
	if (order == ORDER_LEND)
		post_home(run, &run->lend_mail, on_lend);
	else if (order == ORDER_FREE)
		post_home(run, &run->end_mail, on_free);
	else if (atomic_fetch_or(&run->orders, order) == 0)
		post_home(run, &run->order_mail, on_orders);
}

static void on_reload(struct worker *w, struct mail *m)
{
	struct reload_mail *r = (struct reload_mail *)m;

	(void)w;
	instance_reload(r->inst);
	np_free(r);
}

void run_reload(struct run *run)
{
	struct reload_mail *m;

	if (run->inst == NULL || run->phase != RUN_STARTED)
		return;
	m = np_calloc(1, sizeof(*m));
	if (m == NULL) {
		np_log(NP_LOG_ERROR, run->inst->id, "out of memory");
		return;
	}
	m->mail.deliver = on_reload;
	m->inst = run->inst;
	worker_post(run->inst->home, &m->mail);
}

/* -- settings -- */

static void on_settle(struct worker *w, struct mail *m)
{
	struct settings_mail *s = (struct settings_mail *)m;

	(void)w;
	if (s->next < workers_count()) {
		worker_post(worker_at(s->next++), m);
		return;
	}
	settings_release(s->settings);
	np_free(s);
}

static void on_settings(struct worker *w, struct mail *m)
{
	struct settings_mail *s = (struct settings_mail *)m;

	s->settings = instance_configure(s->inst, s->settings,
					 s->identity.cert != NULL ? &s->identity : NULL);
	m->deliver = on_settle;
	on_settle(w, m);
}

enum np_err run_configure(struct run *run, struct np_config *cfg, struct tls_identity *identity)
{
	struct settings_mail *m = np_calloc(1, sizeof(*m));
	enum np_err err = m == NULL
			      ? NP_ENOMEM
			      : settings_new(cfg, runtime.env.fallback_interval_ms, &m->settings);

	if (err != NP_OK) {
		np_free(m);
		return err;
	}
	settings_release(run->settings);
	run->settings = settings_hold(m->settings);
	m->mail.deliver = on_settings;
	m->inst = run->inst;
	m->identity = *identity;
	*identity = (struct tls_identity){.cert = NULL};
	worker_post(run->inst->home, &m->mail);
	return NP_OK;
}

/* -- what comes back -- */

/* Bits of states, and the mode and flow of the newest. */
enum { NEWS_MODE_SHIFT = 8, NEWS_FLOW_SHIFT = 16 };

static unsigned news_word(const struct instance *inst)
{
	return 1u << inst->state | (unsigned)inst->mode << NEWS_MODE_SHIFT |
	       (unsigned)inst->flow << NEWS_FLOW_SHIFT;
}

static struct news news_of(unsigned word, enum instance_state state)
{
	return (struct news){.state = state,
			     .mode = (enum instance_mode)(word >> NEWS_MODE_SHIFT & 0xff),
			     .flow = (enum np_flow)(word >> NEWS_FLOW_SHIFT & 0xff)};
}

static void on_news(struct worker *w, struct mail *m)
{
	static const enum instance_state order[] = {INSTANCE_STARTING, INSTANCE_RUNNING,
						    INSTANCE_DRAINING, INSTANCE_ERROR};
	struct run *run = RUN_OF(m, news_mail);
	unsigned word = atomic_exchange(&run->news, 0); /* it may be posted again from here */

	(void)w;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		struct news n = news_of(word, order[i]);

		if ((word & 1u << order[i]) != 0 && !run->registry->freeing)
			run_on_news(run, &n);
	}
}

/* Behind all visitors that it handed on. */
static void on_stopped(struct worker *w, struct mail *m)
{
	struct run *run = RUN_OF(m, end_mail);
	struct news n = news_of(news_word(run->inst), INSTANCE_STOPPED);

	(void)w;
	if (!run->registry->freeing)
		run_on_news(run, &n);
}

void run_on_state(struct instance *inst, void *arg)
{
	struct run *run = arg;
	struct registry *r = run->registry;
	unsigned word = news_word(inst), was = atomic_load(&run->news);

	atomic_store(&run->state, (int)inst->state);
	if (r->base == NULL) {
		r->on_change(r->arg, "");
		return;
	}
	if ((run->said & 1u << inst->state) != 0)
		return;
	run->said |= 1u << inst->state;
	if (inst->state == INSTANCE_STOPPED) {
		run->end_mail.deliver = on_stopped;
		worker_post(r->main, &run->end_mail);
		return;
	}
	while (!atomic_compare_exchange_weak(&run->news, &was, word | (was & 0xff)))
		continue;
	if (was != 0)
		return;
	run->news_mail.deliver = on_news;
	worker_post(r->main, &run->news_mail);
}

/* -- visitors of one that was replaced -- */

static void on_visitor_left(struct worker *w, struct mail *m)
{
	struct visitor *v = (struct visitor *)((char *)m - offsetof(struct visitor, mail));

	(void)w;
	visitor_refuse(v, (enum np_reason)atomic_load(&v->inst->end_reason));
}

static void on_visitor_moved(struct worker *w, struct mail *m)
{
	struct visitor *v = (struct visitor *)((char *)m - offsetof(struct visitor, mail));

	(void)w;
	visitor_adopt(v, v->inst);
}

/*
 * On main. The old instance is still there: its STOPPED and so its freeing come behind this mail. The
 * new one's, if it comes to that, behind the mail that is posted here.
 */
static void on_visitor(struct worker *w, struct mail *m)
{
	struct visitor *v = (struct visitor *)((char *)m - offsetof(struct visitor, mail));
	struct run *run = v->inst->on_state_arg;
	struct run *heir = run->entry != NULL ? run->entry->cur : NULL;

	(void)w;
	if (run->registry->freeing) {
		visitor_drop(v);
		return;
	}
	if (heir == NULL || heir == run || heir->phase != RUN_STARTED) {
		v->mail.deliver = on_visitor_left;
		worker_post(v->inst->home, &v->mail);
		return;
	}
	instance_slot_give(v->inst);
	v->inst = heir->inst;
	v->mail.deliver = on_visitor_moved;
	worker_post(heir->inst->home, &v->mail);
}

void run_on_visitor(struct instance *inst, struct visitor *v)
{
	const struct run *run = inst->on_state_arg;

	v->mail.deliver = on_visitor;
	worker_post(run->registry->main, &v->mail);
}

static void on_lent(struct worker *w, struct mail *m)
{
	struct run *run = RUN_OF(m, lend_mail);

	(void)w;
	if (!run->registry->freeing)
		run_on_lent(run);
}

static void on_gone(struct worker *w, struct mail *m)
{
	struct run *run = RUN_OF(m, end_mail);

	(void)w;
	run->inst = NULL;
	if (!run->registry->freeing)
		run_forget(run);
}
