/*
 * test_store.c - rows, order, transactions, files' modes, a full queue, a full disk, SIGKILL. The
 * store has a thread of its own (pthread): for the thread sanitizer, too.
 */
#include "store.h"

#include "base/alloc.h"
#include "store_box.h"

#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>

static void open__first_time__fresh_until_the_master_is_there(void **state)
{
	struct box *b = *state;
	uint64_t epoch;

	assert_int_equal(box_open(b), NP_OK);
	assert_true(b->fresh);
	assert_string_equal(b->note.text, "");
	epoch = store_epoch(b->store);
	assert_true(epoch > 0);
	box_close(b);
	assert_int_equal(box_open(b), NP_OK);
	assert_true(b->fresh);
	assert_true(store_epoch(b->store) > epoch);
	box_close(b);
	box_fill(b);
	assert_int_equal(box_open(b), NP_OK);
	assert_false(b->fresh);
	box_check_fill(b);
}

static void open__any_umask__files_of_the_owner_alone(void **state)
{
	static const mode_t masks[] = {0, 022, 0777};
	struct box *b = *state;

	for (size_t i = 0; i < 3; i++) {
		mode_t old = umask(masks[i]);

		snprintf(b->state, sizeof(b->state), "%s/a%zu", b->top, i);
		box_fill(b);
		assert_int_equal(box_open(b), NP_OK);
		box_put(b, STORE_META, "x", 0, "x");
		box_wait(b, 4);
		umask(old);
		assert_int_equal(box_mode(b->state, "."), 0700);
		assert_int_equal(box_mode(b->state, "nodepass.db"), 0600);
		assert_int_equal(box_mode(b->state, "nodepass.db-wal"), 0600);
		assert_int_equal(box_mode(b->state, "nodepass.db-shm"), 0600);
		assert_int_equal(box_mode(b->state, "nodepass.db.backup-1"), 0600);
		box_close(b);
	}
}

static void open__url__engine_or_refusal(void **state)
{
	static const struct {
		const char *url;
		enum np_err err;
		const char *text;
	} all[] = {
	    {"etcd://127.0.0.1:2379/np", NP_EUNSUPPORTED, "not available in this version"},
	    {"mysql:x", NP_EINVAL, "sqlite:"},
	    {"sqlite:", NP_EINVAL, "path"},
	    {"sqlite:/tmp/", NP_EINVAL, "path"},
	};
	struct box *b = *state;
	char url[256];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		assert_int_equal(store_open(b->base, all[i].url, b->state, &b->store, &b->fresh,
					    &b->note, &b->diag),
				 all[i].err);
		assert_non_null(strstr(b->diag.text, all[i].text));
		assert_null(b->store);
	}
	snprintf(url, sizeof(url), "sqlite:%s/deep/er/my.db", b->top);
	assert_int_equal(
	    store_open(b->base, url, b->state, &b->store, &b->fresh, &b->note, &b->diag), NP_OK);
	assert_int_equal(box_mode(b->top, "deep/er"), 0700);
	assert_int_equal(box_mode(b->top, "deep/er/my.db"), 0600);
}

static void txn__put_again_and_remove__order_of_creation_stays(void **state)
{
	struct box *b = *state;
	struct store_op ops[3];

	assert_int_equal(box_open(b), NP_OK);
	box_put(b, STORE_COUNTERS, "zz", 0, "c");
	box_put(b, STORE_INSTANCE, "zz", 1, "first");
	box_put(b, STORE_INSTANCE, "mm", 2, "second");
	box_put(b, STORE_INSTANCE, "aa", 3, "third");
	box_put(b, STORE_INSTANCE, "zz", UINT64_MAX, "");
	ops[0] = box_op(STORE_INSTANCE, "mm", 0, "");
	ops[0].remove = true;
	ops[1] = box_op(STORE_META, "m", 4, "meta");
	ops[2] = box_op(STORE_INSTANCE, "none", 0, "");
	ops[2].remove = true;
	assert_int_equal(store_txn(b->store, ops, 3, box_on_done, b), NP_OK);
	box_wait(b, 6);
	assert_int_equal(b->failed, 0);
	box_close(b);
	assert_int_equal(box_open(b), NP_OK);
	box_load(b);
	assert_int_equal(b->n, 4);
	assert_string_equal(b->rows[0], "1/m/4/meta");
	assert_string_equal(b->rows[1], "2/zz/18446744073709551615/");
	assert_string_equal(b->rows[2], "2/aa/3/third");
	assert_string_equal(b->rows[3], "3/zz/0/c");
}

static void txn__blob_too_large_or_no_memory__refused(void **state)
{
	struct box *b = *state;
	struct store_op op = box_op(STORE_META, "x", 0, "");

	assert_int_equal(box_open(b), NP_OK);
	op.row.len = STORE_BLOB_MAX + 1;
	assert_int_equal(store_txn(b->store, &op, 1, box_on_done, b), NP_ELIMIT);
	op.row.len = 0;
	np_alloc_fail_after(0);
	assert_int_equal(store_txn(b->store, &op, 1, box_on_done, b), NP_ENOMEM);
	np_alloc_fail_after(-1);
	assert_int_equal(b->done, 0);
}

static void open__each_allocation_fails__reported(void **state)
{
	struct box *b = *state;
	enum np_err err = NP_ENOMEM;

	for (long i = 0; err != NP_OK; i++) {
		assert_in_range(i, 0, 20);
		np_alloc_fail_after(i);
		err = box_open(b);
		np_alloc_fail_after(-1);
		assert_true(err == NP_OK || err == NP_ENOMEM);
	}
}

static void close__transactions_wait__done_first(void **state)
{
	struct box *b = *state;

	assert_int_equal(box_open(b), NP_OK);
	for (unsigned i = 0; i < 100; i++)
		box_put(b, STORE_META, "same", i, "x");
	box_close(b);
	assert_int_equal(b->done, 100);
	assert_int_equal(b->failed, 0);
	assert_int_equal(box_open(b), NP_OK);
	box_load(b);
	assert_string_equal(b->rows[0], "1/same/99/x");
}

static void peek__store_is_open__reads_and_changes_nothing(void **state)
{
	struct box *b = *state;
	uint64_t epoch;

	assert_int_equal(store_peek(NULL, b->state, box_on_row, b, &b->diag), NP_ENOTFOUND);
	assert_int_equal(box_mode(b->top, "state"), 0);
	box_fill(b);
	assert_int_equal(box_open(b), NP_OK);
	epoch = store_epoch(b->store);
	assert_int_equal(store_peek(NULL, b->state, box_on_row, b, &b->diag), NP_OK);
	assert_int_equal(b->n, 3);
	assert_string_equal(b->rows[0], "1/master/0/{\"key\":1}");
	box_put(b, STORE_META, "x", 0, "x");
	box_wait(b, 4);
	assert_int_equal(b->failed, 0);
	assert_true(store_epoch(b->store) == epoch);
}

/* Somebody else's hand in the database, to make things fail. */
static sqlite3 *other_hand(struct box *b, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(b->file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static void txn__queue_full__eagain_and_later_again(void **state)
{
	struct box *b = *state;
	struct store_op op = box_op(STORE_META, "x", 0, "x");
	enum np_err err = NP_OK;
	unsigned n = 0;
	sqlite3 *db;

	assert_int_equal(box_open(b), NP_OK);
	db = other_hand(b, "BEGIN IMMEDIATE");
	for (; err == NP_OK; n += err == NP_OK)
		err = store_txn(b->store, &op, 1, box_on_done, b);
	assert_int_equal(err, NP_EAGAIN);
	assert_int_equal(n, STORE_QUEUE_MAX);
	sqlite3_close(db);
	box_wait(b, n);
	assert_int_equal(b->failed, 0);
	assert_int_equal(store_txn(b->store, &op, 1, box_on_done, b), NP_OK);
	box_wait(b, n + 1);
}

static void txn__bad_one_in_a_group__fails_alone(void **state)
{
	struct box *b = *state;
	struct store_op ops[2];
	sqlite3 *db;

	assert_int_equal(box_open(b), NP_OK);
	db = other_hand(b, "CREATE TRIGGER t BEFORE INSERT ON rows WHEN NEW.id = 'bad' "
			   "BEGIN SELECT RAISE(ABORT, 'no'); END; BEGIN IMMEDIATE");
	for (unsigned i = 0; i < 10; i++) {
		char id[16];

		snprintf(id, sizeof(id), "good%u", i);
		box_put(b, STORE_INSTANCE, id, i, "x");
	}
	/* All or none: the first of the two is not written either. */
	ops[0] = box_op(STORE_INSTANCE, "half", 0, "x");
	ops[1] = box_op(STORE_INSTANCE, "bad", 0, "x");
	assert_int_equal(store_txn(b->store, ops, 2, box_on_done, b), NP_OK);
	box_put(b, STORE_INSTANCE, "last", 0, "x");
	sqlite3_close(db); /* from here on the store gets its turn */
	box_wait(b, 12);
	assert_int_equal(b->failed, 1);
	assert_non_null(strstr(b->text, "no"));
	box_close(b);
	assert_int_equal(box_open(b), NP_OK);
	box_load(b);
	assert_int_equal(b->n, 11);
	assert_string_equal(b->rows[10], "2/last/0/x");
}

/* -- a full disk -- */

static void txn__disk_full__fails_and_later_ones_work(void **state)
{
	static char large[200 * 1024];
	struct box *b = *state;
	unsigned n = 0;
	char id[16];

	if (unshare(CLONE_NEWNS) == -1 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1 ||
	    mount("tmpfs", b->top, "tmpfs", 0, "size=2m") == -1)
		skip(); /* needs root */
	memset(large, 'x', sizeof(large) - 1);
	assert_int_equal(box_open(b), NP_OK);
	while (b->failed == 0 && n < 100) {
		snprintf(id, sizeof(id), "id%u", n);
		box_put(b, STORE_INSTANCE, id, n, large);
		box_wait(b, ++n);
	}
	assert_int_equal(b->failed, 1);
	assert_non_null(strstr(b->text, "no space left"));
	/* More room: what was refused before is accepted, what was acknowledged is there. */
	assert_int_equal(mount("tmpfs", b->top, "tmpfs", MS_REMOUNT, "size=32m"), 0);
	box_put(b, STORE_META, "after", 0, large);
	box_wait(b, n + 1);
	assert_int_equal(b->failed, 1);
	box_close(b);
	assert_int_equal(box_open(b), NP_OK);
	box_load(b);
	assert_int_equal(b->n, n);
	box_close(b);
	umount2(b->top, MNT_DETACH);
}

/* -- SIGKILL -- */

static void report(void *arg, enum np_err err, const struct np_diag *diag)
{
	static unsigned acknowledged;
	const int *fd = arg;

	(void)diag;
	acknowledged += err == NP_OK;
	if (write(*fd, &acknowledged, sizeof(acknowledged)) != sizeof(acknowledged))
		_exit(1);
}

/* Writes instances i0, i1, … for ever, up to 8 at a time; each is said when it is acknowledged. */
static void writer(const char *dir, unsigned from, int fd)
{
	struct event_base *base = event_base_new();
	struct np_diag note, diag;
	struct store *s;
	bool fresh;

	if (store_open(base, NULL, dir, &s, &fresh, &note, &diag) != NP_OK)
		_exit(1);
	for (unsigned i = from;; i++) {
		struct store_op op = box_op(STORE_INSTANCE, "", i, "text");

		snprintf(op.row.id, sizeof(op.row.id), "i%u", i);
		if (store_txn(s, &op, 1, report, &fd) != NP_OK)
			_exit(1);
		event_base_loop(base, i % 8 == 7 ? EVLOOP_ONCE : EVLOOP_NONBLOCK);
	}
}

static unsigned kill_in_mid_write(struct box *b, unsigned from, unsigned after)
{
	unsigned acknowledged = 0, next;
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		writer(b->state, from, fds[1]);
	}
	assert_true(pid > 0);
	close(fds[1]);
	while (read(fds[0], &next, sizeof(next)) == sizeof(next)) {
		acknowledged = next;
		if (acknowledged >= after)
			kill(pid, SIGKILL);
	}
	close(fds[0]);
	waitpid(pid, NULL, 0);
	return acknowledged;
}

static void txn__killed_in_mid_write__acknowledged_rows_are_there(void **state)
{
	struct box *b = *state;
	size_t before = 0;

	for (unsigned round = 1; round <= 5; round++) {
		unsigned n = kill_in_mid_write(b, (unsigned)before, 37 * round);

		assert_true(n >= 37 * round);
		assert_int_equal(box_open(b), NP_OK);
		assert_string_equal(b->note.text, "");
		box_load(b);
		assert_true(b->n >= before + n);
		assert_string_equal(b->rows[15], "2/i15/15/text"); /* in order, without a gap */
		before = b->n;
		box_close(b);
	}
}

#define IN_BOX(f) cmocka_unit_test_setup_teardown(f, box_setup, box_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_BOX(open__first_time__fresh_until_the_master_is_there),
	    IN_BOX(open__any_umask__files_of_the_owner_alone),
	    IN_BOX(open__url__engine_or_refusal),
	    IN_BOX(txn__put_again_and_remove__order_of_creation_stays),
	    IN_BOX(txn__blob_too_large_or_no_memory__refused),
	    IN_BOX(open__each_allocation_fails__reported),
	    IN_BOX(close__transactions_wait__done_first),
	    IN_BOX(peek__store_is_open__reads_and_changes_nothing),
	    IN_BOX(txn__queue_full__eagain_and_later_again),
	    IN_BOX(txn__bad_one_in_a_group__fails_alone),
	    IN_BOX(txn__killed_in_mid_write__acknowledged_rows_are_there),
	    IN_BOX(txn__disk_full__fails_and_later_ones_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
