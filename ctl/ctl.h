/*
 * ctl.h - one run of nodepass-ctl: what was asked for, and what its commands share.
 *
 * A command gets its words without its own name and returns the exit status: 0 done, 1 something
 * failed, 2 the command line is wrong.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "api.h"
#include "json.h"
#include "where.h"

enum { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2 };

struct ctl {
	struct where_options options;
	bool json, follow, yes;
	const char *alias; /* of add, NULL = none */
	uint64_t count;	   /* of top: how many pictures, 0 = no end */
	int64_t every_ms;  /* of top */
	int64_t wait_ms;   /* of add and start: for what is started; 0 = not at all */
	bool tty;	   /* standard output is a terminal */
	bool colours;	   /* it takes colours */
	struct where where;
	struct api *api; /* owned; NULL before ctl_connect */
	const char *command;
};

struct command {
	const char *name, *arguments, *help;
	size_t min, max; /* words */
	int (*run)(struct ctl *c, char **words, size_t n);
};

/* ctl_fail - "nodepass ctl: …" on standard error; returns CTL_FAILED. ctl_usage - CTL_USAGE. */
int ctl_fail(const char *fmt, ...) NP_PRINTF(1, 2);
int ctl_usage(const char *fmt, ...) NP_PRINTF(1, 2);
/* ctl_connect - finds the API and its key. Returns CTL_OK, or says why not. */
int ctl_connect(struct ctl *c);
/* ctl_call - runs @call; says its error. CTL_OK or CTL_FAILED; the caller releases @call. */
int ctl_call(struct ctl *c, struct api_call *call);
/* ctl_list - connects, and takes all instances; the caller releases them. */
int ctl_list(struct ctl *c, struct inst_list *out);
/* ctl_put - to standard output; a full disk or a closed pipe is no success. ctl_flush - the same
 * for what stdio holds. */
int ctl_put(const void *p, size_t len);
int ctl_flush(void);
/* ctl_columns - of the terminal; 0 = no terminal, nothing is cut. */
size_t ctl_columns(const struct ctl *c);

int cmd_ls(struct ctl *c, char **words, size_t n);
int cmd_show(struct ctl *c, char **words, size_t n);
int cmd_info(struct ctl *c, char **words, size_t n);
int cmd_tcping(struct ctl *c, char **words, size_t n);
int cmd_key(struct ctl *c, char **words, size_t n);
int cmd_add(struct ctl *c, char **words, size_t n);
int cmd_set(struct ctl *c, char **words, size_t n);
int cmd_alias(struct ctl *c, char **words, size_t n);
int cmd_bulk(struct ctl *c, char **words, size_t n); /* rm, start, stop, restart, reset */
int cmd_logs(struct ctl *c, char **words, size_t n);
int cmd_events(struct ctl *c, char **words, size_t n);
int cmd_top(struct ctl *c, char **words, size_t n);

#endif
