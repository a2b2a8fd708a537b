/*
 * stream.c - bytes over one socket: the plain half, and what both halves have in common. The TLS
 * half is stream_tls.c. Never blocks, registers no events, logs nothing.
 */
#include "stream.h"

#include "base/assert.h"
#include "stream_priv.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

void stream_note_errno(struct stream *s)
{
	s->sys_errno = errno;
	if (errno == ECONNRESET || errno == EPIPE)
		s->reset = true;
}

ssize_t stream_recv(int fd, void *buf, size_t max)
{
	ssize_t n;

	do {
		n = recv(fd, buf, max, 0);
	} while (n == -1 && errno == EINTR);
	return n;
}

ssize_t stream_send(int fd, const void *buf, size_t len)
{
	ssize_t n;

	do {
		n = send(fd, buf, len, MSG_NOSIGNAL);
	} while (n == -1 && errno == EINTR);
	return n;
}

void stream_init(struct stream *s, int fd)
{
	*s = (struct stream){.fd = fd};
}

void stream_close(struct stream *s, bool abort)
{
	const struct linger hard = {.l_onoff = 1, .l_linger = 0};

	if (s->ssl != NULL)
		stream_tls_free(s);
	if (s->fd == -1)
		return;
	if (abort)
		(void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(s->fd);
	s->fd = -1;
}

void stream_move(struct stream *to, struct stream *from)
{
	*to = *from;
	if (to->ssl != NULL)
		stream_tls_moved(to);
	stream_init(from, -1);
}

enum stream_status stream_read(struct stream *s, void *buf, size_t max, size_t *n)
{
	ssize_t r;

	if (s->ssl != NULL)
		return stream_tls_read(s, buf, max, n);
	r = stream_recv(s->fd, buf, max);
	if (r > 0) {
		*n = (size_t)r;
		return STREAM_OK;
	}
	if (r == 0)
		return STREAM_EOF;
	if (stream_is_again(errno))
		return STREAM_AGAIN;
	stream_note_errno(s);
	return STREAM_FAILED;
}

bool stream_drained(const struct stream *s, size_t n, size_t max)
{
	return s->ssl != NULL ? stream_tls_drained(s) : n < max;
}

enum stream_status stream_write(struct stream *s, const void *buf, size_t len, size_t *n)
{
	ssize_t w;

	NP_ASSERT(len > 0);
	if (s->ssl != NULL)
		return stream_tls_write(s, buf, len, n);
	w = stream_send(s->fd, buf, len);
	if (w >= 0) {
		*n = (size_t)w;
		return STREAM_OK;
	}
	if (stream_is_again(errno))
		return STREAM_AGAIN;
	stream_note_errno(s);
	return STREAM_FAILED;
}

void stream_event(const struct stream *s, short what, bool *readable, bool *writable)
{
	bool in = (what & EV_READ) != 0, out = (what & EV_WRITE) != 0;

	if (in || (out && s->read_wants_write))
		*readable = true;
	if (out || (in && s->write_wants_read))
		*writable = true;
}

enum stream_status stream_shutdown_write(struct stream *s)
{
	enum stream_status status = s->ssl != NULL ? stream_tls_end(s) : STREAM_OK;

	if (status != STREAM_OK)
		return status;
	if (shutdown(s->fd, SHUT_WR) == 0)
		return STREAM_OK;
	stream_note_errno(s);
	return STREAM_FAILED;
}
