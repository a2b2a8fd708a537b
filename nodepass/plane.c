/*
 * plane.c - how `nodepass` becomes the program that does the work: see plane.h.
 */
#include "plane.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/banned.h"

/* At most three places: as many as there are entries in candidates(). */
#define PLACES_MAX 3

enum np_err plane_url_fd(const char *url, int *out)
{
	const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	size_t len = strlen(url), done = 0;
	enum np_err err = NP_ESYS;
	int fd, kept;

	fd = memfd_create("nodepass-url", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd == -1)
		return NP_ESYS;
	while (done < len) {
		ssize_t n = write(fd, url + done, len - done);

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			goto out;
		done += (size_t)n;
	}
	if (lseek(fd, 0, SEEK_SET) == -1 || fcntl(fd, F_ADD_SEALS, seals) == -1)
		goto out;
	/* The copy has no FD_CLOEXEC and is never 0, 1 or 2, not even when those were closed. */
	kept = fcntl(fd, F_DUPFD, STDERR_FILENO + 1);
	if (kept == -1)
		goto out;
	*out = kept;
	err = NP_OK;
out:
	close(fd);
	return err;
}

/* candidates - where the program may lie, in order; those whose path is too long are left out. */
static size_t candidates(const char *program, char path[PLACES_MAX][PATH_MAX])
{
	static const char *const relative[] = {"", "/../libexec/nodepass"};
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t n = 0;
	char *slash;

	if (len > 0) {
		self[len] = '\0';
		slash = strrchr(self, '/');
		if (slash != NULL)
			*slash = '\0';
		for (size_t i = 0; i < sizeof(relative) / sizeof(*relative); i++) {
			int used =
			    snprintf(path[n], PATH_MAX, "%s%s/%s", self, relative[i], program);

			if (used > 0 && used < PATH_MAX)
				n++;
		}
	}
	snprintf(path[n++], PATH_MAX, "%s/%s", NP_LIBEXEC_DIR, program);
	return n;
}

/* become - execs @argv, whose first word is the name of the program; returns on failure only. */
static enum np_err become(const char *const *argv, struct np_diag *diag)
{
	static char path[PLACES_MAX][PATH_MAX];
	size_t n = candidates(argv[0], path), used = 0;
	char places[sizeof(diag->text)] = "";

	for (size_t i = 0; i < n; i++) {
		int added;

		execv(path[i],
		      (char *const *)argv); /* writes to no string, its type is older than const */
		if (errno != ENOENT && errno != ENOTDIR)
			return np_diag_set(diag, NP_ESYS, "program", "cannot run %s: %s", path[i],
					   strerror(errno));
		added = snprintf(places + used, sizeof(places) - used, "%s%s", used > 0 ? ", " : "",
				 path[i]);
		if (added > 0 && (size_t)added < sizeof(places) - used)
			used += (size_t)added;
	}
	return np_diag_set(diag, NP_ENOTFOUND, "program", "%s is not there; looked for %s", argv[0],
			   places);
}

enum np_err plane_become(const char *program, int fd, char *const *shown, struct np_diag *diag)
{
	char option[32];
	const char *argv[PLANE_SHOWN_MAX + 3] = {program, option};

	snprintf(option, sizeof(option), "--url-fd=%d", fd);
	for (size_t i = 0; i < PLANE_SHOWN_MAX && shown[i] != NULL; i++)
		argv[i + 2] = shown[i];
	return become(argv, diag);
}

enum np_err plane_become_ctl(char *const *words, struct np_diag *diag)
{
	const char **argv;
	size_t n = 0;
	enum np_err err;

	while (words[n] != NULL)
		n++;
	if (n > PLANE_WORDS_MAX)
		return np_diag_set(diag, NP_ELIMIT, "argument", "more than %d arguments",
				   PLANE_WORDS_MAX);
	argv = np_calloc(n + 2, sizeof(*argv));
	if (argv == NULL)
		return np_diag_set(diag, NP_ENOMEM, "argument", "%s", np_err_text(NP_ENOMEM));
	argv[0] = PLANE_CTL;
	for (size_t i = 0; i < n; i++)
		argv[i + 1] = words[i];
	err = become(argv, diag);
	np_free(argv);
	return err;
}
