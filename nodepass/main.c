/*
 * main.c - nodepass, the program that a person types.
 *
 * Prints what is asked for (help, version, a key) or checks the URLs and becomes the plane that
 * serves them. Serves nothing itself; keeps the key out of argv, of the environment and of every
 * message.
 */
#include "args.h"
#include "help.h"
#include "plane.h"
#include "urls.h"

#include "base/secret.h"
#include "core/key.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

/* The exit statuses that README.md promises. */
enum { EXIT_OK = 0, EXIT_RUN = 1, EXIT_INPUT = 2 };

static int complain(int status, const char *text)
{
	fprintf(stderr, "nodepass: %s\n", text);
	return status;
}

/* print - @b to standard output; a full disk or a closed pipe is no success. */
static int print(struct np_buf *b, int status)
{
	const char *text = np_buf_cstr(b);

	if (text == NULL)
		return complain(EXIT_RUN, np_err_text(b->err));
	if (fputs(text, stdout) == EOF || fflush(stdout) == EOF)
		return complain(EXIT_RUN, strerror(errno));
	return status;
}

static int say(void (*what)(struct np_buf *out), int status)
{
	struct np_buf b;

	np_buf_init(&b, HELP_TEXT_MAX);
	what(&b);
	status = print(&b, status);
	np_buf_release(&b);
	return status;
}

static int print_key(void)
{
	char key[NP_KEY_TEXT_MAX];
	struct np_buf b;
	int status;

	if (np_key_generate(key) != NP_OK)
		return complain(EXIT_RUN, "no random bytes to make a key from");
	np_buf_init(&b, NP_KEY_TEXT_MAX + 1);
	np_buf_putf(&b, "%s\n", key);
	status = print(&b, EXIT_OK);
	np_buf_wipe(&b);
	np_wipe(key, sizeof(key));
	return status;
}

/* become - execs the plane for checked URLs; returns the exit status when that fails. */
static int become(struct urls *u)
{
	const char *program = u->master ? PLANE_CONTROL : PLANE_DATA;
	const char *list = np_buf_cstr(&u->list);
	struct np_diag diag;
	int fd;

	if (list == NULL)
		return complain(EXIT_RUN, np_err_text(u->list.err));
	if (plane_url_fd(list, &fd) != NP_OK) {
		fprintf(stderr, "nodepass: cannot hand over the URL: %s\n", strerror(errno));
		return EXIT_RUN;
	}
	if (plane_become(program, fd, u->shown, &diag) != NP_OK)
		return complain(EXIT_RUN, diag.text);
	return EXIT_OK;
}

static int run(char **words)
{
	struct urls urls;
	int status;

	urls_read(words, &urls, &status);
	if (status == EXIT_OK)
		status = become(&urls);
	urls_release(&urls);
	return status;
}

int main(int argc, char **argv)
{
	struct args args;
	struct np_diag diag;

	if (args_parse(argc, argv, &args, &diag) != NP_OK)
		return complain(EXIT_INPUT, diag.text);
	switch (args.action) {
	case ARGS_BANNER:
		return say(help_banner, EXIT_RUN);
	case ARGS_HELP:
		return say(help_usage, EXIT_OK);
	case ARGS_VERSION:
		return say(help_version, EXIT_OK);
	case ARGS_TABLES:
		return say(help_markdown, EXIT_OK);
	case ARGS_KEY:
		return print_key();
	case ARGS_CTL:
		if (plane_become_ctl(args.words, &diag) != NP_OK)
			return complain(EXIT_RUN, diag.text);
		return EXIT_OK;
	case ARGS_URL:
		return run(args.words);
	}
	return EXIT_INPUT;
}
