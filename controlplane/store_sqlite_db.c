/*
 * store_sqlite_db.c - one database file: its rows and their checksums, whether it is whole, its schema,
 * a new one. What is kept open and written to is in store_sqlite.c.
 *
 * Each row carries a checksum, because SQLite's own check does not see what changed inside of values.
 */
#include "store_sqlite.h"

#include <stdio.h>
#include <string.h>

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
_Static_assert(sizeof(MIGRATIONS) / sizeof(MIGRATIONS[0]) == STORE_SCHEMA, "the last version");

/* -- small ones -- */

enum np_err db_failed(sqlite3 *db, const char *path, struct np_diag *diag)
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

	(void)db_failed(db, path, diag);
	return rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB ? DAMAGED : UNAVAILABLE;
}

enum np_err db_run(sqlite3 *db, const char *path, const char *sql, struct np_diag *diag)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? NP_OK
								    : db_failed(db, path, diag);
}

/* One number. false: an error, which the connection remembers. */
bool db_number(sqlite3 *db, const char *sql, int64_t *out)
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

int64_t db_sum_of(const struct store_row *row)
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
	return row->len <= STORE_BLOB_MAX && db_sum_of(row) == sqlite3_column_int64(st, 4);
}

/* Every row to @fn, or only checked when that is NULL. */
enum health db_rows(sqlite3 *db, const char *path, store_row_fn fn, void *arg, struct np_diag *diag)
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
	if (!db_number(db, "PRAGMA application_id", &id) ||
	    !db_number(db, "PRAGMA user_version", &version))
		return health_of(db, path, diag);
	if (id != APP_ID || version <= 0) {
		np_diag_set(diag, NP_EPROTO, "store", "%s is empty or not a database of NodePass",
			    path);
		return DAMAGED;
	}
	if (version > STORE_SCHEMA) {
		np_diag_set(diag, NP_EUNSUPPORTED, "store",
			    "%s was written by a newer version of NodePass (its schema is %lld, "
			    "this version knows %d)",
			    path, (long long)version, STORE_SCHEMA);
		return NEWER;
	}
	h = check_pages(db, path, diag);
	return h != GOOD ? h : db_rows(db, path, NULL, NULL, diag);
}

void db_close(sqlite3 **db)
{
	sqlite3_close(*db);
	*db = NULL;
}

/* @out: only when GOOD; caller closes it. */
enum health db_open(const char *path, int flags, sqlite3 **out, struct np_diag *diag)
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
		db_close(&db);
	return h;
}

/* -- making one -- */

enum np_err db_migrate(sqlite3 *db, const char *path, int from, struct np_diag *diag)
{
	char sql[64];
	enum np_err err = db_run(db, path, "BEGIN IMMEDIATE", diag);

	if (err != NP_OK)
		return err;
	for (int v = from; err == NP_OK && v < STORE_SCHEMA; v++)
		err = db_run(db, path, MIGRATIONS[v], diag);
	snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d", APP_ID,
		 STORE_SCHEMA);
	if (err == NP_OK)
		err = db_run(db, path, sql, diag);
	if (err == NP_OK)
		err = db_run(db, path, "COMMIT", diag);
	if (err != NP_OK && !sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return err;
}

/* A new file @path with the content of @from, or with an empty schema when that is NULL. */
enum np_err db_write(sqlite3 *from, const char *path, struct np_diag *diag)
{
	sqlite3_backup *b;
	sqlite3 *db = NULL;
	enum np_err err;

	store_unlink(path);
	err = store_make_file(path, diag);
	if (err != NP_OK)
		return err;
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
		err = db == NULL ? NP_ENOMEM : db_failed(db, path, diag);
	} else if (from == NULL) {
		err = db_migrate(db, path, 0, diag);
	} else {
		b = sqlite3_backup_init(db, "main", from, "main");
		if (b != NULL)
			sqlite3_backup_step(b, -1);
		if (b == NULL || sqlite3_backup_finish(b) != SQLITE_OK)
			err = db_failed(db, path, diag);
		/* One file that needs no log beside it, whatever the source's mode is. */
		if (err == NP_OK)
			err = db_run(db, path, "PRAGMA journal_mode=DELETE", diag);
	}
	if (err == NP_OK && examine(db, path, diag) != GOOD)
		err = NP_EPROTO;
	db_close(&db);
	if (err != NP_OK)
		store_unlink(path);
	return err;
}
