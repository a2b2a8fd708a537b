/*
 * test_store_repair.c - damaged databases, copies, databases of others; two masters.
 */
#include "store.h"

#include "statelock.h"
#include "store_box.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sqlite3.h>
#include <sys/inotify.h>
#include <sys/wait.h>

#define FILE_MAX (1024 * 1024)

struct bytes {
	size_t len;
	uint8_t data[FILE_MAX];
};

static void read_bytes(const char *path, struct bytes *out)
{
	FILE *f = fopen(path, "rb");

	assert_non_null(f);
	out->len = fread(out->data, 1, sizeof(out->data), f);
	fclose(f);
}

static void write_bytes(const char *path, const struct bytes *in)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(in->data, 1, in->len, f), in->len);
	assert_int_equal(fclose(f), 0);
}

/* -- ways to damage a file; @n chooses a place -- */

typedef void (*damage_fn)(struct bytes *b, unsigned n);

static void cut(struct bytes *b, unsigned n)
{
	static const size_t to[] = {0, 1, 100, 4096, 5000};

	b->len = n < 5 ? to[n] : b->len - 2000;
}

static void zero_page(struct bytes *b, unsigned n)
{
	memset(b->data + (size_t)n * 4096 % b->len, 0, 4096);
}

static void random_header(struct bytes *b, unsigned n)
{
	for (size_t i = 0; i < 100; i++)
		b->data[i] = (uint8_t)((i + 1) * (n + 7) * 2654435761u >> 13);
}

static void random_page(struct bytes *b, unsigned n)
{
	size_t at = (size_t)(n + 1) * 4096 % b->len;

	for (size_t i = 0; i < 4096; i++)
		b->data[at + i] = (uint8_t)((i + 1) * (n + 7) * 2654435761u >> 13);
}

/* One letter inside of a value, which SQLite itself cannot notice. */
static void value(struct bytes *b, unsigned n)
{
	uint8_t *p = memmem(b->data, b->len, "aaaaaaaa", 8);

	(void)n;
	for (; p != NULL; p = memmem(p + 1, b->len - (size_t)(p + 1 - b->data), "one", 3))
		if (p[0] == 'o')
			p[0] = 'O';
}

/* The name, in @out, of the file in the state folder that begins with @prefix; their number. */
static unsigned find_file(const struct box *b, const char *prefix, char out[256])
{
	DIR *d = opendir(b->state);
	struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(out, 256, "%s/%.150s", b->state, e->d_name);
		n++;
	}
	closedir(d);
	return n;
}

static const struct {
	damage_fn damage;
	unsigned times;
} DAMAGES[] = {{cut, 6}, {zero_page, 6}, {random_header, 3}, {random_page, 5}, {value, 1}};
#define NDAMAGES (sizeof(DAMAGES) / sizeof(DAMAGES[0]))

static struct bytes good, bad, now; /* too large for a stack */

static void damaged_with_copy(struct box *b, damage_fn damage, unsigned n)
{
	char kept[256];

	box_fill(b);
	read_bytes(b->file, &bad);
	damage(&bad, n);
	write_bytes(b->file, &bad);
	assert_int_equal(box_open(b), NP_OK);
	assert_non_null(strstr(b->note.text, "backup-1"));
	assert_non_null(strstr(b->note.text, "corrupt-"));
	assert_false(b->fresh);
	box_check_fill(b);
	assert_int_equal(box_mode(b->state, "nodepass.db"), 0600);
	assert_int_equal(find_file(b, "nodepass.db.corrupt-", kept), 1);
	read_bytes(kept, &now);
	assert_int_equal(now.len, bad.len);
	assert_memory_equal(now.data, bad.data, bad.len);
	/* It is a store as any other. */
	b->done = 0;
	box_put(b, STORE_META, "later", 0, "x");
	box_wait(b, 1);
	assert_int_equal(b->failed, 0);
	box_close(b);
	assert_int_equal(box_open(b), NP_OK);
	assert_string_equal(b->note.text, "");
	box_close(b);
}

static void open__damaged_with_a_copy__copy_is_used_and_file_kept(void **state)
{
	struct box *b = *state;
	unsigned round = 0;

	for (size_t i = 0; i < NDAMAGES; i++) {
		for (unsigned n = 0; n < DAMAGES[i].times; n++) {
			snprintf(b->state, sizeof(b->state), "%s/s%u", b->top, round++);
			snprintf(b->file, sizeof(b->file), "%s/nodepass.db", b->state);
			damaged_with_copy(b, DAMAGES[i].damage, n);
		}
	}
}

static void open__damaged_without_a_copy__error_and_nothing_changed(void **state)
{
	struct box *b = *state;
	char name[256];

	box_fill(b);
	snprintf(name, sizeof(name), "%s.backup-1", b->file);
	assert_int_equal(unlink(name), 0);
	read_bytes(b->file, &good);
	for (size_t i = 0; i < NDAMAGES; i++) {
		for (unsigned n = 0; n < DAMAGES[i].times; n++) {
			bad = good;
			DAMAGES[i].damage(&bad, n);
			write_bytes(b->file, &bad);
			assert_int_equal(box_open(b), NP_EPROTO);
			assert_non_null(strstr(b->diag.text, b->file));
			assert_non_null(strstr(b->diag.text, "no good copy"));
			read_bytes(b->file, &now);
			assert_int_equal(now.len, bad.len);
			assert_memory_equal(now.data, bad.data, bad.len);
			assert_int_equal(find_file(b, "nodepass.db", name), 1);
		}
	}
	write_bytes(b->file, &good);
	assert_int_equal(box_open(b), NP_OK);
	box_check_fill(b);
}

static void open__newest_copy_damaged__next_one(void **state)
{
	struct box *b = *state;
	char name[256];

	box_fill(b);
	assert_int_equal(box_open(b), NP_OK);
	box_put(b, STORE_INSTANCE, "cccccccc", 3, "three");
	box_wait(b, 4);
	box_close(b);
	assert_int_equal(find_file(b, "nodepass.db.backup-", name), 2);
	bad.len = 0;
	write_bytes(b->file, &bad);
	snprintf(name, sizeof(name), "%s.backup-1", b->file);
	read_bytes(name, &bad);
	random_page(&bad, 1);
	write_bytes(name, &bad);
	assert_int_equal(box_open(b), NP_OK);
	assert_non_null(strstr(b->note.text, "backup-2"));
	box_check_fill(b);
}

static void open__used_a_copy__epoch_grows_all_the_same(void **state)
{
	struct box *b = *state;
	uint64_t epoch = 0;

	box_fill(b);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(box_open(b), NP_OK);
		assert_true(store_epoch(b->store) > epoch);
		epoch = store_epoch(b->store);
		box_close(b);
	}
	bad.len = 0;
	write_bytes(b->file, &bad);
	assert_int_equal(box_open(b), NP_OK);
	/* By the clock: at once after so many starts it may be at the same second. */
	assert_true(store_epoch(b->store) + 5 > epoch);
}

static void open__database_gone__copy_is_used(void **state)
{
	struct box *b = *state;

	box_fill(b);
	assert_int_equal(unlink(b->file), 0);
	assert_int_equal(box_open(b), NP_OK);
	assert_non_null(strstr(b->note.text, "was gone"));
	assert_false(b->fresh);
	box_check_fill(b);
}

static void change_file(struct box *b, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(b->file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void open__newer_schema__refused_and_untouched(void **state)
{
	struct box *b = *state;
	char name[256];

	box_fill(b);
	change_file(b, "PRAGMA user_version=99");
	read_bytes(b->file, &good);
	assert_int_equal(box_open(b), NP_EUNSUPPORTED);
	assert_non_null(strstr(b->diag.text, "newer version"));
	read_bytes(b->file, &now);
	assert_int_equal(now.len, good.len);
	assert_memory_equal(now.data, good.data, good.len);
	assert_int_equal(find_file(b, "nodepass.db.corrupt", name), 0);
}

static void open__database_of_another_program__refused_and_untouched(void **state)
{
	struct box *b = *state;

	assert_int_equal(mkdir(b->state, 0700), 0);
	change_file(b, "CREATE TABLE rows(a); INSERT INTO rows VALUES('theirs')");
	read_bytes(b->file, &good);
	assert_int_equal(box_open(b), NP_EPROTO);
	assert_non_null(strstr(b->diag.text, "not a database of NodePass"));
	read_bytes(b->file, &now);
	assert_int_equal(now.len, good.len);
	assert_memory_equal(now.data, good.data, good.len);
}

static void open__is_a_directory__error(void **state)
{
	struct box *b = *state;

	assert_int_equal(mkdir(b->state, 0700), 0);
	assert_int_equal(mkdir(b->file, 0700), 0);
	assert_int_equal(box_open(b), NP_ESYS);
	assert_non_null(strstr(b->diag.text, "not a regular file"));
}

static void copy__changes__three_rotate_and_only_when_changed(void **state)
{
	struct box *b = *state;
	char name[256], text[16];

	for (unsigned i = 1; i <= 5; i++) {
		unsigned want = i < STORE_COPIES ? i : STORE_COPIES;

		assert_int_equal(box_open(b), NP_OK);
		snprintf(text, sizeof(text), "v%u", i);
		box_put(b, STORE_META, "x", i, text);
		box_wait(b, i);
		box_close(b);
		assert_int_equal(find_file(b, "nodepass.db.backup-", name), want);
		assert_int_equal(box_open(b), NP_OK);
		box_close(b); /* nothing changed */
		assert_int_equal(find_file(b, "nodepass.db.backup-", name), want);
	}
	assert_int_equal(box_mode(b->state, "nodepass.db.backup-3"), 0600);
	for (unsigned n = 1; n <= STORE_COPIES; n++) {
		char url[256], row[32];

		snprintf(url, sizeof(url), "sqlite:%s.backup-%u", b->file, n);
		snprintf(row, sizeof(row), "1/x/%u/v%u", 6 - n, 6 - n);
		b->n = 0;
		assert_int_equal(store_peek(url, NULL, box_on_row, b, &b->diag), NP_OK);
		assert_string_equal(b->rows[0], row);
	}
}

static void copy__none_yet__made_unasked(void **state)
{
	struct box *b = *state;
	struct pollfd p = {.fd = inotify_init1(IN_CLOEXEC), .events = POLLIN};
	char name[256], events[4096];

	assert_int_equal(box_open(b), NP_OK);
	assert_int_not_equal(inotify_add_watch(p.fd, b->state, IN_CREATE | IN_MOVED_TO), -1);
	box_put(b, STORE_META, "x", 1, "x");
	box_wait(b, 1);
	while (find_file(b, "nodepass.db.backup-1", name) == 0) {
		assert_int_equal(poll(&p, 1, 20000), 1);
		assert_true(read(p.fd, events, sizeof(events)) > 0);
	}
	close(p.fd);
}

/* -- two masters -- */

static void take__second_master__refused_with_pid_and_address(void **state)
{
	struct statelock *first = NULL, *second = NULL;
	struct box *b = *state;
	char run[96], other[96], pid[32];

	snprintf(run, sizeof(run), "%s/run", b->top);
	snprintf(other, sizeof(other), "%s/other", b->top);
	snprintf(pid, sizeof(pid), "pid %ld", (long)getpid());
	assert_int_equal(statelock_take(b->state, run, "127.0.0.1:9090", &first, &b->diag), NP_OK);
	assert_int_equal(statelock_holder(b->state), getpid());
	assert_int_equal(box_mode(b->top, "run"), 0700);
	assert_int_equal(box_mode(b->state, "lock"), 0600);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(statelock_take(i == 0 ? b->state : other, i == 0 ? other : run,
						"h:1", &second, &b->diag),
				 NP_EEXIST);
		assert_null(second);
		assert_non_null(strstr(b->diag.text, pid));
		assert_non_null(strstr(b->diag.text, "127.0.0.1:9090"));
		assert_non_null(strstr(b->diag.text, "NP_STATE_DIR"));
		assert_non_null(strstr(b->diag.text, "NP_RUN_DIR"));
	}
	statelock_release(first);
	assert_int_equal(statelock_holder(b->state), 0);
	assert_int_equal(statelock_take(b->state, run, "h:2", &first, &b->diag), NP_OK);
	statelock_release(first);
}

static void take__owner_killed__free(void **state)
{
	struct statelock *l = NULL;
	struct box *b = *state;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (statelock_take(b->state, b->state, "h:1", &l, NULL) == NP_OK)
			raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(statelock_take(b->state, b->state, "h:2", &l, &b->diag), NP_OK);
	statelock_release(l);
}

#define IN_BOX(f) cmocka_unit_test_setup_teardown(f, box_setup, box_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_BOX(open__damaged_with_a_copy__copy_is_used_and_file_kept),
	    IN_BOX(open__damaged_without_a_copy__error_and_nothing_changed),
	    IN_BOX(open__newest_copy_damaged__next_one),
	    IN_BOX(open__used_a_copy__epoch_grows_all_the_same),
	    IN_BOX(open__database_gone__copy_is_used),
	    IN_BOX(open__newer_schema__refused_and_untouched),
	    IN_BOX(open__database_of_another_program__refused_and_untouched),
	    IN_BOX(open__is_a_directory__error),
	    IN_BOX(copy__changes__three_rotate_and_only_when_changed),
	    IN_BOX(copy__none_yet__made_unasked),
	    IN_BOX(take__second_master__refused_with_pid_and_address),
	    IN_BOX(take__owner_killed__free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
