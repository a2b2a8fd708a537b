/*
 * args.c - the command line of `nodepass` as one decision: see args.h.
 */
#include "args.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define SHOWN_MAX 200

static const struct option options[] = {
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {"markdown", no_argument, NULL, 'm'},
    {NULL, 0, NULL, 0},
};

void args_redact(const char *arg, char *out, size_t max)
{
	const char *scheme_end = strstr(arg, "://");
	const char *at = strrchr(arg, '@');
	size_t len;

	/* The last '@' of all, not of the authority: a key with an unescaped '/' must not show
	 * either. */
	if (at == NULL)
		len = (size_t)snprintf(out, max, "%s", arg);
	else if (scheme_end != NULL && scheme_end < at)
		len = (size_t)snprintf(out, max, "%.*s://***%s", (int)(scheme_end - arg), arg, at);
	else
		len = (size_t)snprintf(out, max, "***%s", at);
	if (len >= max)
		memcpy(out + max - 4, "...", 4);
}

static enum np_err bad_option(char **argv, struct np_diag *diag)
{
	char shown[SHOWN_MAX];
	bool known = false;

	for (const struct option *o = options; o->name != NULL; o++)
		known = known || o->val == optopt;
	if (known) {
		args_redact(argv[optind - 1], shown, sizeof(shown));
		return np_diag_set(diag, NP_EINVAL, "option", "option '%s' takes no value", shown);
	}
	if (optopt != 0)
		snprintf(shown, sizeof(shown), "-%c", optopt);
	else
		args_redact(argv[optind - 1], shown, sizeof(shown));
	return np_diag_set(diag, NP_EINVAL, "option",
			   "unknown option '%s'; 'nodepass --help' lists what there is", shown);
}

/* A single word is taken for a URL whatever it is: who reads it can say what is wrong with it. */
static bool is_url_or_file(const char *word)
{
	return word[0] == '@' || strstr(word, "://") != NULL;
}

static enum np_err parse_words(int n, char **words, struct args *out, struct np_diag *diag)
{
	char shown[SHOWN_MAX];
	bool key = strcmp(words[0], "key") == 0;

	for (int i = 0; i < n; i++) {
		if (words[i][0] == '\0')
			return np_diag_set(diag, NP_EINVAL, "argument",
					   "empty argument: a URL is wanted, such as "
					   "\"server://:10101/127.0.0.1:8080\"");
	}
	for (int i = key ? 1 : 0; n > 1 && i < n; i++) {
		if (!key && is_url_or_file(words[i]))
			continue;
		args_redact(words[i], shown, sizeof(shown));
		return np_diag_set(diag, NP_EINVAL, "argument", "unexpected argument '%s'", shown);
	}
	*out = (struct args){.action = key ? ARGS_KEY : ARGS_URL, .words = key ? NULL : words};
	return NP_OK;
}

enum np_err args_parse(int argc, char **argv, struct args *out, struct np_diag *diag)
{
	enum args_action action = ARGS_BANNER;
	int c;

	if (argc > 1 && strcmp(argv[1], "ctl") == 0) {
		*out = (struct args){.action = ARGS_CTL, .words = argv + 2};
		return NP_OK;
	}
	opterr = 0;
	optind = 0; /* glibc: start anew, so that tests can call this more than once */
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'h':
			action = ARGS_HELP;
			break;
		case 'V':
			action = ARGS_VERSION;
			break;
		case 'm':
			action = ARGS_TABLES;
			break;
		default:
			return bad_option(argv, diag);
		}
	}
	if (action == ARGS_BANNER && optind < argc)
		return parse_words(argc - optind, argv + optind, out, diag);
	*out = (struct args){.action = action};
	return NP_OK;
}
