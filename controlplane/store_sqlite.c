/*
 * store_sqlite.c - the store's engine: one SQLite database with a write-ahead log.
 *
 * A database is made whole under another name and then renamed, so one that is empty or not to be
 * read was damaged: it is kept aside and the newest good copy is used.
 */
#include "store_sqlite.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

struct store_engine {
	char path[STORE_PATH_MAX];
	sqlite3 *db;	   /* owned */
	sqlite3_stmt *put; /* owned, as the next ones */
	sqlite3_stmt *remove;
	sqlite3_stmt *count;
	bool copy_due;
};

#define IS_STALE                                                     \
	"SELECT (SELECT value FROM meta WHERE name = 'changes') <> " \
	"(SELECT value FROM meta WHERE name = 'copied')"

/* -- repair -- */

/* The newest copy that is good goes to @to. NP_ENOTFOUND: there is none. */
static enum np_err take_copy(const char *path, const char *to, char copy[STORE_NAME_MAX], bool *any,
			     struct np_diag *diag)
{
	struct np_diag ignored;
	enum np_err err;
	sqlite3 *db;

	for (unsigned n = 1; n <= STORE_COPIES; n++) {
		store_copy_name(path, n, copy);
		if (store_exists(copy, &ignored) == NP_ENOTFOUND)
			continue;
		*any = true;
		if (db_open(copy, SQLITE_OPEN_READONLY, &db, &ignored) != GOOD)
			continue;
		err = db_write(db, to, diag);
		db_close(&db);
		return err;
	}
	return NP_ENOTFOUND;
}

/*
 * @why: what is wrong with the database, "" when there is none. The good copy is written whole
 * before the first renaming; a crash between the renamings leaves no database, and copies: the next
 * start comes here again.
 */
static enum np_err repair(const char *path, const char *why, struct np_diag *note,
			  struct np_diag *diag)
{
	char to[STORE_NAME_MAX], copy[STORE_NAME_MAX], kept[STORE_NAME_MAX];
	bool gone = why[0] == '\0', any = false;
	enum np_err err;

	snprintf(to, sizeof(to), "%s.new", path);
	err = take_copy(path, to, copy, &any, diag);
	if (err == NP_ENOTFOUND && (any || !gone))
		return np_diag_set(diag, NP_EPROTO, "store",
				   "the database %s %s%.200s; there is no good copy of it "
				   "(.backup-1 to .backup-%d), and nothing was changed: put a good "
				   "file there, or move all of them away to start anew",
				   path, gone ? "is gone" : "cannot be used: ", why, STORE_COPIES);
	if (err == NP_ENOTFOUND)
		err = db_write(NULL, to, diag);
	if (err == NP_OK) /* without a database there may still be the log of one */
		err = store_set_aside(path, kept, diag);
	if (err == NP_OK)
		err = store_rename(to, path, diag);
	if (err != NP_OK || !any)
		return err;
	if (gone)
		np_diag_set(note, NP_OK, "store",
			    "the database %s was gone: the copy %s is in use; later changes are "
			    "lost",
			    path, copy);
	else
		np_diag_set(note, NP_OK, "store",
			    "the database was damaged (%.160s): it was kept as %.120s, and the "
			    "copy %.120s is in use; later changes are lost",
			    why, kept, copy);
	return NP_OK;
}

/* -- up and down -- */

static enum np_err prepare(struct store_engine *e, struct np_diag *diag)
{
	const struct {
		sqlite3_stmt **to;
		const char *sql;
	} all[] = {
	    {&e->put, "INSERT INTO rows(kind, id, revision, blob, sum) VALUES(?1, ?2, ?3, ?4, ?5) "
		      "ON CONFLICT(kind, id) DO UPDATE SET revision = excluded.revision, "
		      "blob = excluded.blob, sum = excluded.sum"},
	    {&e->remove, "DELETE FROM rows WHERE kind = ?1 AND id = ?2"},
	    {&e->count, "UPDATE meta SET value = value + 1 WHERE name = 'changes'"},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (sqlite3_prepare_v3(e->db, all[i].sql, -1, SQLITE_PREPARE_PERSISTENT, all[i].to,
				       NULL) != SQLITE_OK)
			return db_failed(e->db, e->path, diag);
	return NP_OK;
}

static enum np_err set_up(struct store_engine *e, bool *fresh, uint64_t *epoch,
			  struct np_diag *diag)
{
	int64_t version = 0, value = 0, named = 0, stale = 0;
	char sql[160], copy[STORE_NAME_MAX];
	enum np_err err;

	/* FULL: what was acknowledged survives a loss of power; secure_delete: keys do not stay. */
	err = db_run(e->db, e->path,
		     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
		     "PRAGMA trusted_schema=OFF; PRAGMA journal_size_limit=4194304",
		     diag);
	if (err != NP_OK)
		return err;
	if (!db_number(e->db, "PRAGMA user_version", &version))
		return db_failed(e->db, e->path, diag);
	if (version < STORE_SCHEMA)
		err = db_migrate(e->db, e->path, (int)version, diag);
	/* The clock as well: a copy that had to be used holds an epoch that is past already. */
	snprintf(sql, sizeof(sql),
		 "UPDATE meta SET value = max(value + 1, %lld) WHERE name = 'epoch'",
		 (long long)time(NULL));
	if (err == NP_OK)
		err = db_run(e->db, e->path, sql, diag);
	if (err != NP_OK)
		return err;
	if (!db_number(e->db, "SELECT value FROM meta WHERE name = 'epoch'", &value) ||
	    !db_number(e->db, "SELECT count(*) FROM rows WHERE kind = 1 AND id = 'master'",
		       &named) ||
	    !db_number(e->db, IS_STALE, &stale))
		return db_failed(e->db, e->path, diag);
	*epoch = (uint64_t)value;
	*fresh = named == 0;
	store_copy_name(e->path, 1, copy);
	e->copy_due = stale != 0 || store_exists(copy, NULL) == NP_ENOTFOUND;
	return prepare(e, diag);
}

enum np_err store_engine_open(const char *path, struct store_engine **out, bool *fresh,
			      uint64_t *epoch, struct np_diag *note, struct np_diag *diag)
{
	struct store_engine *e = np_calloc(1, sizeof(*e));
	struct np_diag why = {.text = ""};
	enum health h = DAMAGED;
	enum np_err err;

	if (e == NULL)
		return np_diag_set(diag, NP_ENOMEM, "store", "%s", np_err_text(NP_ENOMEM));
	snprintf(e->path, sizeof(e->path), "%s", path);
	err = store_exists(path, diag);
	if (err == NP_OK) {
		store_narrow(path);
		h = db_open(path, SQLITE_OPEN_READWRITE, &e->db, &why);
	}
	if (h == DAMAGED && (err == NP_OK || err == NP_ENOTFOUND)) {
		err = repair(path, why.text, note, diag);
		why.text[0] = '\0';
		if (err == NP_OK)
			h = db_open(path, SQLITE_OPEN_READWRITE, &e->db, &why);
	}
	if (err == NP_OK && h != GOOD)
		err = np_diag_set(diag, h == NEWER ? NP_EUNSUPPORTED : NP_ESYS, "store", "%s",
				  why.text);
	if (err == NP_OK)
		err = set_up(e, fresh, epoch, diag);
	if (err != NP_OK) {
		store_engine_close(e);
		return err;
	}
	*out = e;
	return NP_OK;
}

static enum np_err err_of(enum health h)
{
	if (h == GOOD)
		return NP_OK;
	if (h == NEWER)
		return NP_EUNSUPPORTED;
	return h == DAMAGED ? NP_EPROTO : NP_ESYS;
}

enum np_err store_engine_load(struct store_engine *e, store_row_fn fn, void *arg,
			      struct np_diag *diag)
{
	return err_of(db_rows(e->db, e->path, fn, arg, diag));
}

enum np_err store_engine_peek(const char *path, store_row_fn fn, void *arg, struct np_diag *diag)
{
	enum np_err err = store_exists(path, diag);
	sqlite3 *db;

	if (err == NP_ENOTFOUND)
		np_diag_set(diag, err, "store", "there is no database %s", path);
	if (err != NP_OK)
		return err;
	err = err_of(db_open(path, SQLITE_OPEN_READONLY, &db, diag));
	if (err == NP_OK) {
		err = err_of(db_rows(db, path, fn, arg, diag));
		db_close(&db);
	}
	return err;
}

bool store_engine_copy_due(const struct store_engine *e)
{
	return e->copy_due;
}

void store_engine_close(struct store_engine *e)
{
	if (e == NULL)
		return;
	sqlite3_finalize(e->put);
	sqlite3_finalize(e->remove);
	sqlite3_finalize(e->count);
	db_close(&e->db);
	np_free(e);
}

/* -- writing -- */

enum np_err store_engine_begin(struct store_engine *e, struct np_diag *diag)
{
	return db_run(e->db, e->path, "BEGIN IMMEDIATE", diag);
}

static enum np_err step(struct store_engine *e, sqlite3_stmt *st, struct np_diag *diag)
{
	enum np_err err = NP_OK;

	if (sqlite3_step(st) != SQLITE_DONE)
		err = db_failed(e->db, e->path, diag);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return err;
}

static enum np_err apply(struct store_engine *e, const struct store_op *op, struct np_diag *diag)
{
	sqlite3_stmt *st = op->remove ? e->remove : e->put;
	const struct store_row *row = &op->row;
	bool ok = sqlite3_bind_int(st, 1, (int)row->kind) == SQLITE_OK &&
		  sqlite3_bind_text(st, 2, row->id, -1, SQLITE_STATIC) == SQLITE_OK;

	if (ok && !op->remove)
		ok = sqlite3_bind_int64(st, 3, (int64_t)row->revision) == SQLITE_OK &&
		     sqlite3_bind_blob64(st, 4, row->len > 0 ? row->blob : "", row->len,
					 SQLITE_STATIC) == SQLITE_OK &&
		     sqlite3_bind_int64(st, 5, db_sum_of(row)) == SQLITE_OK;
	if (!ok) {
		sqlite3_clear_bindings(st);
		return db_failed(e->db, e->path, diag);
	}
	return step(e, st, diag);
}

enum np_err store_engine_apply(struct store_engine *e, const struct store_op *ops, size_t n,
			       struct np_diag *diag)
{
	enum np_err err = NP_OK;

	for (size_t i = 0; err == NP_OK && i < n; i++)
		err = apply(e, &ops[i], diag);
	return err;
}

enum np_err store_engine_commit(struct store_engine *e, struct np_diag *diag)
{
	enum np_err err = step(e, e->count, diag);

	return err != NP_OK ? err : db_run(e->db, e->path, "COMMIT", diag);
}

void store_engine_rollback(struct store_engine *e)
{
	/* Some errors, a full disk among them, have ended the transaction already. */
	if (!sqlite3_get_autocommit(e->db))
		sqlite3_exec(e->db, "ROLLBACK", NULL, NULL, NULL);
}

enum np_err store_engine_copy(struct store_engine *e, struct np_diag *diag)
{
	char to[STORE_NAME_MAX];
	enum np_err err;
	int64_t stale;

	if (!db_number(e->db, IS_STALE, &stale))
		return db_failed(e->db, e->path, diag);
	if (stale == 0)
		return NP_OK;
	store_copy_name(e->path, 0, to);
	err = db_write(e->db, to, diag);
	if (err == NP_OK)
		err = store_rotate(e->path, diag);
	if (err == NP_OK)
		err = db_run(
		    e->db, e->path,
		    "UPDATE meta SET value = (SELECT value FROM meta WHERE name = 'changes') "
		    "WHERE name = 'copied'",
		    diag);
	return err;
}
