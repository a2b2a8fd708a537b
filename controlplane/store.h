/*
 * store.h - where state lives: rows of (kind, id, revision, blob), behind one interface.
 *
 * Reading is done once, at start, by the caller's thread. Writing goes to the store's own thread, in
 * order; transactions that wait together are committed together (one fsync). What is reported as
 * done is on disk. Engine: store_sqlite.c.
 */
#ifndef CP_STORE_H
#define CP_STORE_H

#include "base/err.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#define STORE_ID_MAX	64
#define STORE_BLOB_MAX	(256 * 1024)
#define STORE_QUEUE_MAX 4096 /* transactions that wait; a further one is NP_EAGAIN */
#define STORE_COPIES	3    /* automatic snapshot copies that are kept */

enum store_kind { STORE_META = 1, STORE_INSTANCE = 2, STORE_COUNTERS = 3 };

struct store_row {
	enum store_kind kind;
	char id[STORE_ID_MAX + 1];
	uint64_t revision;
	const void *blob; /* JSON text; borrowed */
	size_t len;
};

struct store_op {
	bool remove; /* else put */
	struct store_row row;
};

struct store;
typedef void (*store_row_fn)(void *arg, const struct store_row *row);
typedef void (*store_done_fn)(void *arg, enum np_err err, const struct np_diag *diag);

/*
 * store_open - @url: "sqlite:PATH", "etcd://…" (NP_EUNSUPPORTED) or NULL = sqlite in @state_dir,
 * file "nodepass.db". Makes directory (0700) and file (0600), whatever the umask. Migrates; checks
 * integrity: a damaged file is kept aside as "….corrupt-<time>", the newest good copy is used
 * (@note says so, to be logged), and without one an error: never an empty database in its place.
 * A database that is gone while copies are there counts as damaged, too. Raises the epoch.
 * @fresh: there was no database before, or the first start did not get as far as the row "master"
 * (STORE_META). @note is set when there is something to say, only then. Blocks.
 * Errors: NP_EINVAL, NP_ESYS, NP_EUNSUPPORTED (engine, or a newer version's database), NP_EPROTO
 * (damaged, and no good copy), NP_ENOMEM; all with @diag.
 */
enum np_err store_open(struct event_base *base, const char *url, const char *state_dir,
		       struct store **out, bool *fresh, struct np_diag *note,
		       struct np_diag *diag) NP_MUST_CHECK;
/* store_load - every row, kinds in order, instances in the order of their creation. Thread: main,
 * before the first store_txn. Blocks. */
enum np_err store_load(struct store *s, store_row_fn fn, void *arg,
		       struct np_diag *diag) NP_MUST_CHECK;
/*
 * store_peek - the rows once, without a store: nothing is made, changed or repaired, and a master
 * may be at work on the same database. Errors: NP_ENOTFOUND (no database), as store_open.
 * Thread: any. Blocks.
 */
enum np_err store_peek(const char *url, const char *state_dir, store_row_fn fn, void *arg,
		       struct np_diag *diag) NP_MUST_CHECK;
/*
 * store_txn - all of @ops or none (copied). @done (may be NULL) is called in the loop of @base, in
 * the order of the calls; its @diag may be NULL. Errors: NP_EAGAIN (queue full), NP_ELIMIT (a blob
 * past STORE_BLOB_MAX), NP_ENOMEM: @done is not called then.
 */
enum np_err store_txn(struct store *s, const struct store_op *ops, size_t n, store_done_fn done,
		      void *arg) NP_MUST_CHECK;
/* store_epoch - grows with every store_open, also over a copy that had to be used; never 0. */
uint64_t store_epoch(const struct store *s);
/* store_copy - a consistent copy beside the database (rotating STORE_COPIES), on the store's
 * thread, only when something changed since the last one. The first one of a state that has none,
 * or only an old one, is made unasked, some seconds after the first transaction. */
void store_copy(struct store *s);
/* store_close - commits what waits (done callbacks are called), copies, closes. Blocks. */
void store_close(struct store *s);

#endif
