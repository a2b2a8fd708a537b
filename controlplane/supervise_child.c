/*
 * supervise_child.c - see supervise_child.h.
 */
#include "supervise_child.h"

#include "supervise.h"

#include "base/alloc.h"
#include "base/num.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

#define CHILD_READY_FD 3
#define PIPES	       3 /* output, error, ready */

extern char **environ;

static int open_pidfd(int pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

void supervise_child_signal(int pidfd, int sig)
{
	/* ESRCH: it has ended, which the pidfd reports as well. */
	(void)syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}

/* -- the program -- */

enum np_err supervise_find(const char *program, char *out, size_t max, struct np_diag *diag)
{
	static const char *const relative[] = {"", "/../libexec/nodepass", NULL};
	char self[PATH_MAX], path[2 * PATH_MAX], places[400] = "";
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	size_t used = 0;

	self[len > 0 ? (size_t)len : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash != NULL)
		*slash = '\0';
	for (size_t i = 0; i < sizeof(relative) / sizeof(*relative); i++) {
		int n;

		if (relative[i] != NULL)
			n = snprintf(path, sizeof(path), "%s%s/%s", self, relative[i], program);
		else
			n = snprintf(path, sizeof(path), "%s/%s", NP_LIBEXEC_DIR, program);
		if (n > 0 && (size_t)n < max && access(path, X_OK) == 0) {
			memcpy(out, path, (size_t)n + 1);
			return NP_OK;
		}
		n = snprintf(places + used, sizeof(places) - used, "%s%s", used > 0 ? ", " : "",
			     path);
		if (n > 0 && (size_t)n < sizeof(places) - used)
			used += (size_t)n;
	}
	return np_diag_set(diag, NP_ENOTFOUND, "program", "%s is not there; looked for %s", program,
			   places);
}

/* -- one that runs -- */

static int read_pid(int fd)
{
	char text[16];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	uint64_t pid;

	text[n > 0 ? (size_t)n : 0] = '\0';
	if (np_parse_u64(text, strcspn(text, "\n"), 1, INT_MAX, &pid) != NP_OK)
		return 0;
	return (int)pid;
}

/*
 * The lock is tried only when the process that wrote its id lives: trying it takes it for a moment,
 * and one that starts just then would find it taken.
 */
static enum np_err holder(int fd, int *pid, int *pidfd)
{
	int found = read_pid(fd), process;
	bool held;

	if (found == 0)
		return NP_ENOTFOUND;
	process = open_pidfd(found);
	if (process == -1)
		return errno == ESRCH ? NP_ENOTFOUND : NP_EAGAIN;
	held = flock(fd, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK;
	/* Still the same: the descriptor is of the process that has the lock. */
	if (!held || read_pid(fd) != found) {
		close(process);
		return held ? NP_EAGAIN : NP_ENOTFOUND;
	}
	*pid = found;
	*pidfd = process;
	return NP_OK;
}

enum np_err supervise_child_find(const char *run_dir, int *pid, int *pidfd)
{
	char path[PATH_MAX];
	int fd, n = snprintf(path, sizeof(path), "%s/lock", run_dir);
	enum np_err err;

	if (n < 0 || (size_t)n >= sizeof(path))
		return NP_ENOTFOUND;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1)
		return NP_ENOTFOUND;
	err = holder(fd, pid, pidfd);
	close(fd); /* and with it the lock, if it was got */
	return err;
}

/* -- a new one -- */

static void pipes_close(int fds[PIPES][2])
{
	for (int i = 0; i < PIPES; i++)
		for (int k = 0; k < 2; k++)
			if (fds[i][k] != -1)
				close(fds[i][k]);
}

static enum np_err pipes_open(int fds[PIPES][2], struct np_diag *diag)
{
	for (int i = 0; i < PIPES; i++)
		fds[i][0] = fds[i][1] = -1;
	for (int i = 0; i < PIPES; i++) {
		/* Only our end does not block. Numbers above those that the child gets, so that
		 * none is overwritten before it was copied. */
		if (pipe2(fds[i], O_CLOEXEC) == 0 && fcntl(fds[i][0], F_SETFL, O_NONBLOCK) == 0) {
			int high = fcntl(fds[i][1], F_DUPFD_CLOEXEC, CHILD_READY_FD + 1);

			close(fds[i][1]);
			fds[i][1] = high;
			if (high != -1)
				continue;
		}
		np_diag_set(diag, NP_ESYS, "program", "pipe: %s", strerror(errno));
		pipes_close(fds);
		return NP_ESYS;
	}
	return NP_OK;
}

static int actions_fill(posix_spawn_file_actions_t *a, int fds[PIPES][2])
{
	int rc = posix_spawn_file_actions_addopen(a, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(a, fds[0][1], STDOUT_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(a, fds[1][1], STDERR_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(a, fds[2][1], CHILD_READY_FD);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
	/* Whatever a library left open belongs to us. */
	if (rc == 0)
		rc = posix_spawn_file_actions_addclosefrom_np(a, CHILD_READY_FD + 1);
#endif
	return rc;
}

static int attributes_fill(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	rc = posix_spawnattr_setsigmask(attr, &none);
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(attr, &all);
	if (rc == 0)
		rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
							POSIX_SPAWN_SETSIGDEF);
	return rc;
}

/* Ours, but its lines have the one form that we read (np_log_line_parse). NULL: no memory. */
static char **environment(void)
{
	static const char name[] = "NP_LOG_FORMAT=";
	static char text[] = "NP_LOG_FORMAT=text";
	size_t n = 0, to = 0;
	char **env;

	while (environ != NULL && environ[n] != NULL)
		n++;
	env = np_calloc(n + 2, sizeof(*env));
	if (env == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], name, sizeof(name) - 1) != 0)
			env[to++] = environ[i];
	env[to] = text;
	return env;
}

static int run(const char *program, const char *run_dir, int fds[PIPES][2], pid_t *pid)
{
	char dir[PATH_MAX + 16], ready[32], name[] = "nodepass-dataplane";
	char *argv[] = {name, dir, ready, NULL}, **env = environment();
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int rc = env == NULL ? ENOMEM : posix_spawn_file_actions_init(&actions);

	snprintf(dir, sizeof(dir), "--run-dir=%s", run_dir);
	snprintf(ready, sizeof(ready), "--ready-fd=%d", CHILD_READY_FD);
	if (rc != 0) {
		np_free(env);
		return rc;
	}
	rc = posix_spawnattr_init(&attr);
	if (rc == 0) {
		rc = actions_fill(&actions, fds);
		if (rc == 0)
			rc = attributes_fill(&attr);
		if (rc == 0)
			rc = posix_spawn(pid, program, &actions, &attr, argv, env);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&actions);
	np_free(env);
	return rc;
}

enum np_err supervise_child_spawn(const char *program, const char *run_dir,
				  struct supervise_child *out, struct np_diag *diag)
{
	int fds[PIPES][2], rc, pidfd;
	enum np_err err = pipes_open(fds, diag);
	pid_t pid = -1;

	if (err != NP_OK)
		return err;
	rc = run(program, run_dir, fds, &pid);
	if (rc != 0) {
		pipes_close(fds);
		return np_diag_set(diag, NP_ESYS, "program", "%s: %s", program, strerror(rc));
	}
	pidfd = open_pidfd(pid);
	if (pidfd == -1) {
		np_diag_set(diag, NP_ESYS, "program", "pidfd_open: %s", strerror(errno));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		pipes_close(fds);
		return NP_ESYS;
	}
	for (int i = 0; i < PIPES; i++)
		close(fds[i][1]);
	*out = (struct supervise_child){
	    .pid = pid, .pidfd = pidfd, .ready = fds[2][0], .output = {fds[0][0], fds[1][0]}};
	return NP_OK;
}
