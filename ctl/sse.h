/*
 * sse.h - a stream of events cut into its blocks. Pure: bytes in, events out.
 */
#ifndef CTL_SSE_H
#define CTL_SSE_H

#include "base/buf.h"

#include <stdbool.h>

#define SSE_BLOCK_MAX (1024 * 1024)
#define SSE_ID_MAX    128

struct sse {
	struct np_buf line;  /* that has not ended yet */
	struct np_buf data;  /* of the block that has not ended yet */
	char id[SSE_ID_MAX]; /* the last one; stays between blocks */
	/* @data: NUL-terminated, @len bytes. false: no more is wanted. */
	bool (*on_event)(void *arg, const char *data, size_t len);
	void *arg;
};

void sse_init(struct sse *s, bool (*on_event)(void *arg, const char *data, size_t len), void *arg);
/* sse_feed - the next bytes. false: on_event said so, or a block is past its maximum. */
bool sse_feed(struct sse *s, const char *p, size_t len);
/* sse_restart - what is not complete is dropped, the id stays. */
void sse_restart(struct sse *s);
void sse_release(struct sse *s);

#endif
