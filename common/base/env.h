/*
 * env.h - the environment of the process, as what core/ takes as a callback and never reads itself.
 */
#ifndef NP_BASE_ENV_H
#define NP_BASE_ENV_H

#include <stdlib.h>

/* np_env_get - NULL: not set. @arg: not used. */
static inline const char *np_env_get(void *arg, const char *name)
{
	(void)arg;
	return getenv(name);
}

#endif
