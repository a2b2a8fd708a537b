/*
 * main.c - nodepass-ctl: the instances of a master from the command line, through its API.
 *
 * Reads the command line and hands it to a command. Keys that stand in it are copied and taken out
 * of it before anything else happens, because others on the machine can read it.
 */
#include "ctl.h"

#include "base/alloc.h"
#include "base/num.h"
#include "core/proof.h"
#include "started.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/banned.h"

#define WORDS_MAX    10001
#define EVERY_MS     2000
#define EVERY_MAX_MS 3600000
#define COUNT_MAX    1000000000

static const struct command commands[] = {
    {"ls", "[ID...]", "a table of the instances", 0, WORDS_MAX, cmd_ls},
    {"show", "ID...", "all that is known of an instance", 1, WORDS_MAX, cmd_show},
    {"add", "URL",
     "make an instance, print its id, return when it runs. URL - is read from standard input", 1, 1,
     cmd_add},
    {"rm", "ID...", "stop instances and remove them", 1, WORDS_MAX, cmd_bulk},
    {"start", "ID...", "start instances, return when they run", 1, WORDS_MAX, cmd_bulk},
    {"stop", "ID...", "stop instances; they stay in the list", 1, WORDS_MAX, cmd_bulk},
    {"restart", "ID...", "stop instances and start them again", 1, WORDS_MAX, cmd_bulk},
    {"reset", "ID...", "set the traffic counters of instances to 0", 1, WORDS_MAX, cmd_bulk},
    {"set", "ID URL", "give an instance another URL, without a break where the change allows it", 2,
     2, cmd_set},
    {"alias", "ID TEXT", "give an instance a name", 2, 2, cmd_alias},
    {"logs", "[ID...]", "what instances have logged; -f: and what they log from now on", 0,
     WORDS_MAX, cmd_logs},
    {"events", "[ID...]", "what has happened to instances; -f: and what happens from now on", 0,
     WORDS_MAX, cmd_events},
    {"top", "[ID...]", "a table with the traffic of each second, again and again", 0, WORDS_MAX,
     cmd_top},
    {"info", "", "the master and its host", 0, 0, cmd_info},
    {"key", "[rotate]", "print the API's key; rotate: make a new one, the old one ends at once", 0,
     1, cmd_key},
    {"tcping", "HOST:PORT", "does the master reach this address?", 1, 1, cmd_tcping},
};
#define COMMANDS (sizeof(commands) / sizeof(*commands))

enum {
	OPT_API = 256,
	OPT_KEY,
	OPT_KEY_FILE,
	OPT_CACERT,
	OPT_INSECURE,
	OPT_JSON,
	OPT_EVERY,
	OPT_WAIT
};

static const struct option options[] = {
    {"alias", required_argument, NULL, 'a'},
    {"api", required_argument, NULL, OPT_API},
    {"cacert", required_argument, NULL, OPT_CACERT},
    {"count", required_argument, NULL, 'n'},
    {"every", required_argument, NULL, OPT_EVERY},
    {"follow", no_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {"insecure", no_argument, NULL, OPT_INSECURE},
    {"json", no_argument, NULL, OPT_JSON},
    {"key", required_argument, NULL, OPT_KEY},
    {"key-file", required_argument, NULL, OPT_KEY_FILE},
    {"wait", required_argument, NULL, OPT_WAIT},
    {"yes", no_argument, NULL, 'y'},
    {NULL, 0, NULL, 0},
};

static const char help_head[] = "Usage: nodepass ctl [<option>...] <command> [<argument>...]\n\n"
				"Commands\n";
static const char help_tail[] =
    "\n"
    "  ID is an id, an alias, or a beginning of one that is unique; 'all' stands for all of them.\n"
    "\n"
    "Options\n"
    "  --api URL        address of the API, such as https://host:9090/api/v1; also NP_API.\n"
    "                   Without it the master that this user runs on this machine is found\n"
    "  --key-file FILE  where the API's key is; also NP_API_KEY, or --key KEY, which the shell's\n"
    "                   history keeps. Without it the key of the master that was found is taken\n"
    "  --cacert FILE    authorities that may vouch for the API's certificate\n"
    "  --insecure       the API's certificate is not looked at\n"
    "  --json           what the API says, for scripts\n"
    "  -a, --alias TEXT add: the name of the new instance\n"
    "  -f, --follow     logs, events: go on\n"
    "  -n, --count N    top: this many tables\n"
    "  --every TIME     top: pause between them, 2s\n"
    "  --wait TIME      add, start: how long to wait for what is started, 10s; 0: not at all\n"
    "  -y, --yes        'rm all' without a question\n"
    "\n"
    "Exit status\n"
    "  0 done, 1 something failed, 2 wrong command line\n";

static int NP_PRINTF(1, 0) say(const char *fmt, va_list ap, int status)
{
	fputs("nodepass ctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	return status;
}

int ctl_fail(const char *fmt, ...)
{
	va_list ap;
	int status;

	va_start(ap, fmt);
	status = say(fmt, ap, CTL_FAILED);
	va_end(ap);
	return status;
}

int ctl_usage(const char *fmt, ...)
{
	va_list ap;
	int status;

	va_start(ap, fmt);
	status = say(fmt, ap, CTL_USAGE);
	va_end(ap);
	return status;
}

int ctl_flush(void)
{
	if (fflush(stdout) == EOF || ferror(stdout))
		return ctl_fail("%s", strerror(errno));
	return CTL_OK;
}

int ctl_put(const void *p, size_t len)
{
	if (len > 0 && fwrite(p, 1, len, stdout) != len)
		return ctl_fail("%s", strerror(errno));
	return ctl_flush();
}

size_t ctl_columns(const struct ctl *c)
{
	struct winsize size;

	if (!c->tty || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == -1)
		return 0;
	return size.ws_col;
}

int ctl_connect(struct ctl *c)
{
	struct np_diag diag = {.text = ""};

	if (c->api != NULL)
		return CTL_OK;
	if (where_find(&c->options, true, &c->where, &diag) != NP_OK)
		return ctl_fail("%s", diag.text);
	if (api_new(&c->where, &c->api) != NP_OK)
		return ctl_fail("%s", np_err_text(NP_ENOMEM));
	return CTL_OK;
}

int ctl_call(struct ctl *c, struct api_call *call)
{
	api_run(c->api, call);
	if (call->error[0] == '\0')
		return CTL_OK;
	return ctl_fail("%s: %s", c->where.url, call->error);
}

int ctl_list(struct ctl *c, struct inst_list *out)
{
	struct api_call call;
	int status = ctl_connect(c);

	if (status != CTL_OK)
		return status;
	api_call_init(&call, "GET", NULL, "/instances");
	status = ctl_call(c, &call);
	if (status == CTL_OK &&
	    json_list((const char *)np_buf_ptr(&call.reply), np_buf_len(&call.reply), out) != NP_OK)
		status = ctl_fail("%s: the answer is no list of instances", c->where.url);
	api_call_release(&call);
	return status;
}

static int help(void)
{
	fputs(help_head, stdout);
	for (const struct command *k = commands; k < commands + COMMANDS; k++)
		printf("  %-8s%-10s %s\n", k->name, k->arguments, k->help);
	fputs(help_tail, stdout);
	return ctl_flush();
}

/* take_option - CTL_OK, or a complaint. */
static int take_option(struct ctl *c, int option, const char *value)
{
	switch (option) {
	case OPT_API:
		c->options.api = value;
		return CTL_OK;
	case OPT_KEY:
		c->options.key = value;
		return CTL_OK;
	case OPT_KEY_FILE:
		c->options.key_file = value;
		return CTL_OK;
	case OPT_CACERT:
		c->options.cacert = value;
		return CTL_OK;
	case OPT_INSECURE:
		c->options.insecure = true;
		return CTL_OK;
	case OPT_JSON:
		c->json = true;
		return CTL_OK;
	case OPT_EVERY:
		if (np_parse_duration(value, strlen(value), EVERY_MAX_MS, &c->every_ms) != NP_OK ||
		    c->every_ms == 0)
			return ctl_usage("--every: a duration such as 2s is expected");
		return CTL_OK;
	case OPT_WAIT:
		if (np_parse_duration(value, strlen(value), STARTED_WAIT_MAX_MS, &c->wait_ms) !=
		    NP_OK)
			return ctl_usage("--wait: a duration such as 10s is expected");
		return CTL_OK;
	case 'a':
		c->alias = value;
		return CTL_OK;
	case 'f':
		c->follow = true;
		return CTL_OK;
	case 'n':
		if (np_parse_u64(value, strlen(value), 1, COUNT_MAX, &c->count) != NP_OK)
			return ctl_usage("--count: a number is expected");
		return CTL_OK;
	case 'y':
		c->yes = true;
		return CTL_OK;
	default:
		/* It is not repeated: what follows a '=' in it may be a key. */
		return ctl_usage("unknown option, or a value is missing; 'nodepass ctl help' lists "
				 "what there is");
	}
}

static int dispatch(struct ctl *c, char **words, size_t n)
{
	const struct command *k = commands;

	if (n == 0 || strcmp(words[0], "help") == 0)
		return help() != CTL_OK ? CTL_FAILED : n == 0 ? CTL_USAGE : CTL_OK;
	while (k < commands + COMMANDS && strcmp(k->name, words[0]) != 0)
		k++;
	if (k == commands + COMMANDS)
		return ctl_usage("unknown command '%.40s'; 'nodepass ctl help' lists what there is",
				 words[0]);
	n--;
	if (n < k->min || n > k->max)
		return ctl_usage("usage: nodepass ctl %s %s", k->name, k->arguments);
	c->command = k->name;
	return k->run(c, words + 1, n);
}

/* own_words - a copy of the command line, whose original is overwritten. NULL without memory. */
static char **own_words(int argc, char **argv)
{
	char **own = np_calloc((size_t)argc + 1, sizeof(*own));

	for (int i = 0; own != NULL && i < argc; i++) {
		own[i] = np_strdup(argv[i]);
		if (own[i] == NULL)
			return NULL; /* the process ends at once */
		if (i > 0)
			np_wipe(argv[i], strlen(argv[i]));
	}
	return own;
}

static void free_words(int argc, char **own)
{
	for (int i = 0; i < argc; i++) {
		np_wipe(own[i], strlen(own[i]));
		np_free(own[i]);
	}
	np_free(own);
}

int main(int argc, char **argv)
{
	struct ctl c = {.every_ms = EVERY_MS, .wait_ms = STARTED_WAIT_MS};
	const char *plain = getenv("NO_COLOR"), *colour = getenv("NP_LOG_COLOR");
	char **own = own_words(argc, argv);
	int status = CTL_OK, option;
	bool wants_help = false;

	if (own == NULL)
		return ctl_fail("%s", np_err_text(NP_ENOMEM));
	setlocale(LC_CTYPE, "C.UTF-8"); /* what the API says is UTF-8 */
	signal(SIGPIPE, SIG_IGN);
	c.tty = isatty(STDOUT_FILENO) == 1;
	c.colours = c.tty && (plain == NULL || plain[0] == '\0') &&
		    (colour == NULL || strcmp(colour, "0") != 0);
	opterr = 0;
	while (status == CTL_OK &&
	       (option = getopt_long(argc, own, "a:fhn:y", options, NULL)) != -1) {
		if (option == 'h')
			wants_help = true;
		else
			status = take_option(&c, option, optarg);
	}
	if (status == CTL_OK)
		status = wants_help ? help() : dispatch(&c, own + optind, (size_t)(argc - optind));
	api_free(c.api);
	np_wipe(&c.where, sizeof(c.where));
	free_words(argc, own);
	return status;
}
