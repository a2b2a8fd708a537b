/*
 * stream.h - bytes over one socket, plain or TLS, behind one set of operations. Never blocks.
 *
 * A stream owns its descriptor and its SSL, but no events: who uses it registers the descriptor and
 * calls again when the socket is ready. TLS runs over a BIO of its own, so bytes that were read
 * before TLS was known are given to it (prefix).
 */
#ifndef NP_STREAM_H
#define NP_STREAM_H

#include "base/err.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/types.h>

enum stream_status {
	STREAM_OK = 0,
	STREAM_AGAIN,  /* nothing now; wait for the socket */
	STREAM_EOF,    /* the peer ended its direction cleanly */
	STREAM_FAILED, /* reset or error; errno in stream.sys_errno (0 = TLS failure) */
};

/* A peer may make us derive new keys so often; past it reading fails. */
#define STREAM_KEY_UPDATES_PER_MIN 16

struct stream_tls;

struct stream {
	int fd; /* owned; -1 = closed */
	int sys_errno;
	SSL *ssl;				 /* owned; NULL = plain */
	struct stream_tls *tls;			 /* owned; with ssl; see stream_bio.h */
	bool read_wants_write, write_wants_read; /* TLS only */
	bool reset;				 /* the peer sent RST */
};

/* stream_exit - gives back what all streams share; at the end of the process. */
void stream_exit(void);
/* stream_init - takes @fd. stream_init_tls - takes @fd and @ssl; @prefix (may be NULL, @n) is
 * copied. Errors: NP_ENOMEM: nothing taken. */
void stream_init(struct stream *s, int fd);
enum np_err stream_init_tls(struct stream *s, int fd, SSL *ssl, const void *prefix,
			    size_t n) NP_MUST_CHECK;

/* stream_handshake - one step. STREAM_OK = finished. stream_handshake_error - why it failed, one
 * line. */
enum stream_status stream_handshake(struct stream *s);
const char *stream_handshake_error(struct stream *s, char *out, size_t max);
/* stream_tls_error - OpenSSL's code of the last failure, 0 = none. */
unsigned long stream_tls_error(const struct stream *s);

/* stream_read - *n in 1..@max with STREAM_OK; in TLS all the records that one recv brought, as far as
 * @max goes. Repeats on EINTR. */
enum stream_status stream_read(struct stream *s, void *buf, size_t max, size_t *n);
/*
 * stream_drained - did the last read, @n bytes of the @max asked for, take all there was?
 * What comes later is an event of the socket. Asked right after the read.
 */
bool stream_drained(const struct stream *s, size_t n, size_t max);
/*
 * stream_write - *n in 1..@len with STREAM_OK (part of it; @len > 0). After STREAM_AGAIN and after
 * a write of a part the next call begins with the bytes that are still due: in TLS up to 16 KiB of
 * them may be encrypted already.
 */
enum stream_status stream_write(struct stream *s, const void *buf, size_t len, size_t *n);
/*
 * stream_event - the socket's event (EV_READ, EV_WRITE) as what may be tried now; TLS may read when the socket takes
 * bytes, and the other way round. Sets, never clears.
 */
void stream_event(const struct stream *s, short what, bool *readable, bool *writable);
/* stream_pending - bytes are inside TLS that the socket will not announce. */
bool stream_pending(const struct stream *s);
/* stream_shutdown_write - half-close: close_notify and FIN as it applies. May be called once.
 * STREAM_AGAIN: call again. */
enum stream_status stream_shutdown_write(struct stream *s);
/* stream_close - closes; @abort: the peer sees a reset. Harmless when closed already. */
void stream_close(struct stream *s, bool abort);
/* stream_move - @to takes over everything of @from, which is left closed (hand-over to another
 * owner). */
void stream_move(struct stream *to, struct stream *from);

#endif
