/*
 * master_json.c - see master_json.h.
 */
#include "master_json.h"

#include "base/log.h"
#include "core/dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define FILE_NAME "/master.json"
#define PATH_SIZE (NP_DIR_MAX + sizeof(FILE_NAME) + sizeof(".new"))

static bool write_file(const char *path, const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool ok;

	if (fd == -1)
		return false;
	ok = write(fd, text, len) == (ssize_t)len;
	return close(fd) == 0 && ok;
}

void master_json_write(const char *run_dir, const struct np_config *cfg, const char *root,
		       const char *pin)
{
	char path[PATH_SIZE], fresh[PATH_SIZE], text[NP_DIR_MAX * 2];
	const char *host = cfg->tunnel.host;
	bool v6 = strchr(host, ':') != NULL;
	int n;

	if (host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0) {
		host = "127.0.0.1";
		v6 = false;
	}
	snprintf(path, sizeof(path), "%s" FILE_NAME, run_dir);
	snprintf(fresh, sizeof(fresh), "%s" FILE_NAME ".new", run_dir);
	n = snprintf(text, sizeof(text),
		     "{\"api\":\"%s://%s%s%s:%u%s\",\"pid\":%d,\"pin\":\"%s\"}\n",
		     cfg->tls > 0 ? "https" : "http", v6 ? "[" : "", host, v6 ? "]" : "",
		     (unsigned)cfg->tunnel.port, root, (int)getpid(), pin);
	if (n <= 0 || (size_t)n >= sizeof(text) || !write_file(fresh, text, (size_t)n) ||
	    rename(fresh, path) == -1)
		np_log(NP_LOG_WARN, NULL, "%s cannot be written: %s", path, strerror(errno));
}
