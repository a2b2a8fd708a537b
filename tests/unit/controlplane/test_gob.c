/*
 * test_gob.c - the original program's state file: samples of two versions, and every way to damage
 * them.
 */
#include "gob.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FILE_MAX 8192
#define SEEN_MAX 8

struct seen {
	struct gob_instance inst[SEEN_MAX];
	size_t n;
	enum np_err answer;
};

static enum np_err visit(void *arg, const struct gob_instance *inst)
{
	struct seen *s = arg;

	if (s->n < SEEN_MAX)
		s->inst[s->n] = *inst;
	s->n++;
	return s->answer;
}

static size_t sample(const char *name, uint8_t data[FILE_MAX])
{
	char path[512];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/fuzz/corpus/gob/%s", NP_TEST_SOURCE_DIR, name);
	f = fopen(path, "rb");
	assert_non_null(f);
	len = fread(data, 1, FILE_MAX, f);
	fclose(f);
	assert_in_range(len, 1, FILE_MAX - 1);
	return len;
}

static void is_text(struct gob_text t, const char *s)
{
	assert_int_equal(t.len, strlen(s));
	if (t.len > 0)
		assert_memory_equal(t.p, s, t.len);
}

static void check_two(const struct seen *s)
{
	const struct gob_instance *i = &s->inst[1];

	assert_int_equal(s->n, 3);
	is_text(s->inst[0].id, "********");
	is_text(s->inst[0].url, "0123456789abcdef0123456789abcdef");
	is_text(s->inst[0].config, "fedcba9876543210");
	is_text(s->inst[0].alias, "the master");
	is_text(i->id, "deadbeef");
	is_text(i->type, "client");
	is_text(i->status, "stopped");
	is_text(i->url, "client://127.0.0.1:10101/127.0.0.1:80?mode=1");
	is_text(i->alias, "w\xc3\xa9"
			  "b 0");
	is_text(i->peer_sid, "550e8400-e29b-41d4-a716-446655440000");
	is_text(i->peer_type, "1");
	is_text(i->peer_alias, "p");
	assert_true(i->restart);
	assert_int_equal(i->ntags, 2);
	is_text(i->tags[0].name, "a");
	is_text(i->tags[0].value, "b");
	is_text(i->tags[1].name, "c");
	is_text(i->tags[1].value, "");
	assert_true(i->total[GOB_TCP_RX] == (uint64_t)1 << 40);
	assert_int_equal(i->total[GOB_TCP_TX], 200);
	assert_int_equal(i->total[GOB_UDP_RX], 1);
	assert_int_equal(i->total[GOB_UDP_TX], 0);
	assert_false(s->inst[2].restart);
	is_text(s->inst[2].id, "0badcafe");
}

static void read__two_instances__all_members(void **state)
{
	uint8_t data[FILE_MAX];
	struct seen s = {.n = 0};
	size_t len = sample("two", data);

	(void)state;
	assert_int_equal(gob_read(data, len, visit, &s, NULL), NP_OK);
	check_two(&s);
}

static void read__more_members__same(void **state)
{
	uint8_t data[FILE_MAX];
	struct seen s = {.n = 0};
	size_t len = sample("later", data);

	(void)state;
	assert_int_equal(gob_read(data, len, visit, &s, NULL), NP_OK);
	check_two(&s);
}

static void read__fewer_members_in_another_order__by_name(void **state)
{
	uint8_t data[FILE_MAX];
	struct seen s = {.n = 0};
	size_t len = sample("fewer", data);

	(void)state;
	assert_int_equal(gob_read(data, len, visit, &s, NULL), NP_OK);
	assert_int_equal(s.n, 3);
	is_text(s.inst[1].url, "client://127.0.0.1:10101/127.0.0.1:80?mode=1");
	is_text(s.inst[1].alias, "");
	assert_int_equal(s.inst[1].ntags, 2);
}

static void read__empty_map__nothing(void **state)
{
	uint8_t data[FILE_MAX];
	struct seen s = {.n = 0};
	size_t len = sample("empty-map", data);

	(void)state;
	assert_int_equal(gob_read(data, len, visit, &s, NULL), NP_OK);
	assert_int_equal(s.n, 0);
}

static void read__many_tags__bounded_and_counted(void **state)
{
	uint8_t data[FILE_MAX];
	struct seen s = {.n = 0};
	size_t len = sample("tags", data);

	(void)state;
	assert_int_equal(gob_read(data, len, visit, &s, NULL), NP_OK);
	assert_int_equal(s.inst[0].ntags, GOB_TAGS_MAX);
	assert_int_equal(s.inst[0].tags_left, 300 - GOB_TAGS_MAX);
}

static void read__unknown_kind__refused(void **state)
{
	uint8_t data[FILE_MAX];
	struct np_diag diag = {.text = ""};
	size_t len = sample("slice-kind", data);

	(void)state;
	assert_int_equal(gob_read(data, len, NULL, NULL, &diag), NP_EPROTO);
	assert_non_null(strstr(diag.text, "neither structure nor map"));
}

static void read__nested_too_deeply__refused(void **state)
{
	uint8_t data[FILE_MAX];
	size_t len = sample("deep", data);

	(void)state;
	assert_int_equal(gob_read(data, len, NULL, NULL, NULL), NP_ELIMIT);
}

static void read__visitor_refuses__ends_with_its_error(void **state)
{
	uint8_t data[FILE_MAX];
	struct seen s = {.answer = NP_ESTATE};
	size_t len = sample("two", data);

	(void)state;
	assert_int_equal(gob_read(data, len, visit, &s, NULL), NP_ESTATE);
	assert_int_equal(s.n, 1);
}

static void read__cut_anywhere__truncated(void **state)
{
	uint8_t data[FILE_MAX];
	size_t len = sample("two", data);

	(void)state;
	for (size_t n = 0; n < len; n++) {
		struct np_diag diag = {.text = ""};
		/* Its own memory, so that a sanitizer sees a byte too many. */
		uint8_t *cut = np_malloc(n + 1);

		assert_non_null(cut);
		memcpy(cut + 1, data, n);
		assert_int_equal(gob_read(cut + 1, n, NULL, NULL, &diag), NP_ETRUNCATED);
		assert_true(diag.text[0] != '\0');
		np_free(cut);
	}
}

static void read__any_bit_flipped__bounded(void **state)
{
	uint8_t data[FILE_MAX];
	size_t len = sample("two", data);

	(void)state;
	for (size_t i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			struct seen s = {.n = 0};
			enum np_err err;

			data[i] ^= (uint8_t)(1u << bit);
			err = gob_read(data, len, visit, &s, NULL);
			assert_true(err <= NP_OK && s.n <= 255);
			data[i] ^= (uint8_t)(1u << bit);
		}
	}
}

static void read__no_memory_or_too_large__refused(void **state)
{
	uint8_t data[FILE_MAX];
	size_t len = sample("two", data);

	(void)state;
	np_alloc_fail_after(0);
	assert_int_equal(gob_read(data, len, NULL, NULL, NULL), NP_ENOMEM);
	np_alloc_fail_after(-1);
	assert_int_equal(gob_read(data, (size_t)GOB_FILE_MAX + 1, NULL, NULL, NULL), NP_ELIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(read__two_instances__all_members),
	    cmocka_unit_test(read__more_members__same),
	    cmocka_unit_test(read__fewer_members_in_another_order__by_name),
	    cmocka_unit_test(read__empty_map__nothing),
	    cmocka_unit_test(read__many_tags__bounded_and_counted),
	    cmocka_unit_test(read__unknown_kind__refused),
	    cmocka_unit_test(read__nested_too_deeply__refused),
	    cmocka_unit_test(read__visitor_refuses__ends_with_its_error),
	    cmocka_unit_test(read__cut_anywhere__truncated),
	    cmocka_unit_test(read__any_bit_flipped__bounded),
	    cmocka_unit_test(read__no_memory_or_too_large__refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
