/*
 * commands_snapshot.c - the whole desired state in chunks: staged, then put in place in one step.
 */
#include "commands_priv.h"

#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a refusal takes of the answer besides its text. */
#define NACK_BYTES 150

void staging_drop(struct commands *c)
{
	struct staging *s = &c->staging;

	for (size_t i = 0; i < s->n; i++)
		ctl_spec_release(&s->specs[i]);
	np_free(s->specs);
	*s = (struct staging){0};
}

static bool blob_equal(const struct ctl_blob *a, const struct ctl_blob *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

bool spec_equal(const struct ctl_spec *a, const struct ctl_spec *b)
{
	const char *url = a->url != NULL ? a->url : "", *other = b->url != NULL ? b->url : "";

	return strcmp(url, other) == 0 && a->desired == b->desired &&
	       a->restart_nonce == b->restart_nonce && a->incomplete == b->incomplete &&
	       blob_equal(&a->cert_pem, &b->cert_pem) && blob_equal(&a->key_pem, &b->key_pem) &&
	       blob_equal(&a->ca_pem, &b->ca_pem) && blob_equal(&a->auth_salt, &b->auth_salt) &&
	       blob_equal(&a->auth_k, &b->auth_k);
}

/* Moves the chunk's instances behind those that are there. */
static enum np_err stage(struct staging *s, struct ctl_request *r)
{
	size_t need = s->n + r->snapshot.n;

	if (need > REGISTRY_MAX)
		return NP_ELIMIT;
	if (need > s->cap) {
		size_t cap = need * 2 < REGISTRY_MAX ? need * 2 : REGISTRY_MAX;
		struct ctl_spec *specs = np_realloc(s->specs, cap * sizeof(*specs));

		if (specs == NULL)
			return NP_ENOMEM;
		s->specs = specs;
		s->cap = cap;
	}
	for (size_t i = 0; i < r->snapshot.n; i++)
		s->specs[s->n + i] = r->snapshot.instances[i];
	s->n = need;
	np_free(r->snapshot.instances);
	r->snapshot.instances = NULL;
	r->snapshot.n = 0;
	return NP_OK;
}

/*
 * Chunks come in order, of one snapshot. Older than what is here is refused, but not right after a
 * Hello that asked for one: then the controller's word counts, even if scripts went further here.
 */
static bool snapshot_check(struct commands *c, const struct ctl_request *r, struct ctl_reply *out)
{
	const struct staging *s = &c->staging;

	if (c->drain != COMMANDS_SERVING) {
		reply_error(out, CTL_DRAINING, "the node is being drained");
		return false;
	}
	if (r->snapshot.n > CTL_CHUNK_MAX) {
		reply_error(out, CTL_LIMIT, "%zu instances in a chunk, %d at most", r->snapshot.n,
			    CTL_CHUNK_MAX);
		return false;
	}
	if (r->snapshot.snapshot_id[0] == '\0') {
		reply_error(out, CTL_INVALID, "snapshot.snapshot_id is missing");
		return false;
	}
	if (r->snapshot.index == 0) {
		if (r->revision != 0 && r->revision < c->applied && !c->resync) {
			reply_error(out, CTL_STALE, "the snapshot has revision %llu, the node %llu",
				    (unsigned long long)r->revision,
				    (unsigned long long)c->applied);
			return false;
		}
		return true;
	}
	if (strcmp(s->id, r->snapshot.snapshot_id) != 0 || s->revision != r->revision ||
	    s->next != r->snapshot.index) {
		reply_error(out, CTL_GAP, "chunk %u of this snapshot is not the next one",
			    r->snapshot.index);
		return false;
	}
	return true;
}

static int by_id(const void *a, const void *b)
{
	const struct ctl_spec *x = a, *y = b;

	return strcmp(x->id, y->id);
}

/* What is wrong with the whole; true: nothing. */
static bool whole_check(struct staging *s, uint32_t total, struct ctl_reply *out)
{
	if (s->n != total) {
		reply_error(out, CTL_GAP, "%zu instances came, %u were announced", s->n, total);
		return false;
	}
	if (s->n > 0)
		qsort(s->specs, s->n, sizeof(*s->specs), by_id);
	for (size_t i = 1; i < s->n; i++) {
		if (strcmp(s->specs[i - 1].id, s->specs[i].id) == 0) {
			reply_error(out, CTL_INVALID, "instance %s is there twice", s->specs[i].id);
			return false;
		}
	}
	return true;
}

static void remove_others(struct commands *c, struct ctl_reply *out)
{
	struct staging *s = &c->staging;
	char after[CTL_ID_MAX + 1] = "";
	const char *id;
	struct ctl_spec key;

	while ((id = registry_next(c->registry, after)) != NULL) {
		snprintf(after, sizeof(after), "%s", id);
		memcpy(key.id, after, sizeof(key.id));
		if (s->n > 0 && bsearch(&key, s->specs, s->n, sizeof(*s->specs), by_id) != NULL)
			continue;
		if (registry_remove(c->registry, after) != CTL_NOT_FOUND)
			out->snapshot.removed++;
	}
}

/* Those that find no room are told by the status of their instance, as all are. */
static void note_refusal(struct ctl_reply *out, const struct ctl_spec *spec, enum ctl_code code,
			 const char *text, size_t *bytes)
{
	struct ctl_nack *more;

	*bytes += NACK_BYTES + strlen(text);
	if (*bytes > COMMANDS_PAGE_BYTES)
		return;
	more = np_realloc(out->snapshot.nacks, (out->snapshot.n + 1) * sizeof(*more));
	if (more == NULL)
		return;
	out->snapshot.nacks = more;
	more += out->snapshot.n++;
	memset(more, 0, sizeof(*more));
	memcpy(more->id, spec->id, sizeof(more->id));
	more->revision = spec->revision;
	more->code = code;
	snprintf(more->text, sizeof(more->text), "%s", text);
}

static void commit_one(struct commands *c, const struct ctl_spec *spec, struct ctl_reply *out,
		       size_t *bytes)
{
	struct np_diag diag = {.text = ""};
	const struct ctl_spec *now = registry_spec(c->registry, spec->id);
	bool is_new = now == NULL, same = now != NULL && spec_equal(now, spec);
	enum ctl_code code = registry_apply(c->registry, spec, false, &diag);

	if (code == CTL_STALE) {
		/* Scripts or another store counted further here; a snapshot is the truth all the
		 * same: the content without its number, then the number. */
		struct ctl_spec plain = *spec;

		plain.revision = 0;
		code = registry_apply(c->registry, &plain, false, &diag);
		if (code == CTL_OK || code == CTL_ACCEPTED)
			code = registry_apply(c->registry, spec, false, &diag);
	}
	if (code != CTL_OK && code != CTL_ACCEPTED) {
		note_refusal(out, spec, code, diag.text, bytes);
		c->ops->changed(c->arg, spec->id);
	} else if (is_new) {
		out->snapshot.added++;
	} else if (same) {
		out->snapshot.unchanged++;
	} else {
		out->snapshot.changed++;
	}
}

static bool is_server(const struct ctl_spec *spec)
{
	return spec->url != NULL && strncmp(spec->url, "server://", strlen("server://")) == 0;
}

static void commit(struct commands *c, const struct ctl_request *r, struct ctl_reply *out)
{
	struct staging *s = &c->staging;
	size_t bytes = 0;

	if (!whole_check(s, r->snapshot.total, out))
		return;
	/* First what goes: its listeners may be asked for by what comes. Servers before the clients
	 * that are to find out that these are theirs. */
	remove_others(c, out);
	for (size_t i = 0; i < s->n; i++)
		if (is_server(&s->specs[i]))
			commit_one(c, &s->specs[i], out, &bytes);
	for (size_t i = 0; i < s->n; i++)
		if (!is_server(&s->specs[i]))
			commit_one(c, &s->specs[i], out, &bytes);
	c->applied = r->revision == 0 ? c->applied + 1 : r->revision;
	c->resync = false;
	out->applied_revision = c->applied;
}

void commands_snapshot(struct commands *c, struct ctl_request *r, struct np_mono now,
		       struct ctl_reply *out)
{
	struct staging *s = &c->staging;
	enum np_err err;

	if (!snapshot_check(c, r, out)) {
		staging_drop(c);
		return;
	}
	out->result = CTL_CMD_SNAPSHOT;
	if (r->snapshot.index == 0) {
		staging_drop(c);
		memcpy(s->id, r->snapshot.snapshot_id, sizeof(s->id));
		s->revision = r->revision;
	}
	err = stage(s, r);
	if (err != NP_OK) {
		staging_drop(c);
		reply_error(out, err == NP_ELIMIT ? CTL_LIMIT : CTL_INTERNAL, "%s",
			    err == NP_ELIMIT ? "too many instances" : np_err_text(err));
		return;
	}
	s->next = r->snapshot.index + 1;
	s->deadline = np_mono_add_ms(now, COMMANDS_STAGING_MS);
	out->snapshot.staged = (uint32_t)s->n;
	if (r->snapshot.last) {
		commit(c, r, out);
		staging_drop(c);
	}
}
