/*
 * stream_tls.c - the TLS half of a stream.
 *
 * TLS runs over a BIO of its own. Between it and the socket stands one buffer per thread, shared by
 * all streams: a read fills it with one recv and decrypts all records in it, a write gathers the
 * records of up to TLS_WRITE_MAX bytes in it and sends them with one send. What is left at the end
 * of the call goes into a buffer of the stream, which exists only while bytes wait. So a stream
 * costs no buffers while it is idle: SSL_MODE_RELEASE_BUFFERS does the same for OpenSSL's own.
 *
 * The BIO also gives the bytes that were read before TLS was known first, uses MSG_NOSIGNAL, and
 * notes errno where SSL_get_error would lose it. It knows its stream by address: a stream is moved
 * with stream_move only.
 */
#include "base/alloc.h"
#include "base/assert.h"
#include "stream_bio.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

/* Counts the peer's KeyUpdates: each costs us a key derivation, and nothing bounds them in TLS. */
static void on_tls_message(int is_write, int version, int type, const void *buf, size_t len,
			   SSL *ssl, void *arg)
{
	struct stream_tls *t;
	struct np_mono now;

	(void)version;
	(void)arg;
	if (is_write != 0 || type != SSL3_RT_HANDSHAKE || len == 0 ||
	    *(const uint8_t *)buf != SSL3_MT_KEY_UPDATE)
		return;
	t = ((struct stream *)BIO_get_data(SSL_get_rbio(ssl)))->tls;
	now = np_mono_now();
	if (np_mono_diff_ms(now, t->key_updates_at) >= 60000) {
		t->key_updates_at = now;
		t->key_updates = 0;
	}
	if (++t->key_updates > STREAM_KEY_UPDATES_PER_MIN)
		t->flooded = true;
}

/* -- life -- */

enum np_err stream_init_tls(struct stream *s, int fd, SSL *ssl, const void *prefix, size_t n)
{
	struct stream_tls *t = np_calloc(1, sizeof(*t));
	BIO *bio = NULL;

	if (t == NULL)
		return NP_ENOMEM;
	np_buf_init(&t->in, n > IO_MAX ? n : IO_MAX);
	np_buf_init(&t->out, IO_MAX);
	if (n > 0)
		np_buf_put(&t->in, prefix, n);
	if (t->in.err == NP_OK)
		bio = tls_bio_new();
	if (bio == NULL) {
		np_buf_release(&t->in);
		np_free(t);
		return NP_ENOMEM;
	}
	*s = (struct stream){.fd = fd, .ssl = ssl, .tls = t};
	BIO_set_data(bio, s);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_msg_callback(ssl, on_tls_message);
	SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
			      SSL_MODE_RELEASE_BUFFERS);
	SSL_set_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
	return NP_OK;
}

void stream_tls_moved(struct stream *s)
{
	BIO_set_data(SSL_get_rbio(s->ssl), s);
}

void stream_tls_free(struct stream *s)
{
	/* Without this OpenSSL takes a missing close_notify for an attack and drops the session
	 * that other connections resume from. */
	SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(s->ssl);
	s->ssl = NULL;
	np_buf_release(&s->tls->in);
	np_buf_release(&s->tls->out);
	np_free(s->tls);
	s->tls = NULL;
}

/* -- calls of OpenSSL -- */

static void tls_begin(struct stream *s)
{
	/* The queue belongs to the thread: what another stream left there would be taken for ours.
	 * To clear an empty one is 16 entries of work. */
	if (ERR_peek_error() != 0)
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
	s->tls->error = ERR_peek_error();
	ERR_clear_error();
	return STREAM_FAILED;
}

static enum stream_status no_memory(struct stream *s)
{
	s->sys_errno = ENOMEM;
	return STREAM_FAILED;
}

enum stream_status stream_handshake(struct stream *s)
{
	enum stream_status status;
	int ret;

	NP_ASSERT(s->ssl != NULL);
	tls_begin(s);
	s->write_wants_read = false;
	tls_io_begin(s->tls);
	ret = SSL_do_handshake(s->ssl);
	if (!tls_io_end(s->tls))
		return no_memory(s);
	if (ret == 1) {
		s->read_wants_write = false;
		return STREAM_OK;
	}
	status = tls_result(s, ret, &s->read_wants_write, SSL_ERROR_WANT_WRITE);
	return status == STREAM_EOF ? STREAM_FAILED : status;
}

unsigned long stream_tls_error(const struct stream *s)
{
	return s->tls != NULL ? s->tls->error : 0;
}

const char *stream_handshake_error(struct stream *s, char *out, size_t max)
{
	unsigned long error = s->tls->error;
	const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;
	char text[128];

	if (s->sys_errno != 0)
		snprintf(out, max, "%s", strerror_r(s->sys_errno, text, sizeof(text)));
	else if (reason != NULL)
		snprintf(out, max, "%s", reason);
	else if (error != 0)
		snprintf(out, max, "TLS error %lx", error);
	else
		snprintf(out, max, "the peer closed the connection");
	return out;
}

/* read_more - the records behind the first one, without asking the kernel. */
static size_t read_more(struct stream *s, uint8_t *buf, size_t max)
{
	struct stream_tls *t = s->tls;
	size_t done = 0, n;
	int ret;

	t->io->dry = true;
	while (done < max && (t->io->off < t->io->len || SSL_pending(s->ssl) > 0)) {
		tls_begin(s);
		ret = SSL_read_ex(s->ssl, buf + done, max - done, &n);
		if (t->flooded)
			break;
		if (ret != 1) {
			enum stream_status status =
			    tls_result(s, ret, &s->read_wants_write, SSL_ERROR_WANT_WRITE);

			t->late = status == STREAM_AGAIN ? STREAM_OK : status;
			t->read_dry = true;
			break;
		}
		done += n;
	}
	return done;
}

enum stream_status stream_tls_read(struct stream *s, void *buf, size_t max, size_t *n)
{
	struct stream_tls *t = s->tls;
	enum stream_status status = STREAM_OK;
	int ret;

	if (t->late != STREAM_OK)
		return t->late;
	tls_begin(s);
	s->read_wants_write = false;
	t->recv_short = false;
	tls_io_begin(t);
	ret = SSL_read_ex(s->ssl, buf, max, n);
	t->read_dry = ret != 1;
	if (ret != 1)
		status = tls_result(s, ret, &s->read_wants_write, SSL_ERROR_WANT_WRITE);
	else if (t->io != NULL && !t->flooded)
		*n += read_more(s, (uint8_t *)buf + *n, max - *n);
	if (!tls_io_end(t))
		return no_memory(s);
	if (t->flooded) {
		s->sys_errno = EPROTO;
		return STREAM_FAILED;
	}
	return status;
}

/* write_gathered - one send for all; the rest waits in t->out. */
static enum stream_status write_gathered(struct stream *s)
{
	struct stream_tls *t = s->tls;
	struct tls_io *io = t->io;
	ssize_t w = stream_send(s->fd, io->data, io->len);

	if (w == -1 && !stream_is_again(errno)) {
		stream_note_errno(s);
		return STREAM_FAILED;
	}
	if (w == (ssize_t)io->len)
		return STREAM_OK;
	if (w == -1)
		w = 0;
	np_buf_put(&t->out, io->data + w, io->len - (size_t)w);
	return t->out.err == NP_OK ? STREAM_AGAIN : no_memory(s);
}

/*
 * encrypt - records of @buf into the thread's buffer, one per call of OpenSSL. *@last: bytes in the
 * last one.
 */
static enum stream_status encrypt(struct stream *s, const uint8_t *buf, size_t len, size_t *n,
				  size_t *last)
{
	struct tls_io *io = s->tls->io;
	size_t done = 0;
	int ret;

	while (done < len && done < TLS_WRITE_MAX && sizeof(io->data) - io->len >= RECORD_MAX) {
		tls_begin(s);
		ret = SSL_write_ex(s->ssl, buf + done, len - done, last);
		if (ret != 1) {
			enum stream_status status =
			    tls_result(s, ret, &s->write_wants_read, SSL_ERROR_WANT_READ);

			if (done == 0 || status == STREAM_FAILED)
				return status;
			break;
		}
		done += *last;
	}
	*n = done;
	return STREAM_OK;
}

/* Without the thread's buffer: a send for each record. */
static enum stream_status write_one(struct stream *s, const uint8_t *buf, size_t len, size_t *n)
{
	int ret;

	tls_begin(s);
	ret = SSL_write_ex(s->ssl, buf, len, n);
	return ret == 1 ? STREAM_OK : tls_result(s, ret, &s->write_wants_read, SSL_ERROR_WANT_READ);
}

/*
 * What the socket did not take is encrypted already and cannot be taken back: the bytes of the last
 * record are reported as not written until the socket has all of it, so that the caller comes back.
 */
enum stream_status stream_tls_write(struct stream *s, const uint8_t *buf, size_t len, size_t *n)
{
	struct stream_tls *t = s->tls;
	enum stream_status status;
	size_t last = 0;

	s->write_wants_read = false;
	s->sys_errno = 0;
	status = tls_out_flush(s);
	if (status != STREAM_OK)
		return status;
	if (t->owed > 0) {
		*n = t->owed < len ? t->owed : len;
		t->owed -= *n;
		return STREAM_OK;
	}
	t->io = tls_io_get();
	if (t->io == NULL)
		return write_one(s, buf, len, n);
	t->io->gather = true;
	status = encrypt(s, buf, len, n, &last);
	if (status == STREAM_OK || t->io->len > 0) {
		enum stream_status sent = write_gathered(s);

		if (sent == STREAM_AGAIN && status == STREAM_OK) {
			t->owed = last;
			*n -= last;
			status = *n > 0 ? STREAM_OK : STREAM_AGAIN;
		} else if (sent == STREAM_FAILED) {
			status = STREAM_FAILED;
		}
	}
	t->io = NULL;
	return status;
}

/*
 * The recv has to be of that read: what came after an earlier one may have had its event already. A
 * record that OpenSSL has in part counts as more to read: reading finds that out.
 */
bool stream_tls_drained(const struct stream *s)
{
	const struct stream_tls *t = s->tls;

	return t->recv_short && t->late == STREAM_OK && np_buf_len(&t->in) == 0 &&
	       SSL_has_pending(s->ssl) == 0;
}

bool stream_pending(const struct stream *s)
{
	/* SSL_has_pending counts an incomplete record, too: it stays true when there is nothing to
	 * read. A read that found nothing says so. */
	return s->ssl != NULL && !s->tls->read_dry &&
	       (SSL_has_pending(s->ssl) != 0 || np_buf_len(&s->tls->in) > 0);
}

enum stream_status stream_tls_end(struct stream *s)
{
	enum stream_status status;
	int ret;

	if (!SSL_is_init_finished(s->ssl))
		return STREAM_OK;
	tls_begin(s);
	ret = SSL_shutdown(s->ssl);
	if (ret >= 0)
		return STREAM_OK;
	status = tls_result(s, ret, &s->write_wants_read, SSL_ERROR_WANT_READ);
	return status == STREAM_EOF ? STREAM_OK : status;
}
