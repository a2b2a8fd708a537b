/*
 * settings.c - counted configurations. See settings.h.
 */
#include "settings.h"

#include "base/alloc.h"
#include "base/secret.h"

#include <stddef.h>
#include <string.h>

enum np_err settings_new(struct np_config *cfg, int64_t fallback_ms, struct settings **out)
{
	size_t n = cfg->ntargets;
	struct settings *s =
	    np_calloc(1, sizeof(*s) - sizeof(s->balance.target) + n * sizeof(s->balance.target[0]));

	if (s == NULL)
		return NP_ENOMEM;
	atomic_init(&s->refs, 1);
	s->cfg = *cfg;
	/* The parser makes room for all targets that a URL may name. */
	s->cfg.targets = np_realloc(cfg->targets, n * sizeof(*cfg->targets));
	if (s->cfg.targets == NULL)
		s->cfg.targets = cfg->targets;
	memset(cfg, 0, sizeof(*cfg));
	/* Said by its parts; the text is the registry's, and holds the key. */
	if (s->cfg.url != NULL)
		np_wipe(s->cfg.url, strlen(s->cfg.url));
	np_free(s->cfg.url);
	s->cfg.url = NULL;
	np_balance_init(&s->balance, (enum np_balance_mode)s->cfg.lbs, n, fallback_ms);
	*out = s;
	return NP_OK;
}

struct settings *settings_hold(struct settings *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void settings_release(struct settings *s)
{
	if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	np_config_release(&s->cfg);
	np_free(s);
}
