/*
 * registry_files.c - a certificate that a running instance is to take over is read on a helper thread
 * first, from its files or from what came with the instance: a pair that cannot be used is refused
 * before anything is changed.
 */
#include "registry_priv.h"

#include "base/alloc.h"
#include "tls.h"

#include <stdio.h>
#include <string.h>

struct check_job {
	struct offload_job job;
	struct registry *registry;
	char id[CTL_ID_MAX + 1];
	uint64_t change;
	char *crt, *key;      /* owned; the paths */
	struct ctl_spec spec; /* owned; its material, or none */
	struct tls_identity identity;
	enum np_err err;
	struct np_diag diag;
};

static void job_free(struct check_job *j)
{
	np_free(j->crt);
	np_free(j->key);
	ctl_spec_release(&j->spec);
	tls_identity_release(&j->identity);
	np_free(j);
}

static void job_drop(struct offload_job *job)
{
	job_free((struct check_job *)job);
}

static void job_run(struct offload_job *job)
{
	struct check_job *j = (struct check_job *)job;
	struct np_pem crt = {j->crt, j->spec.cert_pem.data, j->spec.cert_pem.len};
	struct np_pem key = {j->key, j->spec.key_pem.data, j->spec.key_pem.len};

	if (crt.len > 0)
		j->err = tls_identity_read(&crt, &key, &j->identity, &j->diag);
	else
		j->err = tls_identity_load(j->crt, j->key, &j->identity, &j->diag);
}

static void on_job_done(struct worker *w, struct mail *m)
{
	struct check_job *j = (struct check_job *)m;
	struct registry *r = j->registry;
	struct entry *e = r->freeing ? NULL : registry_find(r, j->id);

	(void)w;
	if (e != NULL && e->change == j->change) {
		/* Of files it was only a trial: who serves reads and watches them itself. */
		if (j->err == NP_OK && j->spec.cert_pem.len > 0) {
			tls_identity_release(&e->identity);
			e->identity = j->identity;
			j->identity = (struct tls_identity){.cert = NULL};
		}
		entry_files_checked(e, j->err, &j->diag);
	}
	job_free(j);
}

static bool is_same_path(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool entry_needs_check(const struct entry *e, const struct np_config *cfg)
{
	const struct np_config *is = &e->cur->settings->cfg;

	if (!np_config_has_pair(cfg) || e->files_checked == e->change)
		return false;
	if (e->spec.cert_pem.len > 0)
		return e->pair > e->cur->change;
	return !is_same_path(is->crt, cfg->crt) || !is_same_path(is->keyfile, cfg->keyfile);
}

struct instance_material material_of(const struct ctl_spec *spec, const struct np_config *cfg)
{
	struct instance_material m = {
	    .crt = {cfg->crt, spec->cert_pem.data, spec->cert_pem.len},
	    .key = {cfg->keyfile, spec->key_pem.data, spec->key_pem.len},
	    .ca = {cfg->ca, spec->ca_pem.data, spec->ca_pem.len},
	    .has_auth = spec->auth_salt.len == NP_SALT_LEN && spec->auth_k.len == NP_K_LEN,
	};

	if (m.has_auth) {
		memcpy(m.auth.salt, spec->auth_salt.data, NP_SALT_LEN);
		memcpy(m.auth.k, spec->auth_k.data, NP_K_LEN);
	}
	return m;
}

enum np_err entry_check_files(struct entry *e, const struct np_config *cfg)
{
	struct check_job *j;
	enum np_err err = NP_ENOMEM;

	if (e->files_checking == e->change) /* its answer is on the way */
		return NP_OK;
	j = np_calloc(1, sizeof(*j));
	if (j == NULL)
		return NP_ENOMEM;
	j->registry = e->registry;
	snprintf(j->id, sizeof(j->id), "%s", e->spec.id);
	j->change = e->change;
	j->crt = np_strdup(cfg->crt);
	j->key = np_strdup(cfg->keyfile);
	j->job.run = job_run;
	j->job.drop = job_drop;
	j->job.lose = job_drop;
	j->job.reply_to = e->registry->main;
	j->job.done.deliver = on_job_done;
	if (j->crt != NULL && j->key != NULL && ctl_spec_copy(&e->spec, &j->spec) == NP_OK)
		err = offload_submit(&j->job);
	if (err != NP_OK)
		job_free(j);
	else
		e->files_checking = e->change;
	return err;
}
