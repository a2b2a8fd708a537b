/*
 * resolve.h - names to addresses on helper threads, with a cache per worker.
 *
 * All A and AAAA answers in RFC 8305 order. A name is looked up again when its lifetime (dns=) is over;
 * when the resolver fails the last good answer stays in use (and the lookup is repeated after 1 s at the
 * earliest). Requests for a name that is being looked up wait for the same answer.
 */
#ifndef NP_RESOLVE_H
#define NP_RESOLVE_H

#include "core/addr.h"
#include "worker.h"

#define RESOLVE_ADDRS_MAX 32
#define RESOLVE_CACHE_MAX 4096 /* names per worker; the one used longest ago goes first */

struct resolve_answer {
	size_t n; /* 0 = failed */
	struct np_addr addr[RESOLVE_ADDRS_MAX]; /* without port */
	char error[96]; /* why, when n == 0 */
};

/* A waiting question; memory of the caller, who keeps it until on_answer or resolve_cancel. */
struct resolve_request {
	struct resolve_request *prev, *next;
	struct resolve_entry *entry;
	void (*on_answer)(struct resolve_request *r, const struct resolve_answer *a);
};

struct resolver *resolver_new(struct worker *w);
void resolver_free(struct resolver *r); /* questions still waiting are forgotten */
/*
 * resolve - literal or cached: *out and NP_OK at once (also when stale: a refresh is then started behind it).
 * Otherwise NP_EAGAIN and on_answer later. Host "" is the loopback address. Thread: owner worker.
 * Errors: NP_ENOMEM, NP_ELIMIT.
 */
enum np_err resolve(struct worker *w, const char *host, int64_t ttl_ms, struct resolve_request *r,
		    struct resolve_answer *out) NP_MUST_CHECK;
void resolve_cancel(struct resolve_request *r);

#endif
