/*
 * registry_files.c - certificate files that a running instance is to take over are read on a helper
 * thread first: a pair that cannot be used is refused before anything is changed.
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
	char *crt, *key; /* owned */
	enum np_err err;
	struct np_diag diag;
};

static void job_free(struct check_job *j)
{
	np_free(j->crt);
	np_free(j->key);
	np_free(j);
}

static void job_drop(struct offload_job *job)
{
	job_free((struct check_job *)job);
}

static void job_run(struct offload_job *job)
{
	struct check_job *j = (struct check_job *)job;
	struct tls_identity identity;

	j->err = tls_identity_load(j->crt, j->key, &identity, &j->diag);
	if (j->err == NP_OK)
		tls_identity_release(&identity);
}

static void on_job_done(struct worker *w, struct mail *m)
{
	struct check_job *j = (struct check_job *)m;
	struct registry *r = j->registry;
	struct entry *e = r->freeing ? NULL : registry_find(r, j->id);

	(void)w;
	if (e != NULL && e->change == j->change)
		entry_files_checked(e, j->err, &j->diag);
	job_free(j);
}

static bool is_same_path(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool entry_needs_check(const struct entry *e, const struct np_config *cfg)
{
	const struct np_config *is = &e->cur->settings->cfg;

	return cfg->tls == 2 && cfg->crt != NULL && cfg->keyfile != NULL &&
	       e->files_checked != e->change &&
	       (!is_same_path(is->crt, cfg->crt) || !is_same_path(is->keyfile, cfg->keyfile));
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
	j->job.reply_to = e->registry->main;
	j->job.done.deliver = on_job_done;
	if (j->crt != NULL && j->key != NULL)
		err = offload_submit(&j->job);
	if (err != NP_OK)
		job_free(j);
	else
		e->files_checking = e->change;
	return err;
}
