/*
 * registry_apply.c - what is wanted of the instances: checked, written into the entry; entry_step
 * does the rest.
 */
#include "registry_priv.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

static bool is_same_blob(const struct ctl_blob *a, const struct ctl_blob *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static bool is_same_pair(const struct ctl_spec *a, const struct ctl_spec *b)
{
	return is_same_blob(&a->cert_pem, &b->cert_pem) && is_same_blob(&a->key_pem, &b->key_pem);
}

/* What no running instance takes over; a certificate can be exchanged, but not go away. */
static bool is_same_base(const struct ctl_spec *a, const struct ctl_spec *b)
{
	return a->incomplete == b->incomplete && is_same_blob(&a->ca_pem, &b->ca_pem) &&
	       is_same_blob(&a->auth_salt, &b->auth_salt) && is_same_blob(&a->auth_k, &b->auth_k) &&
	       (a->cert_pem.len == 0 || b->cert_pem.len > 0);
}

static bool is_same_spec(const struct ctl_spec *a, const struct ctl_spec *b)
{
	return strcmp(a->url, b->url) == 0 && a->desired == b->desired &&
	       a->restart_nonce == b->restart_nonce && is_same_pair(a, b) && is_same_base(a, b);
}

/* What is there has what @spec lacks, and goes on with it. Borrowed from both. */
static struct ctl_spec completed(const struct entry *e, const struct ctl_spec *spec)
{
	struct ctl_spec s = *spec;

	if (!s.incomplete || e->spec.incomplete || strcmp(e->spec.url, s.url) != 0)
		return s;
	s.cert_pem = e->spec.cert_pem;
	s.key_pem = e->spec.key_pem;
	s.ca_pem = e->spec.ca_pem;
	s.auth_salt = e->spec.auth_salt;
	s.auth_k = e->spec.auth_k;
	s.incomplete = false;
	return s;
}

/* All that is wrong with @spec is found before anything is changed. */
static enum ctl_code check(const struct ctl_spec *spec, struct np_diag *diag)
{
	struct np_config cfg;
	enum np_err err;

	if (!ctl_id_valid(spec->id)) {
		np_diag_set(diag, NP_EINVAL, "id", "id: 1 to %d of a-z, 0-9 and -", CTL_ID_MAX);
		return CTL_INVALID;
	}
	if (spec->url == NULL ||
	    (spec->desired != CTL_DESIRED_RUNNING && spec->desired != CTL_DESIRED_STOPPED)) {
		np_diag_set(diag, NP_EINVAL, "spec", "an instance needs a url and a desired state");
		return CTL_INVALID;
	}
	err = np_config_parse(spec->url, &cfg, diag);
	if (err == NP_ENOMEM) {
		np_diag_set(diag, err, "url", "out of memory");
		return CTL_INTERNAL;
	}
	if (err != NP_OK)
		return CTL_INVALID;
	if (cfg.role == NP_ROLE_MASTER) {
		np_diag_set(diag, NP_EINVAL, "url", "master:// is not an instance's URL");
		np_config_release(&cfg);
		return CTL_INVALID;
	}
	np_config_release(&cfg);
	return CTL_OK;
}

static bool is_settled(const struct entry *e)
{
	if (e->spec.desired == CTL_DESIRED_STOPPED)
		return e->state == CTL_STOPPED;
	return e->state == CTL_RUNNING && !e->restarting && e->cur != NULL &&
	       e->cur->change == e->change;
}

static enum ctl_code settle(struct entry *e)
{
	entry_step(e);
	return is_settled(e) ? CTL_OK : CTL_ACCEPTED;
}

static enum ctl_code apply_new(struct registry *r, const struct ctl_spec *spec,
			       struct np_diag *diag)
{
	struct entry *e;

	if (r->n >= REGISTRY_MAX) {
		np_diag_set(diag, NP_ELIMIT, "id", "%d instances are here already", REGISTRY_MAX);
		return CTL_LIMIT;
	}
	e = np_calloc(1, sizeof(*e));
	if (e != NULL && ctl_spec_copy(spec, &e->spec) == NP_OK) {
		e->registry = r;
		e->change = 1;
		if (registry_insert(r, e) == NP_OK) {
			e->state = CTL_STATE_UNSPECIFIED;
			wants_update(e);
			return settle(e);
		}
		ctl_spec_release(&e->spec);
	}
	np_free(e);
	np_diag_set(diag, NP_ENOMEM, "id", "out of memory");
	return CTL_INTERNAL;
}

/* The URL that serves is kept until another one has taken its place. */
static void keep_last(struct entry *e)
{
	if (e->last == NULL && e->cur != NULL && e->cur->phase == RUN_STARTED) {
		e->last = np_calloc(1, sizeof(*e->last));
		if (e->last != NULL) {
			*e->last = e->spec;
			memset(&e->spec, 0, sizeof(e->spec));
			return;
		}
	}
	ctl_spec_release(&e->spec);
}

static enum ctl_code apply_change(struct entry *e, const struct ctl_spec *spec,
				  struct np_diag *diag)
{
	bool other_url = strcmp(e->spec.url, spec->url) != 0;
	bool other_pair = !is_same_pair(&e->spec, spec), other_base = !is_same_base(&e->spec, spec);
	bool restart = e->spec.restart_nonce != spec->restart_nonce;
	struct ctl_spec copy;

	if (ctl_spec_copy(spec, &copy) != NP_OK) {
		np_diag_set(diag, NP_ENOMEM, "id", "out of memory");
		return CTL_INTERNAL;
	}
	if (other_url || other_pair || other_base) {
		e->change++;
		if (other_base)
			e->renew = e->change;
		if (other_pair)
			e->pair = e->change;
		e->retry_ms = 0;
		if (!e->restarting)
			entry_timer_clear(e); /* not tried with the old one again */
		keep_last(e);
	} else {
		ctl_spec_release(&e->spec);
	}
	e->spec = copy;
	if (other_url)
		wants_update(e);
	entry_changed(e); /* the revision, also where the state stays what it is */
	e->nack_revision = 0;
	np_free(e->nack_text);
	e->nack_text = NULL;
	e->removing = false;
	if (restart && spec->desired == CTL_DESIRED_RUNNING)
		e->restarting = true;
	else if (spec->desired == CTL_DESIRED_STOPPED)
		e->restarting = false;
	return settle(e);
}

static enum ctl_code apply_known(struct entry *e, const struct ctl_spec *spec, bool dry_run,
				 struct np_diag *diag)
{
	bool same = is_same_spec(&e->spec, spec) && !e->removing;

	if (!same && !e->removing && spec->revision != 0 && spec->revision <= e->spec.revision) {
		np_diag_set(diag, NP_ESTATE, "revision", "revision %llu is not newer than %llu",
			    (unsigned long long)spec->revision,
			    (unsigned long long)e->spec.revision);
		return CTL_STALE;
	}
	if (dry_run)
		return CTL_OK;
	if (!same)
		return apply_change(e, spec, diag);
	if (spec->revision > e->spec.revision) {
		e->spec.revision = spec->revision;
		entry_changed(e);
	}
	return is_settled(e) ? CTL_OK : CTL_ACCEPTED;
}

enum ctl_code registry_apply(struct registry *r, const struct ctl_spec *spec, bool dry_run,
			     struct np_diag *diag)
{
	struct entry *e = registry_find(r, spec->id);
	enum ctl_code code = check(spec, diag);
	struct ctl_spec s;

	if (code != CTL_OK) {
		if (e != NULL && !dry_run)
			entry_nack(e, spec->revision, diag->text);
		return code;
	}
	if (r->closing) {
		np_diag_set(diag, NP_ESTATE, "id", "the process ends");
		return CTL_DRAINING;
	}
	if (e != NULL) {
		s = completed(e, spec);
		return apply_known(e, &s, dry_run, diag);
	}
	if (!dry_run)
		return apply_new(r, spec, diag);
	return r->n >= REGISTRY_MAX ? CTL_LIMIT : CTL_OK;
}

enum ctl_code registry_remove(struct registry *r, const char *id)
{
	struct entry *e = registry_find(r, id);

	if (e == NULL)
		return CTL_NOT_FOUND;
	e->removing = true;
	e->restarting = false;
	entry_step(e);
	return registry_find(r, id) == NULL ? CTL_OK : CTL_ACCEPTED;
}

enum ctl_code registry_action(struct registry *r, const char *id, enum ctl_verb verb,
			      struct np_diag *diag)
{
	struct entry *e = registry_find(r, id);

	if (e == NULL || e->removing) {
		np_diag_set(diag, NP_ENOTFOUND, "id", "there is no instance %s", id);
		return CTL_NOT_FOUND;
	}
	switch (verb) {
	case CTL_START:
		e->spec.desired = CTL_DESIRED_RUNNING;
		if (e->state == CTL_ERROR) { /* at once */
			e->retry_ms = 0;
			entry_timer_clear(e);
		}
		return settle(e);
	case CTL_STOP:
		e->spec.desired = CTL_DESIRED_STOPPED;
		e->restarting = false;
		return settle(e);
	case CTL_RESTART:
		e->spec.desired = CTL_DESIRED_RUNNING;
		e->restarting = true;
		return settle(e);
	case CTL_RESET:
		sums_reset(e);
		return CTL_OK;
	case CTL_VERB_UNSPECIFIED:
		break;
	}
	np_diag_set(diag, NP_EINVAL, "verb", "start, stop, restart or reset");
	return CTL_UNSUPPORTED;
}

static void set_level(struct entry *e, enum np_log_level level)
{
	if (e->cur != NULL && e->cur->inst != NULL)
		atomic_store(&e->cur->inst->log_level, (int)level);
}

enum ctl_code registry_log_level(struct registry *r, const char *id, enum np_log_level level)
{
	struct entry *e;

	if (id[0] == '\0') {
		for (size_t i = 0; i < r->n; i++)
			set_level(r->entries[i], level);
		return CTL_OK;
	}
	e = registry_find(r, id);
	if (e == NULL)
		return CTL_NOT_FOUND;
	set_level(e, level);
	return CTL_OK;
}
