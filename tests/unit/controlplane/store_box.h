/*
 * store_box.h - a folder with a store in it, for tests: opening, writing, reading back.
 */
#ifndef TEST_STORE_BOX_H
#define TEST_STORE_BOX_H

#include "store.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BOX_ROWS 16

struct box {
	char top[64];	/* made by mkdtemp */
	char state[96]; /* in it; made by the store */
	char file[128]; /* the database */
	struct event_base *base;
	struct store *store;
	bool fresh;
	struct np_diag note, diag;
	/* what was read back */
	size_t n;
	char rows[BOX_ROWS][128]; /* "kind/id/revision/blob" */
	/* what was reported */
	unsigned done, failed;
	char text[512]; /* of the last failure */
};

static inline int box_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int box_setup(void **state)
{
	struct box *b = calloc(1, sizeof(*b));

	snprintf(b->top, sizeof(b->top), "/tmp/np-store-XXXXXX");
	if (mkdtemp(b->top) == NULL)
		return -1;
	snprintf(b->state, sizeof(b->state), "%s/state", b->top);
	snprintf(b->file, sizeof(b->file), "%s/nodepass.db", b->state);
	b->base = event_base_new();
	*state = b;
	return 0;
}

static inline int box_teardown(void **state)
{
	struct box *b = *state;

	store_close(b->store);
	event_base_free(b->base);
	nftw(b->top, box_remove, 16, FTW_DEPTH | FTW_PHYS);
	free(b);
	return 0;
}

static inline enum np_err box_open(struct box *b)
{
	b->note.text[0] = b->diag.text[0] = '\0';
	b->fresh = false;
	return store_open(b->base, NULL, b->state, &b->store, &b->fresh, &b->note, &b->diag);
}

static inline void box_close(struct box *b)
{
	store_close(b->store);
	b->store = NULL;
}

static inline void box_on_done(void *arg, enum np_err err, const struct np_diag *diag)
{
	struct box *b = arg;

	b->done++;
	if (err == NP_OK)
		return;
	b->failed++;
	snprintf(b->text, sizeof(b->text), "%s", diag == NULL ? "" : diag->text);
}

static inline struct store_op box_op(enum store_kind kind, const char *id, uint64_t revision,
				     const char *blob)
{
	struct store_op op = {
	    .row = {.kind = kind, .revision = revision, .blob = blob, .len = strlen(blob)}};

	snprintf(op.row.id, sizeof(op.row.id), "%s", id);
	return op;
}

/* One row in a transaction of its own, not waited for. */
static inline void box_put(struct box *b, enum store_kind kind, const char *id, uint64_t revision,
			   const char *blob)
{
	struct store_op op = box_op(kind, id, revision, blob);

	assert_int_equal(store_txn(b->store, &op, 1, box_on_done, b), NP_OK);
}

static inline void box_wait(struct box *b, unsigned done)
{
	while (b->done < done)
		event_base_loop(b->base, EVLOOP_ONCE);
}

static inline void box_on_row(void *arg, const struct store_row *row)
{
	struct box *b = arg;

	if (b->n < BOX_ROWS)
		snprintf(b->rows[b->n], sizeof(b->rows[0]), "%d/%s/%llu/%.*s", (int)row->kind,
			 row->id, (unsigned long long)row->revision, (int)row->len,
			 (const char *)row->blob);
	b->n++;
}

static inline void box_load(struct box *b)
{
	b->n = 0;
	assert_int_equal(store_load(b->store, box_on_row, b, &b->diag), NP_OK);
}

/* A store with two instances and the master, closed again: there is one copy, .backup-1. */
static inline void box_fill(struct box *b)
{
	assert_int_equal(box_open(b), NP_OK);
	b->done = 0;
	box_put(b, STORE_META, "master", 0, "{\"key\":1}");
	box_put(b, STORE_INSTANCE, "aaaaaaaa", 1, "one");
	box_put(b, STORE_INSTANCE, "bbbbbbbb", 2, "two");
	box_wait(b, 3);
	assert_int_equal(b->failed, 0);
	box_close(b);
}

static inline void box_check_fill(struct box *b)
{
	box_load(b);
	assert_int_equal(b->n, 3);
	assert_string_equal(b->rows[0], "1/master/0/{\"key\":1}");
	assert_string_equal(b->rows[1], "2/aaaaaaaa/1/one");
	assert_string_equal(b->rows[2], "2/bbbbbbbb/2/two");
}

static inline unsigned box_mode(const char *dir, const char *name)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (stat(path, &st) == -1)
		return 0;
	return st.st_mode & 07777;
}

#endif
