/*
 * resolve.h - names to addresses on helper threads, with a cache per worker; what one of them learned
 * the others have, too.
 *
 * All A and AAAA answers in RFC 8305 order. A name is looked up again when its lifetime (dns=) is
 * over; when the resolver fails the last good answer stays in use (and the lookup is repeated after
 * 1 s at the earliest). Requests for a name that is being looked up wait for the same answer.
 */
#ifndef NP_RESOLVE_H
#define NP_RESOLVE_H

#include "core/addr.h"
#include "worker.h"

#define RESOLVE_ADDRS_MAX 32
#define RESOLVE_CACHE_MAX 4096 /* names per worker; the one used longest ago goes first */

struct resolve_answer {
	size_t n;				/* 0 = failed */
	struct np_addr addr[RESOLVE_ADDRS_MAX]; /* without port */
	char error[96];				/* why, when n == 0 */
};

/* A waiting question; memory of the caller, who keeps it until on_answer or resolve_cancel. */
struct resolve_request {
	struct resolve_request *prev, *next;
	struct resolve_entry *entry;
	void (*on_answer)(struct resolve_request *r, const struct resolve_answer *a);
};

struct resolver *resolver_new(struct worker *w);
/*
 * resolver_free - questions still waiting are forgotten. Lookups still running must have come back
 * or been dropped (offload_stop comes before the end of a worker).
 */
void resolver_free(struct resolver *r);
/*
 * resolve - literal or cached: *out and NP_OK at once (also when stale: a refresh is then started
 * behind it; also a failure of the last second: out->n is 0). Otherwise NP_EAGAIN and on_answer
 * later. Host "" is the loopback address. Thread: owner worker.
 * Errors: NP_ENOMEM, NP_ELIMIT, NP_ESYS (no helper thread).
 */
enum np_err resolve(struct worker *w, const char *host, int64_t ttl_ms, struct resolve_request *r,
		    struct resolve_answer *out) NP_MUST_CHECK;
/* resolve_cancel - on_answer will not be called. Harmless when it was, or was not asked (zeroed).
 */
void resolve_cancel(struct resolve_request *r);

/*
 * resolve_set_lookup - what helper threads call instead of getaddrinfo; NULL = getaddrinfo. Fills n
 * and addr, or error with n = 0. For tests; before workers_start.
 */
typedef void (*resolve_lookup_fn)(const char *host, struct resolve_answer *out);
void resolve_set_lookup(resolve_lookup_fn fn);

#endif
