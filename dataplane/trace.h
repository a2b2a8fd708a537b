/*
 * trace.h - at most once: what became of the first attempt of an open whose channel broke before
 * STATUS.
 *
 * Egress. Turns that were lost are remembered for a minute; a second attempt asks all workers, in
 * turn, whether a byte of the first one reached a target. See docs/PROTOCOL.md, "At most once".
 */
#ifndef NP_TRACE_H
#define NP_TRACE_H

#include "instance.h"

#define TRACE_KEEP_MS 60000
#define TRACE_MAX \
	65536 /* records of a shard; when more are needed delivery is assumed for a minute */

/* trace_lost - remembers an egress turn that ended with its channel. Thread: the shard's worker. */
void trace_lost(struct shard *sh, const uint8_t id[NP_TRACE_LEN], bool delivered);
/* trace_seen - is @id one whose turn was lost, or that a second attempt took over? Thread: as above. */
bool trace_seen(const struct shard *sh, const uint8_t id[NP_TRACE_LEN]);
/* trace_ask - session_trace_answer(s, delivered) follows, unless trace_forget(s) comes first.
 * Errors: NP_ENOMEM. */
enum np_err trace_ask(struct session *s) NP_MUST_CHECK;
void trace_forget(struct session *s);
void trace_tick(struct shard *sh, struct np_mono now);
void trace_release(struct shard *sh);

#endif
