/*
 * registry_run.c - one struct instance from its making to its freeing: the helper thread that makes
 * it, the orders to its home worker, what comes back. What is wanted of it decides registry_life.c.
 */
#include "registry_priv.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "runtime.h"
#include "visitor.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

/* What instance_new needs, on its way to a helper thread and back. */
struct make_job {
	struct offload_job job;
	struct run *run;
	char id[INSTANCE_ID_MAX + 1];
	struct np_config cfg;
	struct ctl_spec spec; /* owned; its material */
	bool submitted;	      /* the helpers' from then on */
	struct worker *home;
	struct instance *inst;
	enum np_err err;
	struct np_diag diag;
};

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

static void run_give_up(struct run *run)
{
	struct instance *inst = run->inst;

	if (inst->released)
		instance_free(inst);
	else
		instance_discard(inst);
	worker_post(run->registry->main, &run->gone_mail);
}

static void run_lend(struct run *run)
{
	run->lent = np_calloc(1, sizeof(*run->lent));
	if (run->lent != NULL)
		instance_lend(run->inst, run->lent);
	worker_post(run->registry->main, &run->lent_mail);
}

static void on_order(struct worker *w, struct mail *m)
{
	struct order_mail *o = (struct order_mail *)m;
	struct run *run = (struct run *)((char *)(o - o->order) - offsetof(struct run, orders));
	struct instance *inst = run->inst;

	(void)w;
	switch (o->order) {
	case ORDER_START:
		instance_start(inst);
		break;
	case ORDER_DRAIN:
		instance_drain(inst, run->drain_ms, run->drain_reason);
		break;
	case ORDER_STOP:
		instance_stop(inst);
		break;
	case ORDER_RETIRE:
		instance_retire(inst);
		break;
	case ORDER_LEND:
		run_lend(run);
		break;
	case ORDER_FREE:
		run_give_up(run);
		break;
	case ORDER_COUNT:
		break;
	}
}

void run_order(struct run *run, enum order order, int64_t ms, enum np_reason reason)
{
	struct order_mail *o = &run->orders[order];

	if (o->sent || run->inst == NULL)
		return;
	o->sent = true;
	o->mail.deliver = on_order;
	o->order = order;
	if (order == ORDER_DRAIN) {
		run->drain_ms = ms;
		run->drain_reason = reason;
	}
	worker_post(run->inst->home, &o->mail);
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

static void on_news(struct worker *w, struct mail *m)
{
	struct news_mail *n = (struct news_mail *)m;
	struct run *run = (struct run *)((char *)(n - n->state) - offsetof(struct run, news));

	(void)w;
	if (!run->registry->freeing)
		run_on_news(run, n);
}

static void run_on_state(struct instance *inst, void *arg)
{
	struct run *run = arg;
	struct registry *r = run->registry;
	struct news_mail *n = &run->news[inst->state];

	atomic_store(&run->state, (int)inst->state);
	if (r->base == NULL) {
		r->on_change(r->arg, "");
		return;
	}
	if (n->sent)
		return;
	n->sent = true;
	n->state = inst->state;
	n->mode = inst->mode;
	n->flow = inst->flow;
	n->mail.deliver = on_news;
	worker_post(r->main, &n->mail);
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

static void run_on_visitor(struct instance *inst, struct visitor *v)
{
	const struct run *run = inst->on_state_arg;

	v->mail.deliver = on_visitor;
	worker_post(run->registry->main, &v->mail);
}

static void on_lent(struct worker *w, struct mail *m)
{
	struct run *run = (struct run *)((char *)m - offsetof(struct run, lent_mail));

	(void)w;
	if (!run->registry->freeing)
		run_on_lent(run);
}

void run_forget(struct run *run)
{
	struct entry *e = run->entry;

	if (e != NULL)
		DL_DELETE(e->old, run);
	else
		DL_DELETE(run->registry->orphans, run);
	run_release(run);
	if (e != NULL)
		entry_step(e);
}

static void on_gone(struct worker *w, struct mail *m)
{
	struct run *run = (struct run *)((char *)m - offsetof(struct run, gone_mail));

	(void)w;
	run->inst = NULL;
	if (!run->registry->freeing)
		run_forget(run);
}

/* -- making -- */

static void job_free(struct make_job *j)
{
	np_config_release(&j->cfg);
	ctl_spec_release(&j->spec);
	np_free(j);
}

static void job_drop(struct offload_job *job)
{
	struct make_job *j = (struct make_job *)job;

	j->run->job = NULL;
	job_free(j);
}

static void job_lose(struct offload_job *job)
{
	struct make_job *j = (struct make_job *)job;

	if (j->err == NP_OK)
		instance_discard(j->inst);
	job_free(j);
}

static void job_run(struct offload_job *job)
{
	struct make_job *j = (struct make_job *)job;

	struct instance_material material = material_of(&j->spec, &j->cfg);

	j->err = instance_new(j->id, &j->cfg, &material, j->home, &j->inst, &j->diag);
	np_wipe(&material.auth, sizeof(material.auth));
}

static void line_go_on(struct registry *r);

/* Back on main, or never left it. */
static void job_finish(struct make_job *j)
{
	struct run *run = j->run;
	struct np_diag diag = j->diag;
	enum np_err err = j->err;

	run->job = NULL;
	run->inst = j->inst;
	job_free(j);
	if (err == NP_OK) {
		run->phase = RUN_MADE;
		run->settings = settings_hold(instance_settings(run->inst));
		run->inst->controlled = run->registry->base != NULL;
		run->inst->on_state = run_on_state;
		run->inst->on_state_arg = run;
		if (run->entry != NULL)
			run->inst->mark = run->entry->number;
		run->inst->on_visitor = run_on_visitor;
	} else if (diag.text[0] == '\0') {
		np_diag_set(&diag, err, "url", "%s", np_err_text(err));
	}
	if (!run->registry->freeing && run->registry->base != NULL)
		run_on_made(run, err, &diag);
}

static void on_job_done(struct worker *w, struct mail *m)
{
	struct make_job *j = (struct make_job *)m;
	struct registry *r = j->run->registry;

	(void)w;
	r->making--;
	job_finish(j);
	line_go_on(r);
}

static bool is_heavy(const struct make_job *j)
{
	const struct np_config *c = &j->cfg;

	return c->role == NP_ROLE_SERVER && j->spec.auth_k.len == 0 &&
	       np_key_kind(c->key, c->key_len, c->key_given, c->tunnel.port) == NP_KEY_WORD;
}

static void job_submit(struct make_job *j)
{
	struct registry *r = j->run->registry;

	j->job.class = is_heavy(j) ? OFFLOAD_HEAVY : OFFLOAD_LIGHT;
	j->job.run = job_run;
	j->job.drop = job_drop;
	j->job.lose = job_lose;
	j->job.reply_to = r->main;
	j->job.done.deliver = on_job_done;
	r->making++;
	j->submitted = true;
	if (offload_submit(&j->job) == NP_OK)
		return;
	j->submitted = false;
	r->making--;
	j->err = NP_ESYS;
	np_diag_set(&j->diag, j->err, "url", "no helper thread to make the instance");
	job_finish(j);
}

static void line_go_on(struct registry *r)
{
	while (r->line != NULL && r->making < REGISTRY_MAKING_MAX && !r->freeing) {
		struct run *run = r->line;

		r->line = run->line;
		if (r->line == NULL)
			r->line_end = &r->line;
		job_submit(run->job);
	}
}

void run_begin(struct run *run)
{
	struct registry *r = run->registry;
	struct make_job *j = run->job;

	if (r->base != NULL && instance_new_blocks(&j->cfg)) {
		run->line = NULL;
		*r->line_end = run;
		r->line_end = &run->line;
		line_go_on(r);
		return;
	}
	job_run(&j->job);
	job_finish(j);
}

struct run *run_new(struct registry *r, struct entry *e, struct np_config *cfg)
{
	struct run *run = np_calloc(1, sizeof(*run));
	struct make_job *j = np_calloc(1, sizeof(*j));

	if (run == NULL || j == NULL || ctl_spec_copy(&e->spec, &j->spec) != NP_OK) {
		np_free(run);
		np_free(j);
		return NULL;
	}
	run->registry = r;
	run->entry = e;
	run->job = j;
	run->change = e->change;
	run->lent_mail.deliver = on_lent;
	run->gone_mail.deliver = on_gone;
	j->run = run;
	snprintf(j->id, sizeof(j->id), "%s", e->spec.id);
	j->home = worker_at(r->next_home++ % workers_count());
	j->cfg = *cfg;
	memset(cfg, 0, sizeof(*cfg));
	return run;
}

enum np_err run_make_here(struct registry *r, struct entry *e, struct np_config *cfg,
			  struct run **out, struct np_diag *diag)
{
	struct run *run = run_new(r, e, cfg);
	struct make_job *j;
	enum np_err err;

	if (run == NULL)
		return NP_ENOMEM;
	j = run->job;
	job_run(&j->job);
	err = j->err;
	*diag = err != NP_OK && j->diag.text[0] != '\0' ? j->diag : *diag;
	job_finish(j);
	if (err != NP_OK) {
		run_release(run);
		return err;
	}
	*out = run;
	return NP_OK;
}

/* -- its end -- */

void run_end(struct run *run, int64_t ms, enum np_reason reason)
{
	switch (run->phase) {
	case RUN_MAKING:
		run->abandoned = true;
		break;
	case RUN_MADE:
		run->phase = RUN_OVER;
		run_order(run, ORDER_FREE, 0, reason);
		break;
	case RUN_STARTED:
	case RUN_ENDING:
		run->phase = RUN_ENDING;
		if (ms > 0)
			run_order(run, ORDER_DRAIN, ms, reason);
		else
			run_order(run, ORDER_STOP, 0, reason);
		break;
	case RUN_OVER:
		break;
	}
}

void run_release(struct run *run)
{
	settings_release(run->settings);
	handed_free(run->lent);
	/* One that stood in line; one that a helper did not finish in time is left to the process. */
	if (run->job != NULL && !run->job->submitted)
		job_free(run->job);
	np_free(run);
}
