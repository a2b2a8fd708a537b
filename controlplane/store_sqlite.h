/*
 * store_sqlite.h - inside of the SQLite engine: one database file, for store_sqlite.c. Like the engine
 * it has one user at a time. @path is for diagnoses.
 */
#ifndef CP_STORE_SQLITE_H
#define CP_STORE_SQLITE_H

#include "store_engine.h"

#include <sqlite3.h>

#define STORE_SCHEMA 1 /* the version that is written */

/* DAMAGED: its content is wrong. NEWER: of a later release. UNAVAILABLE: it cannot be said. */
enum health { GOOD = 0, DAMAGED, NEWER, UNAVAILABLE };

/* db_open - one that is whole; *out only when GOOD. db_close - sets it to NULL; NULL is fine. */
enum health db_open(const char *path, int flags, sqlite3 **out, struct np_diag *diag);
void db_close(sqlite3 **db);
/* db_write - a new file with the content of @from, or with an empty schema when that is NULL. Errors:
 * NP_ESYS, NP_ENOMEM, NP_EPROTO (what was written is not whole). */
enum np_err db_write(sqlite3 *from, const char *path, struct np_diag *diag) NP_MUST_CHECK;
/* db_migrate - from version @from to STORE_SCHEMA, in one transaction. */
enum np_err db_migrate(sqlite3 *db, const char *path, int from, struct np_diag *diag) NP_MUST_CHECK;
/* db_rows - each row, its checksum compared, to @fn (NULL: only compared), by kind and age. */
enum health db_rows(sqlite3 *db, const char *path, store_row_fn fn, void *arg,
		    struct np_diag *diag);
int64_t db_sum_of(const struct store_row *row);
/* db_run - statements without result. db_number - the first column of the first row. */
enum np_err db_run(sqlite3 *db, const char *path, const char *sql,
		   struct np_diag *diag) NP_MUST_CHECK;
bool db_number(sqlite3 *db, const char *sql, int64_t *out);
/* db_failed - @diag and the code of what failed last in @db. */
enum np_err db_failed(sqlite3 *db, const char *path, struct np_diag *diag);

#endif
