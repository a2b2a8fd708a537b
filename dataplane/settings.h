/*
 * settings.h - what an instance was told to be: its configuration and what dials taught about its
 * targets. Immutable but for the balance, counted; a live change replaces it as a whole.
 *
 * Who needs it within one callback reads instance_cfg or instance_settings; who keeps it longer
 * (a dial, a flow) holds it.
 */
#ifndef NP_SETTINGS_H
#define NP_SETTINGS_H

#include "core/balance.h"
#include "core/config.h"

struct settings {
	_Atomic unsigned refs;
	struct np_config cfg;	   /* owned */
	struct np_balance balance; /* last: only cfg.ntargets targets have memory */
};

/* settings_new - takes @cfg on success; one reference. @fallback_ms: of np_balance_init. Errors:
 * NP_ENOMEM. Thread: any. */
enum np_err settings_new(struct np_config *cfg, int64_t fallback_ms,
			 struct settings **out) NP_MUST_CHECK;
struct settings *settings_hold(struct settings *s);
void settings_release(struct settings *s); /* NULL is fine; wipes the key with the last one */

#endif
