/*
 * where.c - which API is talked to, and with which key: see where.h.
 */
#include "where.h"

#include "core/dirs.h"
#include "core/proof.h"
#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

#define PROGRAM	     "nodepass-controlplane"
#define FILE_NAME    "master.json"
#define FILE_MAX     4096
#define DEFAULT_PATH "/api/v1"
#define EXIT_NOT_RUN 127

static const char *from_environment(void *arg, const char *name)
{
	(void)arg;
	return getenv(name);
}

enum np_err where_url(const char *text, char out[WHERE_URL_MAX], struct np_diag *diag)
{
	const char *mark = strstr(text, "://");
	const char *rest = mark != NULL ? mark + 3 : text;
	size_t host = strcspn(rest, "/?#"), len = strlen(text);
	int n;

	if (mark != NULL && strncasecmp(text, "http://", 7) != 0 &&
	    strncasecmp(text, "https://", 8) != 0)
		return np_diag_set(diag, NP_EINVAL, "api",
				   "address of the API: http:// or https:// expected");
	if (host == 0 || memchr(rest, '@', host) != NULL || strpbrk(text, "?# \t\r\n") != NULL)
		return np_diag_set(diag, NP_EINVAL, "api",
				   "address of the API: http://host:port/prefix/v1 expected");
	while (text[len - 1] == '/')
		len--;
	if (len > WHERE_URL_MAX)
		return np_diag_set(diag, NP_EINVAL, "api", "address of the API: too long");
	n = snprintf(out, WHERE_URL_MAX, "%s%.*s%s", mark != NULL ? "" : "http://", (int)len, text,
		     text + len <= rest + host ? DEFAULT_PATH : "");
	if (n < 0 || n >= WHERE_URL_MAX)
		return np_diag_set(diag, NP_EINVAL, "api", "address of the API: too long");
	return NP_OK;
}

/* set_key - a key of printing characters, because it becomes a header line. */
static enum np_err set_key(const char *text, size_t len, struct where *out, struct np_diag *diag)
{
	while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
		len--;
	for (size_t i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] == 0x7f)
			return np_diag_set(diag, NP_EINVAL, "key",
					   "key of the API: one word of printing characters "
					   "expected");
	}
	if (len == 0 || len >= WHERE_KEY_MAX)
		return np_diag_set(diag, NP_EINVAL, "key", "key of the API: empty, or too long");
	memcpy(out->key, text, len);
	out->key[len] = '\0';
	return NP_OK;
}

/* read_small - a whole file of less than @max bytes, with a NUL behind it. */
static enum np_err read_small(int fd, char *out, size_t max, size_t *len)
{
	size_t n = 0;

	while (n < max) {
		ssize_t got = read(fd, out + n, max - n);

		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return NP_ESYS;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	if (n == max)
		return NP_ELIMIT;
	out[n] = '\0';
	*len = n;
	return NP_OK;
}

static enum np_err key_of_file(const char *path, struct where *out, struct np_diag *diag)
{
	char text[WHERE_KEY_MAX + 2];
	size_t len;
	enum np_err err;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd == -1)
		return np_diag_set(diag, NP_ESYS, "key", "%s: %s", path, strerror(errno));
	err = read_small(fd, text, sizeof(text), &len);
	close(fd);
	if (err == NP_OK)
		err = set_key(text, len, out, diag);
	else
		np_diag_set(diag, err, "key", "%s: no key of the API", path);
	np_wipe(text, sizeof(text));
	return err;
}

/*
 * is_trusted - the file says where the key is sent to, so it must be from ourselves or from root.
 * Root takes it from whom the folder belongs to as well: root's folder lies where only root makes
 * folders, and a service with a user of its own has it.
 */
static bool is_trusted(const struct stat *file, const char *dir)
{
	struct stat folder;

	if (!S_ISREG(file->st_mode) || (file->st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return false;
	if (file->st_uid == geteuid() || file->st_uid == 0)
		return true;
	return geteuid() == 0 && stat(dir, &folder) == 0 && folder.st_uid == file->st_uid &&
	       (folder.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static enum np_err take_file(const char *text, size_t len, const char *path, struct where *out,
			     struct np_diag *diag)
{
	char api[WHERE_URL_MAX], pid_text[24] = "";
	long pid;

	if (!json_member(text, len, "api", api, sizeof(api)) ||
	    where_url(api, out->url, NULL) != NP_OK) {
		out->url[0] = '\0';
		return np_diag_set(diag, NP_EINVAL, "api", "%s: not of a running master", path);
	}
	if (json_member(text, len, "pid", pid_text, sizeof(pid_text))) {
		pid = strtol(pid_text, NULL, 10);
		if (pid > 0 && pid <= INT_MAX && kill((pid_t)pid, 0) == -1 && errno == ESRCH) {
			out->url[0] = '\0';
			return np_diag_set(diag, NP_ENOTFOUND, "api",
					   "the master that wrote %s no longer runs (pid %ld)",
					   path, pid);
		}
	}
	return NP_OK;
}

/*
 * set_owner - as whom the key is asked for. Root asks as the one who has the state, so that no file
 * in it becomes root's.
 */
static void set_owner(struct where *out)
{
	char dir[NP_DIR_MAX];
	struct stat st;

	out->owner = geteuid();
	out->group = getegid();
	if (geteuid() == 0 && np_state_dir(from_environment, NULL, 0, dir) == NP_OK &&
	    stat(dir, &st) == 0) {
		out->owner = st.st_uid;
		out->group = st.st_gid;
	}
}

/* read_master_json - what a running master of this user wrote; from nobody else. */
static enum np_err read_master_json(char path[WHERE_PATH_MAX], char text[FILE_MAX], size_t *len,
				    struct np_diag *diag)
{
	char dir[NP_DIR_MAX];
	struct stat st;
	enum np_err err;
	int fd;

	if (np_run_dir(from_environment, NULL, geteuid(), dir) != NP_OK)
		return np_diag_set(diag, NP_EINVAL, "NP_RUN_DIR", "NP_RUN_DIR: too long");
	snprintf(path, WHERE_PATH_MAX, "%s/" FILE_NAME, dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd == -1 && errno != ENOENT && errno != ENOTDIR)
		return np_diag_set(diag, NP_ESYS, "api", "%s: %s", path, strerror(errno));
	if (fd == -1)
		return np_diag_set(diag, NP_ENOTFOUND, "api",
				   "no master of this user runs here (there is no %s); start one, "
				   "say --api URL or set NP_API",
				   path);
	if (fstat(fd, &st) == -1 || !is_trusted(&st, dir)) {
		close(fd);
		return np_diag_set(diag, NP_EINVAL, "api",
				   "%s: not used, because it belongs to somebody else, or others "
				   "may write to it",
				   path);
	}
	err = read_small(fd, text, FILE_MAX, len);
	close(fd);
	if (err != NP_OK)
		return np_diag_set(diag, err, "api", "%s: cannot be read", path);
	return NP_OK;
}

static enum np_err find_local(struct where *out, struct np_diag *diag)
{
	char path[WHERE_PATH_MAX], text[FILE_MAX];
	size_t len;
	enum np_err err;

	out->local = true;
	set_owner(out);
	err = read_master_json(path, text, &len, diag);
	return err == NP_OK ? take_file(text, len, path, out, diag) : err;
}

bool where_pin(const struct where *w, char out[WHERE_PIN_SIZE])
{
	char path[WHERE_PATH_MAX], text[FILE_MAX];
	size_t len;

	return w->local && !w->insecure && w->cacert == NULL &&
	       read_master_json(path, text, &len, NULL) == NP_OK &&
	       json_member(text, len, "pin", out, WHERE_PIN_SIZE) && out[0] != '\0';
}

enum np_err where_find(const struct where_options *o, bool with_key, struct where *out,
		       struct np_diag *diag)
{
	const char *api = o->api != NULL ? o->api : getenv("NP_API");
	const char *key = o->key != NULL ? o->key : getenv("NP_API_KEY");
	enum np_err err;

	memset(out, 0, sizeof(*out));
	out->cacert = o->cacert;
	if (api != NULL && api[0] != '\0')
		err = where_url(api, out->url, diag);
	else
		err = find_local(out, diag);
	out->insecure = o->insecure;
	if (err != NP_OK || !with_key)
		return err;
	if (o->key == NULL && o->key_file != NULL)
		return key_of_file(o->key_file, out, diag);
	if (key != NULL && key[0] != '\0')
		return set_key(key, strlen(key), out, diag);
	if (out->local)
		return where_program(out, "--print-api-key", out->key, diag);
	return np_diag_set(diag, NP_EINVAL, "key",
			   "the API's key is wanted: set NP_API_KEY, or say --key-file FILE");
}

/* program_path - beside ourselves, or in the configured folder. */
static void program_path(char out[WHERE_PATH_MAX])
{
	ssize_t len = readlink("/proc/self/exe", out, WHERE_PATH_MAX - sizeof(PROGRAM) - 1);
	char *slash;

	if (len > 0) {
		out[len] = '\0';
		slash = strrchr(out, '/');
		if (slash != NULL) {
			memcpy(slash + 1, PROGRAM, sizeof(PROGRAM));
			if (access(out, X_OK) == 0)
				return;
		}
	}
	snprintf(out, WHERE_PATH_MAX, "%s/" PROGRAM, NP_LIBEXEC_DIR);
}

/*
 * run_child - after fork: as the owner of the state, so that no file of the store becomes root's.
 * The folder is ours, found before the user changed.
 */
static void run_child(const struct where *w, const char *path, const char *option, int out)
{
	char *const argv[] = {(char[]){PROGRAM}, (char *)option, NULL};
	char state[NP_DIR_MAX], run[NP_DIR_MAX];

	if (np_state_dir(from_environment, NULL, geteuid(), state) == NP_OK)
		setenv("NP_STATE_DIR", state, 1);
	if (np_run_dir(from_environment, NULL, geteuid(), run) == NP_OK)
		setenv("NP_RUN_DIR", run, 1);
	if (geteuid() == 0 && w->owner != 0 &&
	    (setgroups(0, NULL) == -1 || setgid(w->group) == -1 || setuid(w->owner) == -1))
		_exit(1);
	if (dup2(out, STDOUT_FILENO) == -1)
		_exit(1);
	execv(path, argv);
	_exit(EXIT_NOT_RUN);
}

/* read_line - one line and nothing else, from a program that has to end by itself. */
static enum np_err read_line(int fd, char out[WHERE_KEY_MAX])
{
	char text[WHERE_KEY_MAX];
	size_t len, line;
	enum np_err err = read_small(fd, text, sizeof(text), &len);

	if (err == NP_OK) {
		line = strcspn(text, "\r\n");
		if (line == 0 || strspn(text + line, "\r\n") != len - line)
			err = NP_EPROTO;
		else
			snprintf(out, WHERE_KEY_MAX, "%.*s", (int)line, text);
	}
	np_wipe(text, sizeof(text));
	return err;
}

enum np_err where_program(const struct where *w, const char *option, char out[WHERE_KEY_MAX],
			  struct np_diag *diag)
{
	char path[WHERE_PATH_MAX];
	int ends[2], status = 0;
	enum np_err err;
	pid_t pid;

	program_path(path);
	if (pipe2(ends, O_CLOEXEC) == -1)
		return np_diag_set(diag, NP_ESYS, "key", "pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		run_child(w, path, option, ends[1]);
	close(ends[1]);
	err = pid == -1 ? NP_ESYS : read_line(ends[0], out);
	close(ends[0]);
	while (pid != -1 && waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	if (pid == -1)
		return np_diag_set(diag, NP_ESYS, "key", "fork: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_RUN)
		return np_diag_set(diag, NP_ENOTFOUND, "key", "cannot run %s", path);
	if (err != NP_OK || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return np_diag_set(
		    diag, NP_ESYS, "key",
		    PROGRAM " %s gave no key; set NP_API_KEY, or say --key-file FILE", option);
	return NP_OK;
}
