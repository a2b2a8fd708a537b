/*
 * sse.h - the event stream: one ring of recent events, any number of subscribers behind it.
 * Thread: the loop's.
 *
 * Each event becomes one block, made once: "event: instance", "data: {…}", "id: <boot>-<seq>".
 * create, delete and shutdown are never lost; updates of one instance are coalesced to the newest,
 * logs go first when a subscriber is behind, said once. A subscriber without progress is aborted,
 * not ended, so that clients reconnect.
 */
#ifndef CP_SSE_H
#define CP_SSE_H

#include "http.h"

#define SSE_BLOCK_MAX  (60 * 1024)
#define SSE_LINE_MAX   (16 * 1024)
#define SSE_RING_BYTES (4 * 1024 * 1024) /* kept for Last-Event-ID */
/* Bytes of create, delete, shutdown and log events that wait for one subscriber. Updates do not
 * count: there is at most one an instance, and all who wait for it share its block. */
#define SSE_SUBSCRIBER_MAX  (4 * 1024 * 1024)
#define SSE_SUBSCRIBERS_MAX 4096
#define SSE_SLOTS_MAX	    32768 /* instances whose updates are coalesced */
#define SSE_OPENINGS_MAX    4	  /* openings in memory; further readers wait for one */
#define SSE_OPENING_BYTES   (512 * 1024 * 1024) /* of one */
#define SSE_OPENING_MS	    1000		/* an opening is given to newcomers that long */
#define SSE_STALL_MS	    30000
#define SSE_PING_MS	    15000

enum sse_type { SSE_INITIAL = 0, SSE_CREATE, SSE_UPDATE, SSE_DELETE, SSE_SHUTDOWN, SSE_LOG };

struct sse;
/* @initial: calls @emit with the JSON object of every instance (key first), and publishes nothing. */
typedef void (*sse_emit_fn)(void *emit_arg, const char *id, const void *json, size_t len);
typedef void (*sse_initial_fn)(void *arg, sse_emit_fn emit, void *emit_arg);

/* Errors: NP_ENOMEM, NP_ECRYPTO. */
enum np_err sse_new(struct event_base *base, sse_initial_fn initial, void *arg,
		    struct sse **out) NP_MUST_CHECK;
/* sse_open - GET /events of an authenticated client: takes @r. Last-Event-ID and ?last_event_id=
 * are read from it. */
void sse_open(struct sse *s, struct http_req *r);
/* sse_publish - @json: the instance as it is now (NULL: null). @logs: NULL = ""; cut to
 * SSE_LINE_MAX, further if the event would pass SSE_BLOCK_MAX. An instance that passes it alone is
 * not published (said in the log). Nothing is sent from inside: the next loop pass does. */
void sse_publish(struct sse *s, enum sse_type type, const char *id, const void *json, size_t len,
		 const char *logs);
/* sse_end_all - shutdown event to everybody, then clean ends. @done (may be NULL) from the loop
 * when all was written, 2 s at the latest. Readers may come again afterwards (change of the key). */
void sse_end_all(struct sse *s, void (*done)(void *arg), void *arg);
/* sse_has_readers - is there anybody to publish for at once? Else only what returning readers must not
 * miss (create, delete, changes) is worth its place in the ring. */
bool sse_has_readers(const struct sse *s);
struct sse_figures {
	unsigned subscribers;
	uint64_t events, dropped_logs, coalesced, evicted;
};
void sse_figures(const struct sse *s, struct sse_figures *out);
/* sse_set_times - other values than SSE_STALL_MS and SSE_PING_MS; for tests. */
void sse_set_times(struct sse *s, int stall_ms, int ping_ms);
void sse_free(struct sse *s);

#endif
