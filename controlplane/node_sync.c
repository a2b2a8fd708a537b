/*
 * node_sync.c - what is sent to a node to bring it to the desired state, and the list that tells
 * its observed one. See node.h; what is sent next is decided in reconcile.c.
 */
#include "node_priv.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

/* An id that no instance has: removing it changes nothing but the node's counter. */
#define NOBODY "none-of-them"

static bool is_ok(const struct ctl_reply *r)
{
	return r->code == CTL_OK || r->code == CTL_ACCEPTED;
}

/* The node will never take this very spec. */
static bool is_refusal(enum ctl_code code)
{
	return code == CTL_INVALID || code == CTL_CONFLICT || code == CTL_LIMIT;
}

static void report_refusal(struct node *n, const char *id, uint64_t revision, const char *text)
{
	struct ctl_status st = {.state = CTL_ERROR, .revision = revision};

	snprintf(st.id, sizeof(st.id), "%s", id);
	snprintf(st.error, sizeof(st.error), "%s", text);
	st.nack_revision = revision;
	snprintf(st.nack_text, sizeof(st.nack_text), "%s", text);
	n->cb.on_status(n->arg, &st);
}

/* -- single changes -- */

static void on_changed(void *arg, const struct link_call *call, enum np_err err,
		       const struct ctl_reply *reply)
{
	struct node *n = arg;
	enum reconcile_outcome o = RECONCILE_LOST;

	if (n->state != NODE_UP)
		return;
	if (err == NP_OK && node_fenced(n, reply))
		return;
	if (err == NP_OK && (is_ok(reply) || is_refusal(reply->code)))
		o = RECONCILE_DONE;
	if (err == NP_OK && is_refusal(reply->code) && call->id[0] != '\0')
		report_refusal(n, call->id, call->revision, reply->text);
	reconcile_step_end(&n->rec, o, node_now_ms());
	if (o == RECONCILE_LOST && reply != NULL && reply->retry_after_ms > 0)
		reconcile_repair(&n->rec, node_now_ms(), reply->retry_after_ms);
	node_wake(n);
}

static void send_step(struct node *n, struct ctl_request *req, const struct reconcile_step *step)
{
	req->base_revision = step->base;
	req->revision = step->revision;
	if (node_send(n, req, NODE_CHANGE_MS, on_changed) != NP_OK)
		reconcile_step_end(&n->rec, RECONCILE_LOST, node_now_ms());
}

static void send_removal(struct node *n, const char *id, const struct reconcile_step *step)
{
	struct ctl_request req = {.command = CTL_CMD_REMOVE};

	snprintf(req.remove.id, sizeof(req.remove.id), "%s", id);
	send_step(n, &req, step);
}

static void send_change(struct node *n, const char *id)
{
	struct ctl_request req = {.command = CTL_CMD_APPLY};
	struct reconcile_step step;

	switch (n->cb.get_spec(n->arg, id, &req.apply)) {
	case NODE_SPEC_NONE:
		reconcile_removal(&n->rec, &step);
		send_removal(n, id, &step);
		return;
	case NODE_SPEC_WAITS:
		return;
	case NODE_SPEC_IS:
		break;
	}
	if (reconcile_change(&n->rec, id, req.apply.revision, &step))
		send_step(n, &req, &step);
	ctl_spec_release(&req.apply);
}

/* -- snapshot -- */

void node_snapshot_drop(struct node *n)
{
	for (size_t i = 0; i < n->snap.n; i++)
		ctl_spec_release(&n->snap.specs[i]);
	np_free(n->snap.specs);
	n->snap = (struct node_snapshot){0};
}

static enum np_err specs_collect(struct node *n)
{
	struct node_snapshot *s = &n->snap;
	char after[CTL_ID_MAX + 1] = "";

	for (;;) {
		if (s->n == s->cap) {
			size_t cap = s->cap == 0 ? 64 : 2 * s->cap;
			struct ctl_spec *specs = np_realloc(s->specs, cap * sizeof(*specs));

			if (specs == NULL)
				return NP_ENOMEM;
			s->specs = specs;
			s->cap = cap;
		}
		if (!n->cb.next_spec(n->arg, after, &s->specs[s->n]))
			return NP_OK;
		snprintf(after, sizeof(after), "%s", s->specs[s->n].id);
		if (++s->n > NODE_SPECS_MAX)
			return NP_ELIMIT;
	}
}

/* All at once, so that it is the state of one moment; the chunks are sent as the window allows. */
static void snapshot_begin(struct node *n)
{
	struct node_snapshot *s = &n->snap;
	enum np_err err;

	node_snapshot_drop(n);
	s->revision = reconcile_snapshot(&n->rec, n->cb.desired_revision(n->arg), node_now_ms());
	err = specs_collect(n);
	if (err != NP_OK) {
		np_log(NP_LOG_ERROR, NULL, "the state could not be sent to the data plane: %s",
		       np_err_text(err));
		node_snapshot_drop(n);
		reconcile_snapshot_end(&n->rec, RECONCILE_LOST, node_now_ms());
		return;
	}
	for (size_t i = 0; i < s->n; i++)
		reconcile_told(&n->rec, s->specs[i].id, s->specs[i].revision);
	snprintf(s->id, sizeof(s->id), "%" PRIu64 "-%" PRIu64, n->epoch, ++n->serial);
}

static void snapshot_end(struct node *n, enum reconcile_outcome o)
{
	node_snapshot_drop(n);
	reconcile_snapshot_end(&n->rec, o, node_now_ms());
	node_wake(n);
}

static void on_chunk(void *arg, const struct link_call *call, enum np_err err,
		     const struct ctl_reply *reply)
{
	struct node *n = arg;
	struct node_snapshot *s = &n->snap;
	bool ok = err == NP_OK && is_ok(reply);

	if (n->state != NODE_UP || s->id[0] == '\0')
		return;
	if (err == NP_OK && node_fenced(n, reply))
		return;
	if (err == NP_ETIMEOUT && call->last) {
		node_start_over(n, 0);
		return;
	}
	s->unanswered--;
	if (!ok && !s->failed) {
		np_log(NP_LOG_WARN, NULL, "the data plane did not take the state: %s",
		       err != NP_OK ? np_err_text(err) : reply->text);
		s->failed = true;
	}
	if (ok && call->last && reply->result == CTL_CMD_SNAPSHOT)
		for (size_t i = 0; i < reply->snapshot.n; i++)
			report_refusal(n, reply->snapshot.nacks[i].id,
				       reply->snapshot.nacks[i].revision,
				       reply->snapshot.nacks[i].text);
	if (ok && call->last && !s->failed)
		snapshot_end(n, RECONCILE_DONE);
	else if (s->failed && s->unanswered == 0)
		snapshot_end(n, RECONCILE_LOST);
	else
		node_wake(n);
}

static size_t spec_bytes(const struct ctl_spec *s)
{
	return 160 + strlen(s->url) + s->cert_pem.len + s->key_pem.len + s->ca_pem.len +
	       s->auth_salt.len + s->auth_k.len;
}

/* False: nothing more can be sent now. */
static bool snapshot_chunk(struct node *n)
{
	struct node_snapshot *s = &n->snap;
	struct ctl_request req = {.command = CTL_CMD_SNAPSHOT, .revision = s->revision};
	size_t count = 0, bytes = 0;
	enum np_err err;

	if (s->last_sent || s->failed)
		return false;
	while (s->sent + count < s->n && count < CTL_CHUNK_MAX) {
		bytes += spec_bytes(&s->specs[s->sent + count]);
		if (bytes > NODE_CHUNK_BYTES && count > 0)
			break;
		count++;
	}
	memcpy(req.snapshot.snapshot_id, s->id, sizeof(s->id));
	req.snapshot.index = s->index;
	req.snapshot.total = (uint32_t)s->n;
	req.snapshot.last = s->sent + count == s->n;
	req.snapshot.instances = s->specs + s->sent; /* borrowed: req is never released */
	req.snapshot.n = count;
	err = node_send(n, &req, req.snapshot.last ? NODE_COMMIT_MS : NODE_CHANGE_MS, on_chunk);
	if (err == NP_EAGAIN)
		return false;
	if (err != NP_OK) {
		s->failed = true;
		if (s->unanswered == 0)
			snapshot_end(n, RECONCILE_LOST);
		return false;
	}
	s->unanswered++;
	s->index++;
	s->sent += count;
	s->last_sent = req.snapshot.last;
	return !s->last_sent;
}

/* -- the list of what runs there -- */

void node_report_status(struct node *n, const struct ctl_status *st)
{
	/* Without memory the list may show an older state for a moment. */
	if (n->listing && id_queue_put(&n->touched, st->id, 1) != NP_OK)
		n->list_wanted = true;
	n->cb.on_status(n->arg, st);
}

/*
 * A new instance that the node refused is not in its list, and its number is passed: only a snapshot
 * makes the node say again why. Once for each Hello, as it may be refused for ever.
 */
static void list_check(struct node *n)
{
	if (n->held && !n->cb.all_heard(n->arg))
		reconcile_repair(&n->rec, node_now_ms(), 0);
	n->held = false;
}

static void list_page(struct node *n);

static void on_page(void *arg, const struct link_call *call, enum np_err err,
		    const struct ctl_reply *reply)
{
	struct node *n = arg;

	(void)call;
	if (n->state != NODE_UP)
		return;
	if (err != NP_OK || !is_ok(reply) || reply->result != CTL_CMD_LIST) {
		n->listing = false;
		n->list_wanted = true; /* the next tick tries again */
		return;
	}
	for (size_t i = 0; i < reply->list.n; i++) {
		const struct ctl_view *v = &reply->list.views[i];

		if (v->has_status && !id_queue_has(&n->touched, v->status.id))
			n->cb.on_status(n->arg, &v->status);
		if (v->has_stats)
			n->cb.on_stats(n->arg, n->boot_id, &v->stats);
	}
	if (reply->list.next[0] != '\0') {
		snprintf(n->list_after, sizeof(n->list_after), "%s", reply->list.next);
		list_page(n);
		return;
	}
	n->listing = false;
	id_queue_clear(&n->touched);
	list_check(n);
	node_wake(n);
}

static void list_page(struct node *n)
{
	struct ctl_request req = {.command = CTL_CMD_LIST};

	snprintf(req.list.after, sizeof(req.list.after), "%s", n->list_after);
	req.list.limit = CTL_PAGE_MAX;
	req.list.with_stats = true;
	n->listing = node_send(n, &req, NODE_QUERY_MS, on_page) == NP_OK;
	if (!n->listing)
		n->list_wanted = true;
}

static void list_begin(struct node *n)
{
	n->list_wanted = false;
	n->list_after[0] = '\0';
	id_queue_clear(&n->touched);
	list_page(n);
}

/* -- the next thing -- */

static void report_synced(struct node *n)
{
	bool idle = reconcile_is_idle(&n->rec);

	if (idle && !n->reported)
		n->cb.on_synced(n->arg);
	n->reported = idle;
}

static bool pump_one(struct node *n)
{
	char id[RECONCILE_ID_MAX + 1];
	struct reconcile_step step;
	int64_t wait_ms;
	uint64_t desired = n->cb.desired_revision(n->arg);

	if (n->snap.id[0] != '\0')
		return snapshot_chunk(n);
	switch (reconcile_next(&n->rec, desired, node_now_ms(), id, &wait_ms)) {
	case RECONCILE_WAIT:
		if (wait_ms >= 0)
			event_add(n->pump, &(struct timeval){.tv_sec = wait_ms / 1000,
							     .tv_usec = wait_ms % 1000 * 1000});
		return false;
	case RECONCILE_SNAPSHOT:
		snapshot_begin(n);
		return true;
	case RECONCILE_CHANGE:
		send_change(n, id);
		return true;
	case RECONCILE_NUMBER:
		reconcile_number(&n->rec, desired, &step);
		send_removal(n, NOBODY, &step);
		return true;
	}
	return false;
}

void node_pump(struct node *n)
{
	if (n->state != NODE_UP)
		return;
	while (link_room(n->link) > NODE_RESERVE && pump_one(n))
		continue;
	if (n->state != NODE_UP)
		return;
	/* After a snapshot, so that its outcome is in it. */
	if (n->list_wanted && !n->listing && !n->rec.in_snapshot)
		list_begin(n);
	report_synced(n);
}
