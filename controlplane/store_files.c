/*
 * store_files.c - the files around the database: made for their owner alone, renamed, rotated.
 *
 * Nothing here overwrites a database: what is in the way is renamed first.
 */
#include "store_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

static const char *const PARTS[] = {"", "-wal", "-shm"};
#define NPARTS (sizeof(PARTS) / sizeof(PARTS[0]))

static enum np_err failed(struct np_diag *diag, const char *what, const char *path)
{
	return np_diag_set(diag, NP_ESYS, "store", "cannot %s %s: %s", what, path, strerror(errno));
}

/* chmod after mkdir and open: the umask may have taken the owner's bits, too. */
static enum np_err make_dir(const char *path, struct np_diag *diag)
{
	if (mkdir(path, 0700) == -1)
		return errno == EEXIST ? NP_OK : failed(diag, "make the directory", path);
	if (chmod(path, 0700) == -1)
		return failed(diag, "set the mode of", path);
	return NP_OK;
}

enum np_err store_make_dirs(const char *path, struct np_diag *diag)
{
	char part[STORE_NAME_MAX];
	enum np_err err = NP_OK;

	snprintf(part, sizeof(part), "%s", path);
	for (char *p = strchr(part + 1, '/'); err == NP_OK && p != NULL; p = strchr(p + 1, '/')) {
		*p = '\0';
		err = make_dir(part, diag);
		*p = '/';
	}
	return err;
}

enum np_err store_make_file(const char *path, struct np_diag *diag)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	enum np_err err = NP_OK;

	if (fd == -1)
		return failed(diag, "make", path);
	if (fchmod(fd, 0600) == -1)
		err = failed(diag, "set the mode of", path);
	close(fd);
	return err;
}

void store_narrow(const char *path)
{
	char name[STORE_NAME_MAX];
	struct stat st;

	for (size_t i = 0; i < NPARTS; i++) {
		snprintf(name, sizeof(name), "%s%s", path, PARTS[i]);
		/* Best effort: a file of another user can be readable and not ours to change. */
		if (stat(name, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0077) != 0 &&
		    chmod(name, 0600) == -1)
			continue;
	}
}

enum np_err store_exists(const char *path, struct np_diag *diag)
{
	struct stat st;

	if (stat(path, &st) == 0) {
		if (S_ISREG(st.st_mode))
			return NP_OK;
		return np_diag_set(diag, NP_ESYS, "store", "%s is not a regular file", path);
	}
	if (errno == ENOENT)
		return NP_ENOTFOUND;
	return failed(diag, "look at", path);
}

enum np_err store_sync_dir(const char *path, struct np_diag *diag)
{
	char dir[STORE_NAME_MAX];
	enum np_err err = NP_OK;
	char *slash;
	int fd;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash == NULL)
		snprintf(dir, sizeof(dir), ".");
	else
		slash[slash == dir ? 1 : 0] = '\0';
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return failed(diag, "open", dir);
	/* Some file systems cannot do it; they then have no order to be asked for. */
	if (fsync(fd) == -1 && errno != EINVAL)
		err = failed(diag, "write to disk", dir);
	close(fd);
	return err;
}

enum np_err store_rename(const char *from, const char *to, struct np_diag *diag)
{
	if (rename(from, to) == -1)
		return failed(diag, "rename", from);
	return store_sync_dir(to, diag);
}

enum np_err store_set_aside(const char *path, char kept[STORE_NAME_MAX], struct np_diag *diag)
{
	char from[STORE_NAME_MAX], to[STORE_NAME_MAX + 8], stamp[32];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	snprintf(kept, STORE_NAME_MAX, "%s.corrupt-%s", path, stamp);
	for (unsigned n = 2; access(kept, F_OK) == 0 && n < 1000; n++)
		snprintf(kept, STORE_NAME_MAX, "%s.corrupt-%s-%u", path, stamp, n);
	if (access(kept, F_OK) == 0)
		return np_diag_set(diag, NP_EEXIST, "store", "%s exists already", kept);
	/* The log first: left beside another database it would be applied to that one. */
	for (size_t i = NPARTS; i-- > 0;) {
		snprintf(from, sizeof(from), "%s%s", path, PARTS[i]);
		snprintf(to, sizeof(to), "%s%s", kept, PARTS[i]);
		if (rename(from, to) == -1 && errno != ENOENT)
			return failed(diag, "rename", from);
	}
	return store_sync_dir(path, diag);
}

void store_copy_name(const char *path, unsigned n, char out[STORE_NAME_MAX])
{
	if (n == 0)
		snprintf(out, STORE_NAME_MAX, "%s.backup-new", path);
	else
		snprintf(out, STORE_NAME_MAX, "%s.backup-%u", path, n);
}

enum np_err store_rotate(const char *path, struct np_diag *diag)
{
	char from[STORE_NAME_MAX], to[STORE_NAME_MAX];

	for (unsigned n = STORE_COPIES; n-- > 0;) {
		store_copy_name(path, n, from);
		store_copy_name(path, n + 1, to);
		if (rename(from, to) == -1 && (n == 0 || errno != ENOENT))
			return failed(diag, "rename", from);
	}
	return store_sync_dir(path, diag);
}

void store_unlink(const char *path)
{
	char name[STORE_NAME_MAX + 8];

	for (size_t i = 0; i < NPARTS; i++) {
		snprintf(name, sizeof(name), "%s%s", path, PARTS[i]);
		unlink(name);
	}
	snprintf(name, sizeof(name), "%s-journal", path);
	unlink(name);
}
