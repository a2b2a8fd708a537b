/*
 * stream_bio.c - between TLS and the socket of a stream: the thread's buffer and the BIO. See
 * stream_tls.c.
 */
#include "stream_bio.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static BIO_METHOD *bio_method; /* for the life of the process */
static pthread_key_t io_key;
static bool has_io_key;

/* -- the thread's buffer -- */

struct tls_io *tls_io_get(void)
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
void tls_io_begin(struct stream_tls *t)
{
	struct tls_io *io = tls_io_get();
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
bool tls_io_end(struct stream_tls *t)
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
		s->tls->recv_short = r > 0 && (size_t)r < sizeof(io->data);
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

/* tls_out_flush - what waits, to the socket. STREAM_OK: nothing waits any more. */
enum stream_status tls_out_flush(struct stream *s)
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
	status = tls_out_flush(s);
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

BIO *tls_bio_new(void)
{
	pthread_once(&once, make_once);
	return bio_method != NULL ? BIO_new(bio_method) : NULL;
}
