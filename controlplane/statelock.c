/*
 * statelock.c - the two flocks of a master.
 *
 * The descriptors are close-on-exec: a data plane that outlives its master must not hold the lock.
 */
#include "statelock.h"

#include "base/alloc.h"
#include "base/num.h"
#include "core/dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define PATH_ROOM (NP_DIR_MAX + 16)
#define TEXT_MAX  320 /* of a lock file */
#define TRIES	  5

struct statelock {
	int state, run; /* owned */
};

static enum np_err failed(struct np_diag *diag, const char *what, const char *path)
{
	return np_diag_set(diag, NP_ESYS, "lock", "cannot %s %s: %s", what, path, strerror(errno));
}

static enum np_err make_dirs(const char *dir, struct np_diag *diag)
{
	char part[NP_DIR_MAX];
	char *p = part;

	if (snprintf(part, sizeof(part), "%s", dir) >= (int)sizeof(part))
		return np_diag_set(diag, NP_ELIMIT, "lock", "the path %.100s… is too long", dir);
	while (p != NULL) {
		p = strchr(p + 1, '/');
		if (p != NULL)
			*p = '\0';
		if (mkdir(part, 0700) == 0) {
			if (chmod(part, 0700) == -1) /* the umask may take the owner's bits */
				return failed(diag, "set the mode of", part);
		} else if (errno != EEXIST) {
			return failed(diag, "make the directory", part);
		}
		if (p != NULL)
			*p = '/';
	}
	return NP_OK;
}

/* Up to the first line's end; the file of a master that is just starting may be empty yet. */
static void read_owner(int fd, char text[TEXT_MAX])
{
	ssize_t n = pread(fd, text, TEXT_MAX - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (text[0] == '\0')
		snprintf(text, TEXT_MAX, "unknown");
}

static enum np_err write_owner(int fd, const char *path, const char *address, struct np_diag *diag)
{
	char text[TEXT_MAX];
	int n = snprintf(text, sizeof(text), "pid %ld, API at %.280s\n", (long)getpid(), address);

	if (ftruncate(fd, 0) == -1 || pwrite(fd, text, (size_t)n, 0) != n)
		return failed(diag, "write", path);
	return NP_OK;
}

/* Somebody who only asks (statelock_holder) has it for a moment, so one refusal is not believed. */
static bool lock_file(int fd)
{
	for (unsigned i = 0; i < TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return true;
		if (errno != EWOULDBLOCK)
			return false;
		if (i + 1 < TRIES)
			nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	errno = EWOULDBLOCK;
	return false;
}

static enum np_err take(const char *dir, const char *name, const char *address, int *out,
			struct np_diag *diag)
{
	char path[PATH_ROOM], owner[TEXT_MAX];
	enum np_err err = make_dirs(dir, diag);
	int fd;

	if (err != NP_OK)
		return err;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd == -1)
		return failed(diag, "open", path);
	if (!lock_file(fd)) {
		if (errno != EWOULDBLOCK) {
			err = failed(diag, "lock", path);
		} else {
			read_owner(fd, owner);
			err = np_diag_set(diag, NP_EEXIST, "lock",
					  "another master uses %.100s (%.240s); a second one needs "
					  "directories of its own: NP_STATE_DIR and NP_RUN_DIR",
					  dir, owner);
		}
	} else if (fchmod(fd, 0600) == -1) {
		err = failed(diag, "set the mode of", path);
	} else {
		err = write_owner(fd, path, address, diag);
	}
	if (err == NP_OK)
		*out = fd;
	else
		close(fd);
	return err;
}

enum np_err statelock_take(const char *state_dir, const char *run_dir, const char *address,
			   struct statelock **out, struct np_diag *diag)
{
	struct statelock *l = np_malloc(sizeof(*l));
	enum np_err err;

	if (l == NULL)
		return np_diag_set(diag, NP_ENOMEM, "lock", "%s", np_err_text(NP_ENOMEM));
	*l = (struct statelock){.state = -1, .run = -1};
	err = take(state_dir, "lock", address, &l->state, diag);
	if (err == NP_OK)
		err = take(run_dir, "master.lock", address, &l->run, diag);
	if (err != NP_OK) {
		statelock_release(l);
		return err;
	}
	*out = l;
	return NP_OK;
}

int statelock_holder(const char *state_dir)
{
	char path[PATH_ROOM], owner[TEXT_MAX];
	uint64_t pid = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/lock", state_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1)
		return 0;
	if (flock(fd, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK) {
		read_owner(fd, owner);
		if (strncmp(owner, "pid ", 4) != 0 ||
		    np_parse_u64(owner + 4, strspn(owner + 4, "0123456789"), 1, INT32_MAX, &pid) !=
			NP_OK)
			pid = 0;
	}
	close(fd);
	return (int)pid;
}

void statelock_release(struct statelock *l)
{
	if (l == NULL)
		return;
	if (l->run != -1)
		close(l->run);
	if (l->state != -1)
		close(l->state);
	np_free(l);
}
