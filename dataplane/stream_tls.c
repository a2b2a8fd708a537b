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
#include "stream.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/mono.h"
#include "stream_priv.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* A full record: header, content type, tag; some suites need a few bytes more. */
#define RECORD_MAX (SSL3_RT_MAX_PLAIN_LENGTH + 256)
/* What one call may take, so that one stream does not keep its worker: eight full records. */
#define TLS_WRITE_MAX (8 * SSL3_RT_MAX_PLAIN_LENGTH)
#define IO_MAX	      (9 * RECORD_MAX)

/* The buffer of a thread. In use only within one call on one stream. */
struct tls_io {
	size_t off, len; /* reading: what TLS has not taken yet; writing: off is 0 */
	bool gather;
	bool dry; /* reading: TLS gets nothing more from the socket in this call */
	uint8_t data[IO_MAX];
};

struct stream_tls {
	struct tls_io *io; /* borrowed from the thread during a call; NULL: none could be had */
	struct np_buf in;  /* received, or read before TLS began */
	struct np_buf out; /* encrypted; the socket did not take it */
	size_t
	    owed; /* bytes of the caller at the end of out that were not yet reported as written */
	bool read_dry;		 /* the last read left nothing */
	enum stream_status late; /* the end that a read met behind its bytes; STREAM_OK = none */
	unsigned long error;	 /* OpenSSL's code of the failure, 0 = none */
	bool flooded;		 /* too many KeyUpdates */
	unsigned key_updates;	 /* of the peer, in the minute from key_updates_at on */
	struct np_mono key_updates_at;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static BIO_METHOD *bio_method; /* for the life of the process */
static pthread_key_t io_key;
static bool has_io_key;

/* -- the thread's buffer -- */

static struct tls_io *io_get(void)
{
	struct tls_io *io = has_io_key ? pthread_getspecific(io_key) : NULL;

	if (io == NULL && has_io_key) {
		io = np_malloc(sizeof(*io));
		if (io != NULL && pthread_setspecific(io_key, io) != 0) {
			np_free(io);
			io = NULL;
		}
	}
	if (io != NULL)
		io->off = io->len = 0;
	return io;
}

/* Begins a call that reads: what was left by the last one comes first. */
static void io_begin(struct stream_tls *t)
{
	struct tls_io *io = io_get();
	size_t n = np_buf_len(&t->in);

	if (io == NULL || n > sizeof(io->data))
		return; /* the BIO reads from t->in, and asks the kernel for what TLS asks for */
	io->gather = io->dry = false;
	if (n > 0)
		memcpy(io->data, np_buf_ptr(&t->in), n);
	io->len = n;
	np_buf_release(&t->in);
	t->io = io;
}

/* false: no memory for what is left; the stream cannot go on. */
static bool io_end(struct stream_tls *t)
{
	struct tls_io *io = t->io;

	t->io = NULL;
	if (io == NULL || io->off == io->len)
		return true;
	np_buf_put(&t->in, io->data + io->off, io->len - io->off);
	return t->in.err == NP_OK;
}

/* -- the BIO: 1, 0 = end, -1 = failed or not now (SSL_shutdown takes a 0 for done) -- */

static int bio_take(struct np_buf *from, char *out, size_t max, size_t *n)
{
	*n = np_buf_len(from) < max ? np_buf_len(from) : max;
	memcpy(out, np_buf_ptr(from), *n);
	np_buf_consume(from, *n);
	if (np_buf_len(from) == 0)
		np_buf_release(from);
	return 1;
}

static int bio_read(BIO *b, char *out, size_t max, size_t *n)
{
	struct stream *s = BIO_get_data(b);
	struct tls_io *io = s->tls->io;
	ssize_t r;

	BIO_clear_retry_flags(b);
	*n = 0;
	if (np_buf_len(&s->tls->in) > 0)
		return bio_take(&s->tls->in, out, max, n);
	if (io != NULL && io->off == io->len) {
		if (io->dry) {
			BIO_set_retry_read(b);
			return -1;
		}
		r = stream_recv(s->fd, io->data, sizeof(io->data));
		io->off = 0;
		io->len = r > 0 ? (size_t)r : 0;
	} else {
		r = io != NULL ? 1 : stream_recv(s->fd, out, max);
	}
	if (r > 0 && io != NULL) {
		*n = io->len - io->off < max ? io->len - io->off : max;
		memcpy(out, io->data + io->off, *n);
		io->off += *n;
	} else if (r > 0) {
		*n = (size_t)r;
	} else if (r == 0) {
		BIO_set_flags(b, BIO_FLAGS_IN_EOF);
	} else if (stream_is_again(errno)) {
		BIO_set_retry_read(b);
	} else {
		stream_note_errno(s);
	}
	return r > 0 ? 1 : (int)r;
}

/* out_flush - what waits, to the socket. STREAM_OK: nothing waits any more. */
static enum stream_status out_flush(struct stream *s)
{
	struct np_buf *out = &s->tls->out;

	while (np_buf_len(out) > 0) {
		ssize_t w = stream_send(s->fd, np_buf_ptr(out), np_buf_len(out));

		if (w == -1 && stream_is_again(errno))
			return STREAM_AGAIN;
		if (w == -1) {
			stream_note_errno(s);
			return STREAM_FAILED;
		}
		np_buf_consume(out, (size_t)w);
	}
	np_buf_release(out);
	return STREAM_OK;
}

static int bio_write(BIO *b, const char *in, size_t len, size_t *n)
{
	struct stream *s = BIO_get_data(b);
	struct tls_io *io = s->tls->io;
	enum stream_status status;
	ssize_t w;

	BIO_clear_retry_flags(b);
	*n = 0;
	if (io != NULL && io->gather) {
		NP_ASSERT(len <= sizeof(io->data) - io->len);
		memcpy(io->data + io->len, in, len);
		io->len += len;
		*n = len;
		return 1;
	}
	status = out_flush(s);
	if (status == STREAM_FAILED)
		return -1;
	w = status == STREAM_OK ? stream_send(s->fd, in, len) : -1;
	if (w >= 0) {
		*n = (size_t)w;
		return 1;
	}
	if (status == STREAM_AGAIN || stream_is_again(errno))
		BIO_set_retry_write(b);
	else
		stream_note_errno(s);
	return -1;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)num;
	(void)ptr;
	if (cmd == BIO_CTRL_EOF)
		return BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0;
	return cmd == BIO_CTRL_FLUSH;
}

static void make_once(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");

	has_io_key = pthread_key_create(&io_key, np_free) == 0;
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
	pthread_once(&once, make_once);
	if (t->in.err == NP_OK && bio_method != NULL)
		bio = BIO_new(bio_method);
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
	io_begin(s->tls);
	ret = SSL_do_handshake(s->ssl);
	if (!io_end(s->tls))
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
	io_begin(t);
	ret = SSL_read_ex(s->ssl, buf, max, n);
	t->read_dry = ret != 1;
	if (ret != 1)
		status = tls_result(s, ret, &s->read_wants_write, SSL_ERROR_WANT_WRITE);
	else if (t->io != NULL && !t->flooded)
		*n += read_more(s, (uint8_t *)buf + *n, max - *n);
	if (!io_end(t))
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
	status = out_flush(s);
	if (status != STREAM_OK)
		return status;
	if (t->owed > 0) {
		*n = t->owed < len ? t->owed : len;
		t->owed -= *n;
		return STREAM_OK;
	}
	t->io = io_get();
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
