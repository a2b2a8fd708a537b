/*
 * sse_priv.h - inside of sse: the stream, its readers, and what their files share.
 */
#ifndef CP_SSE_PRIV_H
#define CP_SSE_PRIV_H

#define HASH_NONFATAL_OOM 1

#include "base/mono.h"
#include "sse_queue.h"
#include "wire/ctl_msg.h"

#include <uthash.h>

#define SSE_MARK     (HTTP_STREAM_QUEUE_MAX / 4) /* bytes of ours in a stream's buffers, about */
#define SSE_PASS_MAX (4 * 1024 * 1024)		 /* bytes given to all streams in one loop pass */

/* All instances at one moment, rendered once for all who connect about then. */
struct sse_opening {
	unsigned refs;
	uint64_t seq; /* the last event before it */
	struct np_mono made;
	struct np_buf text; /* whole blocks; the last one lacks its empty line */
};

/* Number of an instance, so that a reader finds the update that waits without hashing. */
struct sse_slot {
	UT_hash_handle hh;
	struct sse_slot *next_free;
	uint32_t index;
	char id[CTL_ID_MAX + 1];
};

enum sse_reader_state {
	SSE_READER_WAITING = 0, /* for memory for its opening */
	SSE_READER_OPENING,
	SSE_READER_LIVE,
};

struct sse_reader {
	unsigned magic;
	struct sse_reader *prev, *next;	  /* sse->readers */
	struct sse_reader *dprev, *dnext; /* sse->dirty */
	struct sse *sse;
	struct http_stream *stream; /* NULL: closed by the other side */
	enum sse_reader_state state;
	struct sse_opening *opening; /* a reference */
	size_t opened;		     /* bytes of it that were sent */
	uint64_t from;		     /* the events behind this one follow the opening */
	bool has_last;
	uint64_t last; /* Last-Event-ID */
	struct sse_queue queue;
	bool dirty, busy, behind, ending, doomed;
	uint64_t sent; /* bytes given to the stream */
	int64_t taken; /* of these, what its buffers no longer had, when it was looked at */
	struct np_mono progress;
};

struct sse {
	unsigned magic;
	struct event_base *base;
	sse_initial_fn initial;
	void *arg;
	char boot[SSE_BOOT_LEN + 1];
	uint64_t seq; /* of the last event */
	struct sse_ring ring;
	struct sse_slot *slots, *free_slots;
	uint32_t nslots; /* ever made */
	struct sse_reader *readers, *dirty;
	unsigned nreaders, nwaiting, nending;
	struct sse_opening *opening; /* the newest; a reference */
	unsigned nopenings;	     /* in memory */
	struct event *flush, *sweep, *end;
	bool flush_set;
	int stall_ms, ping_ms;
	struct np_mono pinged;
	struct np_buf scratch, out;
	void (*on_ended)(void *arg);
	void *ended_arg;
	struct sse_figures figures;
};

/* sse.c. sse_render - a block without id and empty line onto @b, whose content it follows; where
 * the instance begins in *json_off (relative to that). Errors: sticky in @b. */
void sse_render(struct np_buf *b, enum sse_type type, const void *json, size_t len,
		const char *logs, size_t *json_off);
void sse_reader_gone(struct sse *s, bool was_ending);

/* sse_reader.c */
struct sse_reader *sse_reader_new(struct sse *s, struct http_req *r);
void sse_reader_free(struct sse_reader *rd); /* the stream is gone already */
void sse_reader_abort(struct sse_reader *rd);
/* sse_reader_push - never sends; one that misses what it must not miss is doomed. */
void sse_reader_push(struct sse_reader *rd, struct sse_block *b);
/* sse_reader_skip_opening - one that waits for its opening will not have one. */
void sse_reader_skip_opening(struct sse_reader *rd);
/* sse_reader_mark - looked at in the next loop pass. */
void sse_reader_mark(struct sse_reader *rd);
/* sse_reader_pump - sends what there is room for; returns the bytes. May free @rd. */
size_t sse_reader_pump(struct sse_reader *rd);
/* sse_reader_sweep - stalled: aborted; else a ping if @ping. */
void sse_reader_sweep(struct sse_reader *rd, struct np_mono now, bool ping);

/* sse_opening.c. sse_opening_get - a reference to one that is young enough and not older than event
 * @seen, which the reader knows already; or a new one. When memory for openings is short it may be
 * older. Errors: NP_EAGAIN (too many are in memory), NP_ENOMEM, NP_ELIMIT. */
enum np_err sse_opening_get(struct sse *s, uint64_t seen, struct sse_opening **out) NP_MUST_CHECK;
void sse_opening_put(struct sse *s, struct sse_opening *o); /* NULL is fine */
/* sse_opening_forget - newcomers get a new one. */
void sse_opening_forget(struct sse *s);

#endif
