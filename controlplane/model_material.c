/*
 * model_material.c - what a data plane needs beside an instance's URL: the files that it names, and K
 * of a server's key that is a word. It is sent with the URL, so that a data plane reads no file and
 * derives nothing.
 *
 * An instance waits while something is missing: the node is told that it is incomplete, or what it
 * had before (inst->old). What comes in is stored as a change of its own, with a revision; then it is
 * told. Files stay where they are: the store has a digest of what was told. K is stored with its
 * salt and a mark that binds it to the key.
 */
#include "model_priv.h"

#include "base/alloc.h"
#include "base/log.h"
#include "core/proof.h"
#include "sse.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/banned.h"

#define SETTLE_MS 3000 /* files that were not read by then are told when they are */
#define RETRY_MS  1000 /* after the store or memory failed */

struct material {
	struct model *m;
	struct keys *keys;	 /* owned */
	struct pem_files *files; /* owned */
	struct event *settle, *retry;
	void (*on_settled)(void *arg);
	bool settled;
};

/* -- what a URL needs -- */

static void paths_of(const struct np_config *cfg, const char *paths[PEM_COUNT])
{
	bool pair = np_config_has_pair(cfg);

	paths[PEM_CRT] = pair ? cfg->crt : NULL;
	paths[PEM_KEY] = pair ? cfg->keyfile : NULL;
	paths[PEM_CA] = np_config_has_ca(cfg) ? cfg->ca : NULL;
}

static enum np_err needs_of(const struct np_config *cfg, struct model_needs *out)
{
	const char *paths[PEM_COUNT];

	*out = (struct model_needs){.log = cfg->log};
	paths_of(cfg, paths);
	out->files = paths[PEM_CRT] != NULL || paths[PEM_CA] != NULL;
	out->word =
	    cfg->role == NP_ROLE_SERVER &&
	    np_key_kind(cfg->key, cfg->key_len, cfg->key_given, cfg->tunnel.port) == NP_KEY_WORD;
	return out->word ? keys_digest(cfg->key, cfg->key_len, out->key_digest) : NP_OK;
}

bool model_waits(const struct model_instance *inst)
{
	return inst->refused[0] == '\0' &&
	       ((inst->needs.word && !inst->auth.has) || (inst->needs.files && inst->pem == NULL));
}

/* -- K -- */

static bool is_of_key(const struct model_auth *a, const struct np_config *cfg)
{
	uint8_t mark[NP_KEY_MARK_LEN];

	return np_key_mark(a->key.k, a->key.salt, cfg->key, cfg->key_len, mark) == NP_OK &&
	       np_equal_ct(mark, a->mark, sizeof(mark));
}

/* The K that was stored, if it is this key's; else the one that another instance has of it. */
static enum np_err fill_auth(struct model *m, struct model_instance *inst,
			     const struct np_config *cfg)
{
	struct model_auth *a = &inst->auth;
	bool kept = inst->needs.word && a->has && is_of_key(a, cfg);

	if (kept && m->material != NULL)
		keys_put(m->material->keys, inst->needs.key_digest, &a->key);
	if (kept)
		return NP_OK;
	np_wipe(a, sizeof(*a));
	if (!inst->needs.word || m->material == NULL ||
	    !keys_find(m->material->keys, inst->needs.key_digest, &a->key))
		return NP_OK;
	a->has = true;
	return np_key_mark(a->key.k, a->key.salt, cfg->key, cfg->key_len, a->mark);
}

/* -- files -- */

static void take_pem(struct model_instance *inst, struct pem_content *c)
{
	pem_content_hold(c);
	pem_content_release(inst->pem);
	inst->pem = c;
	inst->pem_mark.has = true;
	memcpy(inst->pem_mark.digest, c->digest, sizeof(c->digest));
}

static void fill_pem(struct model *m, struct model_instance *inst, const struct np_config *cfg)
{
	const char *paths[PEM_COUNT];
	struct pem_content *c = NULL;

	paths_of(cfg, paths);
	if (inst->needs.files && m->material != NULL)
		c = pem_files_find(m->material->files, paths);
	if (c != NULL) {
		take_pem(inst, c);
		return;
	}
	pem_content_release(inst->pem);
	inst->pem = NULL;
	if (!inst->needs.files)
		inst->pem_mark.has = false;
}

enum np_err model_material_fill(struct model *m, struct model_instance *inst)
{
	struct np_diag diag;
	struct np_config cfg;
	enum np_err err = np_config_parse(inst->url, &cfg, &diag);

	if (err != NP_OK)
		return err;
	err = needs_of(&cfg, &inst->needs);
	if (err == NP_OK)
		err = fill_auth(m, inst, &cfg);
	if (err == NP_OK)
		fill_pem(m, inst, &cfg);
	np_config_release(&cfg);
	return err;
}

/* -- what the node has while the new is not complete -- */

void model_old_release(struct model_instance *inst)
{
	struct model_old *old = inst->old;

	if (old == NULL)
		return;
	np_wipe(old->url, strlen(old->url));
	np_free(old->url);
	pem_content_release(old->pem);
	np_wipe(old, sizeof(*old));
	np_free(old);
	inst->old = NULL;
}

void model_old_keep(struct model_instance *inst, const struct model_instance *next)
{
	struct model_old *old;

	if (inst->old != NULL || !model_waits(next) || model_waits(inst) ||
	    inst->refused[0] != '\0')
		return;
	old = np_calloc(1, sizeof(*old));
	if (old != NULL)
		old->url = np_strdup(inst->url);
	if (old == NULL || old->url == NULL) { /* it stops until the new is complete */
		np_free(old);
		return;
	}
	old->auth = inst->auth;
	old->pem = pem_content_hold(inst->pem);
	inst->old = old;
}

/* -- beginning, and what came in -- */

static void retry_later(struct model *m)
{
	event_add(m->material->retry, &(struct timeval){.tv_sec = RETRY_MS / 1000});
}

void model_material_again(struct model *m)
{
	if (m->material != NULL)
		retry_later(m);
}

static bool is_new_pem(const struct model_instance *inst)
{
	const struct pem_content *c = pem_user_content(&inst->files);

	return inst->needs.files && c != NULL && c != inst->pem;
}

/* What was told before this process began, and is the same still, is no change. */
static void adopt(struct model_instance *inst)
{
	struct pem_content *c = pem_user_content(&inst->files);

	if (inst->pem == NULL && inst->pem_mark.has &&
	    memcmp(inst->pem_mark.digest, c->digest, sizeof(c->digest)) == 0)
		take_pem(inst, c);
}

bool model_material_gained(const struct model *m, const struct model_instance *inst)
{
	struct key_auth found;
	bool word = inst->needs.word && !inst->auth.has && m->material != NULL &&
		    keys_find(m->material->keys, inst->needs.key_digest, &found);

	np_wipe(&found, sizeof(found));
	return word || is_new_pem(inst);
}

static void begin_files(struct model *m, struct model_instance *inst, const struct np_config *cfg)
{
	const char *paths[PEM_COUNT];

	paths_of(cfg, paths);
	if (!inst->needs.files)
		pem_files_leave(&inst->files);
	else if (pem_files_use(m->material->files, &inst->files, paths) != NP_OK)
		retry_later(m);
}

void model_material_begin(struct model *m, struct model_instance *inst)
{
	struct np_diag diag;
	struct np_config cfg;

	if (m->material == NULL || inst->refused[0] != '\0')
		return;
	if (!inst->needs.files && (!inst->needs.word || inst->auth.has)) {
		pem_files_leave(&inst->files);
		return;
	}
	if (np_config_parse(inst->url, &cfg, &diag) !=
	    NP_OK) { /* it was parsed before: no memory */
		retry_later(m);
		return;
	}
	begin_files(m, inst, &cfg);
	if (inst->needs.word && !inst->auth.has &&
	    keys_want(m->material->keys, inst->needs.key_digest, cfg.key, cfg.key_len) != NP_OK)
		retry_later(m);
	np_config_release(&cfg);
}

static void say_error(struct model *m, const struct model_instance *inst, const char *error)
{
	if (m->ev.say == NULL || !np_log_enabled(inst->needs.log, NP_LOG_ERROR))
		return;
	m->ev.say(m->arg, inst->id, NP_LOG_ERROR, error, inst->pem != NULL);
}

void model_show_waiting(struct model *m, struct model_instance *inst)
{
	enum model_status before = model_status(inst);
	bool failed = pem_user_error(&inst->files) != NULL && inst->pem == NULL;

	if (!model_waits(inst))
		return;
	if (inst->desired == CTL_DESIRED_RUNNING)
		inst->state = failed ? CTL_ERROR : CTL_STARTING;
	else if (inst->old == NULL)
		inst->state = CTL_STOPPED;
	if (model_status(inst) == MODEL_STOPPED)
		model_clear_gauges(inst);
	if (model_status(inst) != before)
		model_publish(m, SSE_UPDATE, inst);
}

void model_material_show(struct model *m, struct model_instance *inst)
{
	const char *error = pem_user_error(&inst->files);

	if (error != NULL && inst->pem == NULL)
		say_error(m, inst, error); /* known from another instance with these files */
	model_show_waiting(m, inst);
}

static struct model_instance *owner_of(struct pem_user *user)
{
	return (struct model_instance *)((char *)user - offsetof(struct model_instance, files));
}

static void on_files(void *arg, struct pem_user *user, const char *error)
{
	struct material *mat = arg;
	struct model_instance *inst = owner_of(user);

	if (error != NULL) {
		say_error(mat->m, inst, error);
		model_show_waiting(mat->m, inst);
		return;
	}
	if (!mat->settled)
		adopt(inst);
	if (is_new_pem(inst))
		model_change_material(mat->m, inst->id);
}

static void settle(struct material *mat)
{
	struct model_instance *inst;

	if (mat->settled)
		return;
	mat->settled = true;
	event_del(mat->settle);
	DL_FOREACH (mat->m->list, inst)
		model_show_waiting(mat->m, inst);
	if (mat->on_settled != NULL)
		mat->on_settled(mat->m->arg);
}

static void on_looked(void *arg)
{
	struct material *mat = arg;

	if (pem_files_unread(mat->files) == 0)
		settle(mat);
}

static bool on_wanted(void *arg, const uint8_t digest[NP_DIGEST_LEN])
{
	struct material *mat = arg;
	struct model_instance *inst;

	DL_FOREACH (mat->m->list, inst)
		if (inst->needs.word && !inst->auth.has &&
		    memcmp(inst->needs.key_digest, digest, NP_DIGEST_LEN) == 0)
			return true;
	return false;
}

static void on_derived(void *arg, const uint8_t digest[NP_DIGEST_LEN])
{
	struct material *mat = arg;
	struct model_instance *inst, *next;

	DL_FOREACH_SAFE (mat->m->list, inst, next)
		if (inst->needs.word && !inst->auth.has &&
		    memcmp(inst->needs.key_digest, digest, NP_DIGEST_LEN) == 0)
			model_change_material(mat->m, inst->id);
}

static void on_failed(void *arg)
{
	struct material *mat = arg;

	retry_later(mat->m);
}

/* What was not begun or not stored is tried again. */
static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct material *mat = arg;
	struct model_instance *inst, *next;

	(void)fd;
	(void)what;
	DL_FOREACH_SAFE (mat->m->list, inst, next) {
		if (model_material_gained(mat->m, inst))
			model_change_material(mat->m, inst->id);
		else if (model_waits(inst))
			model_material_begin(mat->m, inst);
	}
}

static void on_settle_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	settle(arg);
}

void model_material_kick(struct model_instance *inst)
{
	if (model_waits(inst))
		pem_files_look_at(&inst->files);
}

void model_reload(struct model *m)
{
	if (m->material != NULL)
		pem_files_look(m->material->files);
}

/* -- life -- */

enum np_err model_watch(struct model *m, int64_t reload_ms, void (*on_settled)(void *arg))
{
	static const struct keys_callbacks keys = {
	    .wanted = on_wanted, .derived = on_derived, .failed = on_failed};
	static const struct pem_callbacks files = {.changed = on_files, .looked = on_looked};
	const struct timeval tv = {.tv_sec = SETTLE_MS / 1000};
	struct material *mat = np_calloc(1, sizeof(*mat));
	struct model_instance *inst;
	enum np_err err;

	if (mat == NULL)
		return NP_ENOMEM;
	m->material = mat;
	mat->m = m;
	mat->on_settled = on_settled;
	mat->settle = evtimer_new(m->base, on_settle_time, mat);
	mat->retry = evtimer_new(m->base, on_retry, mat);
	if (mat->settle == NULL || mat->retry == NULL || event_add(mat->settle, &tv) != 0)
		return NP_ENOMEM;
	err = keys_new(m->base, &keys, mat, &mat->keys);
	if (err == NP_OK)
		err = pem_files_new(m->base, reload_ms, &files, mat, &mat->files);
	if (err != NP_OK)
		return err;
	/* First all that is known, so that instances with the same word find it. */
	DL_FOREACH (m->list, inst)
		if (inst->auth.has)
			keys_put(mat->keys, inst->needs.key_digest, &inst->auth.key);
	DL_FOREACH (m->list, inst)
		model_material_begin(m, inst);
	if (pem_files_unread(mat->files) == 0)
		settle(mat);
	return NP_OK;
}

void model_material_free(struct model *m)
{
	struct material *mat = m->material;

	m->material = NULL;
	if (mat == NULL)
		return;
	pem_files_free(mat->files);
	keys_free(mat->keys);
	if (mat->settle != NULL)
		event_free(mat->settle);
	if (mat->retry != NULL)
		event_free(mat->retry);
	np_free(mat);
}
