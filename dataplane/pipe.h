/*
 * pipe.h - kernel pipes that carry bytes from one plain socket to another by splice(2), and each
 * worker's pool of them.
 *
 * A pipe is taken when bytes are about to move and given back as soon as it is empty, so that
 * sessions which wait hold none. One that still holds bytes is closed and never given back: nobody
 * else may see them. Size: NP_PIPE_SIZE; when the system allows no such pipe one of 64 KiB is used,
 * and when it allows none pipe_take says so and the caller copies.
 */
#ifndef NP_PIPE_H
#define NP_PIPE_H

#include "stream.h"
#include "worker.h"

#define PIPE_SIZE_DEFAULT  (256 * 1024)
#define PIPE_SIZE_FALLBACK (64 * 1024) /* what pipe2 makes unless the user's limit is reached */
#define PIPES_KEPT_MAX	   64	       /* empty ones, per worker */
#define PIPES_IDLE_MS	   2000	       /* those not used for this long are closed */
#define PIPES_RETRY_MS	   1000	       /* after the system refused one */
struct pipe {
	int fd[2];     /* read end, write end; owned; -1 = no pipe */
	uint32_t size; /* bytes it takes at most */
	uint32_t len;  /* bytes in it */
};

/* pipe_set_size - what pipes are asked to take, by default PIPE_SIZE_DEFAULT. Thread: main, before the workers start. */
void pipe_set_size(uint32_t bytes);

struct pipe_pool;
/* pipe_pool_new - of @w; NULL without memory. Thread: before the loop runs. */
struct pipe_pool *pipe_pool_new(struct worker *w);
void pipe_pool_free(struct pipe_pool *pool); /* NULL is fine */

void pipe_init(struct pipe *p);
static inline bool pipe_is_open(const struct pipe *p)
{
	return p->fd[0] != -1;
}
/* pipe_take - @p has a pipe now, perhaps the one it had. false: none is to be had. */
bool pipe_take(struct worker *w, struct pipe *p);
/* pipe_give - an empty one goes back to the pool, one with bytes is closed. Harmless without one. */
void pipe_give(struct worker *w, struct pipe *p);

/*
 * pipe_fill - up to @max bytes of @s into an empty pipe. As stream_read, for plain streams; fewer
 * than @max do not mean that there are no more.
 */
enum stream_status pipe_fill(struct pipe *p, struct stream *s, size_t max, size_t *n);
/* pipe_drain - up to @max bytes of the pipe, which has that many, to @s. As stream_write. */
enum stream_status pipe_drain(struct pipe *p, struct stream *s, size_t max, size_t *n);
/* pipe_read - exactly @n bytes, which it has, into memory. false: the pipe is broken (never seen). */
bool pipe_read(struct pipe *p, void *buf, size_t n);

#endif
