/*
 * main.c - nodepass-dataplane: options, signals, life of the process.
 *
 * The URLs come through a sealed memfd (--url-fd), so that their keys are never in argv; argv shows
 * the rest. A URL in argv works too, for who starts this program by hand.
 */
#include "base/alloc.h"
#include "base/env.h"
#include "base/fd_text.h"
#include "base/log_env.h"
#include "base/wake_fd.h"
#include "core/dirs.h"
#include "key_cache.h"
#include "managed.h"
#include "offload.h"
#include "pipe.h"
#include "registry.h"
#include "runtime.h"
#include "stream.h"
#include "tls.h"
#include "tls_files.h"
#include "url_set.h"

#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define EXIT_RUN	    1 /* what failed at run time */
#define EXIT_USAGE	    2 /* what was wrong in the command line, the URL, the files it names */
#define WORKERS_DEFAULT_MAX 4
#define NOFILE_LOW	    65536
/* After SIGTERM: the drain and then this long for the ends of the shards. */
#define STOP_GRACE_MS 2000

struct runtime runtime;

static int change_fd = -1;
/* log= of the (first) URL, for what concerns the process. */
static enum np_log_level threshold = NP_LOG_INFO;

static void usage(FILE *to)
{
	fprintf(
	    to,
	    "usage: nodepass-dataplane [--url-fd=N] URL\n"
	    "       nodepass-dataplane --run-dir=DIR [--ready-fd=N]\n"
	    "Runs the tunnels of its URLs (several: in the descriptor, a line each), or those\n"
	    "that it is told to over DIR/ctl.sock; nodepass(1) starts it. See nodepass --help.\n");
}

static void say_warning(void *arg, const char *text)
{
	(void)arg;
	if (np_log_enabled(threshold, NP_LOG_WARN))
		np_log(NP_LOG_WARN, NULL, "%s", text);
}

/* -- the URL -- */

struct options {
	long url_fd, ready_fd; /* -1 = not given */
	const char *run_dir;
	const char *url; /* from argv */
};

static bool fd_option(const char *name, const char *text, long *out)
{
	char *end;

	*out = strtol(text, &end, 10);
	if (*text != '\0' && *end == '\0' && *out >= 0 && *out <= 1000000)
		return true;
	fprintf(stderr, "nodepass-dataplane: --%s=%s: a descriptor number\n", name, text);
	return false;
}

/* False: said on standard error. */
static bool options_parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
	    {"url-fd", required_argument, NULL, 'u'},	{"run-dir", required_argument, NULL, 'd'},
	    {"ready-fd", required_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'v'},	{NULL, 0, NULL, 0}};
	int c;

	*o = (struct options){.url_fd = -1, .ready_fd = -1};
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'u':
			if (!fd_option("url-fd", optarg, &o->url_fd))
				return false;
			break;
		case 'r':
			if (!fd_option("ready-fd", optarg, &o->ready_fd))
				return false;
			break;
		case 'd':
			o->run_dir = optarg;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case 'v':
			printf("nodepass-dataplane %s\n", NP_VERSION);
			exit(0);
		default:
			usage(stderr);
			return false;
		}
	}
	o->url = optind < argc ? argv[optind] : NULL;
	return true;
}

/* The URLs as given, a line each, to be freed and wiped by the caller; NULL: said on standard error. */
static char *url_of(const struct options *o)
{
	char *url;

	if (o->url_fd != -1)
		url = np_fd_text((int)o->url_fd, NP_URL_LIST_MAX);
	else
		url = o->url != NULL ? np_strdup(o->url) : NULL;
	if (url == NULL)
		usage(stderr);
	return url;
}

/* -- process -- */

static unsigned worker_count(void)
{
	cpu_set_t set;
	int n = 1;

	if (runtime.env.workers > 0)
		return (unsigned)runtime.env.workers;
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
	return n > WORKERS_DEFAULT_MAX ? WORKERS_DEFAULT_MAX : (unsigned)n;
}

/* NP_RELAY is a word; the numbers are in tbl/env.def. */
static enum relay_mode relay_mode(void)
{
	const char *text = getenv("NP_RELAY");

	if (text == NULL || text[0] == '\0' || strcmp(text, "auto") == 0)
		return RELAY_AUTO;
	if (strcmp(text, "copy") == 0)
		return RELAY_COPY;
	if (strcmp(text, "splice") == 0)
		return RELAY_SPLICE;
	np_log(NP_LOG_WARN, NULL, "NP_RELAY=%.64s: not auto, copy or splice, using auto", text);
	return RELAY_AUTO;
}

static void load_env(void)
{
	np_env_load(&runtime.env, np_env_get, say_warning, NULL);
	runtime.relay = relay_mode();
	pipe_set_size((uint32_t)runtime.env.pipe_size);
}

static void raise_nofile(void)
{
	struct rlimit rl;
	char text[160];

	if (getrlimit(RLIMIT_NOFILE, &rl) == -1)
		return;
	rl.rlim_cur = rl.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_max >= NOFILE_LOW)
		return;
	snprintf(text, sizeof(text),
		 "open files are limited to %llu, fewer than %d: raise RLIMIT_NOFILE for many "
		 "sessions",
		 (unsigned long long)rl.rlim_max, NOFILE_LOW);
	say_warning(NULL, text);
}

static void on_change(void *arg, const char *id)
{
	(void)arg;
	(void)id;
	np_wake_fd_set(change_fd);
}

/* Waits for the end of all instances. Returns the exit status. */
static int run(struct registry *r, int sig_fd)
{
	struct pollfd fds[2] = {{.fd = sig_fd, .events = POLLIN},
				{.fd = change_fd, .events = POLLIN}};
	struct np_mono deadline = {0};
	bool stopping = false;

	for (;;) {
		struct registry_counts counts;
		struct signalfd_siginfo si;
		int timeout = -1;

		registry_counts(r, &counts);
		if (counts.failed > 0 && !stopping) /* all of them, or none */
			return EXIT_RUN;
		if (counts.stopped == counts.all)
			return 0;
		if (stopping) {
			int64_t left = np_mono_diff_ms(deadline, np_mono_now());

			if (left <= 0)
				return 0;
			timeout = (int)left;
		}
		if (poll(fds, 2, timeout) == -1 && errno != EINTR)
			return EXIT_RUN;
		if ((fds[1].revents & POLLIN) != 0)
			np_wake_fd_clear(change_fd);
		if ((fds[0].revents & POLLIN) == 0 ||
		    read(sig_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
			continue;
		if (si.ssi_signo == SIGHUP) {
			registry_reload(r);
		} else if (stopping) {
			return 0; /* the second one ends at once */
		} else {
			stopping = true;
			deadline = np_mono_add_ms(np_mono_now(),
						  runtime.env.shutdown_timeout_ms + STOP_GRACE_MS);
			registry_drain(r, runtime.env.shutdown_timeout_ms);
		}
	}
}

/* Ends what still runs: a second signal, or a failed start. */
static void end_all(struct registry *r)
{
	struct np_mono deadline = np_mono_add_ms(np_mono_now(), STOP_GRACE_MS);
	struct registry_counts counts;
	struct pollfd p = {.fd = change_fd, .events = POLLIN};

	registry_stop(r);
	for (;;) {
		int64_t left = np_mono_diff_ms(deadline, np_mono_now());

		registry_counts(r, &counts);
		if (counts.stopped == counts.all || left <= 0)
			break;
		if (poll(&p, 1, (int)left) == 1)
			np_wake_fd_clear(change_fd);
	}
}

static int serve(struct url_set *urls, int sig_fd)
{
	struct registry *r = registry_new(NULL, on_change, NULL);
	struct registry_counts counts;
	struct np_diag diag = {.text = ""};
	enum np_err err = r == NULL ? NP_ENOMEM : workers_start(worker_count());
	int status = EXIT_RUN;

	if (err == NP_OK) {
		err = url_set_start(urls, r, &diag);
		if (err == NP_EINVAL || err == NP_ESYS) /* a file that the URL names */
			status = EXIT_USAGE;
	}
	if (err == NP_OK) {
		status = run(r, sig_fd);
		end_all(r);
	} else {
		np_log_stop();
		fprintf(stderr, "nodepass: %s\n",
			diag.text[0] != '\0' ? diag.text : np_err_text(err));
	}
	offload_stop();
	if (r != NULL)
		registry_counts(r, &counts);
	if (workers_count() > 0)
		workers_stop();
	if (r != NULL && (err != NP_OK || counts.stopped == counts.all))
		registry_free(r);
	return status;
}

/* What both ways of running need. Returns the descriptor of the signals, -1: said. */
static int begin(void)
{
	sigset_t set;
	int sig_fd;

	/* Arenas beyond a few only spread memory over threads. */
	mallopt(M_ARENA_MAX, 2);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	/* Before any thread is made, those of libraries too: they inherit it. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sig_fd = signalfd(-1, &set, SFD_CLOEXEC);
	change_fd = np_wake_fd_open();
	if (sig_fd == -1 || change_fd == -1 || np_log_start_env(NULL) != NP_OK ||
	    np_random(runtime.boot_id, sizeof(runtime.boot_id)) != NP_OK) {
		fprintf(stderr, "nodepass: cannot start: %s\n", strerror(errno));
		return -1;
	}
	return sig_fd;
}

static void finish(int sig_fd)
{
	stream_exit();
	tls_files_exit();
	key_cache_exit();
	tls_exit();
	np_log_stop();
	close(sig_fd);
	close(change_fd);
}

static int run_managed(const struct options *o)
{
	struct managed_options m = {.ready_fd = (int)o->ready_fd};
	char dir[NP_DIR_MAX];
	int status;

	if (o->run_dir == NULL && np_run_dir(np_env_get, NULL, geteuid(), dir) != NP_OK) {
		fprintf(stderr, "nodepass-dataplane: NP_RUN_DIR: the path is too long\n");
		return EXIT_USAGE;
	}
	m.run_dir = o->run_dir != NULL ? o->run_dir : dir;
	m.sig_fd = begin();
	if (m.sig_fd == -1)
		return EXIT_RUN;
	load_env();
	raise_nofile();
	m.workers = worker_count();
	status = managed_run(&m);
	finish(m.sig_fd);
	return status;
}

static int run_urls(const struct options *o)
{
	struct url_set urls = {.n = 0};
	int sig_fd = -1, status = EXIT_USAGE;
	char *text = url_of(o);

	if (text != NULL && url_set_read(text, &urls)) {
		status = EXIT_RUN;
		sig_fd = begin();
	}
	if (sig_fd != -1) {
		threshold = urls.cfg[0].log;
		load_env();
		raise_nofile();
		url_set_warn(&urls);
		status = serve(&urls, sig_fd);
		finish(sig_fd);
	}
	url_set_release(&urls);
	return status;
}

int main(int argc, char **argv)
{
	struct options o;
	const char *dir = getenv("NP_RUN_DIR");

	if (!options_parse(argc, argv, &o))
		return EXIT_USAGE;
	if (o.url == NULL && o.url_fd == -1 &&
	    (o.run_dir != NULL || (dir != NULL && dir[0] != '\0')))
		return run_managed(&o);
	return run_urls(&o);
}
