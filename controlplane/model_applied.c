/*
 * model_applied.c - what the store has becomes what is: applied, published, told to the node,
 * answered. In this order.
 */
#include "model_change.h"

#include "core/proof.h"
#include "model_priv.h"
#include "sse.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static void apply_create(struct change *c)
{
	struct model *m = c->m;
	struct model_instance *inst = c->saved;
	char id[STORE_ID_MAX + 1];

	snprintf(id, sizeof(id), "%s", inst->id);
	c->saved = NULL;
	if (model_add(m, inst) != NP_OK) { /* the next start has it */
		model_instance_free(inst);
		change_end(c, 503, "out of memory", NULL);
		return;
	}
	model_publish(m, SSE_CREATE, inst);
	model_material_begin(m, inst);
	m->ev.changed(m->arg, inst->id);
	change_end(c, 201, NULL, inst); /* as "stopped": what follows is an update */
	inst = model_get(m, id);
	if (inst != NULL)
		model_material_show(m, inst);
}

/* A combined PATCH gives one update for each part. */
static void publish_parts(struct change *c, const struct model_instance *inst, bool alias,
			  bool restart)
{
	unsigned n = (alias ? 1u : 0) + (restart ? 1u : 0) + (c->has_meta ? 1u : 0) +
		     (c->action == CTL_RESET ? 1u : 0);

	while (n-- > 0)
		model_publish(c->m, SSE_UPDATE, inst);
}

static void apply_patch(struct change *c, struct model_instance *inst)
{
	struct model *m = c->m;
	bool alias = strcmp(inst->alias, c->saved->alias) != 0;
	bool restart = inst->restart != c->saved->restart;
	bool served = inst->revision != c->saved->revision;

	model_saved_move(c->saved, inst);
	if (c->action == CTL_RESET)
		memset(inst->total, 0, sizeof(inst->total));
	publish_parts(c, inst, alias, restart);
	if (served) {
		model_show_waiting(m, inst);
		model_material_kick(inst);
		m->ev.changed(m->arg, inst->id);
	}
	change_end(c, 200, NULL, inst);
}

static void apply_put(struct change *c, struct model_instance *inst)
{
	struct model *m = c->m;

	model_old_keep(inst, c->saved);
	model_saved_move(c->saved, inst);
	if (!model_waits(inst))
		model_old_release(inst);
	if (inst->state != CTL_RUNNING)
		inst->state = CTL_STARTING;
	model_publish(m, SSE_UPDATE, inst);
	model_material_begin(m, inst);
	model_material_show(m, inst);
	m->ev.changed(m->arg, inst->id);
	change_end(c, 200, NULL, inst);
}

/* The node is told; what it says of the state is heard from now on. */
static void apply_material(struct change *c, struct model_instance *inst)
{
	struct model *m = c->m;
	enum model_status before = model_status(inst);
	bool waited = model_waits(inst);

	model_saved_move(c->saved, inst);
	if (!model_waits(inst))
		model_old_release(inst);
	if (waited && !model_waits(inst) && inst->desired == CTL_DESIRED_RUNNING)
		inst->state = CTL_STARTING;
	if (model_status(inst) != before)
		model_publish(m, SSE_UPDATE, inst);
	model_show_waiting(m, inst);
	m->ev.changed(m->arg, inst->id);
	change_end(c, 200, NULL, inst);
}

static void apply_delete(struct change *c, struct model_instance *inst)
{
	struct model *m = c->m;

	if (model_status(inst) != MODEL_STOPPED) {
		inst->refused[0] = '\0';
		inst->state = CTL_STOPPED;
		model_clear_gauges(inst);
		model_publish(m, SSE_UPDATE, inst);
	}
	model_publish(m, SSE_DELETE, inst);
	model_remove(m, inst);
	m->ev.changed(m->arg, c->id);
	change_end(c, 204, NULL, NULL);
}

static void apply_master(struct change *c)
{
	struct model *m = c->m;

	memcpy(m->key, c->key, sizeof(m->key));
	memcpy(m->alias, c->master_alias, sizeof(m->alias));
	m->master_busy = false;
	if (c->kind == CHANGE_KEY) {
		/* The answer first: its connection is one of those that the new key ends. */
		void (*changed)(void *arg) = m->ev.key_changed;
		void *arg = m->arg;

		change_end(c, 200, NULL, NULL);
		if (changed != NULL)
			changed(arg);
		return;
	}
	change_end(c, 200, NULL, NULL);
}

void change_on_stored(void *arg, enum np_err err, const struct np_diag *why)
{
	const struct np_diag none = {.text = ""}, *diag = why == NULL ? &none : why;
	struct change *c = arg;
	struct model *m = c->m;
	struct model_instance *inst;

	m->pending--;
	if (err == NP_OK && c->revision > m->committed)
		m->committed = c->revision;
	if (err == NP_OK && change_is_of_master(c)) {
		apply_master(c);
		return;
	}
	if (err == NP_OK && c->kind == CHANGE_CREATE) {
		apply_create(c);
		return;
	}
	inst = model_get(m, c->id);
	if (inst != NULL)
		inst->busy = false;
	if (change_is_of_master(c))
		m->master_busy = false;
	if (err != NP_OK) {
		np_log(NP_LOG_ERROR, NULL, "a change could not be stored, nothing was changed: %s",
		       diag->text);
		change_refused(c, err == NP_EINVAL ? NP_ESYS : err, diag);
	} else if (inst == NULL) {
		change_end(c, 404, "Instance not found", NULL);
	} else if (c->kind == CHANGE_PATCH) {
		apply_patch(c, inst);
	} else if (c->kind == CHANGE_PUT) {
		apply_put(c, inst);
	} else if (c->kind == CHANGE_MATERIAL) {
		apply_material(c, inst);
	} else {
		apply_delete(c, inst);
	}
}
