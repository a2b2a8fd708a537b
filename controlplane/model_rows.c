/*
 * model_rows.c - the model's rows in the store as JSON, both ways.
 *
 * An instance is one row, its counters another one (they change every few seconds), the master and
 * the revision of the last change one each. Rows are read as they were written by an older version,
 * too: members that are missing have their first value.
 */
#include "model_priv.h"

#include "base/alloc.h"
#include "base/num.h"
#include "core/proof.h"
#include "json_read.h"
#include "json_write.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define HEX_MAX 64

static void put_hex(struct np_buf *out, const char *name, const uint8_t *p, size_t n)
{
	char text[2 * HEX_MAX + 1];

	np_format_hex(p, n, text);
	json_put_str(out, name, text);
	np_wipe(text, sizeof(text));
}

void model_row_instance(const struct model_instance *inst, struct np_buf *out)
{
	json_put_begin(out, NULL, '{');
	json_put_str(out, "url", inst->url);
	json_put_str(out, "alias", inst->alias);
	json_put_str(out, "desired", inst->desired == CTL_DESIRED_RUNNING ? "running" : "stopped");
	json_put_bool(out, "restart", inst->restart);
	json_put_u64(out, "restart_nonce", inst->restart_nonce);
	if (inst->refused[0] != '\0')
		json_put_str(out, "refused", inst->refused);
	model_meta_render(&inst->meta, "meta", out);
	if (inst->auth.has) {
		json_put_begin(out, "auth", '{');
		put_hex(out, "salt", inst->auth.key.salt, sizeof(inst->auth.key.salt));
		put_hex(out, "k", inst->auth.key.k, sizeof(inst->auth.key.k));
		put_hex(out, "mark", inst->auth.mark, sizeof(inst->auth.mark));
		json_put_end(out, '}');
	}
	if (inst->pem_mark.has)
		put_hex(out, "files", inst->pem_mark.digest, sizeof(inst->pem_mark.digest));
	json_put_end(out, '}');
}

static void put_totals(struct np_buf *out, const char *name, const uint64_t v[MODEL_COUNTERS])
{
	json_put_begin(out, name, '[');
	for (int i = 0; i < MODEL_COUNTERS; i++)
		json_put_u64(out, NULL, v[i]);
	json_put_end(out, ']');
}

void model_row_counters(const struct model_instance *inst, struct np_buf *out)
{
	json_put_begin(out, NULL, '{');
	put_totals(out, "total", inst->total);
	json_put_str(out, "boot_id", inst->seen.boot_id);
	json_put_u64(out, "starts", inst->seen.starts);
	put_totals(out, "last", inst->seen.last);
	json_put_end(out, '}');
}

void model_row_master(const char *key, const char *mid, const char *alias, struct np_buf *out)
{
	json_put_begin(out, NULL, '{');
	json_put_str(out, "key", key);
	json_put_str(out, "mid", mid);
	json_put_str(out, "alias", alias);
	json_put_end(out, '}');
}

void model_row_revision(uint64_t revision, struct np_buf *out)
{
	json_put_begin(out, NULL, '{');
	json_put_u64(out, "revision", revision);
	json_put_end(out, '}');
}

static const char *text_of(const struct json *obj, const char *name)
{
	const char *s = json_string(json_member(obj, name));

	return s == NULL ? "" : s;
}

static enum np_err take_meta(const struct json *v, struct model_meta *to)
{
	const struct json *peer = json_member(v, "peer"), *tags = json_member(v, "tags");
	size_t n = 0;

	if (model_set_text(&to->sid, text_of(peer, "sid")) != NP_OK ||
	    model_set_text(&to->type, text_of(peer, "type")) != NP_OK ||
	    model_set_text(&to->alias, text_of(peer, "alias")) != NP_OK)
		return NP_ENOMEM;
	for (const struct json *t = json_next(tags, NULL); t != NULL; t = json_next(tags, t))
		n++;
	to->tags = np_calloc(n > 0 ? n : 1, sizeof(*to->tags));
	if (to->tags == NULL)
		return NP_ENOMEM;
	for (const struct json *t = json_next(tags, NULL); t != NULL; t = json_next(tags, t)) {
		struct model_tag *tag = &to->tags[to->ntags++];

		tag->name = np_strdup(json_name(t));
		tag->value = np_strdup(json_string(t) == NULL ? "" : json_string(t));
		if (tag->name == NULL || tag->value == NULL)
			return NP_ENOMEM;
	}
	return NP_OK;
}

/* The role of a URL that this version refuses (lenient import). */
static enum np_role role_of(const char *url)
{
	return strncmp(url, "server", 6) == 0 ? NP_ROLE_SERVER : NP_ROLE_CLIENT;
}

static enum np_err take_url(const char *url, struct model_instance *inst)
{
	struct validate_defaults none = {0};
	struct validated v;
	struct np_diag diag = {.text = ""};
	enum np_err err;

	if (model_set_text(&inst->url, url) != NP_OK)
		return NP_ENOMEM;
	err = validate_url(url, &none, &v, &diag);
	if (err == NP_ENOMEM)
		return err;
	if (err != NP_OK) {
		inst->role = role_of(url);
		snprintf(inst->refused, sizeof(inst->refused), "%.500s", diag.text);
		return model_set_text(&inst->config, url);
	}
	inst->refused[0] = '\0';
	inst->role = v.role;
	err = model_set_text(&inst->config, v.config);
	validated_release(&v);
	return err;
}

static bool take_hex(const struct json *obj, const char *name, uint8_t *out, size_t n)
{
	const char *s = text_of(obj, name);

	return np_parse_hex(s, strlen(s), out, n) == NP_OK;
}

/* What is not whole is made again. */
static void take_material(const struct json *v, struct model_instance *inst)
{
	const struct json *auth = json_member(v, "auth");
	struct model_auth *a = &inst->auth;

	a->has = take_hex(auth, "salt", a->key.salt, sizeof(a->key.salt)) &&
		 take_hex(auth, "k", a->key.k, sizeof(a->key.k)) &&
		 take_hex(auth, "mark", a->mark, sizeof(a->mark));
	inst->pem_mark.has =
	    take_hex(v, "files", inst->pem_mark.digest, sizeof(inst->pem_mark.digest));
}

static enum np_err take_instance(struct model *m, const struct store_row *row, const struct json *v)
{
	struct model_instance *inst = model_instance_new(row->id);
	uint64_t nonce = 0;
	enum np_err err;

	if (inst == NULL)
		return NP_ENOMEM;
	inst->revision = row->revision;
	inst->restart = json_bool(json_member(v, "restart"));
	inst->desired = strcmp(text_of(v, "desired"), "running") == 0 ? CTL_DESIRED_RUNNING
								      : CTL_DESIRED_STOPPED;
	if (json_u64(json_member(v, "restart_nonce"), &nonce))
		inst->restart_nonce = (uint32_t)nonce;
	err = model_set_text(&inst->alias, text_of(v, "alias"));
	if (err == NP_OK)
		err = take_meta(json_member(v, "meta"), &inst->meta);
	if (err == NP_OK)
		err = take_url(text_of(v, "url"), inst);
	if (err == NP_OK)
		take_material(v, inst);
	if (err == NP_OK && inst->refused[0] == '\0')
		err = model_material_fill(m, inst);
	if (err == NP_OK)
		err = model_add(m, inst);
	if (err != NP_OK)
		model_instance_free(inst);
	return err;
}

static void take_totals(const struct json *v, uint64_t to[MODEL_COUNTERS])
{
	int i = 0;

	for (const struct json *n = json_next(v, NULL); n != NULL && i < MODEL_COUNTERS;
	     n = json_next(v, n))
		if (!json_u64(n, &to[i++]))
			to[i - 1] = 0;
}

static enum np_err take_counters(struct model *m, const struct store_row *row, const struct json *v)
{
	struct model_instance *inst = model_get(m, row->id);
	uint64_t starts = 0;

	if (inst == NULL) /* its instance was deleted; the row goes with the next save */
		return NP_OK;
	take_totals(json_member(v, "total"), inst->total);
	take_totals(json_member(v, "last"), inst->seen.last);
	if (json_u64(json_member(v, "starts"), &starts))
		inst->seen.starts = (uint32_t)starts;
	snprintf(inst->seen.boot_id, sizeof(inst->seen.boot_id), "%s", text_of(v, "boot_id"));
	return NP_OK;
}

static void take_master(struct model *m, const struct json *v)
{
	snprintf(m->key, sizeof(m->key), "%s", text_of(v, "key"));
	snprintf(m->mid, sizeof(m->mid), "%s", text_of(v, "mid"));
	snprintf(m->alias, sizeof(m->alias), "%s", text_of(v, "alias"));
}

enum np_err model_row_take(struct model *m, const struct store_row *row, struct np_diag *diag)
{
	struct json_doc *doc;
	const struct json *v;
	enum np_err err = json_parse(row->blob, row->len, &doc);

	if (err != NP_OK)
		return np_diag_set(diag, err, "store", "row %s of the store cannot be read: %s",
				   row->id, np_err_text(err));
	v = json_root(doc);
	if (row->kind == STORE_INSTANCE)
		err = take_instance(m, row, v);
	else if (row->kind == STORE_COUNTERS)
		err = take_counters(m, row, v);
	else if (strcmp(row->id, "master") == 0)
		take_master(m, v);
	else if (strcmp(row->id, "revision") == 0 &&
		 !json_u64(json_member(v, "revision"), &m->revision))
		err = NP_EINVAL;
	json_doc_free(doc);
	if (err != NP_OK)
		return np_diag_set(diag, err, "store", "row %s of the store: %s", row->id,
				   np_err_text(err));
	return NP_OK;
}
