/*
 * probe.h - how long a connect to a target takes, measured on a helper thread.
 */
#ifndef NP_PROBE_H
#define NP_PROBE_H

#include "core/addr.h"

#include <event2/event.h>
#include <stdint.h>

#define PROBES_MAX	 4 /* at once: helper threads are for the tunnels' names first */
#define PROBE_TIMEOUT_MS 2000

struct probes;

struct probe_result {
	uint32_t sent, ok, rtt_min_us, rtt_avg_us, rtt_max_us;
	char error[160];
};

/* Called on the loop's thread, once for each probe that was begun; not after probes_free. */
typedef void (*probe_done_fn)(void *arg, void *tag, const struct probe_result *result);
/* probe_drop_fn - the tag of a probe that was not over when probes_free came. */
typedef void (*probe_drop_fn)(void *arg, void *tag);

struct probes *probes_new(struct event_base *base, probe_done_fn done, probe_drop_fn drop,
			  void *arg);
/*
 * probe_start - @count connects to @target ("host:port"), one after the other, each for at most
 * @timeout_ms. Errors: NP_EINVAL, NP_ERANGE (target), NP_ELIMIT, NP_ENOMEM, NP_ESYS, NP_ESTATE.
 */
enum np_err probe_start(struct probes *p, const char *target, uint32_t timeout_ms, uint32_t count,
			void *tag) NP_MUST_CHECK;
/* probes_free - after offload_stop and workers_stop. */
void probes_free(struct probes *p);

#endif
