/*
 * tls_files.c - certificate of an instance and its replacement. Files are read on helper threads.
 */
#include "tls_files.h"

#include "base/alloc.h"
#include "offload.h"
#include "runtime.h"

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_CRT = 0, FILE_KEY, FILE_CA, FILE_COUNT };

/* Zero: not there, or not given. */
struct file_times {
	struct timespec changed[FILE_COUNT];
	ino_t ino[FILE_COUNT];
};

/* One look at the files; travels to a helper thread and back. */
struct files_job {
	struct offload_job job;
	struct tls_files *files; /* NULL: the owner is gone */
	char *path[FILE_COUNT];	 /* owned; NULL = not given */
	enum tls_purpose purpose;
	struct file_times seen; /* in: known times; out: new ones */
	bool force, changed;
	SSL_CTX *ctx; /* owned; NULL = nothing new, or bad */
	uint8_t fingerprint[NP_FINGERPRINT_LEN];
	struct np_diag diag;
};

struct tls_files {
	struct instance *inst;
	enum tls_purpose purpose;
	bool given;		 /* with the instance: no file is looked at */
	SSL_CTX *ctx, *next_ctx; /* owned */
	uint8_t fingerprint[NP_FINGERPRINT_LEN], next_fingerprint[NP_FINGERPRINT_LEN];
	struct file_times times;
	struct event *timer, *switch_timer;
	struct files_job *job;
	bool check_again;
	void (*on_new)(struct instance *inst);
};

static void times_of(const char *const path[FILE_COUNT], struct file_times *out)
{
	struct stat st;

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < FILE_COUNT; i++) {
		if (path[i] == NULL || stat(path[i], &st) != 0)
			continue;
		out->changed[i] = st.st_mtim;
		out->ino[i] = st.st_ino;
	}
}

static void paths_of(const struct np_config *cfg, enum tls_purpose purpose,
		     const char *path[FILE_COUNT])
{
	path[FILE_CRT] = cfg->crt;
	path[FILE_KEY] = cfg->keyfile;
	path[FILE_CA] = purpose == TLS_FOR_VISITORS ? NULL : cfg->ca;
}

/* Of files, or of the certificate that is made here? */
static bool has_files(const struct np_config *cfg, enum tls_purpose purpose)
{
	if (purpose == TLS_FOR_SERVER)
		return cfg->crt != NULL || cfg->ca != NULL;
	return cfg->tls == 2;
}

/* Where the authorities come from: at most one of the three. */
struct anchors {
	const char *path;
	const struct np_pem *pem;
	SSL_CTX *of; /* those of another context */
};

static enum np_err anchors_use(SSL_CTX *ctx, const struct anchors *from, struct np_diag *diag)
{
	if (from->path != NULL)
		return tls_trust_load(ctx, from->path, diag);
	if (from->pem != NULL)
		return tls_trust_read(ctx, from->pem, diag);
	if (from->of != NULL)
		SSL_CTX_set1_cert_store(ctx, SSL_CTX_get_cert_store(from->of));
	return NP_OK;
}

/* @id without a certificate: a client that shows none. @from NULL: no authorities. */
static enum np_err ctx_for(enum tls_purpose purpose, const struct tls_identity *id,
			   const struct anchors *from, SSL_CTX **out, struct np_diag *diag)
{
	SSL_CTX *ctx = NULL;
	enum np_err err = NP_ECRYPTO;

	switch (purpose) {
	case TLS_FOR_TUNNEL:
		err = tls_server_ctx(id, &ctx);
		if (err == NP_OK && from != NULL)
			tls_ask_clients(ctx);
		break;
	case TLS_FOR_VISITORS:
		err = tls_visitor_ctx(id, &ctx);
		break;
	case TLS_FOR_SERVER:
		err = tls_client_ctx(NULL, &ctx, diag);
		if (err == NP_OK && id->cert != NULL)
			err = tls_use_identity(ctx, id);
		break;
	}
	if (err == NP_OK && from != NULL)
		err = anchors_use(ctx, from, diag);
	if (err == NP_OK)
		*out = ctx;
	else
		SSL_CTX_free(ctx);
	return err;
}

/* From an identity (released) that may have failed to be read. */
static enum np_err ctx_of(enum tls_purpose purpose, struct tls_identity *id,
			  const struct anchors *from, SSL_CTX **out,
			  uint8_t fingerprint[NP_FINGERPRINT_LEN], struct np_diag *diag)
{
	struct np_diag why = {.text = ""};
	enum np_err err = ctx_for(purpose, id, from, out, &why);

	memcpy(fingerprint, id->fingerprint, NP_FINGERPRINT_LEN);
	if (id->cert != NULL)
		tls_identity_release(id);
	if (err != NP_OK && why.text[0] != '\0')
		*diag = why;
	else if (err != NP_OK)
		np_diag_set(diag, err, "crt", "the certificate cannot be used for TLS");
	return err;
}

/* All that the files give. @diag names the one that is bad. */
static enum np_err load(enum tls_purpose purpose, const char *const path[FILE_COUNT], SSL_CTX **out,
			uint8_t fingerprint[NP_FINGERPRINT_LEN], struct np_diag *diag)
{
	const struct anchors from = {.path = path[FILE_CA]};
	struct tls_identity id = {.cert = NULL};

	if (path[FILE_CRT] != NULL) {
		enum np_err err = tls_identity_load(path[FILE_CRT], path[FILE_KEY], &id, diag);

		if (err != NP_OK)
			return err;
	}
	return ctx_of(purpose, &id, path[FILE_CA] != NULL ? &from : NULL, out, fingerprint, diag);
}

/* All that came with the instance. */
static enum np_err read_given(enum tls_purpose purpose, const struct instance_material *m,
			      SSL_CTX **out, uint8_t fingerprint[NP_FINGERPRINT_LEN],
			      struct np_diag *diag)
{
	const struct anchors from = {.pem = &m->ca};
	bool ca = purpose != TLS_FOR_VISITORS && m->ca.len > 0;
	struct tls_identity id = {.cert = NULL};

	if (m->crt.len > 0) {
		enum np_err err = tls_identity_read(&m->crt, &m->key, &id, diag);

		if (err != NP_OK)
			return err;
	}
	return ctx_of(purpose, &id, ca ? &from : NULL, out, fingerprint, diag);
}

static bool is_given(enum tls_purpose purpose, const struct instance_material *m)
{
	return m->crt.len > 0 || (purpose == TLS_FOR_SERVER && m->ca.len > 0);
}

/*
 * Instances without files show one certificate, made on first need, and share its contexts: thousands
 * of them need neither a key each nor the memory of a context each.
 */
static struct {
	pthread_mutex_t lock; /* helper threads meet here */
	bool made;
	struct tls_identity identity;
	SSL_CTX *ctx[2]; /* by purpose, of tunnel ports and visitors; a reference of their own */
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

static enum np_err own_ctx(enum tls_purpose purpose, uint8_t fingerprint[NP_FINGERPRINT_LEN],
			   SSL_CTX **out)
{
	enum np_err err = NP_OK;

	pthread_mutex_lock(&own.lock);
	if (!own.made)
		err = tls_identity_make(&own.identity);
	own.made |= err == NP_OK;
	if (err == NP_OK && own.ctx[purpose] == NULL)
		err = ctx_for(purpose, &own.identity, NULL, &own.ctx[purpose], NULL);
	if (err == NP_OK && SSL_CTX_up_ref(own.ctx[purpose]) != 1)
		err = NP_ECRYPTO;
	if (err == NP_OK) {
		*out = own.ctx[purpose];
		memcpy(fingerprint, own.identity.fingerprint, NP_FINGERPRINT_LEN);
	}
	pthread_mutex_unlock(&own.lock);
	return err;
}

void tls_files_exit(void)
{
	pthread_mutex_lock(&own.lock);
	for (int i = 0; i < 2; i++) {
		SSL_CTX_free(own.ctx[i]);
		own.ctx[i] = NULL;
	}
	if (own.made)
		tls_identity_release(&own.identity);
	own.made = false;
	pthread_mutex_unlock(&own.lock);
}

enum np_err tls_files_new(struct instance *inst, enum tls_purpose purpose,
			  const struct instance_material *material, struct tls_files **out,
			  struct np_diag *diag)
{
	const struct np_config *cfg = instance_cfg(inst);
	struct tls_files *t = np_calloc(1, sizeof(*t));
	const char *path[FILE_COUNT];
	enum np_err err;

	if (t == NULL)
		return NP_ENOMEM;
	t->inst = inst;
	t->purpose = purpose;
	if (has_files(cfg, purpose) && is_given(purpose, material)) {
		t->given = true;
		err = read_given(purpose, material, &t->ctx, t->fingerprint, diag);
	} else if (has_files(cfg, purpose)) {
		paths_of(cfg, purpose, path);
		times_of(path, &t->times);
		err = load(purpose, path, &t->ctx, t->fingerprint, diag);
	} else {
		err = own_ctx(purpose, t->fingerprint, &t->ctx);
	}
	if (err == NP_OK)
		*out = t;
	else
		np_free(t);
	return err;
}

SSL_CTX *tls_files_ctx(const struct tls_files *t)
{
	return t != NULL ? t->ctx : NULL;
}

void tls_files_fingerprints(const struct tls_files *t, struct np_msg_fingerprints *out)
{
	out->n = 1;
	memcpy(out->sha256[0], t->fingerprint, NP_FINGERPRINT_LEN);
	if (t->next_ctx != NULL)
		memcpy(out->sha256[out->n++], t->next_fingerprint, NP_FINGERPRINT_LEN);
}

static void use_next(struct tls_files *t)
{
	const char *crt = instance_cfg(t->inst)->crt, *ca = instance_cfg(t->inst)->ca;

	SSL_CTX_free(t->ctx);
	t->ctx = t->next_ctx;
	t->next_ctx = NULL;
	memcpy(t->fingerprint, t->next_fingerprint, sizeof(t->fingerprint));
	INSTANCE_LOG(t->inst, INFO, "certificate replaced %s=%s", crt != NULL ? "crt" : "ca",
		     crt != NULL ? crt : ca);
}

static void on_switch(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	use_next(arg);
}

/* Takes @ctx. */
static void take_ctx(struct tls_files *t, SSL_CTX *ctx,
		     const uint8_t fingerprint[NP_FINGERPRINT_LEN])
{
	const struct timeval tv = {.tv_usec = TLS_FILES_ANNOUNCE_MS * 1000};

	SSL_CTX_free(t->next_ctx);
	t->next_ctx = ctx;
	memcpy(t->next_fingerprint, fingerprint, NP_FINGERPRINT_LEN);
	if (t->purpose == TLS_FOR_SERVER) /* nobody has to be told before */
		use_next(t);
	else
		evtimer_add(t->switch_timer, &tv);
	if (t->on_new != NULL)
		t->on_new(t->inst);
}

static void job_free(struct files_job *j)
{
	SSL_CTX_free(j->ctx);
	for (int i = 0; i < FILE_COUNT; i++)
		np_free(j->path[i]);
	np_free(j);
}

static void on_job_done(struct worker *w, struct mail *m)
{
	struct files_job *j = (struct files_job *)m;
	struct tls_files *t = j->files;

	(void)w;
	if (t == NULL) {
		job_free(j);
		return;
	}
	t->job = NULL;
	if (j->changed || j->force)
		t->times = j->seen;
	if (j->ctx != NULL) {
		take_ctx(t, j->ctx, j->fingerprint);
		j->ctx = NULL;
	} else if (j->changed || j->force) {
		INSTANCE_LOG(t->inst, ERROR, "%s, the old certificate stays", j->diag.text);
	}
	job_free(j);
	if (t->check_again) {
		t->check_again = false;
		tls_files_check(t, true);
	}
}

static void job_run(struct offload_job *job)
{
	struct files_job *j = (struct files_job *)job;
	const char *path[FILE_COUNT];
	struct file_times now;

	for (int i = 0; i < FILE_COUNT; i++)
		path[i] = j->path[i];
	times_of(path, &now);
	j->changed = memcmp(&now, &j->seen, sizeof(now)) != 0;
	j->seen = now;
	if (!j->changed && !j->force)
		return;
	if (load(j->purpose, path, &j->ctx, j->fingerprint, &j->diag) != NP_OK)
		j->ctx = NULL;
}

static bool job_paths(struct files_job *j, const struct np_config *cfg)
{
	const char *path[FILE_COUNT];

	paths_of(cfg, j->purpose, path);
	for (int i = 0; i < FILE_COUNT; i++) {
		j->path[i] = path[i] != NULL ? np_strdup(path[i]) : NULL;
		if (path[i] != NULL && j->path[i] == NULL)
			return false;
	}
	return true;
}

void tls_files_check(struct tls_files *t, bool force)
{
	struct files_job *j;

	/* No files, or not watched yet. */
	if (t == NULL || t->switch_timer == NULL || t->given)
		return;
	if (t->job != NULL) {
		t->check_again |= force;
		return;
	}
	j = np_calloc(1, sizeof(*j));
	if (j == NULL)
		return; /* looked at again later */
	j->files = t;
	j->purpose = t->purpose;
	j->seen = t->times;
	j->force = force;
	j->job.done.deliver = on_job_done;
	j->job.reply_to = t->inst->home;
	j->job.run = job_run;
	if (!job_paths(j, instance_cfg(t->inst)) || offload_submit(&j->job) != NP_OK) {
		job_free(j);
		return;
	}
	t->job = j;
}

bool tls_files_are_read(const struct tls_files *t)
{
	return t != NULL && has_files(instance_cfg(t->inst), t->purpose) && !t->given;
}

void tls_files_take(struct tls_files *t, struct tls_identity *identity)
{
	const struct np_config *cfg = instance_cfg(t->inst);
	const struct anchors from = {.of = t->ctx};
	bool ca = t->purpose != TLS_FOR_VISITORS && cfg->ca != NULL;
	uint8_t fingerprint[NP_FINGERPRINT_LEN];
	struct np_diag diag;
	SSL_CTX *ctx = NULL;

	t->given = true;
	if (t->job != NULL)
		t->job->files = NULL;
	t->job = NULL;
	if (ctx_of(t->purpose, identity, ca ? &from : NULL, &ctx, fingerprint, &diag) != NP_OK)
		INSTANCE_LOG(t->inst, ERROR, "crt=%s: %s, the old certificate stays", cfg->crt,
			     diag.text);
	else if (t->switch_timer != NULL)
		take_ctx(t, ctx, fingerprint);
	else
		SSL_CTX_free(ctx);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tls_files_check(arg, false);
}

enum np_err tls_files_watch(struct tls_files *t, void (*on_new)(struct instance *inst))
{
	int64_t ms = runtime.env.reload_interval_ms;
	struct timeval tv;

	if (ms > TLS_FILES_CHECK_MS)
		ms = TLS_FILES_CHECK_MS;
	tv = tv_of_ms(ms);
	t->on_new = on_new;
	if (!has_files(instance_cfg(t->inst), t->purpose))
		return NP_OK;
	t->switch_timer = evtimer_new(t->inst->home->base, on_switch, t);
	t->timer = event_new(t->inst->home->base, -1, EV_PERSIST, on_timer, t);
	if (t->switch_timer == NULL || t->timer == NULL || event_add(t->timer, &tv) != 0)
		return NP_ENOMEM;
	return NP_OK;
}

void tls_files_free(struct tls_files *t)
{
	if (t == NULL)
		return;
	if (t->job != NULL)
		t->job->files = NULL;
	if (t->timer != NULL)
		event_free(t->timer);
	if (t->switch_timer != NULL)
		event_free(t->switch_timer);
	SSL_CTX_free(t->ctx);
	SSL_CTX_free(t->next_ctx);
	np_free(t);
}
