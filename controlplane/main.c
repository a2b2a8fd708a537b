/*
 * main.c - nodepass-controlplane: options, environment, signals, life of the process.
 *
 * The URL comes through a sealed memfd (--url-fd) as with the data plane. --print-api-key and
 * --rotate-api-key work beside a running master: the first one reads the store, the second one
 * asks the master, or does it itself when there is none.
 */
#include "app.h"
#include "base/alloc.h"
#include "base/env.h"
#include "base/fd_text.h"
#include "base/log_env.h"
#include "keytool.h"

#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/banned.h"

#define EXIT_RUN   1
#define EXIT_USAGE 2

static void usage(FILE *to)
{
	fprintf(to, "usage: nodepass-controlplane [--url-fd=N] URL\n"
		    "       nodepass-controlplane --print-api-key | --rotate-api-key [URL]\n"
		    "Serves master://; nodepass(1) starts it. See nodepass --help.\n");
}

static void say_warning(void *arg, const char *text)
{
	struct app *app = arg;

	APP_LOG(app, WARN, "%s", text);
}

static int complain(int status, const char *text)
{
	fprintf(stderr, "nodepass: %s\n", text);
	return status;
}

/* -- command line -- */

enum what { DO_SERVE = 0, DO_PRINT_KEY, DO_ROTATE_KEY };

/* The URL, to be wiped and freed by the caller; NULL: none. Exits for --help and wrong options. */
static char *parse_args(int argc, char **argv, enum what *what)
{
	static const struct option options[] = {
	    {"url-fd", required_argument, NULL, 'u'},	{"print-api-key", no_argument, NULL, 'p'},
	    {"rotate-api-key", no_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'v'},	{NULL, 0, NULL, 0}};
	long fd = -1;
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'u':
			fd = strtol(optarg, &end, 10);
			if (*end != '\0' || fd < 0 || fd > 1000000) {
				fprintf(stderr,
					"nodepass-controlplane: --url-fd=%s: a "
					"descriptor number\n",
					optarg);
				exit(EXIT_USAGE);
			}
			break;
		case 'p':
			*what = DO_PRINT_KEY;
			break;
		case 'r':
			*what = DO_ROTATE_KEY;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case 'v':
			printf("nodepass-controlplane %s\n", NP_VERSION);
			exit(0);
		default:
			usage(stderr);
			exit(EXIT_USAGE);
		}
	}
	if (fd != -1)
		return np_fd_text((int)fd, NP_URL_MAX);
	return optind < argc ? np_strdup(argv[optind]) : NULL;
}

/* -- preparation -- */

static void raise_nofile(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &rl) == -1)
			np_log(NP_LOG_WARN, NULL, "RLIMIT_NOFILE: %s", strerror(errno));
	}
}

static enum np_err prepare(struct app *app)
{
	size_t len = strlen(app->cfg.prefix) + sizeof("/v1");

	app->root = np_malloc(len);
	app->base = event_base_new();
	if (app->root == NULL || app->base == NULL)
		return NP_ENOMEM;
	snprintf(app->root, len, "%s/v1", app->cfg.prefix);
	snprintf(app->name, sizeof(app->name), "%s", app->cfg.tunnel.host);
	app->metrics_key = getenv("NP_METRICS_KEY");
	if (app->metrics_key != NULL && app->metrics_key[0] == '\0')
		app->metrics_key = NULL;
	if (app->cfg.given[NP_PARAM_LOG]) {
		static const char *const names[] = {"debug", "info",  "warn",
						    "error", "event", "none"};

		app->defaults.log = names[app->cfg.log];
	}
	app->defaults.tls = app->cfg.tls;
	app->defaults.crt = app->cfg.crt;
	app->defaults.key = app->cfg.keyfile;
	np_env_load(&app->env, np_env_get, say_warning, app);
	return NP_OK;
}

/* -- signals -- */

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct app *app = arg;
	struct signalfd_siginfo si;

	(void)what;
	if (read(fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	if (si.ssi_signo == SIGHUP) {
		APP_LOG(app, INFO, "reload: reading certificate files");
		http_reload(app->http);
		model_reload(app->model);
	} else if (si.ssi_signo == SIGUSR1) {
		keytool_rotate(app);
	} else if (app->stopping) {
		event_base_loopbreak(app->base); /* the second one ends at once */
	} else {
		app_stop(app);
	}
}

/* Before the first thread: all inherit the mask. */
static int block_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int serve(struct app *app, int sig_fd)
{
	struct np_diag diag = {.text = "out of memory"};
	struct event *sig = event_new(app->base, sig_fd, EV_READ | EV_PERSIST, on_signal, app);
	enum np_err err = sig == NULL || event_add(sig, NULL) != 0 ? NP_ENOMEM : NP_OK;
	int status = EXIT_RUN;

	if (err == NP_OK)
		err = app_start(app, &diag);
	if (err == NP_OK) {
		event_base_dispatch(app->base);
		status = 0;
	}
	app_free(app);
	if (status == 0)
		APP_LOG(app, INFO, "Master shutdown complete");
	if (sig != NULL)
		event_free(sig);
	np_log_stop();
	/* What a file of the URL says is the user's to mend; the rest failed at run time. */
	return err == NP_OK ? status
			    : complain(err == NP_EINVAL ? EXIT_USAGE : EXIT_RUN, diag.text);
}

static int serve_url(char *url)
{
	static struct app app;
	struct np_diag diag = {.text = "out of memory"};
	enum np_err err = np_config_parse(url, &app.cfg, &diag);
	int sig_fd, status;

	np_free(url);
	if (err != NP_OK)
		return complain(EXIT_USAGE, diag.text);
	if (app.cfg.role != NP_ROLE_MASTER) {
		np_config_release(&app.cfg);
		return complain(EXIT_USAGE, "nodepass-controlplane serves master:// alone");
	}
	sig_fd = block_signals();
	if (sig_fd == -1 || np_log_start_env(&app.log) != NP_OK || prepare(&app) != NP_OK) {
		np_config_release(&app.cfg);
		return complain(EXIT_RUN, strerror(errno));
	}
	raise_nofile();
	np_config_warnings(&app.cfg, say_warning, &app);
	status = serve(&app, sig_fd);
	event_base_free(app.base);
	np_config_release(&app.cfg);
	close(sig_fd);
	return status;
}

int main(int argc, char **argv)
{
	enum what what = DO_SERVE;
	char *url = parse_args(argc, argv, &what);
	struct np_diag diag = {.text = "out of memory"};
	enum np_err err;

	/* Arenas beyond a few only spread memory over threads. */
	mallopt(M_ARENA_MAX, 2);
	if (what == DO_SERVE && url == NULL) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (what == DO_SERVE)
		return serve_url(url);
	err = keytool_print(url, what == DO_ROTATE_KEY, &diag);
	np_free(url);
	return err == NP_OK ? 0 : complain(EXIT_RUN, diag.text);
}
