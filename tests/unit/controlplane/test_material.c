/*
 * test_material.c - what travels with an instance: K of words and files, through a real model and
 * store. The node is told what model_get_spec gives.
 */
#include "model.h"

#include "base/alloc.h"
#include "base/mono.h"
#include "base/num.h"
#include "model_box.h"

#define WAIT_MS 30000

static struct model *model;
static unsigned told;
static char said[1024];
static bool settled;

static void on_changed(void *arg, const char *id)
{
	(void)arg;
	(void)id;
	told++;
}

static void on_say(void *arg, const char *id, enum np_log_level level, const char *text,
		   bool goes_on)
{
	size_t len = strlen(said);

	(void)arg;
	(void)id;
	assert_int_equal(level, NP_LOG_ERROR);
	snprintf(said + len, sizeof(said) - len, "%s%s;", text, goes_on ? " (goes on)" : "");
}

static void on_settled(void *arg)
{
	(void)arg;
	settled = true;
}

static void up(struct box *b)
{
	static const struct model_events events = {
	    .publish = box_no_publish, .changed = on_changed, .say = on_say};
	static const struct validate_defaults defaults = {0};

	told = 0;
	said[0] = '\0';
	settled = false;
	model = box_model_open(b, &defaults, &events);
	assert_int_equal(model_watch(model, 1000, on_settled), NP_OK);
}

static void down(struct box *b)
{
	assert_int_equal(model_flush(model, &b->diag), NP_OK);
	box_model_close(b, &model);
}

#define UNTIL(b, condition)                                                         \
	do {                                                                        \
		struct np_mono end_ = np_mono_add_ms(np_mono_now(), WAIT_MS);       \
		while (!(condition) && np_mono_before(np_mono_now(), end_)) {       \
			event_base_loopexit((b)->base, &(struct timeval){0, 2000}); \
			event_base_dispatch((b)->base);                             \
		}                                                                   \
		assert_true(condition);                                             \
	} while (0)

static void on_done(void *arg, int status, const char *text, const struct model_instance *inst)
{
	(void)text;
	assert_in_range(status, 200, 204);
	if (arg != NULL && inst != NULL)
		snprintf(arg, 16, "%.15s", inst->id);
}

static void create(struct box *b, const char *url, char id[16])
{
	id[0] = '\0';
	model_create(model, url, NULL, on_done, id);
	UNTIL(b, id[0] != '\0');
}

/* Whole: what is incomplete is told as such before. */
static bool is_told(const char *id)
{
	struct ctl_spec spec;
	bool whole;

	if (model_get_spec(model, id, &spec) != NODE_SPEC_IS)
		return false;
	whole = !spec.incomplete;
	ctl_spec_release(&spec);
	return whole;
}

struct k {
	uint8_t salt[NP_SALT_LEN], k[NP_K_LEN];
};

static struct k k_of(const char *id)
{
	struct ctl_spec spec;
	struct k k;

	assert_int_equal(model_get_spec(model, id, &spec), NODE_SPEC_IS);
	assert_int_equal(spec.auth_salt.len, NP_SALT_LEN);
	assert_int_equal(spec.auth_k.len, NP_K_LEN);
	memcpy(k.salt, spec.auth_salt.data, NP_SALT_LEN);
	memcpy(k.k, spec.auth_k.data, NP_K_LEN);
	ctl_spec_release(&spec);
	return k;
}

static bool is_k_of(const struct k *k, const char *word)
{
	uint8_t want[NP_K_LEN];

	assert_int_equal(np_key_derive(NP_KEY_WORD, word, strlen(word), k->salt, want), NP_OK);
	return memcmp(want, k->k, sizeof(want)) == 0;
}

#define SERVER "server://%s@127.0.0.1:1/127.0.0.1:2?mode=2"

static const char *server(const char *word)
{
	static char url[128];

	snprintf(url, sizeof(url), SERVER, word);
	return url;
}

static void model_create__word__answered_first_and_told_with_k(void **state)
{
	struct box *b = *state;
	char id[16];
	struct k k;

	up(b);
	assert_true(settled);
	create(b, server("a-word-of-many"), id);
	assert_false(is_told(id));
	assert_int_equal(model_status(model_find(model, id)), MODEL_RUNNING); /* it starts */
	UNTIL(b, is_told(id));
	k = k_of(id);
	assert_true(is_k_of(&k, "a-word-of-many"));
	assert_true(told >= 2);
	down(b);
}

static void model_create__same_word__same_k_at_once(void **state)
{
	struct box *b = *state;
	char one[16], two[16];
	struct k a, c;

	up(b);
	create(b, server("a-word-of-many"), one);
	UNTIL(b, is_told(one));
	create(b, server("a-word-of-many"), two);
	assert_true(is_told(two));
	a = k_of(one);
	c = k_of(two);
	assert_memory_equal(&a, &c, sizeof(a));
	down(b);
	up(b); /* and after a start */
	c = k_of(two);
	assert_memory_equal(&a, &c, sizeof(a));
	down(b);
}

/* The K that another word had, in the place of the right one: as a tool that edits the store would. */
static void put_k(struct box *b, const char *id, const struct k *k, const char *mark)
{
	char blob[1024], salt[2 * NP_SALT_LEN + 1], text[2 * NP_K_LEN + 1];

	np_format_hex(k->salt, NP_SALT_LEN, salt);
	np_format_hex(k->k, NP_K_LEN, text);
	snprintf(blob, sizeof(blob),
		 "{\"url\":\"%s\",\"desired\":\"running\",\"auth\":{\"salt\":\"%s\",\"k\":\"%s\","
		 "\"mark\":\"%s\"}}",
		 server("the-right-word"), salt, text, mark);
	b->done = 0;
	box_put(b, STORE_INSTANCE, id, 9, blob);
	box_wait(b, 1);
}

static void model_load__k_of_another_word__not_used(void **state)
{
	struct box *b = *state;
	char id[16], mark[2 * NP_KEY_MARK_LEN + 1];
	uint8_t bytes[NP_KEY_MARK_LEN];
	struct k wrong, k;

	up(b);
	create(b, server("the-wrong-word"), id);
	UNTIL(b, is_told(id));
	wrong = k_of(id);
	down(b);
	assert_int_equal(np_key_mark(wrong.k, wrong.salt, "the-wrong-word", 14, bytes), NP_OK);
	np_format_hex(bytes, sizeof(bytes), mark);
	assert_int_equal(box_open(b), NP_OK);
	put_k(b, id, &wrong, mark);
	box_close(b);
	up(b);
	assert_false(is_told(id));
	UNTIL(b, is_told(id));
	k = k_of(id);
	assert_true(is_k_of(&k, "the-right-word"));
	assert_memory_not_equal(k.salt, wrong.salt, NP_SALT_LEN);
	down(b);
}

static void model_delete__before_its_turn__nothing_is_left(void **state)
{
	struct box *b = *state;
	char id[6][16], word[32];

	up(b);
	for (int i = 0; i < 6; i++) {
		snprintf(word, sizeof(word), "word-number-%d", i);
		create(b, server(word), id[i]);
	}
	for (int i = 0; i < 5; i++)
		model_delete(model, id[i], on_done, NULL);
	UNTIL(b, is_told(id[5]));
	assert_int_equal(model_count(model), 1);
	down(b);
}

/* -- files -- */

static void write_file(struct box *b, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", b->top, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static const char *client(struct box *b)
{
	static char url[256];

	snprintf(url, sizeof(url), "client://127.0.0.1:1/127.0.0.1:2?mode=2&tls=2&ca=%s/ca",
		 b->top);
	return url;
}

#define ANCHOR                                                               \
	"-----BEGIN CERTIFICATE-----\n"                                      \
	"MIIBdjCCAR2gAwIBAgIUOyWPM+2HsFG2JrHSSeaxjCW0eXkwCgYIKoZIzj0EAwIw\n" \
	"-----END CERTIFICATE-----\n"

static void model_create__no_files__error_until_there_are(void **state)
{
	struct box *b = *state;
	char id[16], text[256];

	up(b);
	create(b, client(b), id);
	UNTIL(b, model_status(model_find(model, id)) == MODEL_FAILED);
	snprintf(text, sizeof(text), "ca=%s/ca: No such file or directory;", b->top);
	assert_string_equal(said, text);
	said[0] = '\0';
	write_file(b, "ca", "no certificate");
	UNTIL(b, strstr(said, "ca: no certificate in PEM form;") != NULL);
	assert_false(is_told(id));
	model_patch(model, id, &(struct model_patch){.action = CTL_STOP}, on_done, NULL);
	UNTIL(b, model_status(model_find(model, id)) == MODEL_STOPPED);
	down(b);
}

static void model_create__file_too_long__said(void **state)
{
	struct box *b = *state;
	static char big[PEM_FILE_MAX + 2];
	char id[16];

	memset(big, 'x', sizeof(big) - 1);
	write_file(b, "ca", big);
	up(b);
	create(b, client(b), id);
	UNTIL(b, model_status(model_find(model, id)) == MODEL_FAILED);
	assert_non_null(strstr(said, "ca: longer than 16384 bytes"));
	down(b);
}

static void model_create__damaged_file__said(void **state)
{
	struct box *b = *state;
	char id[16];

	write_file(b, "ca", ANCHOR);
	up(b);
	create(b, client(b), id);
	UNTIL(b, model_status(model_find(model, id)) == MODEL_FAILED);
	assert_non_null(strstr(said, "ca: certificate 1 is damaged"));
	down(b);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, box_setup, box_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(model_create__word__answered_first_and_told_with_k),
	    TEST(model_create__same_word__same_k_at_once),
	    TEST(model_load__k_of_another_word__not_used),
	    TEST(model_delete__before_its_turn__nothing_is_left),
	    TEST(model_create__no_files__error_until_there_are),
	    TEST(model_create__file_too_long__said),
	    TEST(model_create__damaged_file__said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
