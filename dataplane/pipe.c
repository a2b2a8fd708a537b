/*
 * pipe.c - pipes for splice(2) and the pools they wait in. See pipe.h.
 */
#include "pipe.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct pipe_pool {
	struct worker *worker;
	struct event *timer; /* runs while pipes are kept */
	struct np_mono refused_until;
	unsigned n, low; /* kept now; fewest since the timer ran: these were not needed */
	struct pipe kept[PIPES_KEPT_MAX];
};

static uint32_t wanted_size = PIPE_SIZE_DEFAULT; /* written before the workers start */

void pipe_set_size(uint32_t bytes)
{
	wanted_size = bytes;
}

void pipe_init(struct pipe *p)
{
	*p = (struct pipe){.fd = {-1, -1}};
}

static void pipe_close(struct pipe *p)
{
	close(p->fd[0]);
	close(p->fd[1]);
	pipe_init(p);
}

/* -- pool -- */

static void pool_arm(struct pipe_pool *pool)
{
	const struct timeval tv = tv_of_ms(PIPES_IDLE_MS);

	if (!evtimer_pending(pool->timer, NULL))
		evtimer_add(pool->timer, &tv);
}

static void pool_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct pipe_pool *pool = arg;

	(void)fd;
	(void)what;
	for (; pool->low > 0; pool->low--)
		pipe_close(&pool->kept[--pool->n]);
	pool->low = pool->n;
	if (pool->n > 0)
		pool_arm(pool);
}

struct pipe_pool *pipe_pool_new(struct worker *w)
{
	struct pipe_pool *pool = np_calloc(1, sizeof(*pool));

	if (pool == NULL)
		return NULL;
	pool->worker = w;
	pool->timer = evtimer_new(w->base, pool_on_timer, pool);
	if (pool->timer == NULL) {
		np_free(pool);
		return NULL;
	}
	return pool;
}

void pipe_pool_free(struct pipe_pool *pool)
{
	if (pool == NULL)
		return;
	while (pool->n > 0)
		pipe_close(&pool->kept[--pool->n]);
	event_free(pool->timer);
	np_free(pool);
}

/*
 * Of the wanted size if the user's limit allows it (/proc/sys/fs/pipe-user-pages-soft), else as
 * pipe2 makes it. Past the limit that is a page or two, which is worse than copying.
 */
static bool pipe_make(struct pipe *p)
{
	const int wanted = (int)wanted_size;
	int size;

	if (pipe2(p->fd, O_NONBLOCK | O_CLOEXEC) == -1) {
		pipe_init(p);
		return false;
	}
	size = fcntl(p->fd[1], F_SETPIPE_SZ, wanted);
	if (size == -1)
		size = fcntl(p->fd[1], F_GETPIPE_SZ);
	if (size < wanted && size < PIPE_SIZE_FALLBACK) {
		pipe_close(p);
		return false;
	}
	p->size = (uint32_t)size;
	p->len = 0;
	return true;
}

bool pipe_take(struct worker *w, struct pipe *p)
{
	struct pipe_pool *pool = w->pipes;

	if (pipe_is_open(p))
		return true;
	if (pool->n > 0) {
		*p = pool->kept[--pool->n];
		if (pool->low > pool->n)
			pool->low = pool->n;
		return true;
	}
	if (np_mono_is_set(pool->refused_until) &&
	    np_mono_before(worker_pass_now(w), pool->refused_until))
		return false;
	if (pipe_make(p))
		return true;
	pool->refused_until = np_mono_add_ms(worker_pass_now(w), PIPES_RETRY_MS);
	return false;
}

void pipe_give(struct worker *w, struct pipe *p)
{
	struct pipe_pool *pool = w->pipes;

	if (!pipe_is_open(p))
		return;
	if (p->len > 0 || pool->n == PIPES_KEPT_MAX) {
		pipe_close(p);
		return;
	}
	pool->kept[pool->n++] = *p;
	pipe_init(p);
	pool_arm(pool);
}

/* -- bytes -- */

static enum stream_status status_of(struct stream *s, ssize_t r, size_t *n)
{
	if (r > 0) {
		*n = (size_t)r;
		return STREAM_OK;
	}
	if (r == 0)
		return STREAM_EOF;
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return STREAM_AGAIN;
	s->sys_errno = errno;
	if (errno == ECONNRESET || errno == EPIPE)
		s->reset = true;
	return STREAM_FAILED;
}

static ssize_t splice_once(int from, int to, size_t n)
{
	ssize_t r;

	do {
		r = splice(from, NULL, to, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	} while (r == -1 && errno == EINTR);
	return r;
}

enum stream_status pipe_fill(struct pipe *p, struct stream *s, size_t max, size_t *n)
{
	enum stream_status status;

	/* In an empty pipe EAGAIN can only mean an empty socket. */
	NP_ASSERT(s->ssl == NULL && p->len == 0 && max > 0);
	status = status_of(s, splice_once(s->fd, p->fd[1], max < p->size ? max : p->size), n);
	if (status == STREAM_OK)
		p->len = (uint32_t)*n;
	return status;
}

enum stream_status pipe_drain(struct pipe *p, struct stream *s, size_t max, size_t *n)
{
	enum stream_status status;

	NP_ASSERT(s->ssl == NULL && max > 0 && max <= p->len);
	status = status_of(s, splice_once(p->fd[0], s->fd, max), n);
	if (status == STREAM_OK)
		p->len -= (uint32_t)*n;
	return status;
}

bool pipe_read(struct pipe *p, void *buf, size_t n)
{
	uint8_t *to = buf;

	NP_ASSERT(n <= p->len);
	while (n > 0) {
		ssize_t r = read(p->fd[0], to, n);

		if (r == -1 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		to += r;
		n -= (size_t)r;
		p->len -= (uint32_t)r;
	}
	return true;
}
