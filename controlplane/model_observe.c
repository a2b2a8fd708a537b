/*
 * model_observe.c - what the node says of its instances: states, numbers. And what the model tells
 * it: desired specs.
 *
 * The node's totals begin anew with the node and never fall while it runs; the model adds the
 * differences, so that what is shown goes on. Totals that are less than those seen already came late
 * on the other socket. An older node has only totals that begin anew with each start of an instance:
 * there one that falls is a new beginning.
 */
#include "model_priv.h"

#include "base/alloc.h"
#include "base/log.h"
#include "sse.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/banned.h"

#define BATCH_MAX 256 /* rows of a transaction */

/* Rows that are saved together. */
struct batch {
	struct model *m;
	size_t n;
	struct store_op ops[BATCH_MAX];
	struct np_buf blobs[BATCH_MAX];
};

static void batch_flush(struct batch *b)
{
	if (b->n > 0)
		model_save(b->m, b->ops, b->n);
	for (size_t i = 0; i < b->n; i++)
		np_buf_wipe(&b->blobs[i]);
	b->n = 0;
}

/* The buffer that the caller fills with the blob; batch_done after it. */
static struct np_buf *batch_row(struct batch *b, enum store_kind kind, const char *id,
				uint64_t revision)
{
	struct store_op *op;

	if (b->n == BATCH_MAX)
		batch_flush(b);
	op = &b->ops[b->n];
	*op = (struct store_op){.row = {.kind = kind, .revision = revision}};
	snprintf(op->row.id, sizeof(op->row.id), "%s", id);
	np_buf_init(&b->blobs[b->n], STORE_BLOB_MAX);
	return &b->blobs[b->n];
}

static bool batch_done(struct batch *b)
{
	struct np_buf *blob = &b->blobs[b->n];

	if (blob->err != NP_OK) {
		np_log(NP_LOG_ERROR, NULL, "a row could not be saved: %s", np_err_text(blob->err));
		np_buf_wipe(blob);
		return false;
	}
	b->ops[b->n].row.blob = np_buf_ptr(blob);
	b->ops[b->n].row.len = np_buf_len(blob);
	b->n++;
	return true;
}

static struct batch *batch_new(struct model *m)
{
	struct batch *b = np_calloc(1, sizeof(*b));

	if (b == NULL)
		np_log(NP_LOG_ERROR, NULL, "out of memory: the state is saved later");
	else
		b->m = m;
	return b;
}

/* -- desired state -- */

static bool blob(struct ctl_blob *to, const void *data, size_t len)
{
	if (len == 0)
		return true;
	to->data = np_malloc(len);
	if (to->data == NULL)
		return false;
	memcpy(to->data, data, len);
	to->len = len;
	return true;
}

static bool put_material(const struct model_auth *a, const struct pem_content *pem,
			 struct ctl_spec *out)
{
	if (a->has && (!blob(&out->auth_salt, a->key.salt, sizeof(a->key.salt)) ||
		       !blob(&out->auth_k, a->key.k, sizeof(a->key.k))))
		return false;
	return pem == NULL ||
	       (blob(&out->cert_pem, pem->file[PEM_CRT].data, pem->file[PEM_CRT].len) &&
		blob(&out->key_pem, pem->file[PEM_KEY].data, pem->file[PEM_KEY].len) &&
		blob(&out->ca_pem, pem->file[PEM_CA].data, pem->file[PEM_CA].len));
}

static bool to_spec(const struct model_instance *inst, struct ctl_spec *out)
{
	const struct model_old *old = model_waits(inst) ? inst->old : NULL;

	*out = (struct ctl_spec){0};
	snprintf(out->id, sizeof(out->id), "%s", inst->id);
	out->revision = inst->revision;
	out->desired = inst->desired;
	out->restart_nonce = inst->restart_nonce;
	out->incomplete = model_waits(inst) && old == NULL;
	out->url = np_strdup(old != NULL ? old->url : inst->url);
	if (out->url != NULL && put_material(old != NULL ? &old->auth : &inst->auth,
					     old != NULL ? old->pem : inst->pem, out))
		return true;
	ctl_spec_release(out);
	return false;
}

/* One that this version cannot serve is shown, never sent; one that waits is sent as it was, or as
 * incomplete, so that the node knows whose its addresses are. */
static bool is_served(const struct model_instance *inst)
{
	return inst->refused[0] == '\0';
}

bool model_next_spec(void *model, const char *after, struct ctl_spec *out)
{
	struct model *m = model;
	struct model_instance *inst = after[0] == '\0' ? m->list : model_get(m, after);

	if (inst != NULL && after[0] != '\0')
		inst = inst->next;
	while (inst != NULL && !is_served(inst))
		inst = inst->next;
	return inst != NULL && to_spec(inst, out);
}

enum node_spec model_get_spec(void *model, const char *id, struct ctl_spec *out)
{
	struct model_instance *inst = model_get(model, id);

	if (inst == NULL || !is_served(inst))
		return NODE_SPEC_NONE;
	return to_spec(inst, out) ? NODE_SPEC_IS : NODE_SPEC_WAITS;
}

void model_boot_rule(struct model *m)
{
	struct batch *b = batch_new(m);
	struct model_instance *inst;

	if (b == NULL)
		return;
	DL_FOREACH (m->list, inst) {
		enum ctl_desired want = inst->restart ? CTL_DESIRED_RUNNING : CTL_DESIRED_STOPPED;

		if (inst->desired == want)
			continue;
		inst->desired = want;
		model_show_waiting(m, inst);
		inst->revision = ++m->revision;
		model_row_instance(inst, batch_row(b, STORE_INSTANCE, inst->id, inst->revision));
		batch_done(b);
	}
	m->committed = m->revision;
	if (b->n > 0) {
		model_row_revision(m->revision, batch_row(b, STORE_META, "revision", 0));
		batch_done(b);
	}
	batch_flush(b);
	np_free(b);
}

/* -- import -- */

enum np_err model_import(struct model *m, const struct model_import *row)
{
	struct model_instance *inst = NULL;
	struct store_op ops[2] = {{.row = {.kind = STORE_INSTANCE}},
				  {.row = {.kind = STORE_COUNTERS}}};
	struct store_row read = {.kind = STORE_INSTANCE};
	struct np_diag diag;
	struct np_buf b[2];
	enum np_err err;

	if (!ctl_id_valid(row->id) || model_get(m, row->id) != NULL)
		return NP_EINVAL;
	np_buf_init(&b[0], STORE_BLOB_MAX);
	np_buf_init(&b[1], STORE_BLOB_MAX);
	/* Written as a row and read back as one: what is refused is refused in one place. */
	model_row_instance(&(struct model_instance){.url = (char *)(uintptr_t)row->url,
						    .alias = (char *)(uintptr_t)row->alias,
						    .restart = row->restart,
						    .meta = row->meta,
						    .desired = row->restart ? CTL_DESIRED_RUNNING
									    : CTL_DESIRED_STOPPED},
			   &b[0]);
	snprintf(read.id, sizeof(read.id), "%s", row->id);
	read.revision = m->committed = ++m->revision;
	read.blob = np_buf_ptr(&b[0]);
	read.len = np_buf_len(&b[0]);
	err = b[0].err;
	if (err == NP_OK)
		err = model_row_take(m, &read, &diag);
	if (err == NP_OK)
		inst = model_get(m, row->id);
	if (inst != NULL) {
		memcpy(inst->total, row->total, sizeof(inst->total));
		model_row_counters(inst, &b[1]);
		ops[0].row = read;
		snprintf(ops[1].row.id, sizeof(ops[1].row.id), "%s", row->id);
		ops[1].row.blob = np_buf_ptr(&b[1]);
		ops[1].row.len = np_buf_len(&b[1]);
		if (b[1].err == NP_OK)
			model_save(m, ops, 2);
		if (inst->refused[0] != '\0')
			np_log(NP_LOG_ERROR, inst->id, "imported, but it cannot be served: %s",
			       inst->refused);
	}
	np_buf_wipe(&b[0]);
	np_buf_release(&b[1]);
	return err;
}

/* -- observed state -- */

void model_clear_gauges(struct model_instance *inst)
{
	inst->ping_ms = inst->pool = inst->tcps = inst->udps = 0;
}

/* Once for each refused revision, although the node repeats it with each status. */
static void say_refused(struct model *m, struct model_instance *inst, const char *why)
{
	char text[CTL_TEXT_MAX + 64];

	if (inst->nacked == inst->revision)
		return;
	inst->nacked = inst->revision;
	if (m->ev.say == NULL || !np_log_enabled(inst->needs.log, NP_LOG_ERROR))
		return;
	snprintf(text, sizeof(text), "the data plane refused this change: %s", why);
	m->ev.say(m->arg, inst->id, NP_LOG_ERROR, text, false);
}

void model_observe_status(struct model *m, const struct ctl_status *st)
{
	struct model_instance *inst = model_get(m, st->id);
	enum model_status before, after;
	bool refused =
	    inst != NULL && st->nack_revision != 0 && st->nack_revision == inst->revision;

	if (inst != NULL && st->removed) /* what the node counts for this id later begins with 0 */
		memset(&inst->seen, 0, sizeof(inst->seen));
	if (inst == NULL || st->removed || (st->revision < inst->revision && !refused))
		return; /* of a spec that was replaced meanwhile */
	/* Of what it was before; that it stops is true of it as it is. */
	if (model_waits(inst) && (inst->old == NULL || inst->desired == CTL_DESIRED_RUNNING))
		return;
	before = model_status(inst);
	if (refused) /* whatever it runs instead */
		inst->state = CTL_ERROR;
	else if (st->state != CTL_STOPPING) /* keeps its last value until it has stopped */
		inst->state = st->state;
	if (st->mode != 0)
		inst->mode = st->mode;
	after = model_status(inst);
	if (after == MODEL_STOPPED)
		model_clear_gauges(inst);
	if (before != after)
		model_publish(m, SSE_UPDATE, inst);
	if (refused)
		say_refused(m, inst, st->nack_text);
}

bool model_all_observed(const struct model *m)
{
	const struct model_instance *inst;

	DL_FOREACH (m->list, inst)
		if (is_served(inst) && !model_waits(inst) && inst->state == CTL_STATE_UNSPECIFIED)
			return false;
	return true;
}

static void add_difference(struct model_instance *inst, const uint64_t now[MODEL_COUNTERS],
			   bool may_fall)
{
	for (int i = 0; i < MODEL_COUNTERS; i++) {
		uint64_t last = inst->seen.last[i];

		if (now[i] == last || (now[i] < last && !may_fall))
			continue;
		inst->total[i] += now[i] > last ? now[i] - last : now[i];
		inst->seen.last[i] = now[i];
		inst->seen.dirty = true;
	}
}

void model_observe_stats(struct model *m, const char *boot_id, const struct ctl_stats *st)
{
	const uint64_t of_start[MODEL_COUNTERS] = {st->tcp_rx, st->tcp_tx, st->udp_rx, st->udp_tx};
	const uint64_t of_boot[MODEL_COUNTERS] = {st->boot.tcp_rx, st->boot.tcp_tx, st->boot.udp_rx,
						  st->boot.udp_tx};
	struct model_instance *inst = model_get(m, st->id);

	if (inst == NULL)
		return;
	if (strcmp(inst->seen.boot_id, boot_id) != 0 ||
	    (!st->has_boot && inst->seen.starts != st->starts)) {
		memset(inst->seen.last, 0, sizeof(inst->seen.last));
		snprintf(inst->seen.boot_id, sizeof(inst->seen.boot_id), "%s", boot_id);
		inst->seen.dirty = true;
	}
	inst->seen.starts = st->starts;
	add_difference(inst, st->has_boot ? of_boot : of_start, !st->has_boot);
	inst->ping_ms = st->has_ping ? st->ping_ms : 0;
	inst->pool = st->pool;
	inst->tcps = st->tcps;
	inst->udps = st->udps;
	if (model_status(inst) == MODEL_STOPPED)
		model_clear_gauges(inst);
}

void model_observe_down(struct model *m)
{
	struct model_instance *inst;

	DL_FOREACH (m->list, inst)
		model_clear_gauges(inst);
}

void model_tick(struct model *m)
{
	struct model_instance *inst;

	DL_FOREACH (m->list, inst)
		if (model_status(inst) == MODEL_RUNNING)
			model_publish(m, SSE_UPDATE, inst);
}

void model_save_counters(struct model *m)
{
	struct batch *b = batch_new(m);
	struct model_instance *inst;

	if (b == NULL)
		return;
	DL_FOREACH (m->list, inst) {
		/* One that is being reset has its row in that transaction. */
		if (!inst->seen.dirty || inst->busy)
			continue;
		model_row_counters(inst, batch_row(b, STORE_COUNTERS, inst->id, 0));
		if (batch_done(b))
			inst->seen.dirty = false;
	}
	batch_flush(b);
	np_free(b);
}
