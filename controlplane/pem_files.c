/*
 * pem_files.c - see pem_files.h. Reading itself is in pem_read.c.
 */
#include "pem_files.h"

#include "base/alloc.h"
#include "base/log.h"
#include "core/proof.h"
#include "helpers.h"
#include "pem_read.h"

#include <stdio.h>
#include <string.h>

#define uthash_malloc(n)  np_malloc(n)
#define uthash_free(p, n) np_free(p)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#include "base/banned.h"

#define THREADS	  2
#define LOOKS_MAX 64 /* sets that one job looks at */

struct pem_set {
	struct pem_files *owner;
	UT_hash_handle hh; /* owner->sets */
	char *name;	   /* owned; the paths, each with its NUL */
	size_t name_len;
	const char *paths[PEM_COUNT]; /* into name; NULL = not named */
	unsigned refs;		      /* users, and looks under way */
	struct pem_user *users;
	struct pem_content *content; /* the last good one; NULL = none yet */
	char *error;		     /* owned; why the files cannot be used now; NULL = they can */
	struct pem_times seen;
	bool read;	     /* looked at to the end at least once */
	bool due, due_all;   /* in the next job; whatever its times say */
	bool looking;	     /* in a job */
	int64_t retry_ms;    /* of the next retry */
	struct event *retry; /* owned; NULL: was never needed */
};

/* A look at some sets: on its way to a helper and back. */
struct look_job {
	struct helper_job job;
	struct pem_files *owner;
	size_t n;
	struct {
		struct pem_set *set; /* a reference */
		struct pem_look look;
	} looks[];
};

struct pem_files {
	struct event_base *base;
	struct helpers *helpers; /* owned */
	struct pem_callbacks cb;
	void *arg;
	struct pem_set *sets;
	struct event *timer, *soon; /* owned */
	size_t unread;
};

/* -- content -- */

struct pem_content *pem_content_hold(struct pem_content *c)
{
	if (c != NULL)
		c->refs++;
	return c;
}

void pem_content_release(struct pem_content *c)
{
	if (c == NULL || --c->refs > 0)
		return;
	for (int i = 0; i < PEM_COUNT; i++) {
		if (c->file[i].data != NULL)
			np_wipe(c->file[i].data, c->file[i].len);
		np_free(c->file[i].data);
	}
	np_free(c);
}

/* -- sets -- */

/* The paths as one key: an absent one is an empty text. */
static enum np_err name_of(const char *const paths[PEM_COUNT], char **out, size_t *out_len)
{
	size_t len = 0, at = 0;
	char *name;

	for (int i = 0; i < PEM_COUNT; i++)
		len += paths[i] == NULL ? 1 : strlen(paths[i]) + 1;
	name = np_malloc(len);
	if (name == NULL)
		return NP_ENOMEM;
	for (int i = 0; i < PEM_COUNT; i++) {
		size_t n = paths[i] == NULL ? 0 : strlen(paths[i]);

		if (n > 0)
			memcpy(name + at, paths[i], n);
		name[at + n] = '\0';
		at += n + 1;
	}
	*out = name;
	*out_len = len;
	return NP_OK;
}

static void set_put(struct pem_set *s)
{
	if (--s->refs > 0)
		return;
	HASH_DEL(s->owner->sets, s);
	if (!s->read)
		s->owner->unread--;
	if (s->retry != NULL)
		event_free(s->retry);
	pem_content_release(s->content);
	np_free(s->error);
	np_free(s->name);
	np_free(s);
}

static void set_due(struct pem_set *s, bool all)
{
	s->due = true;
	s->due_all |= all;
	event_active(s->owner->soon, EV_TIMEOUT, 0);
}

static void set_on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	set_due(arg, true);
}

/* Nobody has anything of these files yet. */
static void set_retry_later(struct pem_set *s)
{
	struct timeval tv = {.tv_sec = s->retry_ms / 1000, .tv_usec = s->retry_ms % 1000 * 1000};

	if (s->retry == NULL)
		s->retry = evtimer_new(s->owner->base, set_on_retry, s);
	/* Without memory the next look at all of them is the next try. */
	if (s->retry != NULL && event_add(s->retry, &tv) != 0)
		return;
	s->retry_ms *= 2;
	if (s->retry_ms > PEM_FILES_RETRY_MAX_MS)
		s->retry_ms = PEM_FILES_RETRY_MAX_MS;
}

static enum np_err set_new(struct pem_files *p, char *name, size_t len, struct pem_set **out)
{
	struct pem_set *s = np_calloc(1, sizeof(*s));
	const char *at = name;

	if (s == NULL)
		return NP_ENOMEM;
	s->owner = p;
	s->name = name;
	s->name_len = len;
	s->retry_ms = PEM_FILES_RETRY_MIN_MS;
	for (int i = 0; i < PEM_COUNT; i++, at += strlen(at) + 1)
		s->paths[i] = at[0] == '\0' ? NULL : at;
	HASH_ADD_KEYPTR(hh, p->sets, s->name, s->name_len, s);
	if (s->hh.tbl == NULL) {
		np_free(s);
		return NP_ENOMEM;
	}
	p->unread++;
	*out = s;
	return NP_OK;
}

static struct pem_set *set_find(const struct pem_files *p, const char *name, size_t len)
{
	struct pem_set *s;

	HASH_FIND(hh, p->sets, name, len, s);
	return s;
}

/* -- what came back -- */

static void tell(struct pem_set *s, const char *error)
{
	struct pem_user *u, *next;

	s->refs++; /* users may leave from within */
	DL_FOREACH_SAFE (s->users, u, next)
		s->owner->cb.changed(s->owner->arg, u, error);
	set_put(s);
}

static void take_error(struct pem_set *s, const char *error)
{
	bool same = s->error != NULL && strcmp(s->error, error) == 0;
	char *copy = same ? NULL : np_strdup(error);

	if (s->content == NULL)
		set_retry_later(s);
	if (same || copy == NULL)
		return;
	np_free(s->error);
	s->error = copy;
	tell(s, error);
}

static void take_content(struct pem_set *s, struct pem_content *c)
{
	bool same = s->content != NULL && memcmp(s->content->digest, c->digest, NP_DIGEST_LEN) == 0;

	np_free(s->error);
	s->error = NULL;
	s->retry_ms = PEM_FILES_RETRY_MIN_MS;
	if (same)
		return;
	pem_content_release(s->content);
	s->content = pem_content_hold(c);
	tell(s, NULL);
}

static void look_end(struct pem_set *s, struct pem_look *look)
{
	s->looking = false;
	s->seen = look->times;
	if (!s->read)
		s->owner->unread--;
	s->read = true;
	if (s->users != NULL && look->error != NULL)
		take_error(s, look->error);
	else if (s->users != NULL && look->content != NULL)
		take_content(s, look->content);
	pem_look_release(look);
	if (s->due) /* asked for again meanwhile */
		event_active(s->owner->soon, EV_TIMEOUT, 0);
	set_put(s);
}

static void look_job_done(struct helper_job *job)
{
	struct look_job *j = (struct look_job *)job;
	struct pem_files *p = j->owner;

	for (size_t i = 0; i < j->n; i++)
		look_end(j->looks[i].set, &j->looks[i].look);
	np_free(j);
	p->cb.looked(p->arg);
}

static void look_job_drop(struct helper_job *job)
{
	struct look_job *j = (struct look_job *)job;

	for (size_t i = 0; i < j->n; i++) {
		pem_look_release(&j->looks[i].look);
		set_put(j->looks[i].set);
	}
	np_free(j);
}

static void look_job_run(struct helper_job *job)
{
	struct look_job *j = (struct look_job *)job;

	for (size_t i = 0; i < j->n; i++)
		pem_look_run(&j->looks[i].look);
}

/* -- looking -- */

static struct look_job *look_job_new(struct pem_files *p)
{
	struct look_job *j = np_calloc(1, sizeof(*j) + LOOKS_MAX * sizeof(j->looks[0]));

	if (j == NULL)
		return NULL;
	j->owner = p;
	j->job.run = look_job_run;
	j->job.done = look_job_done;
	j->job.drop = look_job_drop;
	return j;
}

static void look_job_add(struct look_job *j, struct pem_set *s)
{
	struct pem_look *look = &j->looks[j->n].look;

	look->paths = s->paths;
	look->times = s->seen;
	look->all = s->due_all || s->error != NULL || !s->read;
	j->looks[j->n++].set = s;
	s->refs++;
	s->due = s->due_all = false;
	s->looking = true;
}

/* What could not be submitted is due again with the next look. */
static void look_job_submit(struct pem_files *p, struct look_job *j)
{
	if (helpers_submit(p->helpers, &j->job) == NP_OK)
		return;
	np_log(NP_LOG_ERROR, NULL, "no thread reads the files of certificates");
	for (size_t i = 0; i < j->n; i++)
		j->looks[i].set->looking = false;
	look_job_drop(&j->job);
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
	struct pem_files *p = arg;
	struct look_job *j = NULL;
	struct pem_set *s, *next;

	(void)fd;
	(void)what;
	HASH_ITER (hh, p->sets, s, next) {
		if (!s->due || s->looking)
			continue;
		if (j == NULL)
			j = look_job_new(p);
		if (j == NULL)
			return; /* the next look has them */
		look_job_add(j, s);
		if (j->n == LOOKS_MAX) {
			look_job_submit(p, j);
			j = NULL;
		}
	}
	if (j != NULL)
		look_job_submit(p, j);
}

static void look_at_all(struct pem_files *p, bool all)
{
	struct pem_set *s, *next;

	HASH_ITER (hh, p->sets, s, next)
		set_due(s, all);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look_at_all(arg, false);
}

void pem_files_look(struct pem_files *p)
{
	look_at_all(p, true);
}

void pem_files_look_at(struct pem_user *user)
{
	if (user->set != NULL)
		set_due(user->set, true);
}

size_t pem_files_unread(const struct pem_files *p)
{
	return p->unread;
}

/* -- users -- */

enum np_err pem_files_use(struct pem_files *p, struct pem_user *user,
			  const char *const paths[PEM_COUNT])
{
	struct pem_set *s;
	size_t len;
	char *name;
	enum np_err err = name_of(paths, &name, &len);

	if (err != NP_OK) {
		pem_files_leave(user);
		return err;
	}
	s = set_find(p, name, len);
	if (s != NULL) {
		np_free(name);
	} else if ((err = set_new(p, name, len, &s)) != NP_OK) {
		np_free(name);
		pem_files_leave(user);
		return err;
	}
	s->refs++;
	pem_files_leave(user);
	user->set = s;
	DL_APPEND(s->users, user);
	if (s->content == NULL && !s->looking)
		set_due(s, true);
	return NP_OK;
}

void pem_files_leave(struct pem_user *user)
{
	struct pem_set *s = user->set;

	if (s == NULL)
		return;
	DL_DELETE(s->users, user);
	*user = (struct pem_user){.set = NULL};
	set_put(s);
}

struct pem_content *pem_files_find(const struct pem_files *p, const char *const paths[PEM_COUNT])
{
	struct pem_set *s = NULL;
	size_t len;
	char *name;

	if (name_of(paths, &name, &len) != NP_OK)
		return NULL;
	s = set_find(p, name, len);
	np_free(name);
	return s == NULL ? NULL : s->content;
}

struct pem_content *pem_user_content(const struct pem_user *user)
{
	return user->set == NULL ? NULL : user->set->content;
}

const char *pem_user_error(const struct pem_user *user)
{
	return user->set == NULL ? NULL : user->set->error;
}

/* -- life -- */

enum np_err pem_files_new(struct event_base *base, int64_t reload_ms,
			  const struct pem_callbacks *cb, void *arg, struct pem_files **out)
{
	int64_t ms = reload_ms < PEM_FILES_CHECK_MS ? reload_ms : PEM_FILES_CHECK_MS;
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	struct pem_files *p = np_calloc(1, sizeof(*p));
	enum np_err err;

	if (p == NULL)
		return NP_ENOMEM;
	p->base = base;
	p->cb = *cb;
	p->arg = arg;
	err = helpers_new(base, THREADS, &p->helpers);
	if (err == NP_OK) {
		p->timer = event_new(base, -1, EV_PERSIST, on_timer, p);
		p->soon = evtimer_new(base, on_soon, p);
		if (p->timer == NULL || p->soon == NULL || event_add(p->timer, &tv) != 0)
			err = NP_ENOMEM;
	}
	if (err != NP_OK) {
		pem_files_free(p);
		return err;
	}
	*out = p;
	return NP_OK;
}

void pem_files_free(struct pem_files *p)
{
	if (p == NULL)
		return;
	helpers_free(p->helpers);
	if (p->timer != NULL)
		event_free(p->timer);
	if (p->soon != NULL)
		event_free(p->soon);
	np_free(p);
}
