/*
 * test_ctl_parts.c - what nodepass-ctl does with text of others: events cut into blocks, names that
 * stand for instances, what goes to a terminal.
 */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

/* The program is no library that a test could link; what it poisons must come after. */
#include "../../ctl/pick.c"
#include "../../ctl/sse.c"
#undef SHOWN_MAX
#include "../../ctl/text.c"

#define SEEN_MAX 4096

struct seen {
	char text[SEEN_MAX]; /* "data|id;" of each event */
	size_t n, wanted;    /* ends after so many; 0 = takes all */
	struct sse *sse;
};

static bool note(void *arg, const char *data, size_t len)
{
	struct seen *s = arg;
	size_t used = strlen(s->text);

	assert_int_equal(strlen(data), len);
	snprintf(s->text + used, sizeof(s->text) - used, "%s|%s;", data, s->sse->id);
	return ++s->n != s->wanted;
}

/* fed - the events of @text in pieces of @step bytes. */
static bool fed(const char *text, size_t step, size_t wanted, struct seen *seen)
{
	struct sse s;
	bool more = true;
	size_t len = strlen(text);

	memset(seen, 0, sizeof(*seen));
	seen->wanted = wanted;
	seen->sse = &s;
	sse_init(&s, note, seen);
	for (size_t at = 0; more && at < len; at += step)
		more = sse_feed(&s, text + at, len - at < step ? len - at : step);
	sse_release(&s);
	return more;
}

static void sse_feed__any_pieces__same_events(void **state)
{
	static const char text[] = "retry: 3000\n\nevent: instance\ndata: {\"a\":1}\nid: b-1\n\n"
				   ": ping\n\n"
				   "data:x\r\ndata: y\r\nid: b-2\r\n\r\n"
				   "data\nnonsense: z\nid: b-3\n\n"
				   "data: w\n\ndata: not complete";
	struct seen seen;

	(void)state;
	for (size_t step = 1; step < sizeof(text); step++) {
		assert_true(fed(text, step, 0, &seen));
		assert_string_equal(seen.text, "{\"a\":1}|b-1;x\ny|b-2;w|b-3;");
	}
}

static void sse_feed__enough__ends(void **state)
{
	struct seen seen;

	(void)state;
	assert_false(fed("data: 1\n\ndata: 2\n\ndata: 3\n\n", 100, 2, &seen));
	assert_string_equal(seen.text, "1|;2|;");
}

static void sse_feed__longer_than_the_maximum__refused(void **state)
{
	static char piece[64 * 1024];
	struct seen seen = {.text = ""};
	struct sse s;
	size_t n = 0;

	(void)state;
	memset(piece, 'x', sizeof(piece));
	seen.sse = &s;
	sse_init(&s, note, &seen);
	while (sse_feed(&s, piece, sizeof(piece)))
		assert_true(++n < 2 * SSE_BLOCK_MAX / sizeof(piece));
	sse_restart(&s);
	assert_true(sse_feed(&s, "data: 1\n\n", 9));
	assert_string_equal(seen.text, "1|;");
	sse_release(&s);
}

static void pick__every_kind_of_word__marks(void **state)
{
	struct inst v[] = {
	    {.id = "aaaa0001", .alias = "web"},
	    {.id = "aaab0002", .alias = "webmail"},
	    {.id = "bbbb0003", .alias = "aaaa0001"}, /* an alias that looks like an id */
	    {.id = "cccc0004", .alias = ""},
	};
	const struct inst_list l = {.v = v, .n = 4};
	static const struct {
		const char *word, *chosen; /* NULL: refused */
	} rows[] = {
	    {"aaaa0001", "1000"}, {"web", "1000"}, {"webm", "0100"}, {"aaab", "0100"},
	    {"c", "0001"},	  {"b", "0010"},   {"all", "1111"},  {"aaa", NULL},
	    {"we", NULL},	  {"", NULL},	   {"x", NULL},	     {"cccc00041", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char word[16], got[5] = "";
		char *words[] = {word};
		bool chosen[4] = {false};
		struct np_diag diag = {.text = ""};
		enum np_err err;

		snprintf(word, sizeof(word), "%s", rows[i].word);
		err = pick(&l, words, 1, chosen, &diag);
		assert_int_equal(err == NP_OK, rows[i].chosen != NULL);
		for (size_t k = 0; k < 4; k++)
			got[k] = chosen[k] ? '1' : '0';
		assert_string_equal(got, rows[i].chosen != NULL ? rows[i].chosen : "0000");
		assert_int_equal(diag.text[0] == '\0', err == NP_OK);
	}
}

static void text_clean__bytes_for_a_terminal__gone(void **state)
{
	static const struct {
		const char *in, *plain, *coloured;
	} rows[] = {
	    {"plain", "plain", "plain"},
	    {"\033[32mINFO\033[0m x", "INFO x", "\033[32mINFO\033[0m x"},
	    {"\033[2J\033]0;t\007", "?[2J?]0;t?", "?[2J?]0;t?"},
	    {"\033[1;31", "?[1;31", "?[1;31"},
	    {"a\nb\tc\x7f", "a?b?c?", "a?b?c?"},
	    {"é\xff\xc3", "é??", "é??"},
	    {"\xc2\x9b"
	     "2J",
	     "?2J", "?2J"}, /* the one-byte form of ESC [ */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (int coloured = 0; coloured < 2; coloured++) {
			struct np_buf b;

			np_buf_init(&b, TEXT_MAX);
			text_clean(rows[i].in, coloured != 0, &b);
			assert_string_equal(np_buf_cstr(&b),
					    coloured ? rows[i].coloured : rows[i].plain);
			np_buf_release(&b);
		}
	}
}

static void text_hide_key__every_form__hidden(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
	    {"server://k@h:1/t:2", "server://***@h:1/t:2"},
	    {"server://a@b@h:1/t:2?x=y@z", "server://***@h:1/t:2?x=y@z"},
	    {"server://a/b@h:1", "server://***@h:1"},
	    {"server://h:1/t:2", "server://h:1/t:2"},
	    {"k@h", "***@h"},
	    {"", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct np_buf b;

		np_buf_init(&b, TEXT_MAX);
		text_hide_key(rows[i].in, &b);
		assert_string_equal(np_buf_len(&b) > 0 ? np_buf_cstr(&b) : "", rows[i].out);
		np_buf_release(&b);
	}
}

static void text_bytes__every_size__four_columns(void **state)
{
	static const struct {
		double in;
		const char *out;
	} rows[] = {
	    {0, "0"},
	    {999, "999"},
	    {1000, "1.0K"},
	    {1024, "1.0K"},
	    {10188, "9.9K"},
	    {10240, "10K"},
	    {1023e3, "999K"},
	    {1e6, "977K"},
	    {1048576, "1.0M"},
	    {1e12, "931G"},
	    {18446744073709551615.0, "16E"},
	};
	char out[16];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		text_bytes(rows[i].in, out);
		assert_string_equal(out, rows[i].out);
	}
	for (double d = 1; d < 1e19; d *= 1.37) {
		text_bytes(d, out);
		assert_true(strlen(out) <= 4);
	}
}

static int use_utf8(void **state)
{
	(void)state;
	return setlocale(LC_CTYPE, "C.UTF-8") == NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sse_feed__any_pieces__same_events),
	    cmocka_unit_test(sse_feed__enough__ends),
	    cmocka_unit_test(sse_feed__longer_than_the_maximum__refused),
	    cmocka_unit_test(pick__every_kind_of_word__marks),
	    cmocka_unit_test(text_clean__bytes_for_a_terminal__gone),
	    cmocka_unit_test(text_hide_key__every_form__hidden),
	    cmocka_unit_test(text_bytes__every_size__four_columns),
	};

	return cmocka_run_group_tests(tests, use_utf8, NULL);
}
