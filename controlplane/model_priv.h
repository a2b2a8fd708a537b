/*
 * model_priv.h - inside of model: the table, and what its files share.
 */
#ifndef CP_MODEL_PRIV_H
#define CP_MODEL_PRIV_H

#include "model.h"

struct change;
struct material;

/* What the node was told last of an instance whose new URL is not complete. */
struct model_old {
	char *url; /* owned */
	struct model_auth auth;
	struct pem_content *pem; /* a reference */
};

/* The master itself: API key, id, alias. The saved part has one writer at a time, like an
 * instance's. */
struct model {
	struct event_base *base;
	struct store *store;
	struct validate_defaults defaults; /* texts borrowed from the master's configuration */
	struct model_events ev;
	void *arg;
	struct model_instance *list, *by_id;
	struct material *material; /* owned; NULL before model_watch */
	size_t count;
	char key[MODEL_KEY_LEN + 1]; /* a secret */
	char mid[MODEL_MID_LEN + 1];
	char alias[MODEL_TEXT_MAX + 1];
	bool master_busy;
	uint64_t revision;	/* of the last change that was given to the store */
	uint64_t committed;	/* of the last one that the store has */
	struct change *waiting; /* utlist: behind a change of the same object */
	unsigned pending;	/* changes and saves that the store has */
	unsigned queued;	/* changes of users: MODEL_PENDING_MAX */
	enum np_err save_err;	/* of the last save; for model_flush */
	struct np_diag save_diag;
};

/* model_rows.c */
/* Appends the stored form. Errors: sticky in @out. */
void model_row_instance(const struct model_instance *inst, struct np_buf *out);
void model_row_counters(const struct model_instance *inst, struct np_buf *out);
void model_row_master(const char *key, const char *mid, const char *alias, struct np_buf *out);
void model_row_revision(uint64_t revision, struct np_buf *out);
/* model_row_take - one row of the store into the model. Errors: NP_EINVAL (@diag), NP_ENOMEM. */
enum np_err model_row_take(struct model *m, const struct store_row *row,
			   struct np_diag *diag) NP_MUST_CHECK;

/* model.c */
struct model_instance *model_instance_new(const char *id);
void model_instance_free(struct model_instance *inst);
enum np_err model_add(struct model *m, struct model_instance *inst) NP_MUST_CHECK;
void model_remove(struct model *m, struct model_instance *inst);
struct model_instance *model_get(const struct model *m, const char *id);
/* model_set_text - a copy of @from in place of *@to. Errors: NP_ENOMEM, *@to is as before. */
enum np_err model_set_text(char **to, const char *from) NP_MUST_CHECK;
/* model_random_hex - @digits (at most MODEL_KEY_LEN) and a NUL. Errors: NP_ECRYPTO. */
enum np_err model_random_hex(char *out, size_t digits) NP_MUST_CHECK;
/* model_saved_copy - deep copy of the stored part. model_saved_move - @from's stored part to @to,
 * whose own is freed. */
enum np_err model_saved_copy(const struct model_instance *from,
			     struct model_instance *to) NP_MUST_CHECK;
void model_saved_move(struct model_instance *from, struct model_instance *to);
void model_saved_release(struct model_instance *inst);
void model_meta_release(struct model_meta *meta);
enum np_err model_meta_copy_peer(const struct model_meta *from,
				 struct model_meta *to) NP_MUST_CHECK;
enum np_err model_meta_copy_tags(const struct model_meta *from,
				 struct model_meta *to) NP_MUST_CHECK;
void model_meta_render(const struct model_meta *meta, const char *name, struct np_buf *out);
/* model_render.c: model_shown_new - nothing is kept yet; NULL: no memory. Freed by np_free after
 * model_shown_drop, which forgets the object that is kept. */
struct model_shown *model_shown_new(void) NP_MUST_CHECK;
void model_shown_drop(struct model_instance *inst);
/* model_save - @ops at the side: model_flush waits for them. */
void model_save(struct model *m, const struct store_op *ops, size_t n);
void model_publish(struct model *m, int sse_type, const struct model_instance *inst);
/* model_clear_gauges - of an instance that serves nothing. */
void model_clear_gauges(struct model_instance *inst);

/*
 * model_material.c. model_waits - is something missing that the node needs? model_material_fill - for a
 * URL that is about to be stored: what it needs, and what of that is known. Errors: NP_ENOMEM,
 * NP_ECRYPTO. model_material_begin - what is missing is read, derived. model_material_gained - is there
 * something that is not stored yet? model_material_kick - files that failed are tried now.
 * model_material_again - what could not be stored is tried later.
 */
bool model_waits(const struct model_instance *inst);
enum np_err model_material_fill(struct model *m, struct model_instance *inst) NP_MUST_CHECK;
void model_material_begin(struct model *m, struct model_instance *inst);
bool model_material_gained(const struct model *m, const struct model_instance *inst);
void model_material_kick(struct model_instance *inst);
void model_material_again(struct model *m);
void model_material_free(struct model *m);
/* model_show_waiting - the state of one that waits, which no node reports. model_material_show - the
 * same for a new URL, with what is wrong with its files. */
void model_show_waiting(struct model *m, struct model_instance *inst);
void model_material_show(struct model *m, struct model_instance *inst);
/* model_old_keep - before @inst becomes @next. */
void model_old_keep(struct model_instance *inst, const struct model_instance *next);
void model_old_release(struct model_instance *inst);
/* model_change.c: model_change_material - stores what was gained, then tells the node. */
void model_change_material(struct model *m, const char *id);

#endif
