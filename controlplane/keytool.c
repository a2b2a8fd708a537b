/*
 * keytool.c - --print-api-key and --rotate-api-key. See keytool.h.
 */
#include "keytool.h"

#include "base/mono.h"
#include "core/proof.h"
#include "json_read.h"
#include "statelock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static void on_rotated(void *arg, int status, const char *text, const struct model_instance *inst)
{
	(void)arg;
	(void)inst;
	if (status != 200)
		np_log(NP_LOG_ERROR, NULL, "the API key was not changed: %s", text);
}

void keytool_rotate(struct app *app)
{
	model_rotate_key(app->model, on_rotated, app);
}

struct found {
	char key[MODEL_KEY_LEN + 1];
};

static void take_key(void *arg, const struct store_row *row)
{
	struct found *f = arg;
	struct json_doc *doc;
	const char *key;

	if (row->kind != STORE_META || strcmp(row->id, "master") != 0 ||
	    json_parse(row->blob, row->len, &doc) != NP_OK)
		return;
	key = json_string(json_member(json_root(doc), "key"));
	snprintf(f->key, sizeof(f->key), "%s", key == NULL ? "" : key);
	json_doc_free(doc);
}

static enum np_err read_key(const struct app *app, struct found *f, struct np_diag *diag)
{
	enum np_err err = store_peek(app->cfg.store, app->state_dir, take_key, f, diag);

	if (err == NP_OK && f->key[0] == '\0')
		err = np_diag_set(diag, NP_ENOTFOUND, "key",
				  "there is no API key in %s yet: a master makes one when it "
				  "starts (see NP_STATE_DIR)",
				  app->state_dir);
	return err;
}

/* The master stores the new key, then it is read. */
static enum np_err rotate_by_master(const struct app *app, int pid, struct found *f,
				    struct np_diag *diag)
{
	struct np_mono end = np_mono_add_ms(np_mono_now(), KEYTOOL_WAIT_MS);
	struct found old = *f;
	enum np_err err = NP_OK;

	if (kill(pid, SIGUSR1) == -1)
		err = np_diag_set(diag, NP_ESYS, "key", "cannot tell the master with pid %d: %s",
				  pid, strerror(errno));
	while (err == NP_OK && strcmp(f->key, old.key) == 0) {
		if (!np_mono_before(np_mono_now(), end))
			err = np_diag_set(diag, NP_ETIMEOUT, "key",
					  "the master with pid %d did not change the key in %d ms",
					  pid, KEYTOOL_WAIT_MS);
		else if (poll(NULL, 0, 20) == 0)
			err = read_key(app, f, diag);
	}
	np_wipe(&old, sizeof(old));
	return err;
}

/* No master: the state is opened as one would. */
static enum np_err rotate_here(struct app *app, struct found *f, struct np_diag *diag)
{
	const struct validate_defaults none = {0};
	const struct model_events quiet = {0};
	struct np_diag note = {.text = ""};
	enum np_err err;

	app->base = event_base_new();
	if (app->base == NULL)
		return NP_ENOMEM;
	err = statelock_take(app->state_dir, app->run_dir, "none, a key is made", &app->lock, diag);
	if (err == NP_OK)
		err = store_open(app->base, app->cfg.store, app->state_dir, &app->store,
				 &app->fresh, &note, diag);
	if (err == NP_OK)
		err = model_new(app->base, app->store, &none, &quiet, NULL, &app->model);
	if (err == NP_OK)
		err = model_load(app->model, diag);
	if (err == NP_OK) {
		model_rotate_key(app->model, NULL, NULL);
		err = model_flush(app->model, diag);
	}
	if (err == NP_OK)
		snprintf(f->key, sizeof(f->key), "%s", model_key(app->model));
	store_close(app->store);
	model_free(app->model);
	statelock_release(app->lock);
	event_base_free(app->base);
	return err;
}

enum np_err keytool_print(const char *url, bool rotate, struct np_diag *diag)
{
	static struct app app;
	struct found f = {.key = ""};
	enum np_err err = app_dirs(&app, diag);
	int pid = 0;

	if (err == NP_OK && url != NULL)
		err = np_config_parse(url, &app.cfg, diag);
	if (err == NP_OK)
		err = read_key(&app, &f, diag);
	if (err == NP_OK && rotate) {
		pid = statelock_holder(app.state_dir);
		err = pid > 0 ? rotate_by_master(&app, pid, &f, diag) : rotate_here(&app, &f, diag);
	}
	if (err == NP_OK && (printf("%s\n", f.key) < 0 || fflush(stdout) == EOF))
		err = np_diag_set(diag, NP_ESYS, "key", "standard output: %s", strerror(errno));
	np_wipe(&f, sizeof(f));
	np_config_release(&app.cfg);
	return err;
}
