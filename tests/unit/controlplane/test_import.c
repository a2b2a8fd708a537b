/*
 * test_import.c - the original program's state file into a real model and store.
 */
#include "import.h"

#include "base/alloc.h"
#include "model_box.h"

#define KEY "0123456789abcdef0123456789abcdef"

static struct model *model;
static char named[256]; /* NP_IMPORT_GOB */

static const char *get(void *arg, const char *name)
{
	(void)arg;
	return strcmp(name, "NP_IMPORT_GOB") == 0 ? named : NULL;
}

static void sample(const char *name)
{
	snprintf(named, sizeof(named), "%s/fuzz/corpus/gob/%s", NP_TEST_SOURCE_DIR, name);
}

static void on_changed(void *arg, const char *id)
{
	(void)arg;
	(void)id;
}

static void up(struct box *b)
{
	static const struct model_events events = {.publish = box_no_publish,
						   .changed = on_changed};
	static const struct validate_defaults defaults = {.log = "info"};

	model = box_model_open(b, &defaults, &events);
}

static void down(struct box *b)
{
	box_model_close(b, &model);
}

static void check_two(void)
{
	const struct model_instance *inst = model_find(model, "deadbeef");

	assert_int_equal(model_count(model), 2);
	assert_string_equal(model_key(model), KEY);
	assert_string_equal(model_mid(model), "fedcba9876543210");
	assert_string_equal(model_alias(model), "the master");
	assert_non_null(inst);
	assert_string_equal(inst->url, "client://127.0.0.1:10101/127.0.0.1:80?mode=1");
	assert_string_equal(inst->alias, "w\xc3\xa9"
					 "b 0");
	assert_string_equal(inst->meta.sid, "550e8400-e29b-41d4-a716-446655440000");
	assert_string_equal(inst->meta.type, "1");
	assert_string_equal(inst->meta.alias, "p");
	assert_int_equal(inst->meta.ntags, 2);
	assert_true(inst->restart);
	assert_true(inst->total[MODEL_TCP_RX] == (uint64_t)1 << 40);
	assert_int_equal(inst->total[MODEL_TCP_TX], 200);
	assert_int_equal(inst->total[MODEL_UDP_RX], 1);
	assert_non_null(model_find(model, "0badcafe"));
	assert_false(model_find(model, "0badcafe")->restart);
}

static void run__state_file__instances_and_key_survive_a_restart(void **state)
{
	struct box *b = *state;
	bool created = true;

	sample("two");
	up(b);
	assert_true(b->fresh);
	assert_int_equal(import_run(model, get, NULL, &b->diag), NP_OK);
	assert_int_equal(model_ensure_key(model, &created, &b->diag), NP_OK);
	assert_false(created);
	check_two();
	down(b);
	up(b);
	assert_false(b->fresh);
	check_two();
	down(b);
}

static void run__interrupted_before_the_key__done_again(void **state)
{
	struct box *b = *state;
	struct model_import row = {.id = "deadbeef",
				   .alias = "w\xc3\xa9"
					    "b 0",
				   .url = "client://127.0.0.1:10101/127.0.0.1:80?mode=1",
				   .config = ""};

	sample("two");
	row.meta.sid = row.meta.type = row.meta.alias = (char *)(uintptr_t) "";
	up(b);
	assert_int_equal(model_import(model, &row), NP_OK);
	assert_int_equal(model_flush(model, &b->diag), NP_OK);
	down(b);
	up(b);
	assert_true(b->fresh);
	assert_int_equal(model_count(model), 1);
	assert_int_equal(import_run(model, get, NULL, &b->diag), NP_OK);
	assert_int_equal(model_count(model), 2);
	assert_string_equal(model_key(model), KEY);
	down(b);
	up(b);
	assert_false(b->fresh);
	assert_int_equal(model_count(model), 2);
	down(b);
}

static void run__damaged_or_missing_or_no_file__error_and_nothing_taken(void **state)
{
	static const struct {
		const char *name;
		enum np_err err;
	} all[] = {{"slice-kind", NP_EPROTO}, {"none", NP_ENOTFOUND}, {"", NP_EINVAL}};
	struct box *b = *state;

	up(b);
	for (size_t i = 0; i < 3; i++) {
		sample(all[i].name);
		b->diag.text[0] = '\0';
		assert_int_equal(import_run(model, get, NULL, &b->diag), all[i].err);
		assert_non_null(strstr(b->diag.text, "corpus/gob"));
		assert_int_equal(model_count(model), 0);
	}
	named[0] = '\0'; /* and no file beside this test */
	assert_int_equal(import_run(model, get, NULL, &b->diag), NP_OK);
	assert_int_equal(model_count(model), 0);
	down(b);
}

static void run__no_memory_anywhere__error_or_whole(void **state)
{
	struct box *b = *state;
	enum np_err err = NP_ENOMEM;

	sample("two");
	for (long i = 0; err != NP_OK; i++) {
		assert_in_range(i, 0, 2000);
		snprintf(b->state, sizeof(b->state), "%.40s/s%ld", b->top, i);
		up(b);
		np_alloc_fail_after(i);
		err = import_run(model, get, NULL, &b->diag);
		np_alloc_fail_after(-1);
		if (err == NP_OK)
			check_two();
		down(b);
	}
}

#define IN_BOX(f) cmocka_unit_test_setup_teardown(f, box_setup, box_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_BOX(run__state_file__instances_and_key_survive_a_restart),
	    IN_BOX(run__interrupted_before_the_key__done_again),
	    IN_BOX(run__damaged_or_missing_or_no_file__error_and_nothing_taken),
	    IN_BOX(run__no_memory_anywhere__error_or_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
