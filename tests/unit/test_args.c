/*
 * test_args.c - what `nodepass` makes of its command line, and what it shows of an argument.
 */
#include "../../nodepass/args.c" /* the program is no library that a test could link */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define WORDS_MAX 4

/* parse - args_parse on a fresh copy of the words, because getopt permutes what it gets. */
static enum np_err parse(const char *const *words, struct args *out, struct np_diag *diag)
{
	static char name[] = "nodepass";
	static char copy[WORDS_MAX][300];
	char *argv[WORDS_MAX + 2] = {name};
	int argc = 1;

	for (; argc <= WORDS_MAX && words[argc - 1] != NULL; argc++) {
		snprintf(copy[argc - 1], sizeof(copy[0]), "%s", words[argc - 1]);
		argv[argc] = copy[argc - 1];
	}
	return args_parse(argc, argv, out, diag);
}

static void args_parse__every_form__action(void **state)
{
	static const struct {
		const char *words[WORDS_MAX];
		enum args_action action;
	} rows[] = {
	    {{NULL}, ARGS_BANNER},
	    {{"--"}, ARGS_BANNER},
	    {{"-h"}, ARGS_HELP},
	    {{"--help"}, ARGS_HELP},
	    {{"server://:1/:2", "--help"}, ARGS_HELP},
	    {{"--version"}, ARGS_VERSION},
	    {{"--markdown"}, ARGS_TABLES},
	    {{"key"}, ARGS_KEY},
	    {{"server://:1/:2"}, ARGS_URL},
	    {{"nonsense"}, ARGS_URL},
	    {{"master://:9090"}, ARGS_URL},
	    {{"ctl"}, ARGS_CTL},
	    {{"ctl", "--help"}, ARGS_CTL},
	    {{"ctl", "rm", "--nonsense", ""}, ARGS_CTL},
	    {{"--version", "ctl"}, ARGS_VERSION},
	    {{"--", "client://:1/:2"}, ARGS_URL},
	    {{"client://:1/:2", "server://:3/:4"}, ARGS_URL},
	    {{"@a", "client://:1/:2", "@b"}, ARGS_URL},
	    {{"@"}, ARGS_URL},
	};
	struct args args;
	struct np_diag diag;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(parse(rows[i].words, &args, &diag), NP_OK);
		assert_int_equal(args.action, rows[i].action);
		assert_true((args.words != NULL) ==
			    (rows[i].action == ARGS_URL || rows[i].action == ARGS_CTL));
	}
}

static void args_parse__urls__point_into_argv(void **state)
{
	char name[] = "nodepass", url[] = "server://k@:1/:2", file[] = "@f";
	char *argv[] = {name, url, file, NULL};
	struct args args;
	struct np_diag diag;

	(void)state;
	assert_int_equal(args_parse(3, argv, &args, &diag), NP_OK);
	assert_ptr_equal(args.words[0], url);
	assert_ptr_equal(args.words[1], file);
	assert_null(args.words[2]);
}

static void args_parse__ctl__words_stay_as_they_are(void **state)
{
	char name[] = "nodepass", ctl[] = "ctl", a[] = "add", b[] = "server://k@:1/:2", c[] = "--x";
	char *argv[] = {name, ctl, a, b, c, NULL};
	struct args args;
	struct np_diag diag;

	(void)state;
	assert_int_equal(args_parse(5, argv, &args, &diag), NP_OK);
	assert_ptr_equal(args.words[0], a);
	assert_ptr_equal(args.words[1], b);
	assert_ptr_equal(args.words[2], c);
	assert_null(args.words[3]);
}

static void args_parse__bad__names_the_offender(void **state)
{
	static const struct {
		const char *words[WORDS_MAX];
		const char *named;
	} rows[] = {
	    {{"--frobnicate"}, "'--frobnicate'"},
	    {{"-x"}, "'-x'"},
	    {{"-hx"}, "'-x'"},
	    {{"--help=yes"}, "'--help=yes' takes no value"},
	    {{"--version", "--what"}, "'--what'"},
	    {{"server://:1/:2", "--loud"}, "'--loud'"},
	    {{""}, "empty argument"},
	    {{"server://:1/:2", ""}, "empty argument"},
	    {{"key", ""}, "empty argument"},
	    {{"server://:1/:2", "tls=1"}, "unexpected argument 'tls=1'"},
	    {{"key", "server://:1/:2"}, "unexpected argument 'server://:1/:2'"},
	    {{"nonsense", "server://:1/:2"}, "unexpected argument 'nonsense'"},
	    {{"server://:1/:2", "secret@h:1/:2"}, "'***@h:1/:2'"},
	    {{"--url=server://secret@h:1"}, "'--url=server://***@h:1'"},
	};
	struct args args = {.action = ARGS_KEY};
	struct np_diag diag;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(parse(rows[i].words, &args, &diag), NP_EINVAL);
		assert_non_null(strstr(diag.text, rows[i].named));
		assert_null(strstr(diag.text, "secret"));
		assert_null(strchr(diag.text, '\n'));
		assert_int_equal(args.action, ARGS_KEY);
	}
}

static void args_redact__user_part__masked(void **state)
{
	static const struct {
		const char *arg, *shown;
	} rows[] = {
	    {"server://h:1/t:2", "server://h:1/t:2"},
	    {"server://key@h:1/t:2", "server://***@h:1/t:2"},
	    {"server://a/b@h:1/t:2", "server://***@h:1/t:2"},
	    {"server://a@b@h:1/t:2", "server://***@h:1/t:2"},
	    {"key@h:1/t:2", "***@h:1/t:2"},
	    {"a@b://h", "***@b://h"},
	    {"@", "***@"},
	    {"", ""},
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		args_redact(rows[i].arg, out, sizeof(out));
		assert_string_equal(out, rows[i].shown);
	}
}

static void args_redact__longer_than_the_buffer__cut_and_marked(void **state)
{
	char arg[5000], out[32];

	(void)state;
	for (size_t len = 0; len < sizeof(arg); len += len < 64 ? 1 : 509) {
		memset(arg, 'a', len);
		arg[len] = '\0';
		args_redact(arg, out, sizeof(out));
		assert_int_equal(strlen(out), len < sizeof(out) ? len : sizeof(out) - 1);
		assert_true(len < sizeof(out) || strcmp(out + sizeof(out) - 4, "...") == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(args_parse__every_form__action),
	    cmocka_unit_test(args_parse__urls__point_into_argv),
	    cmocka_unit_test(args_parse__ctl__words_stay_as_they_are),
	    cmocka_unit_test(args_parse__bad__names_the_offender),
	    cmocka_unit_test(args_redact__user_part__masked),
	    cmocka_unit_test(args_redact__longer_than_the_buffer__cut_and_marked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
