/*
 * stream_priv.h - inside of stream: what its plain half and its TLS half share.
 */
#ifndef NP_STREAM_PRIV_H
#define NP_STREAM_PRIV_H

#include "stream.h"

#include <errno.h>

/* stream_recv, stream_send - one call of the kernel, repeated on EINTR; stream_note_errno - keeps
 * errno of one that failed. */
ssize_t stream_recv(int fd, void *buf, size_t max);
ssize_t stream_send(int fd, const void *buf, size_t len);
void stream_note_errno(struct stream *s);
static inline bool stream_is_again(int err)
{
	return err == EAGAIN || err == EWOULDBLOCK;
}

/* The TLS half; @s has an SSL. */
enum stream_status stream_tls_read(struct stream *s, void *buf, size_t max, size_t *n);
enum stream_status stream_tls_write(struct stream *s, const uint8_t *buf, size_t len, size_t *n);
bool stream_tls_drained(const struct stream *s);
/* stream_tls_end - close_notify. stream_tls_moved - @s has another address now. */
enum stream_status stream_tls_end(struct stream *s);
void stream_tls_moved(struct stream *s);
void stream_tls_free(struct stream *s);

#endif
