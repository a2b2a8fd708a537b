/*
 * pem_read.c - see pem_read.h.
 *
 * Who writes new files writes them one after the other: files that change while they are read are
 * read again, and a pair that does not fit is looked at again with every look.
 */
#include "pem_read.h"

#include "base/alloc.h"
#include "core/pem.h"
#include "core/proof.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define TRIES 3 /* files that change while they are read */

static const char *const fields[PEM_COUNT] = {"crt", "key", "ca"};

static void times_of(const char *const *paths, struct pem_times *out)
{
	struct stat st;

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < PEM_COUNT; i++) {
		if (paths[i] == NULL || stat(paths[i], &st) == -1)
			continue;
		out->file[i].changed = st.st_ctim;
		out->file[i].modified = st.st_mtim;
		out->file[i].inode = st.st_ino;
		out->file[i].size = st.st_size;
	}
}

static enum np_err read_failed(int which, const char *path, struct np_diag *diag)
{
	char text[128];

	return np_diag_set(diag, NP_ESYS, fields[which], "%s=%s: %s", fields[which], path,
			   strerror_r(errno, text, sizeof(text)));
}

/* Up to @max bytes into @to; -1: errno. */
static ssize_t read_up_to(int fd, uint8_t *to, size_t max)
{
	size_t len = 0;

	while (len < max) {
		ssize_t n = read(fd, to + len, max - len);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return -1;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

static enum np_err read_file(int which, const char *path, struct pem_content *c,
			     struct np_diag *diag)
{
	/* A pipe in the place of a file holds up nobody. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint8_t *data;
	ssize_t n;

	if (fd == -1)
		return read_failed(which, path, diag);
	data = np_calloc(1, PEM_FILE_MAX + 1);
	if (data == NULL) {
		close(fd);
		return NP_ENOMEM;
	}
	c->file[which].data = data;
	c->file[which].len = PEM_FILE_MAX + 1;
	n = read_up_to(fd, data, PEM_FILE_MAX + 1);
	if (n == -1) {
		enum np_err err = read_failed(which, path, diag);

		close(fd);
		return err;
	}
	close(fd);
	c->file[which].len = (size_t)n;
	if (n > PEM_FILE_MAX)
		return np_diag_set(diag, NP_ELIMIT, fields[which],
				   "%s=%s: longer than %d bytes, which is what a data plane takes",
				   fields[which], path, PEM_FILE_MAX);
	return NP_OK;
}

static struct np_pem pem_of(const struct pem_content *c, int which, const char *path)
{
	return (struct np_pem){path, c->file[which].data, c->file[which].len};
}

static enum np_err check(const char *const *paths, const struct pem_content *c,
			 struct np_diag *diag)
{
	struct np_pem crt = pem_of(c, PEM_CRT, paths[PEM_CRT]);
	struct np_pem key = pem_of(c, PEM_KEY, paths[PEM_KEY]);
	struct np_pem ca = pem_of(c, PEM_CA, paths[PEM_CA]);
	struct stack_st_X509 *certs;
	struct np_pem_pair pair;
	enum np_err err = NP_OK;

	if (crt.name != NULL && key.name != NULL) {
		err = np_pem_pair_read(&crt, &key, &pair, diag);
		if (err == NP_OK)
			np_pem_pair_release(&pair);
	}
	if (err == NP_OK && ca.name != NULL) {
		err = np_pem_certs_read(&ca, &certs, diag);
		if (err == NP_OK)
			np_pem_certs_free(certs);
	}
	return err;
}

static enum np_err digest_of(struct pem_content *c)
{
	struct np_part parts[PEM_COUNT];

	for (int i = 0; i < PEM_COUNT; i++)
		parts[i] = (struct np_part){c->file[i].data, c->file[i].len};
	return np_digest(parts, PEM_COUNT, c->digest);
}

static enum np_err read_all(const char *const *paths, struct pem_content *c, struct np_diag *diag)
{
	enum np_err err = NP_OK;

	for (int i = 0; i < PEM_COUNT && err == NP_OK; i++)
		if (paths[i] != NULL)
			err = read_file(i, paths[i], c, diag);
	if (err == NP_OK)
		err = check(paths, c, diag);
	return err == NP_OK ? digest_of(c) : err;
}

/* One reading of files that stayed as they were meanwhile, or the last one. */
static enum np_err read_settled(struct pem_look *look, struct pem_content **out,
				struct np_diag *diag)
{
	struct pem_times after;
	enum np_err err = NP_ENOMEM;

	for (int i = 0; i < TRIES; i++) {
		struct pem_content *c = np_calloc(1, sizeof(*c));

		if (c == NULL)
			return NP_ENOMEM;
		c->refs = 1;
		*diag = (struct np_diag){.text = ""};
		err = read_all(look->paths, c, diag);
		times_of(look->paths, &after);
		if (err == NP_OK && memcmp(&after, &look->times, sizeof(after)) == 0) {
			*out = c;
			return NP_OK;
		}
		pem_content_release(c);
		if (memcmp(&after, &look->times, sizeof(after)) == 0)
			break;
		look->times = after;
		if (err == NP_OK)
			err = np_diag_set(diag, NP_EAGAIN, "crt",
					  "the files change while they are read");
	}
	return err;
}

void pem_look_run(struct pem_look *look)
{
	struct np_diag diag = {.text = ""};
	struct pem_times now;
	enum np_err err;

	times_of(look->paths, &now);
	if (!look->all && memcmp(&now, &look->times, sizeof(now)) == 0)
		return;
	look->times = now;
	err = read_settled(look, &look->content, &diag);
	if (err != NP_OK)
		look->error = np_strdup(diag.text[0] != '\0' ? diag.text : np_err_text(err));
}

void pem_look_release(struct pem_look *look)
{
	pem_content_release(look->content);
	np_free(look->error);
	look->content = NULL;
	look->error = NULL;
}
