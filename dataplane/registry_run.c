/*
 * registry_run.c - one struct instance's making, on a helper thread where that takes time, and its end.
 * What travels between main and its home worker is in registry_mail.c; what is wanted of it decides
 * registry_life.c.
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
	struct worker *home;
	struct instance *inst;
	enum np_err err;
	struct np_diag diag;
};

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
	registry_made(run->registry);
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

	/* Hundreds of clients that derive their keys do not keep a server's listener waiting. */
	j->job.class = is_heavy(j) ? OFFLOAD_SOON : OFFLOAD_LIGHT;
	j->job.run = job_run;
	j->job.drop = job_drop;
	j->job.lose = job_lose;
	j->job.reply_to = r->main;
	j->job.done.deliver = on_job_done;
	r->making++;
	j->run->job_is_out = true;
	if (offload_submit(&j->job) == NP_OK)
		return;
	j->run->job_is_out = false;
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

void run_release(struct run *run)
{
	settings_release(run->settings);
	handed_free(run->lent);
	/* One that stood in line; one that a helper did not finish in time is left to the process. */
	if (run->job != NULL && !run->job_is_out)
		job_free(run->job);
	np_free(run);
}
