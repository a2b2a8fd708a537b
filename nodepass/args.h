/*
 * args.h - the command line of `nodepass` as one decision.
 *
 * Owns which words and options there are. Opens nothing, prints nothing; what is wrong is named in
 * a diagnosis in which the user part of an URL is masked.
 */
#ifndef NODEPASS_ARGS_H
#define NODEPASS_ARGS_H

#include "base/err.h"

enum args_action {
	ARGS_BANNER = 0, /* no argument at all */
	ARGS_HELP,
	ARGS_VERSION,
	ARGS_TABLES, /* the tables of README.md; for the check that they are current */
	ARGS_KEY,
	ARGS_CTL,
	ARGS_URL,
};

struct args {
	enum args_action action;
	char **words; /* borrowed from argv, NULL at the end. ARGS_URL: URLs and @files, ARGS_CTL:
		       * what follows "ctl" */
};

/*
 * args_parse - permutes @argv as getopt_long does, except after a first word "ctl": all that
 * follows it belongs to nodepass-ctl.
 * Thread: main (getopt keeps globals). Errors: NP_EINVAL, @diag names the offender.
 */
enum np_err args_parse(int argc, char **argv, struct args *out, struct np_diag *diag) NP_MUST_CHECK;

/*
 * args_redact - @arg as it may be shown: the user part (all up to the last '@') becomes "***", the
 * rest is cut to fit @max, which is at least 16.
 */
void args_redact(const char *arg, char *out, size_t max);

#endif
