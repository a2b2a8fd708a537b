/*
 * import.c - the original program's instances and API key become this one's.
 *
 * The file is read whole and checked before anything is taken. The key comes last: it is the row by
 * which the store knows that the first start is done, so one that was interrupted does it again.
 */
#include "import.h"

#include "base/alloc.h"
#include "base/log.h"
#include "core/proof.h"
#include "gob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define PATH_ROOM 4096
#define TEXT_MAX  (64 * 1024) /* of one text in the file; an instance with a longer one stays out */
#define FLUSH_AT  1000	      /* instances between waits for the store, below its queue's length */

struct import {
	struct model *m;
	struct np_diag *diag;
	size_t taken, left_out, unflushed;
	struct gob_text key, mid, alias; /* of the master; key.len 0: none */
};

/* -- the file -- */

static enum np_err failed(struct np_diag *diag, const char *what, const char *path)
{
	enum np_err err = errno == ENOENT ? NP_ENOTFOUND : NP_ESYS;

	return np_diag_set(diag, err, "NP_IMPORT_GOB", "cannot %s %.300s: %s", what, path,
			   strerror(errno));
}

static enum np_err read_all(int fd, const char *path, uint8_t *data, size_t len,
			    struct np_diag *diag)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = read(fd, data + have, len - have);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return failed(diag, "read", path);
		if (n == 0)
			return np_diag_set(diag, NP_ETRUNCATED, "NP_IMPORT_GOB",
					   "%.300s became shorter while it was read", path);
		have += (size_t)n;
	}
	return NP_OK;
}

/* @out: caller wipes and frees it. */
static enum np_err read_file(const char *path, uint8_t **out, size_t *len, struct np_diag *diag)
{
	/* Not blocking: a FIFO without a writer would keep the open waiting. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	enum np_err err = NP_OK;
	uint8_t *data = NULL;
	size_t size = 0;
	struct stat st;

	if (fd == -1)
		return failed(diag, "open", path);
	if (fstat(fd, &st) == -1)
		err = failed(diag, "look at", path);
	else if (!S_ISREG(st.st_mode))
		err = np_diag_set(diag, NP_EINVAL, "NP_IMPORT_GOB", "%.300s is not a regular file",
				  path);
	else if (st.st_size > GOB_FILE_MAX)
		err = np_diag_set(diag, NP_ELIMIT, "NP_IMPORT_GOB", "%.300s is larger than %d MiB",
				  path, GOB_FILE_MAX >> 20);
	else
		size = (size_t)st.st_size;
	if (err == NP_OK) {
		data = np_malloc(size + 1);
		err = data == NULL ? np_diag_set(diag, NP_ENOMEM, "NP_IMPORT_GOB", "%s",
						 np_err_text(NP_ENOMEM))
				   : read_all(fd, path, data, size, diag);
	}
	close(fd);
	if (err == NP_OK) {
		*out = data;
		*len = size;
	} else {
		np_free(data);
	}
	return err;
}

/* -- instances -- */

/* Its texts, terminated, in one piece of memory. */
struct texts {
	char *p; /* owned */
	size_t used, size;
};

static const char *text_put(struct texts *t, struct gob_text from)
{
	char *s = t->p + t->used;

	if (from.len > 0)
		memcpy(s, from.p, from.len);
	s[from.len] = '\0';
	t->used += from.len + 1;
	return s;
}

/* 0: a text is too long. */
static size_t texts_size(const struct gob_instance *inst)
{
	const struct gob_text all[] = {inst->id,	inst->alias,	inst->url,
				       inst->config,	inst->peer_sid, inst->peer_type,
				       inst->peer_alias};
	size_t size = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (all[i].len > TEXT_MAX)
			return 0;
		size += all[i].len + 1;
	}
	for (size_t i = 0; i < inst->ntags; i++) {
		if (inst->tags[i].name.len > TEXT_MAX || inst->tags[i].value.len > TEXT_MAX)
			return 0;
		size += inst->tags[i].name.len + inst->tags[i].value.len + 2;
	}
	return size;
}

static void row_of(const struct gob_instance *inst, struct texts *t, struct model_tag *tags,
		   struct model_import *row)
{
	*row = (struct model_import){
	    .id = text_put(t, inst->id),
	    .alias = text_put(t, inst->alias),
	    .url = text_put(t, inst->url),
	    .config = text_put(t, inst->config),
	    .restart = inst->restart,
	    .meta = {.sid = (char *)(uintptr_t)text_put(t, inst->peer_sid),
		     .type = (char *)(uintptr_t)text_put(t, inst->peer_type),
		     .alias = (char *)(uintptr_t)text_put(t, inst->peer_alias),
		     .tags = tags,
		     .ntags = inst->ntags},
	    .total = {[MODEL_TCP_RX] = inst->total[GOB_TCP_RX],
		      [MODEL_TCP_TX] = inst->total[GOB_TCP_TX],
		      [MODEL_UDP_RX] = inst->total[GOB_UDP_RX],
		      [MODEL_UDP_TX] = inst->total[GOB_UDP_TX]},
	};
	for (size_t i = 0; i < inst->ntags; i++)
		tags[i] = (struct model_tag){
		    .name = (char *)(uintptr_t)text_put(t, inst->tags[i].name),
		    .value = (char *)(uintptr_t)text_put(t, inst->tags[i].value)};
}

static void leave_out(struct import *im, const struct gob_instance *inst, const char *why)
{
	char id[64];

	np_log_escape(inst->id.p == NULL ? "" : inst->id.p, inst->id.len < 16 ? inst->id.len : 16,
		      id, sizeof(id));
	np_log(NP_LOG_WARN, NULL, "Import: instance \"%s\" is left out: %s", id, why);
	im->left_out++;
}

static enum np_err take_instance(struct import *im, const struct gob_instance *inst)
{
	struct model_tag tags[GOB_TAGS_MAX];
	struct texts t = {.size = texts_size(inst)};
	struct model_import row;
	enum np_err err;

	if (t.size == 0) {
		leave_out(im, inst, "a text of it is too long");
		return NP_OK;
	}
	t.p = np_malloc(t.size);
	if (t.p == NULL)
		return np_diag_set(im->diag, NP_ENOMEM, "NP_IMPORT_GOB", "%s",
				   np_err_text(NP_ENOMEM));
	row_of(inst, &t, tags, &row);
	/* Here already when an earlier start was interrupted. */
	err = model_find(im->m, row.id) != NULL ? NP_OK : model_import(im->m, &row);
	np_wipe(t.p, t.size);
	np_free(t.p);
	if (err == NP_ENOMEM)
		return np_diag_set(im->diag, err, "NP_IMPORT_GOB", "%s", np_err_text(err));
	if (err != NP_OK) {
		leave_out(im, inst, np_err_text(err));
		return NP_OK;
	}
	im->taken++;
	if (++im->unflushed < FLUSH_AT)
		return NP_OK;
	im->unflushed = 0;
	return model_flush(im->m, im->diag);
}

static bool is_key(const struct gob_instance *inst)
{
	return inst->id.len == strlen(MODEL_KEY_ID) &&
	       memcmp(inst->id.p, MODEL_KEY_ID, inst->id.len) == 0;
}

static enum np_err visit(void *arg, const struct gob_instance *inst)
{
	struct import *im = arg;

	if (is_key(inst)) {
		im->key = inst->url;
		im->mid = inst->config;
		im->alias = inst->alias;
		return NP_OK;
	}
	if (im->taken >= MODEL_INSTANCES_MAX) {
		leave_out(im, inst, "there are too many");
		return NP_OK;
	}
	return take_instance(im, inst);
}

static enum np_err take_key(struct import *im)
{
	char *key = np_strndup(im->key.p, im->key.len);
	char *mid = np_strndup(im->mid.len > 0 ? im->mid.p : "", im->mid.len);
	char *alias = np_strndup(im->alias.len > 0 ? im->alias.p : "",
				 im->alias.len < MODEL_TEXT_MAX ? im->alias.len : MODEL_TEXT_MAX);
	enum np_err err = NP_ENOMEM;

	if (key != NULL && mid != NULL && alias != NULL)
		err = model_import_key(im->m, key, mid, alias);
	if (key != NULL)
		np_wipe(key, im->key.len);
	np_free(key);
	np_free(mid);
	np_free(alias);
	if (err != NP_EINVAL)
		return err;
	np_log(NP_LOG_WARN, NULL,
	       "Import: the API key there is not 32 hexadecimal digits; "
	       "a new one is made");
	return NP_OK;
}

static enum np_err take_all(struct import *im, const char *path, const uint8_t *data, size_t len)
{
	struct np_diag why = {.text = ""};
	enum np_err err = gob_read(data, len, NULL, NULL, &why);

	if (err != NP_OK)
		return np_diag_set(im->diag, err, "NP_IMPORT_GOB",
				   "the state file %.260s cannot be read (%.120s), nothing was "
				   "taken from it: move it away to start without it",
				   path, why.text);
	err = gob_read(data, len, visit, im, im->diag);
	if (err == NP_OK)
		err = model_flush(im->m, im->diag);
	if (err == NP_OK && im->key.len > 0)
		err = take_key(im);
	if (err == NP_OK)
		err = model_flush(im->m, im->diag);
	if (err == NP_OK)
		np_log(NP_LOG_INFO, NULL, "Imported %zu instances%s from %s, %zu left out",
		       im->taken, im->key.len > 0 ? " and the API key" : "", path, im->left_out);
	return err;
}

/* -- where it is -- */

/* @n: 0 beside this program, 1 beside `nodepass` where that is installed apart from it. */
static bool default_path(unsigned n, char out[PATH_ROOM])
{
	static const char *const from_here[] = {"gob/nodepass.gob", "../../bin/gob/nodepass.gob"};
	char self[PATH_ROOM / 2];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (len <= 0)
		return false;
	self[len] = '\0';
	slash = strrchr(self, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	snprintf(out, PATH_ROOM, "%s/%s", self, from_here[n]);
	return true;
}

enum np_err import_run(struct model *m, np_dirs_get_fn get, void *arg, struct np_diag *diag)
{
	const char *named = get(arg, "NP_IMPORT_GOB");
	struct import im = {.m = m, .diag = diag};
	enum np_err err = NP_ENOTFOUND;
	struct np_diag why = {.text = ""};
	char path[PATH_ROOM] = "";
	uint8_t *data = NULL;
	size_t len = 0;

	if (named != NULL && named[0] != '\0') {
		if (strlen(named) >= sizeof(path))
			return np_diag_set(diag, NP_ELIMIT, "NP_IMPORT_GOB",
					   "NP_IMPORT_GOB is too long");
		snprintf(path, sizeof(path), "%s", named);
		err = read_file(path, &data, &len, diag);
	} else {
		for (unsigned n = 0; n < 2 && err == NP_ENOTFOUND; n++)
			if (default_path(n, path))
				err = read_file(path, &data, &len, &why);
		if (err == NP_ENOTFOUND)
			return NP_OK;
		if (err != NP_OK && diag != NULL)
			*diag = why;
	}
	if (err == NP_OK)
		err = take_all(&im, path, data, len);
	if (data != NULL)
		np_wipe(data, len); /* tunnel keys */
	np_free(data);
	return err;
}
