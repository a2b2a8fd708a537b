/*
 * hostinfo.h - figures of this machine, sampled in the background so that nobody waits for them.
 * Thread: the loop's.
 */
#ifndef CP_HOSTINFO_H
#define CP_HOSTINFO_H

#include "base/err.h"

#include <event2/event.h>
#include <stdint.h>

#define HOSTINFO_PERIOD_MS 1000

struct hostinfo_figures {
	int cpu; /* percent busy since the sample before; -1 = not known */
	uint64_t mem_total, mem_used, swap_total, swap_used; /* bytes */
	uint64_t netrx, nettx, diskr, diskw;		     /* bytes since the machine started */
	uint64_t sysup;					     /* seconds */
};

struct hostinfo;

/* hostinfo_new - with a first sample. Errors: NP_ENOMEM. */
enum np_err hostinfo_new(struct event_base *base, struct hostinfo **out) NP_MUST_CHECK;
const struct hostinfo_figures *hostinfo_get(const struct hostinfo *h);
void hostinfo_free(struct hostinfo *h);

#endif
