/*
 * store_sqlite.c - the store's engine: one SQLite database with a write-ahead log.
 *
 * A database is made whole under another name and then renamed, so one that is empty or not to be
 * read was damaged: it is kept aside and the newest good copy is used. Each row carries a checksum,
 * because SQLite's own check does not see what changed inside of values.
 */
#include "store_engine.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

#define APP_ID	0x4e705374 /* "NpSt" */
#define BUSY_MS 5000

/* MIGRATIONS[v] leads from version v to v + 1. Never change one that was released: add one. */
static const char *const MIGRATIONS[] = {
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO meta VALUES('epoch', 0), ('changes', 0), ('copied', 0);"
    /* seq: the order of creation, kept by later writes of the same row */
    "CREATE TABLE rows(seq INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL,"
    " id TEXT NOT NULL, revision INTEGER NOT NULL, blob BLOB NOT NULL, sum INTEGER NOT NULL,"
    " UNIQUE(kind, id));",
};
#define SCHEMA ((int)(sizeof(MIGRATIONS) / sizeof(MIGRATIONS[0])))

enum health { GOOD = 0, DAMAGED, NEWER, UNAVAILABLE };

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

/* -- small ones -- */

static enum np_err failed(sqlite3 *db, const char *path, struct np_diag *diag)
{
	int rc = sqlite3_errcode(db) & 0xff;

	if (rc == SQLITE_NOMEM)
		return np_diag_set(diag, NP_ENOMEM, "store", "%s: %s", path,
				   np_err_text(NP_ENOMEM));
	if (rc == SQLITE_FULL)
		return np_diag_set(diag, NP_ESYS, "store", "%s: no space left on its disk", path);
	return np_diag_set(diag, NP_ESYS, "store", "%s: %s", path, sqlite3_errmsg(db));
}

static enum health health_of(sqlite3 *db, const char *path, struct np_diag *diag)
{
	int rc = sqlite3_errcode(db) & 0xff;

	(void)failed(db, path, diag);
	return rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB ? DAMAGED : UNAVAILABLE;
}

static enum np_err run(sqlite3 *db, const char *path, const char *sql, struct np_diag *diag)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? NP_OK
								    : failed(db, path, diag);
}

/* One number. false: an error, which the connection remembers. */
static bool number(sqlite3 *db, const char *sql, int64_t *out)
{
	sqlite3_stmt *st;
	bool ok;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		return false;
	ok = sqlite3_step(st) == SQLITE_ROW;
	if (ok)
		*out = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return ok;
}

/* FNV-1a, 64 bits: against accidents, not against people. */
static uint64_t sum_bytes(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return h;
}

static int64_t sum_of(const struct store_row *row)
{
	uint64_t h = 0xcbf29ce484222325u;
	uint64_t head[3] = {(uint64_t)row->kind, row->revision, row->len};

	for (size_t i = 0; i < 3; i++)
		for (unsigned shift = 0; shift < 64; shift += 8)
			h = sum_bytes(h, &(uint8_t){(uint8_t)(head[i] >> shift)}, 1);
	h = sum_bytes(h, row->id, strlen(row->id) + 1);
	return (int64_t)sum_bytes(h, row->blob, row->len);
}

static bool take_row(sqlite3_stmt *st, struct store_row *row)
{
	const char *id = (const char *)sqlite3_column_text(st, 1);

	if (id == NULL || strlen(id) > STORE_ID_MAX)
		return false;
	*row = (struct store_row){.kind = (enum store_kind)sqlite3_column_int(st, 0),
				  .revision = (uint64_t)sqlite3_column_int64(st, 2)};
	snprintf(row->id, sizeof(row->id), "%s", id);
	row->blob = sqlite3_column_blob(st, 3);
	row->len = (size_t)sqlite3_column_bytes(st, 3);
	return row->len <= STORE_BLOB_MAX && sum_of(row) == sqlite3_column_int64(st, 4);
}

/* Every row to @fn, or only checked when that is NULL. */
static enum health each_row(sqlite3 *db, const char *path, store_row_fn fn, void *arg,
			    struct np_diag *diag)
{
	enum health h = GOOD;
	sqlite3_stmt *st;
	int rc;

	if (sqlite3_prepare_v2(db,
			       "SELECT kind, id, revision, blob, sum FROM rows ORDER BY kind, seq",
			       -1, &st, NULL) != SQLITE_OK)
		return health_of(db, path, diag);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && h == GOOD) {
		struct store_row row;

		if (!take_row(st, &row)) {
			np_diag_set(diag, NP_EPROTO, "store", "%s: a row's checksum is wrong",
				    path);
			h = DAMAGED;
		} else if (fn != NULL) {
			fn(arg, &row);
		}
	}
	if (h == GOOD && rc != SQLITE_DONE)
		h = health_of(db, path, diag);
	sqlite3_finalize(st);
	return h;
}

/* -- looking at a database -- */

static enum health check_pages(sqlite3 *db, const char *path, struct np_diag *diag)
{
	enum health h = GOOD;
	sqlite3_stmt *st;
	const char *text, *line;

	if (sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &st, NULL) != SQLITE_OK)
		return health_of(db, path, diag);
	if (sqlite3_step(st) != SQLITE_ROW) {
		h = health_of(db, path, diag);
	} else {
		text = (const char *)sqlite3_column_text(st, 0);
		if (text == NULL || strcmp(text, "ok") != 0) {
			line = text == NULL ? NULL : strchr(text, '\n'); /* after a headline */
			np_diag_set(diag, NP_EPROTO, "store", "%s: %.200s", path,
				    line != NULL   ? line + 1
				    : text != NULL ? text
						   : "its check failed");
			h = DAMAGED;
		}
	}
	sqlite3_finalize(st);
	return h;
}

static enum health examine(sqlite3 *db, const char *path, struct np_diag *diag)
{
	int64_t id = 0, version = 0;
	enum health h;

	sqlite3_busy_timeout(db, BUSY_MS);
	if (!number(db, "PRAGMA application_id", &id) ||
	    !number(db, "PRAGMA user_version", &version))
		return health_of(db, path, diag);
	if (id != APP_ID || version <= 0) {
		np_diag_set(diag, NP_EPROTO, "store", "%s is empty or not a database of NodePass",
			    path);
		return DAMAGED;
	}
	if (version > SCHEMA) {
		np_diag_set(diag, NP_EUNSUPPORTED, "store",
			    "%s was written by a newer version of NodePass (its schema is %lld, "
			    "this version knows %d)",
			    path, (long long)version, SCHEMA);
		return NEWER;
	}
	h = check_pages(db, path, diag);
	return h != GOOD ? h : each_row(db, path, NULL, NULL, diag);
}

static void close_db(sqlite3 **db)
{
	sqlite3_close(*db);
	*db = NULL;
}

/* @out: only when GOOD; caller closes it. */
static enum health open_examined(const char *path, int flags, sqlite3 **out, struct np_diag *diag)
{
	sqlite3 *db = NULL;
	enum health h;

	if (sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_FULLMUTEX, NULL) != SQLITE_OK) {
		h = UNAVAILABLE;
		if (db == NULL)
			np_diag_set(diag, NP_ENOMEM, "store", "%s", np_err_text(NP_ENOMEM));
		else
			h = health_of(db, path, diag);
	} else {
		h = examine(db, path, diag);
	}
	if (h == GOOD)
		*out = db;
	else
		close_db(&db);
	return h;
}

/* -- making one -- */

static enum np_err migrate(sqlite3 *db, const char *path, int from, struct np_diag *diag)
{
	char sql[64];
	enum np_err err = run(db, path, "BEGIN IMMEDIATE", diag);

	if (err != NP_OK)
		return err;
	for (int v = from; err == NP_OK && v < SCHEMA; v++)
		err = run(db, path, MIGRATIONS[v], diag);
	snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d", APP_ID,
		 SCHEMA);
	if (err == NP_OK)
		err = run(db, path, sql, diag);
	if (err == NP_OK)
		err = run(db, path, "COMMIT", diag);
	if (err != NP_OK && !sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return err;
}

/* A new file @path with the content of @from, or with an empty schema when that is NULL. */
static enum np_err write_file(sqlite3 *from, const char *path, struct np_diag *diag)
{
	sqlite3_backup *b;
	sqlite3 *db = NULL;
	enum np_err err;

	store_unlink(path);
	err = store_make_file(path, diag);
	if (err != NP_OK)
		return err;
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
		err = db == NULL ? NP_ENOMEM : failed(db, path, diag);
	} else if (from == NULL) {
		err = migrate(db, path, 0, diag);
	} else {
		b = sqlite3_backup_init(db, "main", from, "main");
		if (b != NULL)
			sqlite3_backup_step(b, -1);
		if (b == NULL || sqlite3_backup_finish(b) != SQLITE_OK)
			err = failed(db, path, diag);
		/* One file that needs no log beside it, whatever the source's mode is. */
		if (err == NP_OK)
			err = run(db, path, "PRAGMA journal_mode=DELETE", diag);
	}
	if (err == NP_OK && examine(db, path, diag) != GOOD)
		err = NP_EPROTO;
	close_db(&db);
	if (err != NP_OK)
		store_unlink(path);
	return err;
}

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
		if (open_examined(copy, SQLITE_OPEN_READONLY, &db, &ignored) != GOOD)
			continue;
		err = write_file(db, to, diag);
		close_db(&db);
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
		err = write_file(NULL, to, diag);
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
			return failed(e->db, e->path, diag);
	return NP_OK;
}

static enum np_err set_up(struct store_engine *e, bool *fresh, uint64_t *epoch,
			  struct np_diag *diag)
{
	int64_t version = 0, value = 0, named = 0, stale = 0;
	char sql[160], copy[STORE_NAME_MAX];
	enum np_err err;

	/* FULL: what was acknowledged survives a loss of power; secure_delete: keys do not stay. */
	err = run(e->db, e->path,
		  "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
		  "PRAGMA trusted_schema=OFF; PRAGMA journal_size_limit=4194304",
		  diag);
	if (err != NP_OK)
		return err;
	if (!number(e->db, "PRAGMA user_version", &version))
		return failed(e->db, e->path, diag);
	if (version < SCHEMA)
		err = migrate(e->db, e->path, (int)version, diag);
	/* The clock as well: a copy that had to be used holds an epoch that is past already. */
	snprintf(sql, sizeof(sql),
		 "UPDATE meta SET value = max(value + 1, %lld) WHERE name = 'epoch'",
		 (long long)time(NULL));
	if (err == NP_OK)
		err = run(e->db, e->path, sql, diag);
	if (err != NP_OK)
		return err;
	if (!number(e->db, "SELECT value FROM meta WHERE name = 'epoch'", &value) ||
	    !number(e->db, "SELECT count(*) FROM rows WHERE kind = 1 AND id = 'master'", &named) ||
	    !number(e->db, IS_STALE, &stale))
		return failed(e->db, e->path, diag);
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
		h = open_examined(path, SQLITE_OPEN_READWRITE, &e->db, &why);
	}
	if (h == DAMAGED && (err == NP_OK || err == NP_ENOTFOUND)) {
		err = repair(path, why.text, note, diag);
		why.text[0] = '\0';
		if (err == NP_OK)
			h = open_examined(path, SQLITE_OPEN_READWRITE, &e->db, &why);
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
	return err_of(each_row(e->db, e->path, fn, arg, diag));
}

enum np_err store_engine_peek(const char *path, store_row_fn fn, void *arg, struct np_diag *diag)
{
	enum np_err err = store_exists(path, diag);
	sqlite3 *db;

	if (err == NP_ENOTFOUND)
		np_diag_set(diag, err, "store", "there is no database %s", path);
	if (err != NP_OK)
		return err;
	err = err_of(open_examined(path, SQLITE_OPEN_READONLY, &db, diag));
	if (err == NP_OK) {
		err = err_of(each_row(db, path, fn, arg, diag));
		close_db(&db);
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
	close_db(&e->db);
	np_free(e);
}

/* -- writing -- */

enum np_err store_engine_begin(struct store_engine *e, struct np_diag *diag)
{
	return run(e->db, e->path, "BEGIN IMMEDIATE", diag);
}

static enum np_err step(struct store_engine *e, sqlite3_stmt *st, struct np_diag *diag)
{
	enum np_err err = NP_OK;

	if (sqlite3_step(st) != SQLITE_DONE)
		err = failed(e->db, e->path, diag);
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
		     sqlite3_bind_int64(st, 5, sum_of(row)) == SQLITE_OK;
	if (!ok) {
		sqlite3_clear_bindings(st);
		return failed(e->db, e->path, diag);
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

	return err != NP_OK ? err : run(e->db, e->path, "COMMIT", diag);
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

	if (!number(e->db, IS_STALE, &stale))
		return failed(e->db, e->path, diag);
	if (stale == 0)
		return NP_OK;
	store_copy_name(e->path, 0, to);
	err = write_file(e->db, to, diag);
	if (err == NP_OK)
		err = store_rotate(e->path, diag);
	if (err == NP_OK)
		err = run(e->db, e->path,
			  "UPDATE meta SET value = (SELECT value FROM meta WHERE name = 'changes') "
			  "WHERE name = 'copied'",
			  diag);
	return err;
}
