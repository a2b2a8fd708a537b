/*
 * registry.c - the table of instances and the mail that drives them. See registry.h.
 */
#include "registry.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum order { ORDER_START = 0, ORDER_DRAIN, ORDER_STOP, ORDER_RELOAD };

struct entry {
	char id[INSTANCE_ID_MAX + 1];
	struct instance *inst; /* owned */
	struct registry *registry;
	_Atomic int state; /* enum instance_state, written by the home worker */
	UT_hash_handle hh;
};

struct registry {
	struct entry *entries; /* hash */
	void (*on_change)(void *arg);
	void *arg;
	unsigned next_home;
};

/* Travels to the home worker. */
struct order_mail {
	struct mail mail;
	struct instance *inst;
	enum order order;
	int64_t ms;
};

struct registry *registry_new(void (*on_change)(void *arg), void *arg)
{
	struct registry *r = np_calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->on_change = on_change;
	r->arg = arg;
	return r;
}

static void entry_on_state(struct instance *inst, void *arg)
{
	struct entry *e = arg;

	atomic_store(&e->state, (int)inst->state);
	e->registry->on_change(e->registry->arg);
}

static void on_order(struct worker *w, struct mail *m)
{
	struct order_mail *o = (struct order_mail *)m;

	(void)w;
	switch (o->order) {
	case ORDER_START:
		instance_start(o->inst);
		break;
	case ORDER_DRAIN:
		instance_drain(o->inst, o->ms);
		break;
	case ORDER_STOP:
		instance_stop(o->inst);
		break;
	case ORDER_RELOAD:
		instance_reload(o->inst);
		break;
	}
	np_free(o);
}

static enum np_err order_post(struct instance *inst, enum order order, int64_t ms)
{
	struct order_mail *o = np_calloc(1, sizeof(*o));

	if (o == NULL)
		return NP_ENOMEM;
	o->mail.deliver = on_order;
	o->inst = inst;
	o->order = order;
	o->ms = ms;
	worker_post(inst->home, &o->mail);
	return NP_OK;
}

enum np_err registry_add(struct registry *r, const char *id, struct np_config *cfg,
			 struct np_diag *diag)
{
	struct entry *e = NULL;
	enum np_err err;

	HASH_FIND_STR(r->entries, id, e);
	if (e != NULL)
		return np_diag_set(diag, NP_EEXIST, "id", "instance %s exists already", id);
	if (HASH_COUNT(r->entries) >= REGISTRY_MAX)
		return np_diag_set(diag, NP_ELIMIT, "id", "%d instances run already", REGISTRY_MAX);
	e = np_calloc(1, sizeof(*e));
	if (e == NULL)
		return NP_ENOMEM;
	snprintf(e->id, sizeof(e->id), "%s", id);
	e->registry = r;
	err = instance_new(id, cfg, worker_at(r->next_home++ % workers_count()), &e->inst, diag);
	if (err != NP_OK) {
		np_free(e);
		return err;
	}
	e->inst->on_state = entry_on_state;
	e->inst->on_state_arg = e;
	HASH_ADD_STR(r->entries, id, e);
	if (e->hh.tbl == NULL) {
		instance_discard(e->inst);
		np_free(e);
		return NP_ENOMEM;
	}
	return order_post(e->inst, ORDER_START, 0);
}

static void order_all(struct registry *r, enum order order, int64_t ms)
{
	struct entry *e, *next;

	HASH_ITER (hh, r->entries, e, next)
		if (order_post(e->inst, order, ms) != NP_OK)
			np_log(NP_LOG_ERROR, e->id, "out of memory");
}

void registry_drain(struct registry *r, int64_t ms)
{
	order_all(r, ORDER_DRAIN, ms);
}

void registry_stop(struct registry *r)
{
	order_all(r, ORDER_STOP, 0);
}

void registry_reload(struct registry *r)
{
	order_all(r, ORDER_RELOAD, 0);
}

void registry_counts(struct registry *r, struct registry_counts *out)
{
	struct entry *e, *next;

	*out = (struct registry_counts){0};
	HASH_ITER (hh, r->entries, e, next) {
		int state = atomic_load(&e->state);

		out->all++;
		out->stopped += state == INSTANCE_STOPPED;
		out->failed += state == INSTANCE_ERROR;
	}
}

void registry_free(struct registry *r)
{
	struct entry *e, *next;

	if (r == NULL)
		return;
	HASH_ITER (hh, r->entries, e, next) {
		HASH_DEL(r->entries, e);
		instance_free(e->inst);
		np_free(e);
	}
	np_free(r);
}
