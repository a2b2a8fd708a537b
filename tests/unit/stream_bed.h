/*
 * stream_bed.h - for tests: pairs of connected streams, plain or TLS.
 */
#ifndef NP_TEST_STREAM_BED_H
#define NP_TEST_STREAM_BED_H

#include "stream.h"
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "reason.h"

static struct tls_identity identity;
static SSL_CTX *server_ctx, *client_ctx;

static inline int set_up(void **state)
{
	(void)state;
	return tls_identity_make(&identity) != NP_OK ||
	       tls_server_ctx(&identity, &server_ctx) != NP_OK ||
	       tls_client_ctx(NULL, &client_ctx, NULL) != NP_OK;
}

static inline int tear_down(void **state)
{
	(void)state;
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	tls_identity_release(&identity);
	return 0;
}

/* A TCP connection over loopback: resets do not exist on unix sockets. */
static inline void tcp_pair(int out[2])
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(l, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&a, &len), 0);
	out[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(out[0], (struct sockaddr *)&a, len), 0);
	out[1] = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	assert_int_not_equal(out[1], -1);
	close(l);
	assert_int_equal(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(fcntl(out[1], F_SETFL, O_NONBLOCK), 0);
}

static inline void plain_pair(struct stream *a, struct stream *b)
{
	int fd[2];

	tcp_pair(fd);
	stream_init(a, fd[0]);
	stream_init(b, fd[1]);
}

static inline void shake_hands(struct stream *client, struct stream *server)
{
	enum stream_status c = STREAM_AGAIN, s = STREAM_AGAIN;

	while (c != STREAM_OK || s != STREAM_OK) {
		if (c != STREAM_OK)
			c = stream_handshake(client);
		if (s != STREAM_OK)
			s = stream_handshake(server);
		assert_true(c == STREAM_OK || c == STREAM_AGAIN);
		assert_true(s == STREAM_OK || s == STREAM_AGAIN);
	}
}

static inline void tls_pair(struct stream *client, struct stream *server)
{
	int fd[2];

	tcp_pair(fd);
	assert_int_equal(stream_init_tls(client, fd[0],
					 tls_client_new(client_ctx, TLS_DATA, NULL, NULL), NULL, 0),
			 NP_OK);
	SSL *ssl = SSL_new(server_ctx);
	SSL_set_accept_state(ssl);
	assert_int_equal(stream_init_tls(server, fd[1], ssl, NULL, 0), NP_OK);
	shake_hands(client, server);
}

/* read_wait - until something else than AGAIN comes; loopback delivers, the test's time limit
 * bounds it. */
static inline enum stream_status read_wait(struct stream *s, void *buf, size_t max, size_t *n)
{
	enum stream_status st;

	do {
		st = stream_read(s, buf, max, n);
	} while (st == STREAM_AGAIN);
	return st;
}

static inline void expect_text(struct stream *from, struct stream *to, const char *text)
{
	char buf[64];
	size_t n;

	assert_int_equal(stream_write(from, text, strlen(text), &n), STREAM_OK);
	assert_int_equal(n, strlen(text));
	assert_int_equal(read_wait(to, buf, sizeof(buf), &n), STREAM_OK);
	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, n);
}

static inline void pair_of(bool tls, struct stream *a, struct stream *b)
{
	if (tls)
		tls_pair(a, b);
	else
		plain_pair(a, b);
}

static inline void exchange(bool tls)
{
	struct stream a, b;
	char c;
	size_t n;

	pair_of(tls, &a, &b);
	expect_text(&a, &b, "hello");
	expect_text(&b, &a, "world");
	assert_int_equal(stream_read(&b, &c, 1, &n), STREAM_AGAIN);
	assert_false(stream_pending(&b));
	stream_close(&a, false);
	stream_close(&b, false);
	assert_int_equal(a.fd, -1);
	stream_close(&a, true); /* harmless */
}

#endif
