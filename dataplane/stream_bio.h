/*
 * stream_bio.h - inside of stream's TLS half: what its calls of OpenSSL (stream_tls.c) and the way to
 * the socket below them (stream_bio.c) share.
 */
#ifndef NP_STREAM_BIO_H
#define NP_STREAM_BIO_H

#include "base/buf.h"
#include "base/mono.h"
#include "stream_priv.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>

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
	bool recv_short;	 /* the last recv of it took all that the socket had */
	enum stream_status late; /* the end that a read met behind its bytes; STREAM_OK = none */
	unsigned long error;	 /* OpenSSL's code of the failure, 0 = none */
	bool flooded;		 /* too many KeyUpdates */
	unsigned key_updates;	 /* of the peer, in the minute from key_updates_at on */
	struct np_mono key_updates_at;
};

/* tls_io_get - the thread's buffer, empty; NULL without memory. */
struct tls_io *tls_io_get(void);
/*
 * tls_io_begin, tls_io_end - around a call that reads: what was left by the last one comes first.
 * false: no memory for what is left; the stream cannot go on.
 */
void tls_io_begin(struct stream_tls *t);
bool tls_io_end(struct stream_tls *t);
/* tls_out_flush - what waits, to the socket. STREAM_OK: nothing waits any more. */
enum stream_status tls_out_flush(struct stream *s);
/* tls_bio_new - its data is to be the stream. NULL without memory. */
BIO *tls_bio_new(void);

#endif
