/*
 * model_change.c - changes that are asked for: checked, and given to the store. What follows when the
 * store has one is in model_applied.c.
 */
#include "model_change.h"

#include "model_priv.h"

#include "base/alloc.h"
#include "core/proof.h"
#include "sse.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/banned.h"

static void change_begin(struct change *c);

static void change_free(struct change *c)
{
	if (c->url != NULL)
		np_wipe(c->url, strlen(c->url));
	np_free(c->url);
	np_free(c->alias);
	model_meta_release(&c->meta);
	model_instance_free(c->saved);
	np_wipe(c->key, sizeof(c->key));
	np_free(c);
}

bool change_is_of_master(const struct change *c)
{
	return c->kind == CHANGE_ALIAS || c->kind == CHANGE_KEY;
}

/* The next change of the same object, if one waits. */
static void begin_waiting(struct model *m, const char *id, bool master)
{
	struct change *c, *next;

	DL_FOREACH_SAFE (m->waiting, c, next) {
		if (change_is_of_master(c) != master || (!master && strcmp(c->id, id) != 0))
			continue;
		DL_DELETE(m->waiting, c);
		change_begin(c);
		return;
	}
}

void change_end(struct change *c, int status, const char *text, const struct model_instance *inst)
{
	struct model *m = c->m;
	bool master = change_is_of_master(c);
	char id[STORE_ID_MAX + 1];

	snprintf(id, sizeof(id), "%s", c->id);
	m->queued--;
	if (c->done != NULL)
		c->done(c->arg, status, text, inst);
	change_free(c);
	begin_waiting(m, id, master);
}

void change_refused(struct change *c, enum np_err err, const struct np_diag *diag)
{
	if (err == NP_ENOMEM)
		change_end(c, 503, "out of memory", NULL);
	else if (err == NP_EAGAIN)
		change_end(c, 503, "the store has too much to do, try again", NULL);
	else if (err == NP_EINVAL)
		change_end(c, 400, diag->text, NULL);
	else
		change_end(c, 500, diag->text[0] != '\0' ? diag->text : np_err_text(err), NULL);
}

/* -- storing -- */

static enum np_err store_instance(struct change *c)
{
	struct model *m = c->m;
	struct store_op ops[] = {
	    {.row = {.kind = STORE_META, .id = "revision"}},
	    {.remove = c->kind == CHANGE_DELETE, .row = {.kind = STORE_INSTANCE}},
	    {.remove = c->kind == CHANGE_DELETE, .row = {.kind = STORE_COUNTERS}},
	};
	size_t n = 2;
	struct np_buf b[3];
	enum np_err err;

	for (int i = 0; i < 3; i++)
		np_buf_init(&b[i], STORE_BLOB_MAX);
	model_row_revision(m->revision, &b[0]);
	snprintf(ops[1].row.id, sizeof(ops[1].row.id), "%s", c->id);
	snprintf(ops[2].row.id, sizeof(ops[2].row.id), "%s", c->id);
	if (c->kind == CHANGE_DELETE) {
		n = 3;
	} else {
		model_row_instance(c->saved, &b[1]);
		ops[1].row.revision = c->saved->revision;
	}
	if (c->action == CTL_RESET) { /* c->saved has the node's last totals, and 0 of its own */
		model_row_counters(c->saved, &b[2]);
		n = 3;
	}
	for (int i = 0; i < 3; i++) {
		ops[i].row.blob = np_buf_ptr(&b[i]);
		ops[i].row.len = np_buf_len(&b[i]);
	}
	err = b[0].err != NP_OK ? b[0].err : b[1].err != NP_OK ? b[1].err : b[2].err;
	if (err == NP_OK)
		err = store_txn(m->store, ops, n, change_on_stored, c);
	for (int i = 0; i < 3; i++)
		np_buf_wipe(&b[i]);
	return err;
}

static void give_to_store(struct change *c, struct model_instance *inst)
{
	struct np_diag diag = {.text = ""};
	enum np_err err = store_instance(c);

	if (err != NP_OK) {
		change_refused(c, err, &diag);
		return;
	}
	if (inst != NULL)
		inst->busy = true;
	c->m->pending++;
}

/* The copy that is changed; a new revision when the node has to hear of it. */
static enum np_err prepare_saved(struct change *c, const struct model_instance *inst, bool served)
{
	c->saved = model_instance_new(c->id);
	if (c->saved == NULL || model_saved_copy(inst, c->saved) != NP_OK)
		return NP_ENOMEM;
	c->saved->seen = inst->seen;
	if (served)
		c->saved->revision = c->revision = ++c->m->revision;
	return NP_OK;
}

/* -- each kind -- */

static enum np_err new_id(const struct model *m, char id[STORE_ID_MAX + 1])
{
	do {
		enum np_err err = model_random_hex(id, MODEL_ID_LEN);

		if (err != NP_OK)
			return err;
	} while (model_get(m, id) != NULL);
	return NP_OK;
}

static enum np_err take_validated(struct change *c, struct model_instance *to, struct np_diag *diag)
{
	struct validated v;
	enum np_err err = validate_url(c->url, &c->m->defaults, &v, diag);

	if (err != NP_OK)
		return err;
	np_wipe(to->url, strlen(to->url));
	np_wipe(to->config, strlen(to->config));
	np_free(to->url);
	np_free(to->config);
	to->url = v.url;
	to->config = v.config;
	to->role = v.role;
	to->refused[0] = '\0';
	return model_material_fill(c->m, to);
}

static void begin_create(struct change *c)
{
	struct np_diag diag = {.text = ""};
	enum np_err err;

	if (c->m->count >= MODEL_INSTANCES_MAX) {
		change_end(c, 400, "too many instances: the limit is 10000", NULL);
		return;
	}
	err = new_id(c->m, c->id);
	if (err == NP_OK) {
		c->saved = model_instance_new(c->id);
		err = c->saved == NULL ? NP_ENOMEM : take_validated(c, c->saved, &diag);
	}
	if (err == NP_OK && c->alias != NULL) {
		np_free(c->saved->alias);
		c->saved->alias = np_strdup(c->alias);
		err = c->saved->alias == NULL ? NP_ENOMEM : NP_OK;
	}
	if (err != NP_OK) {
		change_refused(c, err, &diag);
		return;
	}
	c->saved->restart = true;
	c->saved->desired = CTL_DESIRED_RUNNING;
	c->saved->revision = c->revision = ++c->m->revision;
	give_to_store(c, NULL);
}

/* What the action wants of the node; false: nothing is to be done. */
static bool wants_node(const struct change *c, const struct model_instance *inst)
{
	switch (c->action) {
	case CTL_START: /* again, too, when it failed: at once instead of at its next retry */
		return inst->desired != CTL_DESIRED_RUNNING || inst->state == CTL_ERROR;
	case CTL_STOP:
		return inst->desired != CTL_DESIRED_STOPPED;
	case CTL_RESTART:
		return true;
	case CTL_RESET:
	case CTL_VERB_UNSPECIFIED:
		break;
	}
	return false;
}

static enum np_err patch_saved(struct change *c, const struct model_instance *inst)
{
	struct model_instance *to = c->saved;
	bool node = wants_node(c, inst);

	if (node && c->action != CTL_STOP && inst->desired == CTL_DESIRED_RUNNING)
		to->restart_nonce++;
	if (node)
		to->desired = c->action == CTL_STOP ? CTL_DESIRED_STOPPED : CTL_DESIRED_RUNNING;
	if (c->has_restart)
		to->restart = c->restart;
	if (c->alias != NULL && c->alias[0] != '\0') {
		np_free(to->alias);
		to->alias = np_strdup(c->alias);
		if (to->alias == NULL)
			return NP_ENOMEM;
	}
	if (c->has_peer && model_meta_copy_peer(&c->meta, &to->meta) != NP_OK)
		return NP_ENOMEM;
	if (c->has_tags && model_meta_copy_tags(&c->meta, &to->meta) != NP_OK)
		return NP_ENOMEM;
	return NP_OK;
}

static void begin_patch(struct change *c, struct model_instance *inst)
{
	struct np_diag diag = {.text = ""};
	enum np_err err = prepare_saved(c, inst, wants_node(c, inst));
	struct np_buf meta;

	if (err == NP_OK)
		err = patch_saved(c, inst);
	if (err == NP_OK) {
		np_buf_init(&meta, STORE_BLOB_MAX);
		model_meta_render(&c->saved->meta, NULL, &meta);
		if (meta.err != NP_OK || np_buf_len(&meta) > MODEL_META_MAX)
			err = np_diag_set(&diag, NP_EINVAL, "meta",
					  "Meta exceeds maximum length %d bytes", MODEL_META_MAX);
		np_buf_release(&meta);
	}
	if (err != NP_OK)
		change_refused(c, err, &diag);
	else
		give_to_store(c, inst);
}

static void begin_put(struct change *c, struct model_instance *inst)
{
	struct np_diag diag = {.text = ""};
	enum np_err err = prepare_saved(c, inst, false);

	if (err == NP_OK)
		err = take_validated(c, c->saved, &diag);
	if (err != NP_OK) {
		change_refused(c, err, &diag);
		return;
	}
	if (strcmp(c->saved->url, inst->url) == 0) {
		change_end(c, 409, "Instance URL conflict", NULL);
		return;
	}
	c->saved->desired = CTL_DESIRED_RUNNING;
	c->saved->revision = c->revision = ++c->m->revision;
	give_to_store(c, inst);
}

static void begin_material(struct change *c, struct model_instance *inst)
{
	struct np_diag diag = {.text = ""};
	enum np_err err;

	if (!model_material_gained(c->m, inst)) {
		change_end(c, 200, NULL, inst);
		return;
	}
	err = prepare_saved(c, inst, true);
	if (err == NP_OK)
		err = model_material_fill(c->m, c->saved);
	if (err != NP_OK)
		change_refused(c, err, &diag);
	else
		give_to_store(c, inst);
}

static void begin_delete(struct change *c, struct model_instance *inst)
{
	c->revision = ++c->m->revision;
	give_to_store(c, inst);
}

static void begin_master(struct change *c)
{
	struct model *m = c->m;
	struct store_op op = {.row = {.kind = STORE_META, .id = "master"}};
	struct np_diag diag = {.text = ""};
	struct np_buf b;
	enum np_err err = NP_OK;

	memcpy(c->key, m->key, sizeof(c->key));
	snprintf(c->master_alias, sizeof(c->master_alias), "%s",
		 c->kind == CHANGE_ALIAS ? c->alias : m->alias);
	if (c->kind == CHANGE_KEY)
		err = model_random_hex(c->key, MODEL_KEY_LEN);
	np_buf_init(&b, STORE_BLOB_MAX);
	model_row_master(c->key, m->mid, c->master_alias, &b);
	op.row.blob = np_buf_ptr(&b);
	op.row.len = np_buf_len(&b);
	if (err == NP_OK)
		err = b.err;
	if (err == NP_OK)
		err = store_txn(m->store, &op, 1, change_on_stored, c);
	np_buf_wipe(&b);
	if (err != NP_OK) {
		change_refused(c, err, &diag);
		return;
	}
	m->master_busy = true;
	m->pending++;
}

static void change_begin(struct change *c)
{
	struct model *m = c->m;
	struct model_instance *inst = model_get(m, c->id);

	if (change_is_of_master(c) ? m->master_busy : inst != NULL && inst->busy) {
		DL_APPEND(m->waiting, c);
		return;
	}
	switch (c->kind) {
	case CHANGE_CREATE:
		begin_create(c);
		return;
	case CHANGE_ALIAS:
	case CHANGE_KEY:
		begin_master(c);
		return;
	case CHANGE_PATCH:
	case CHANGE_PUT:
	case CHANGE_DELETE:
	case CHANGE_MATERIAL:
		break;
	}
	if (inst == NULL)
		change_end(c, 404, "Instance not found", NULL);
	else if (c->kind == CHANGE_PATCH)
		begin_patch(c, inst);
	else if (c->kind == CHANGE_PUT)
		begin_put(c, inst);
	else if (c->kind == CHANGE_MATERIAL)
		begin_material(c, inst);
	else
		begin_delete(c, inst);
}

/* -- what the handlers call -- */

static struct change *change_new(struct model *m, enum change_kind kind, const char *id,
				 model_done_fn done, void *arg)
{
	struct change *c = NULL;

	/* Those of our own are one an instance. */
	if (m->queued < MODEL_PENDING_MAX || kind == CHANGE_MATERIAL)
		c = np_calloc(1, sizeof(*c));
	if (c == NULL) {
		if (done != NULL)
			done(arg, 503, "too many changes at once, try again", NULL);
		return NULL;
	}
	m->queued++;
	c->m = m;
	c->kind = kind;
	snprintf(c->id, sizeof(c->id), "%s", id == NULL ? "" : id);
	c->done = done;
	c->arg = arg;
	return c;
}

/* Copies @from to *@to; ends the change without memory. */
static bool change_text(struct change *c, char **to, const char *from)
{
	if (from == NULL)
		return true;
	*to = np_strdup(from);
	if (*to != NULL)
		return true;
	change_end(c, 503, "out of memory", NULL);
	return false;
}

void model_create(struct model *m, const char *url, const char *alias, model_done_fn done,
		  void *arg)
{
	struct change *c = change_new(m, CHANGE_CREATE, NULL, done, arg);

	if (c != NULL && change_text(c, &c->url, url) && change_text(c, &c->alias, alias))
		change_begin(c);
}

void model_put(struct model *m, const char *id, const char *url, model_done_fn done, void *arg)
{
	struct change *c = change_new(m, CHANGE_PUT, id, done, arg);

	if (c != NULL && change_text(c, &c->url, url))
		change_begin(c);
}

static bool change_meta(struct change *c, const struct model_patch *p)
{
	c->has_meta = p->has_meta;
	c->has_peer = p->peer != NULL;
	c->has_tags = p->tags != NULL;
	if ((p->peer == NULL || model_meta_copy_peer(p->peer, &c->meta) == NP_OK) &&
	    (p->tags == NULL || model_meta_copy_tags(p->tags, &c->meta) == NP_OK))
		return true;
	change_end(c, 503, "out of memory", NULL);
	return false;
}

void model_patch(struct model *m, const char *id, const struct model_patch *p, model_done_fn done,
		 void *arg)
{
	struct change *c = change_new(m, CHANGE_PATCH, id, done, arg);

	if (c == NULL)
		return;
	c->action = p->action;
	c->has_restart = p->has_restart;
	c->restart = p->restart;
	if (change_text(c, &c->alias, p->alias) && change_meta(c, p))
		change_begin(c);
}

void model_delete(struct model *m, const char *id, model_done_fn done, void *arg)
{
	struct change *c = change_new(m, CHANGE_DELETE, id, done, arg);

	if (c != NULL)
		change_begin(c);
}

void model_set_alias(struct model *m, const char *alias, model_done_fn done, void *arg)
{
	struct change *c = change_new(m, CHANGE_ALIAS, NULL, done, arg);

	if (c != NULL && change_text(c, &c->alias, alias))
		change_begin(c);
}

void model_rotate_key(struct model *m, model_done_fn done, void *arg)
{
	struct change *c = change_new(m, CHANGE_KEY, NULL, done, arg);

	if (c != NULL)
		change_begin(c);
}

static void on_material_stored(void *arg, int status, const char *text,
			       const struct model_instance *inst)
{
	(void)text;
	(void)inst;
	if (status >= 500)
		model_material_again(arg);
}

void model_change_material(struct model *m, const char *id)
{
	struct change *c;

	DL_FOREACH (m->waiting, c)
		if (c->kind == CHANGE_MATERIAL && strcmp(c->id, id) == 0)
			return;
	c = change_new(m, CHANGE_MATERIAL, id, on_material_stored, m);
	if (c != NULL)
		change_begin(c);
}
