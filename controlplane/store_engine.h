/*
 * store_engine.h - what store.c asks of the engine behind it, and the engine's files.
 *
 * An engine has one user at a time: the main thread up to the first transaction, then the store's.
 */
#ifndef CP_STORE_ENGINE_H
#define CP_STORE_ENGINE_H

#include "store.h"

#define STORE_PATH_MAX 600 /* of the database, with its NUL */
#define STORE_NAME_MAX (STORE_PATH_MAX + 64)

struct store_engine;

/* As store_open, for the file @path; @epoch is raised already. */
enum np_err store_engine_open(const char *path, struct store_engine **out, bool *fresh,
			      uint64_t *epoch, struct np_diag *note,
			      struct np_diag *diag) NP_MUST_CHECK;
enum np_err store_engine_load(struct store_engine *e, store_row_fn fn, void *arg,
			      struct np_diag *diag) NP_MUST_CHECK;
/* store_engine_peek - the rows of a database that somebody else may have open; changes nothing. */
enum np_err store_engine_peek(const char *path, store_row_fn fn, void *arg,
			      struct np_diag *diag) NP_MUST_CHECK;

/* A transaction: begin, apply …, then commit or rollback. After an error: rollback. */
enum np_err store_engine_begin(struct store_engine *e, struct np_diag *diag) NP_MUST_CHECK;
enum np_err store_engine_apply(struct store_engine *e, const struct store_op *ops, size_t n,
			       struct np_diag *diag) NP_MUST_CHECK;
enum np_err store_engine_commit(struct store_engine *e, struct np_diag *diag) NP_MUST_CHECK;
void store_engine_rollback(struct store_engine *e);

/* store_engine_copy - into the newest of the rotating copies; NP_OK, too, if nothing changed. */
enum np_err store_engine_copy(struct store_engine *e, struct np_diag *diag) NP_MUST_CHECK;
/* store_engine_copy_due - at the opening there was no copy, or one that is older than the rows. */
bool store_engine_copy_due(const struct store_engine *e);
void store_engine_close(struct store_engine *e);

/* -- files: store_files.c. All are for their owner alone, whatever the umask. -- */

/* store_make_dirs - the folders above @path that are missing. */
enum np_err store_make_dirs(const char *path, struct np_diag *diag) NP_MUST_CHECK;
/* store_make_file - empty and new. */
enum np_err store_make_file(const char *path, struct np_diag *diag) NP_MUST_CHECK;
/* store_narrow - takes the access of others from the database, its log and its index. */
void store_narrow(const char *path);
/* store_exists - NP_OK, NP_ENOTFOUND, or NP_ESYS: it cannot be said. */
enum np_err store_exists(const char *path, struct np_diag *diag) NP_MUST_CHECK;
/* store_sync_dir - so that a renaming of @path survives a loss of power. */
enum np_err store_sync_dir(const char *path, struct np_diag *diag) NP_MUST_CHECK;
/* store_rename - and the folder to disk. */
enum np_err store_rename(const char *from, const char *to, struct np_diag *diag) NP_MUST_CHECK;
/* store_set_aside - the database with its log and index becomes @kept (made here, from the time);
 * what of them is not there is no error. */
enum np_err store_set_aside(const char *path, char kept[STORE_NAME_MAX],
			    struct np_diag *diag) NP_MUST_CHECK;
/* store_copy_name - the @n-th copy, 1 is the newest; 0: one that is being made. */
void store_copy_name(const char *path, unsigned n, char out[STORE_NAME_MAX]);
/* store_rotate - copy 0 becomes copy 1, the last one goes. */
enum np_err store_rotate(const char *path, struct np_diag *diag) NP_MUST_CHECK;
/* store_unlink - with log and index; what is not there is no error. */
void store_unlink(const char *path);

#endif
