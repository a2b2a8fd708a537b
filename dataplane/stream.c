/*
 * stream.c - bytes over one socket, plain or TLS. Never blocks, registers no events, logs nothing.
 *
 * TLS runs over a BIO of its own. It gives the bytes that were read before TLS was known first,
 * uses MSG_NOSIGNAL, and notes errno where SSL_get_error would lose it. The BIO knows its stream by
 * address: a stream is moved with stream_move only.
 */
#include "stream.h"

#include "base/assert.h"

#include <errno.h>
#include <event2/event.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What one call may take in TLS, so that one stream does not keep its worker: four full records. */
#define TLS_WRITE_MAX (64 * 1024)
/* Read-ahead: several records per recv. Without it OpenSSL asks for 5 bytes, then for the record.
 */
#define TLS_READ_AHEAD (32 * 1024)

static pthread_once_t bio_once = PTHREAD_ONCE_INIT;
static BIO_METHOD *bio_method; /* for the life of the process */

static void note_errno(struct stream *s)
{
	s->sys_errno = errno;
	if (errno == ECONNRESET || errno == EPIPE)
		s->reset = true;
}

static bool is_again(int err)
{
	return err == EAGAIN || err == EWOULDBLOCK;
}

static ssize_t sock_recv(int fd, void *buf, size_t max)
{
	ssize_t n;

	do {
		n = recv(fd, buf, max, 0);
	} while (n == -1 && errno == EINTR);
	return n;
}

static ssize_t sock_send(int fd, const void *buf, size_t len)
{
	ssize_t n;

	do {
		n = send(fd, buf, len, MSG_NOSIGNAL);
	} while (n == -1 && errno == EINTR);
	return n;
}

/* -- the BIO -- */

static int bio_read(BIO *b, char *out, size_t max, size_t *n)
{
	struct stream *s = BIO_get_data(b);
	ssize_t r;

	BIO_clear_retry_flags(b);
	if (np_buf_len(&s->prefix) > 0) {
		*n = np_buf_len(&s->prefix) < max ? np_buf_len(&s->prefix) : max;
		memcpy(out, np_buf_ptr(&s->prefix), *n);
		np_buf_consume(&s->prefix, *n);
		if (np_buf_len(&s->prefix) == 0)
			np_buf_release(&s->prefix);
		return 1;
	}
	r = sock_recv(s->fd, out, max);
	if (r > 0) {
		*n = (size_t)r;
		return 1;
	}
	*n = 0;
	if (r == 0)
		BIO_set_flags(b, BIO_FLAGS_IN_EOF);
	else if (is_again(errno))
		BIO_set_retry_read(b);
	else
		note_errno(s);
	return 0;
}

/*
 * One send per record. To gather several records into one send, this is the only place: append to a
 * buffer here while stream_write_tls encrypts, send the buffer at its end, and let stream_write_tls
 * report the last record as not written until the buffer is empty (the caller then comes back with
 * the same bytes, as it must anyway).
 */
static int bio_write(BIO *b, const char *in, size_t len, size_t *n)
{
	struct stream *s = BIO_get_data(b);
	ssize_t w;

	BIO_clear_retry_flags(b);
	w = sock_send(s->fd, in, len);
	if (w >= 0) {
		*n = (size_t)w;
		return 1;
	}
	*n = 0;
	if (is_again(errno))
		BIO_set_retry_write(b);
	else
		note_errno(s);
	return 0;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)num;
	(void)ptr;
	if (cmd == BIO_CTRL_EOF)
		return BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0;
	return cmd == BIO_CTRL_FLUSH;
}

static void bio_method_make(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");

	if (m == NULL)
		return;
	if (BIO_meth_set_read_ex(m, bio_read) != 1 || BIO_meth_set_write_ex(m, bio_write) != 1 ||
	    BIO_meth_set_ctrl(m, bio_ctrl) != 1) {
		BIO_meth_free(m);
		return;
	}
	bio_method = m;
}

void stream_exit(void)
{
	BIO_meth_free(bio_method);
	bio_method = NULL;
}

/* Counts the peer's KeyUpdates: each costs us a key derivation, and nothing bounds them in TLS. */
static void on_tls_message(int is_write, int version, int type, const void *buf, size_t len,
			   SSL *ssl, void *arg)
{
	struct stream *s;
	struct np_mono now;

	(void)version;
	(void)arg;
	if (is_write != 0 || type != SSL3_RT_HANDSHAKE || len == 0 ||
	    *(const uint8_t *)buf != SSL3_MT_KEY_UPDATE)
		return;
	s = BIO_get_data(SSL_get_rbio(ssl));
	now = np_mono_now();
	if (np_mono_diff_ms(now, s->key_updates_at) >= 60000) {
		s->key_updates_at = now;
		s->key_updates = 0;
	}
	if (++s->key_updates > STREAM_KEY_UPDATES_PER_MIN)
		s->flooded = true;
}

/* -- life -- */

void stream_init(struct stream *s, int fd)
{
	*s = (struct stream){.fd = fd};
	np_buf_init(&s->prefix, 0);
}

enum np_err stream_init_tls(struct stream *s, int fd, SSL *ssl, const void *prefix, size_t n)
{
	struct np_buf kept;
	BIO *bio = NULL;

	np_buf_init(&kept, n);
	if (n > 0)
		np_buf_put(&kept, prefix, n);
	pthread_once(&bio_once, bio_method_make);
	if (kept.err == NP_OK && bio_method != NULL)
		bio = BIO_new(bio_method);
	if (bio == NULL) {
		np_buf_release(&kept);
		return NP_ENOMEM;
	}
	*s = (struct stream){.fd = fd, .ssl = ssl, .prefix = kept};
	BIO_set_data(bio, s);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_msg_callback(ssl, on_tls_message);
	SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
			      SSL_MODE_RELEASE_BUFFERS);
	SSL_set_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_set_read_ahead(ssl, 1);
	SSL_set_default_read_buffer_len(ssl, TLS_READ_AHEAD);
	return NP_OK;
}

void stream_close(struct stream *s, bool abort)
{
	const struct linger hard = {.l_onoff = 1, .l_linger = 0};

	if (s->ssl != NULL) {
		/* Without this OpenSSL takes a missing close_notify for an attack and drops the
		 * session that other connections resume from. */
		SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		SSL_free(s->ssl);
		s->ssl = NULL;
	}
	np_buf_release(&s->prefix);
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
		BIO_set_data(SSL_get_rbio(to->ssl), to);
	stream_init(from, -1);
}

/* -- TLS -- */

static void tls_begin(struct stream *s)
{
	/* The queue belongs to the thread: what another stream left there would be taken for ours.
	 */
	ERR_clear_error();
	s->sys_errno = 0;
}

/* tls_result - what a failed SSL call means. */
static enum stream_status tls_result(struct stream *s, int ret, bool *want_other, int other)
{
	int err = SSL_get_error(s->ssl, ret);

	if (err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_WRITE) {
		*want_other = err == other;
		return STREAM_AGAIN;
	}
	if (err == SSL_ERROR_ZERO_RETURN)
		return STREAM_EOF;
	s->tls_error = ERR_peek_error();
	ERR_clear_error();
	return STREAM_FAILED;
}

enum stream_status stream_handshake(struct stream *s)
{
	enum stream_status status;
	int ret;

	NP_ASSERT(s->ssl != NULL);
	tls_begin(s);
	s->write_wants_read = false;
	ret = SSL_do_handshake(s->ssl);
	if (ret == 1) {
		s->read_wants_write = false;
		return STREAM_OK;
	}
	status = tls_result(s, ret, &s->read_wants_write, SSL_ERROR_WANT_WRITE);
	return status == STREAM_EOF ? STREAM_FAILED : status;
}

const char *stream_handshake_error(struct stream *s, char *out, size_t max)
{
	const char *reason = s->tls_error != 0 ? ERR_reason_error_string(s->tls_error) : NULL;
	char text[128];

	if (s->sys_errno != 0)
		snprintf(out, max, "%s", strerror_r(s->sys_errno, text, sizeof(text)));
	else if (reason != NULL)
		snprintf(out, max, "%s", reason);
	else if (s->tls_error != 0)
		snprintf(out, max, "TLS error %lx", s->tls_error);
	else
		snprintf(out, max, "the peer closed the connection");
	return out;
}

static enum stream_status stream_read_tls(struct stream *s, void *buf, size_t max, size_t *n)
{
	enum stream_status status;
	int ret;

	tls_begin(s);
	s->read_wants_write = false;
	ret = SSL_read_ex(s->ssl, buf, max, n);
	if (s->flooded) {
		s->sys_errno = EPROTO;
		return STREAM_FAILED;
	}
	if (ret == 1) {
		s->read_dry = false;
		return STREAM_OK;
	}
	status = tls_result(s, ret, &s->read_wants_write, SSL_ERROR_WANT_WRITE);
	s->read_dry = true;
	return status;
}

/* A partial write ends a record: goes on until the socket is full. */
static enum stream_status stream_write_tls(struct stream *s, const uint8_t *buf, size_t len,
					   size_t *n)
{
	enum stream_status status;
	size_t done = 0, w;
	int ret;

	s->write_wants_read = false;
	while (done < len && done < TLS_WRITE_MAX) {
		tls_begin(s);
		ret = SSL_write_ex(s->ssl, buf + done, len - done, &w);
		if (ret != 1) {
			status = tls_result(s, ret, &s->write_wants_read, SSL_ERROR_WANT_READ);
			if (done == 0 || status == STREAM_FAILED)
				return status;
			break;
		}
		done += w;
	}
	*n = done;
	return STREAM_OK;
}

/* -- both kinds -- */

enum stream_status stream_read(struct stream *s, void *buf, size_t max, size_t *n)
{
	ssize_t r;

	if (s->ssl != NULL)
		return stream_read_tls(s, buf, max, n);
	r = sock_recv(s->fd, buf, max);
	if (r > 0) {
		*n = (size_t)r;
		return STREAM_OK;
	}
	if (r == 0)
		return STREAM_EOF;
	if (is_again(errno))
		return STREAM_AGAIN;
	note_errno(s);
	return STREAM_FAILED;
}

enum stream_status stream_write(struct stream *s, const void *buf, size_t len, size_t *n)
{
	ssize_t w;

	NP_ASSERT(len > 0);
	if (s->ssl != NULL)
		return stream_write_tls(s, buf, len, n);
	w = sock_send(s->fd, buf, len);
	if (w >= 0) {
		*n = (size_t)w;
		return STREAM_OK;
	}
	if (is_again(errno))
		return STREAM_AGAIN;
	note_errno(s);
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

bool stream_pending(const struct stream *s)
{
	/* SSL_has_pending counts an incomplete record, too: with read-ahead it stays true when
	 * there is nothing to read. A read that found nothing says so. */
	return s->ssl != NULL && !s->read_dry &&
	       (SSL_has_pending(s->ssl) != 0 || np_buf_len(&s->prefix) > 0);
}

enum stream_status stream_shutdown_write(struct stream *s)
{
	enum stream_status status;
	int ret;

	if (s->ssl != NULL && SSL_is_init_finished(s->ssl)) {
		tls_begin(s);
		ret = SSL_shutdown(s->ssl);
		if (ret < 0) {
			status = tls_result(s, ret, &s->write_wants_read, SSL_ERROR_WANT_READ);
			if (status != STREAM_EOF)
				return status;
		}
	}
	if (shutdown(s->fd, SHUT_WR) == 0)
		return STREAM_OK;
	note_errno(s);
	return STREAM_FAILED;
}
