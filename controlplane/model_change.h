/*
 * model_change.h - one change on its way: asked for (model_change.c), with the store, applied
 * (model_applied.c). Inside of model.
 *
 * A change owns a copy of what will be stored ("saved"). While the store works on it, further changes
 * of the same object wait behind it; those of others do not. What fails in the store has changed
 * nothing.
 */
#ifndef CP_MODEL_CHANGE_H
#define CP_MODEL_CHANGE_H

#include "model.h"

enum change_kind {
	CHANGE_CREATE = 0,
	CHANGE_PATCH,
	CHANGE_PUT,
	CHANGE_DELETE,
	CHANGE_MATERIAL, /* of our own: what the node needs beside the URL came in */
	CHANGE_ALIAS,
	CHANGE_KEY,
};

struct change {
	struct change *prev, *next;
	struct model *m;
	enum change_kind kind;
	char id[STORE_ID_MAX + 1];
	model_done_fn done;
	void *arg;
	/* What was asked for, owned. */
	char *url, *alias;
	enum ctl_verb action;
	bool has_restart, restart, has_meta, has_peer, has_tags;
	struct model_meta meta;
	/* What will be stored: an instance's saved part, or the master's. */
	struct model_instance *saved;
	uint64_t revision; /* of this change, 0 = the node need not know of it */
	char key[MODEL_KEY_LEN + 1], master_alias[MODEL_TEXT_MAX + 1];
};

/* change_end - the one way out: answers, frees, lets the next one in. change_refused - the same for
 * one that failed with @err. change_is_of_master - else it is an instance's. */
void change_end(struct change *c, int status, const char *text, const struct model_instance *inst);
void change_refused(struct change *c, enum np_err err, const struct np_diag *diag);
bool change_is_of_master(const struct change *c);
/* change_on_stored - the store has it, or failed (store_done_fn). model_applied.c. */
void change_on_stored(void *arg, enum np_err err, const struct np_diag *why);

#endif
