/*
 * main.c - nodepass, the program that a person types.
 *
 * Prints what is asked for (help, version, a key) or checks the URL and becomes the plane that
 * serves it. Serves nothing itself; keeps the key out of argv, of the environment and of every
 * message.
 */
#include "args.h"
#include "help.h"
#include "plane.h"

#include "core/config.h"
#include "core/proof.h"

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

/*
 * check_prefix - /healthz, /readyz and /metrics lie at the root of the API's address, outside the
 * prefix; an API below one of these words would be mistaken for them.
 */
static enum np_err check_prefix(const struct np_config *c, struct np_diag *diag)
{
	static const char *const taken[] = {"healthz", "readyz", "metrics"};
	const char *word;
	size_t len;

	if (c->role != NP_ROLE_MASTER)
		return NP_OK;
	word = c->prefix + strspn(c->prefix, "/");
	len = strcspn(word, "/");
	for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++) {
		if (strlen(taken[i]) == len && memcmp(word, taken[i], len) == 0)
			return np_diag_set(
			    diag, NP_EINVAL, "prefix",
			    "API prefix: \"/%s\" is a page of its own, another word is "
			    "wanted",
			    taken[i]);
	}
	return NP_OK;
}

/* become - execs the plane for a checked URL; returns the exit status when that fails. */
static int become(const struct np_config *c, const char *public_url)
{
	const char *program = c->role == NP_ROLE_MASTER ? PLANE_CONTROL : PLANE_DATA;
	struct np_diag diag;
	int fd;

	if (plane_url_fd(c->url, &fd) != NP_OK) {
		fprintf(stderr, "nodepass: cannot hand over the URL: %s\n", strerror(errno));
		return EXIT_RUN;
	}
	if (plane_become(program, fd, public_url, &diag) != NP_OK)
		return complain(EXIT_RUN, diag.text);
	return EXIT_OK;
}

static int run(char *url)
{
	struct np_config config;
	struct np_diag diag = {.text = ""};
	struct np_buf public_url;
	const char *text;
	enum np_err err = np_config_parse(url, &config, &diag);
	int status;

	/* config holds a copy; what other users of the machine can read goes first. */
	np_wipe(url, strlen(url));
	if (err != NP_OK)
		return complain(err == NP_ENOMEM ? EXIT_RUN : EXIT_INPUT,
				diag.text[0] != '\0' ? diag.text : np_err_text(err));
	if (check_prefix(&config, &diag) != NP_OK) {
		np_config_release(&config);
		return complain(EXIT_INPUT, diag.text);
	}
	np_buf_init(&public_url, NP_URL_MAX);
	err = np_config_public_url(&config, &public_url);
	text = err == NP_OK ? np_buf_cstr(&public_url) : NULL;
	if (text == NULL)
		status = complain(EXIT_RUN, np_err_text(err != NP_OK ? err : public_url.err));
	else
		status = become(&config, text);
	np_buf_release(&public_url);
	np_config_release(&config);
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
		return run(args.url);
	}
	return EXIT_INPUT;
}
