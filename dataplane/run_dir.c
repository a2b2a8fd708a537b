/*
 * run_dir.c - see run_dir.h.
 */
#include "run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

static enum np_err say(struct np_diag *diag, const char *what)
{
	return np_diag_set(diag, NP_ESYS, "run directory", "%s: %s", what, strerror(errno));
}

/*
 * Only a directory of this user's, which nobody else can enter: it stands in /tmp perhaps, where
 * anybody may have put something under the name.
 */
static enum np_err open_dir(const char *path, int *out, struct np_diag *diag)
{
	struct stat st;
	int fd;

	if (mkdir(path, 0700) == -1 && errno != EEXIST)
		return say(diag, path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return say(diag, path);
	if (fstat(fd, &st) == -1) {
		close(fd);
		return say(diag, path);
	}
	if (st.st_uid != geteuid()) {
		close(fd);
		return np_diag_set(diag, NP_EINVAL, "run directory",
				   "%s belongs to user %u, not to user %u", path,
				   (unsigned)st.st_uid, (unsigned)geteuid());
	}
	if ((st.st_mode & 07777) != 0700 && fchmod(fd, 0700) == -1) {
		close(fd);
		return say(diag, path);
	}
	*out = fd;
	return NP_OK;
}

static enum np_err take_lock(int fd, const char *path, struct np_diag *diag)
{
	char pid[16] = "";
	ssize_t n;

	if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno != EWOULDBLOCK)
			return say(diag, path);
		n = pread(fd, pid, sizeof(pid) - 1, 0);
		pid[n > 0 ? (size_t)n : 0] = '\0';
		pid[strspn(pid, "0123456789")] = '\0';
		return np_diag_set(diag, NP_EEXIST, "run directory",
				   "a data plane runs already, process %s has locked %s",
				   pid[0] != '\0' ? pid : "?", path);
	}
	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) == -1 || pwrite(fd, pid, strlen(pid), 0) != (ssize_t)strlen(pid))
		return say(diag, path);
	return NP_OK;
}

enum np_err run_dir_lock(const char *dir, int *out, struct np_diag *diag)
{
	char path[PATH_MAX];
	int dir_fd = -1, fd, n = snprintf(path, sizeof(path), "%s/lock", dir);
	enum np_err err;

	if (n < 0 || (size_t)n >= sizeof(path))
		return np_diag_set(diag, NP_ELIMIT, "run directory", "the path is too long");
	err = open_dir(dir, &dir_fd, diag);
	if (err != NP_OK)
		return err;
	fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	close(dir_fd);
	if (fd == -1)
		return say(diag, path);
	err = take_lock(fd, path, diag);
	if (err != NP_OK) {
		close(fd);
		return err;
	}
	*out = fd;
	return NP_OK;
}

void run_dir_unlock(int fd)
{
	if (ftruncate(fd, 0) == -1)
		errno = 0; /* a stale pid is harmless: the lock is what counts */
	close(fd);
}
