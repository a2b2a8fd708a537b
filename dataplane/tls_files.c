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

struct file_times {
	struct timespec crt, key;
	ino_t crt_ino, key_ino;
};

/* One look at the files; travels to a helper thread and back. */
struct files_job {
	struct offload_job job;
	struct tls_files *files; /* NULL: the owner is gone */
	char *crt, *key;	 /* owned */
	struct file_times seen;	 /* in: known times; out: new ones */
	bool force, changed, loaded;
	struct tls_identity identity;
	struct np_diag diag;
};

struct tls_files {
	struct instance *inst;
	bool visitors;
	bool given;		 /* with the instance: no file is looked at */
	SSL_CTX *ctx, *next_ctx; /* owned */
	uint8_t fingerprint[NP_FINGERPRINT_LEN], next_fingerprint[NP_FINGERPRINT_LEN];
	struct file_times times;
	struct event *timer, *switch_timer;
	struct files_job *job;
	bool check_again;
	void (*on_new)(struct instance *inst);
};

static void times_of(const char *crt, const char *key, struct file_times *out)
{
	struct stat st;

	memset(out, 0, sizeof(*out));
	if (stat(crt, &st) == 0) {
		out->crt = st.st_mtim;
		out->crt_ino = st.st_ino;
	}
	if (stat(key, &st) == 0) {
		out->key = st.st_mtim;
		out->key_ino = st.st_ino;
	}
}

static enum np_err ctx_for(bool visitors, const struct tls_identity *id, SSL_CTX **out)
{
	return visitors ? tls_visitor_ctx(id, out) : tls_server_ctx(id, out);
}

/*
 * Instances without files show one certificate, made on first need, and share its contexts: thousands
 * of them need neither a key each nor the memory of a context each.
 */
static struct {
	pthread_mutex_t lock; /* helper threads meet here */
	bool made;
	struct tls_identity identity;
	SSL_CTX *ctx[2]; /* of tunnel ports, of visitors; a reference of their own */
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

static enum np_err own_ctx(bool visitors, uint8_t fingerprint[NP_FINGERPRINT_LEN], SSL_CTX **out)
{
	enum np_err err = NP_OK;

	pthread_mutex_lock(&own.lock);
	if (!own.made)
		err = tls_identity_make(&own.identity);
	own.made |= err == NP_OK;
	if (err == NP_OK && own.ctx[visitors] == NULL)
		err = ctx_for(visitors, &own.identity, &own.ctx[visitors]);
	if (err == NP_OK && SSL_CTX_up_ref(own.ctx[visitors]) != 1)
		err = NP_ECRYPTO;
	if (err == NP_OK) {
		*out = own.ctx[visitors];
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

static enum np_err identity_of(struct tls_files *t, const struct instance_material *material,
			       struct tls_identity *id, struct np_diag *diag)
{
	const struct np_config *cfg = instance_cfg(t->inst);

	t->given = material->crt.len > 0;
	if (t->given)
		return tls_identity_read(&material->crt, &material->key, id, diag);
	times_of(cfg->crt, cfg->keyfile, &t->times);
	return tls_identity_load(cfg->crt, cfg->keyfile, id, diag);
}

enum np_err tls_files_new(struct instance *inst, bool visitors,
			  const struct instance_material *material, struct tls_files **out,
			  struct np_diag *diag)
{
	const struct np_config *cfg = instance_cfg(inst);
	struct tls_files *t = np_calloc(1, sizeof(*t));
	struct tls_identity id;
	enum np_err err;

	if (t == NULL)
		return NP_ENOMEM;
	t->inst = inst;
	t->visitors = visitors;
	if (cfg->tls != 2) {
		err = own_ctx(visitors, t->fingerprint, &t->ctx);
		if (err == NP_OK)
			*out = t;
		else
			np_free(t);
		return err;
	}
	err = identity_of(t, material, &id, diag);
	if (err != NP_OK) {
		np_free(t);
		return err;
	}
	memcpy(t->fingerprint, id.fingerprint, sizeof(t->fingerprint));
	err = ctx_for(visitors, &id, &t->ctx);
	tls_identity_release(&id);
	if (err != NP_OK) {
		np_free(t);
		return np_diag_set(diag, err, "crt", "the certificate cannot be used for TLS");
	}
	*out = t;
	return NP_OK;
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

static void on_switch(evutil_socket_t fd, short what, void *arg)
{
	struct tls_files *t = arg;

	(void)fd;
	(void)what;
	SSL_CTX_free(t->ctx);
	t->ctx = t->next_ctx;
	t->next_ctx = NULL;
	memcpy(t->fingerprint, t->next_fingerprint, sizeof(t->fingerprint));
	INSTANCE_LOG(t->inst, INFO, "certificate replaced crt=%s", instance_cfg(t->inst)->crt);
}

static void take_identity(struct tls_files *t, const struct tls_identity *identity)
{
	const struct timeval tv = {.tv_usec = TLS_FILES_ANNOUNCE_MS * 1000};
	SSL_CTX *ctx = NULL;

	if (ctx_for(t->visitors, identity, &ctx) != NP_OK) {
		INSTANCE_LOG(t->inst, ERROR, "crt=%s cannot be used for TLS, the old one stays",
			     instance_cfg(t->inst)->crt);
		return;
	}
	SSL_CTX_free(t->next_ctx);
	t->next_ctx = ctx;
	memcpy(t->next_fingerprint, identity->fingerprint, sizeof(t->next_fingerprint));
	if (t->on_new != NULL)
		t->on_new(t->inst);
	evtimer_add(t->switch_timer, &tv);
}

static void job_free(struct files_job *j)
{
	if (j->loaded)
		tls_identity_release(&j->identity);
	np_free(j->crt);
	np_free(j->key);
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
	if (j->loaded)
		take_identity(t, &j->identity);
	else if (j->changed || j->force)
		INSTANCE_LOG(t->inst, ERROR, "%s, the old certificate stays", j->diag.text);
	job_free(j);
	if (t->check_again) {
		t->check_again = false;
		tls_files_check(t, true);
	}
}

static void job_run(struct offload_job *job)
{
	struct files_job *j = (struct files_job *)job;
	struct file_times now;

	times_of(j->crt, j->key, &now);
	j->changed = memcmp(&now, &j->seen, sizeof(now)) != 0;
	j->seen = now;
	if (!j->changed && !j->force)
		return;
	j->loaded = tls_identity_load(j->crt, j->key, &j->identity, &j->diag) == NP_OK;
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
	j->crt = np_strdup(instance_cfg(t->inst)->crt);
	j->key = np_strdup(instance_cfg(t->inst)->keyfile);
	j->files = t;
	j->seen = t->times;
	j->force = force;
	j->job.done.deliver = on_job_done;
	j->job.reply_to = t->inst->home;
	j->job.run = job_run;
	if (j->crt == NULL || j->key == NULL || offload_submit(&j->job) != NP_OK) {
		job_free(j);
		return;
	}
	t->job = j;
}

bool tls_files_are_read(const struct tls_files *t)
{
	return instance_cfg(t->inst)->tls == 2 && !t->given;
}

void tls_files_take(struct tls_files *t, struct tls_identity *identity)
{
	t->given = true;
	if (t->job != NULL)
		t->job->files = NULL;
	t->job = NULL;
	if (t->switch_timer != NULL)
		take_identity(t, identity);
	tls_identity_release(identity);
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
	if (instance_cfg(t->inst)->tls != 2)
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
