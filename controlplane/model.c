/*
 * model.c - the table of instances, its life, what it shows. See model.h.
 *
 * Changes are in model_change.c, stored rows in model_rows.c, what the node says in
 * model_observe.c.
 */
#include "model.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/num.h"
#include "core/proof.h"
#include "model_priv.h"
#include "sse.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/banned.h"

/* -- instances -- */

struct model_instance *model_instance_new(const char *id)
{
	struct model_instance *inst = np_calloc(1, sizeof(*inst));

	if (inst == NULL)
		return NULL;
	snprintf(inst->id, sizeof(inst->id), "%s", id);
	inst->alias = np_strdup("");
	inst->url = np_strdup("");
	inst->config = np_strdup("");
	inst->meta.sid = np_strdup("");
	inst->meta.type = np_strdup("");
	inst->meta.alias = np_strdup("");
	inst->shown = model_shown_new();
	if (inst->alias == NULL || inst->url == NULL || inst->config == NULL ||
	    inst->meta.sid == NULL || inst->meta.type == NULL || inst->meta.alias == NULL ||
	    inst->shown == NULL) {
		model_instance_free(inst);
		return NULL;
	}
	return inst;
}

static void wipe_text(char *s)
{
	if (s != NULL)
		explicit_bzero(s, strlen(s));
	np_free(s);
}

static void tags_release(struct model_meta *meta)
{
	for (size_t i = 0; i < meta->ntags; i++) {
		np_free(meta->tags[i].name);
		np_free(meta->tags[i].value);
	}
	np_free(meta->tags);
	meta->tags = NULL;
	meta->ntags = 0;
}

void model_meta_release(struct model_meta *meta)
{
	np_free(meta->sid);
	np_free(meta->type);
	np_free(meta->alias);
	tags_release(meta);
	*meta = (struct model_meta){0};
}

void model_saved_release(struct model_instance *inst)
{
	model_shown_drop(inst);
	np_free(inst->alias);
	wipe_text(inst->url);
	wipe_text(inst->config);
	inst->alias = inst->url = inst->config = NULL;
	model_meta_release(&inst->meta);
	np_wipe(&inst->auth, sizeof(inst->auth));
	pem_content_release(inst->pem);
	inst->pem = NULL;
}

void model_instance_free(struct model_instance *inst)
{
	if (inst == NULL)
		return;
	model_saved_release(inst);
	model_old_release(inst);
	pem_files_leave(&inst->files);
	np_free(inst->shown);
	np_free(inst);
}

enum np_err model_set_text(char **to, const char *from)
{
	char *copy = np_strdup(from);

	if (copy == NULL)
		return NP_ENOMEM;
	np_free(*to);
	*to = copy;
	return NP_OK;
}

enum np_err model_meta_copy_peer(const struct model_meta *from, struct model_meta *to)
{
	if (model_set_text(&to->sid, from->sid) != NP_OK ||
	    model_set_text(&to->type, from->type) != NP_OK ||
	    model_set_text(&to->alias, from->alias) != NP_OK)
		return NP_ENOMEM;
	return NP_OK;
}

enum np_err model_meta_copy_tags(const struct model_meta *from, struct model_meta *to)
{
	struct model_meta copy = {0};

	copy.tags = np_calloc(from->ntags > 0 ? from->ntags : 1, sizeof(*copy.tags));
	if (copy.tags == NULL)
		return NP_ENOMEM;
	for (size_t i = 0; i < from->ntags; i++) {
		struct model_tag *tag = &copy.tags[copy.ntags++];

		tag->name = np_strdup(from->tags[i].name);
		tag->value = np_strdup(from->tags[i].value);
		if (tag->name == NULL || tag->value == NULL) {
			tags_release(&copy);
			return NP_ENOMEM;
		}
	}
	tags_release(to);
	to->tags = copy.tags;
	to->ntags = copy.ntags;
	return NP_OK;
}

/* What is saved of an instance, without what it points to. */
static void saved_values(const struct model_instance *from, struct model_instance *to)
{
	to->role = from->role;
	to->restart = from->restart;
	to->desired = from->desired;
	to->restart_nonce = from->restart_nonce;
	to->revision = from->revision;
	memcpy(to->refused, from->refused, sizeof(to->refused));
	to->auth = from->auth;
	to->pem_mark = from->pem_mark;
	to->needs = from->needs;
}

enum np_err model_saved_copy(const struct model_instance *from, struct model_instance *to)
{
	if (model_set_text(&to->alias, from->alias) != NP_OK ||
	    model_set_text(&to->url, from->url) != NP_OK ||
	    model_set_text(&to->config, from->config) != NP_OK ||
	    model_meta_copy_peer(&from->meta, &to->meta) != NP_OK ||
	    model_meta_copy_tags(&from->meta, &to->meta) != NP_OK)
		return NP_ENOMEM;
	saved_values(from, to);
	to->pem = pem_content_hold(from->pem);
	return NP_OK;
}

void model_saved_move(struct model_instance *from, struct model_instance *to)
{
	model_saved_release(to);
	to->alias = from->alias;
	to->url = from->url;
	to->config = from->config;
	to->meta = from->meta;
	saved_values(from, to);
	to->pem = from->pem;
	from->alias = from->url = from->config = NULL;
	from->meta = (struct model_meta){0};
	from->pem = NULL;
}

enum np_err model_add(struct model *m, struct model_instance *inst)
{
	if (m->count >= MODEL_INSTANCES_MAX)
		return NP_ELIMIT;
	HASH_ADD_STR(m->by_id, id, inst);
	if (inst->hh.tbl == NULL)
		return NP_ENOMEM;
	DL_APPEND(m->list, inst);
	m->count++;
	return NP_OK;
}

void model_remove(struct model *m, struct model_instance *inst)
{
	HASH_DEL(m->by_id, inst);
	DL_DELETE(m->list, inst);
	m->count--;
	model_instance_free(inst);
}

struct model_instance *model_get(const struct model *m, const char *id)
{
	struct model_instance *inst;

	HASH_FIND_STR(m->by_id, id, inst);
	return inst;
}

const struct model_instance *model_find(const struct model *m, const char *id)
{
	return model_get(m, id);
}

const struct model_instance *model_next(const struct model *m, const struct model_instance *prev)
{
	return prev == NULL ? m->list : prev->next;
}

size_t model_count(const struct model *m)
{
	return m->count;
}

/* -- life -- */

enum np_err model_new(struct event_base *base, struct store *store,
		      const struct validate_defaults *d, const struct model_events *ev, void *arg,
		      struct model **out)
{
	struct model *m = np_calloc(1, sizeof(*m));

	if (m == NULL)
		return NP_ENOMEM;
	m->base = base;
	m->store = store;
	m->defaults = *d;
	m->ev = *ev;
	m->arg = arg;
	*out = m;
	return NP_OK;
}

struct load {
	struct model *m;
	enum np_err err;
	struct np_diag *diag;
};

static void load_row(void *arg, const struct store_row *row)
{
	struct load *l = arg;

	if (l->err == NP_OK)
		l->err = model_row_take(l->m, row, l->diag);
}

enum np_err model_load(struct model *m, struct np_diag *diag)
{
	struct load l = {.m = m, .diag = diag};
	enum np_err err = store_load(m->store, load_row, &l, diag);

	m->committed = m->revision;
	return err != NP_OK ? err : l.err;
}

static void on_saved(void *arg, enum np_err err, const struct np_diag *diag)
{
	struct model *m = arg;

	m->pending--;
	if (err == NP_OK)
		return;
	m->save_err = err;
	if (diag != NULL)
		m->save_diag = *diag;
	np_log(NP_LOG_ERROR, NULL, "the state could not be written: %s",
	       diag != NULL ? diag->text : np_err_text(err));
}

void model_save(struct model *m, const struct store_op *ops, size_t n)
{
	enum np_err err = store_txn(m->store, ops, n, on_saved, m);

	if (err == NP_OK) {
		m->pending++;
		return;
	}
	m->save_err = err;
	np_diag_set(&m->save_diag, err, "store", "%s", np_err_text(err));
}

enum np_err model_flush(struct model *m, struct np_diag *diag)
{
	enum np_err err;

	while (m->pending > 0)
		event_base_loop(m->base, EVLOOP_ONCE);
	err = m->save_err;
	m->save_err = NP_OK;
	if (err != NP_OK && diag != NULL)
		*diag = m->save_diag;
	return err;
}

enum np_err model_random_hex(char *out, size_t digits)
{
	uint8_t bytes[MODEL_KEY_LEN / 2];
	enum np_err err;

	NP_ASSERT(digits / 2 <= sizeof(bytes));
	err = np_random(bytes, digits / 2);
	if (err == NP_OK)
		np_format_hex(bytes, digits / 2, out);
	np_wipe(bytes, sizeof(bytes));
	return err;
}

static void save_master(struct model *m)
{
	struct store_op op = {.row = {.kind = STORE_META, .id = "master"}};
	struct np_buf b;

	np_buf_init(&b, STORE_BLOB_MAX);
	model_row_master(m->key, m->mid, m->alias, &b);
	op.row.blob = np_buf_ptr(&b);
	op.row.len = np_buf_len(&b);
	if (b.err == NP_OK)
		model_save(m, &op, 1);
	else
		m->save_err = b.err;
	np_buf_wipe(&b);
}

enum np_err model_ensure_key(struct model *m, bool *created, struct np_diag *diag)
{
	enum np_err err = NP_OK;

	*created = m->key[0] == '\0';
	if (m->key[0] != '\0' && m->mid[0] != '\0')
		return NP_OK;
	if (m->key[0] == '\0')
		err = model_random_hex(m->key, MODEL_KEY_LEN);
	if (err == NP_OK && m->mid[0] == '\0')
		err = model_random_hex(m->mid, MODEL_MID_LEN);
	if (err != NP_OK)
		return np_diag_set(diag, err, "key", "no random numbers for the API key");
	save_master(m);
	return model_flush(m, diag);
}

enum np_err model_import_key(struct model *m, const char *key, const char *mid, const char *alias)
{
	if (strlen(key) != MODEL_KEY_LEN || strspn(key, "0123456789abcdef") != MODEL_KEY_LEN)
		return NP_EINVAL;
	snprintf(m->key, sizeof(m->key), "%s", key);
	if (mid != NULL && strlen(mid) == MODEL_MID_LEN &&
	    strspn(mid, "0123456789abcdef") == MODEL_MID_LEN)
		snprintf(m->mid, sizeof(m->mid), "%s", mid);
	else if (model_random_hex(m->mid, MODEL_MID_LEN) != NP_OK)
		return NP_ECRYPTO;
	snprintf(m->alias, sizeof(m->alias), "%s", alias == NULL ? "" : alias);
	save_master(m);
	return NP_OK;
}

void model_free(struct model *m)
{
	struct model_instance *inst, *next;

	if (m == NULL)
		return;
	DL_FOREACH_SAFE (m->list, inst, next)
		model_remove(m, inst);
	model_material_free(m);
	np_wipe(m->key, sizeof(m->key));
	np_free(m);
}

const char *model_key(const struct model *m)
{
	return m->key;
}

const char *model_mid(const struct model *m)
{
	return m->mid;
}

const char *model_alias(const struct model *m)
{
	return m->alias;
}

uint64_t model_revision(const struct model *m)
{
	return m->committed;
}

/* -- what is shown -- */

enum model_status model_status(const struct model_instance *inst)
{
	if (inst->refused[0] != '\0' && inst->desired == CTL_DESIRED_RUNNING)
		return MODEL_FAILED;
	switch (inst->state) {
	case CTL_STARTING:
	case CTL_RUNNING:
	case CTL_STOPPING:
		return MODEL_RUNNING;
	case CTL_ERROR:
		return MODEL_FAILED;
	case CTL_STOPPED:
	case CTL_STATE_UNSPECIFIED:
		break;
	}
	return MODEL_STOPPED;
}

const char *model_status_name(const struct model_instance *inst)
{
	switch (model_status(inst)) {
	case MODEL_RUNNING:
		return "running";
	case MODEL_FAILED:
		return "error";
	case MODEL_STOPPED:
		break;
	}
	return "stopped";
}

void model_publish(struct model *m, int sse_type, const struct model_instance *inst)
{
	m->ev.publish(m->arg, sse_type, inst, NULL);
}
