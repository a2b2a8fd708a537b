/*
 * dirs.c - see dirs.h.
 */
#include "core/dirs.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static enum np_err put(char out[NP_DIR_MAX], const char *dir, const char *rest)
{
	char path[NP_DIR_MAX];
	int n = snprintf(path, sizeof(path), "%s%s", dir, rest);

	if (n < 0 || (size_t)n >= sizeof(path))
		return NP_ELIMIT;
	memcpy(out, path, (size_t)n + 1);
	return NP_OK;
}

static const char *set_or_null(np_dirs_get_fn get, void *arg, const char *name)
{
	const char *v = get(arg, name);

	return v == NULL || v[0] == '\0' ? NULL : v;
}

/* The XDG specification: a path that is not absolute is ignored. */
static const char *absolute_or_null(np_dirs_get_fn get, void *arg, const char *name)
{
	const char *v = get(arg, name);

	return v == NULL || v[0] != '/' ? NULL : v;
}

enum np_err np_run_dir(np_dirs_get_fn get, void *arg, uid_t uid, char out[NP_DIR_MAX])
{
	const char *own = set_or_null(get, arg, "NP_RUN_DIR");
	const char *xdg = absolute_or_null(get, arg, "XDG_RUNTIME_DIR");
	char name[32];

	if (own != NULL)
		return put(out, own, "");
	if (uid == 0)
		return put(out, "/run/nodepass", "");
	if (xdg != NULL)
		return put(out, xdg, "/nodepass");
	snprintf(name, sizeof(name), "%llu", (unsigned long long)uid);
	return put(out, "/tmp/nodepass-", name);
}

enum np_err np_state_dir(np_dirs_get_fn get, void *arg, uid_t uid, char out[NP_DIR_MAX])
{
	const char *own = set_or_null(get, arg, "NP_STATE_DIR");
	const char *xdg = absolute_or_null(get, arg, "XDG_STATE_HOME");
	const char *home = absolute_or_null(get, arg, "HOME");

	if (own != NULL)
		return put(out, own, "");
	if (uid == 0)
		return put(out, "/var/lib/nodepass", "");
	if (xdg != NULL)
		return put(out, xdg, "/nodepass");
	if (home == NULL)
		return NP_ENOTFOUND;
	return put(out, home, "/.local/state/nodepass");
}
