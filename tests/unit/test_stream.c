/*
 * test_stream.c - plain and TLS streams: data, partial writes, ends, resets, prefix, hand-over.
 */
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

static int set_up(void **state)
{
	(void)state;
	return tls_identity_make(&identity) != NP_OK ||
	       tls_server_ctx(&identity, &server_ctx) != NP_OK ||
	       tls_client_ctx(NULL, &client_ctx, NULL) != NP_OK;
}

static int tear_down(void **state)
{
	(void)state;
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	tls_identity_release(&identity);
	return 0;
}

/* A TCP connection over loopback: resets do not exist on unix sockets. */
static void tcp_pair(int out[2])
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

static void plain_pair(struct stream *a, struct stream *b)
{
	int fd[2];

	tcp_pair(fd);
	stream_init(a, fd[0]);
	stream_init(b, fd[1]);
}

static void shake_hands(struct stream *client, struct stream *server)
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

static void tls_pair(struct stream *client, struct stream *server)
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
static enum stream_status read_wait(struct stream *s, void *buf, size_t max, size_t *n)
{
	enum stream_status st;

	do {
		st = stream_read(s, buf, max, n);
	} while (st == STREAM_AGAIN);
	return st;
}

static void expect_text(struct stream *from, struct stream *to, const char *text)
{
	char buf[64];
	size_t n;

	assert_int_equal(stream_write(from, text, strlen(text), &n), STREAM_OK);
	assert_int_equal(n, strlen(text));
	assert_int_equal(read_wait(to, buf, sizeof(buf), &n), STREAM_OK);
	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, n);
}

static void pair_of(bool tls, struct stream *a, struct stream *b)
{
	if (tls)
		tls_pair(a, b);
	else
		plain_pair(a, b);
}

static void exchange(bool tls)
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

static void stream_read__plain__delivers(void **state)
{
	(void)state;
	exchange(false);
}

static void stream_read__tls__delivers(void **state)
{
	(void)state;
	exchange(true);
}

/* Everything both ways until the sockets are full, drained at odd sizes; order and content are
 * kept. */
static void bulk(bool tls)
{
	enum { TOTAL = 6 * 1024 * 1024 };
	uint8_t *data = malloc(TOTAL), *got = malloc(TOTAL);
	size_t sent = 0, received = 0, n, again = 0;
	struct stream a, b;
	uint32_t x = 1;

	for (size_t i = 0; i < TOTAL; i++)
		data[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
	pair_of(tls, &a, &b);
	while (received < TOTAL) {
		enum stream_status st = STREAM_OK;

		while (sent < TOTAL && st == STREAM_OK) {
			st = stream_write(&a, data + sent, TOTAL - sent, &n);
			if (st == STREAM_OK)
				sent += n;
		}
		again += st == STREAM_AGAIN;
		for (int i = 0; i < 1 + (int)(received % 40); i++) {
			st = stream_read(&b, got + received,
					 1 + received % 70000 % (TOTAL - received), &n);
			if (st == STREAM_AGAIN)
				break;
			assert_int_equal(st, STREAM_OK);
			received += n;
			if (received == TOTAL)
				break;
		}
	}
	assert_true(again > 0);
	assert_memory_equal(data, got, TOTAL);
	stream_close(&a, false);
	stream_close(&b, false);
	free(data);
	free(got);
}

static void stream_write__plain_socket_full__goes_on_in_order(void **state)
{
	(void)state;
	bulk(false);
}

static void stream_write__tls_socket_full__goes_on_in_order(void **state)
{
	(void)state;
	bulk(true);
}

static void stream_write__tls_from_another_address__accepted(void **state)
{
	static uint8_t block[256 * 1024], copy[256 * 1024], sink[65536];
	struct stream a, b;
	size_t n, sent = 0, got = 0, total = sizeof(block) * 64;
	enum stream_status st;

	(void)state;
	memset(block, 7, sizeof(block));
	memset(copy, 7, sizeof(copy));
	tls_pair(&a, &b);
	while (sent < total) { /* a retry comes from the other buffer: memory may have moved */
		st = stream_write(&a, sent % 2 ? block : copy, sizeof(block), &n);
		if (st == STREAM_OK) {
			sent += n;
			continue;
		}
		assert_int_equal(st, STREAM_AGAIN);
		assert_int_equal(stream_write(&a, block, sizeof(block), &n), STREAM_AGAIN);
		while (stream_read(&b, sink, sizeof(sink), &n) == STREAM_OK)
			got += n;
	}
	assert_true(got > 0);
	stream_close(&a, true);
	stream_close(&b, true);
}

/* Sixteen records in the socket: a read takes all that its buffer holds, not one of them. */
static void stream_read__tls_many_records__all_in_one_call(void **state)
{
	static uint8_t block[100], got[4096];
	struct stream a, b;
	size_t n, have = 0;

	(void)state;
	tls_pair(&a, &b);
	expect_text(&b, &a, "no ticket is left on its way");
	for (unsigned i = 0; i < 16; i++) {
		memset(block, (int)i, sizeof(block));
		assert_int_equal(stream_write(&a, block, sizeof(block), &n), STREAM_OK);
		assert_int_equal(n, sizeof(block));
	}
	assert_int_equal(stream_shutdown_write(&a), STREAM_OK);
	assert_int_equal(read_wait(&b, got, 150, &have), STREAM_OK);
	assert_int_equal(have, 150); /* one and a half */
	assert_true(stream_pending(&b));
	assert_int_equal(stream_read(&b, got + have, sizeof(got) - have, &n), STREAM_OK);
	have += n;
	assert_int_equal(have, 16 * sizeof(block));
	for (size_t i = 0; i < have; i++)
		assert_int_equal(got[i], i / sizeof(block));
	/* close_notify came with them: it is told after them, as often as one asks */
	assert_int_equal(read_wait(&b, got, sizeof(got), &n), STREAM_EOF);
	assert_int_equal(stream_read(&b, got, sizeof(got), &n), STREAM_EOF);
	stream_close(&a, false);
	stream_close(&b, false);
}

static void stream_write__tls_socket_full__rest_may_come_in_smaller_pieces(void **state)
{
	static uint8_t data[8 * 1024 * 1024], sink[65536];
	const int small = 128 * 1024; /* or the kernel's tuning may take all of it at once */
	size_t sent = 0, got = 0, n, again = 0;
	struct stream a, b;
	uint32_t x = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
	tls_pair(&a, &b);
	assert_int_equal(setsockopt(a.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(setsockopt(b.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	while (got < sizeof(data)) {
		enum stream_status st = STREAM_OK;
		/* a rate limit may grant less than a record after a write that had to wait */
		size_t piece = again % 2 != 0 ? 700 : 200000;

		while (sent < sizeof(data) && st == STREAM_OK) {
			size_t left = sizeof(data) - sent;

			st = stream_write(&a, data + sent, left < piece ? left : piece, &n);
			if (st == STREAM_OK)
				sent += n;
		}
		again += st == STREAM_AGAIN;
		for (int i = 0; i < 1 + (int)(again % 9); i++) {
			if (stream_read(&b, sink, sizeof(sink), &n) != STREAM_OK)
				break;
			assert_memory_equal(sink, data + got, n);
			got += n;
		}
	}
	assert_true(again > 4);
	stream_close(&a, false);
	stream_close(&b, false);
}

static void stream_shutdown_write__tls_bytes_wait__close_notify_behind_them(void **state)
{
	static uint8_t block[256 * 1024], sink[65536];
	struct stream a, b;
	size_t n, due = 0, got = 0;
	enum stream_status st, end;

	(void)state;
	memset(block, 9, sizeof(block));
	tls_pair(&a, &b);
	while ((st = stream_write(&a, block, sizeof(block), &n)) == STREAM_OK)
		due += n;
	assert_int_equal(st, STREAM_AGAIN);
	assert_int_equal(stream_shutdown_write(&a), STREAM_AGAIN);
	do {
		end = stream_shutdown_write(&a);
		while (stream_read(&b, sink, sizeof(sink), &n) == STREAM_OK)
			got += n;
	} while (end == STREAM_AGAIN);
	assert_int_equal(end, STREAM_OK);
	while ((st = read_wait(&b, sink, sizeof(sink), &n)) == STREAM_OK)
		got += n;
	assert_int_equal(st, STREAM_EOF);
	assert_true(got >= due && got <= due + 16384); /* the record that was on its way */
	stream_close(&a, false);
	stream_close(&b, false);
}

static void stream_pending__tls_small_reads__true_until_drained(void **state)
{
	struct stream a, b;
	char c;
	size_t n, got = 1;

	(void)state;
	tls_pair(&a, &b);
	assert_int_equal(stream_write(&a, "0123456789", 10, &n), STREAM_OK);
	assert_int_equal(stream_write(&a, "abcdefghij", 10, &n), STREAM_OK);
	assert_int_equal(read_wait(&b, &c, 1, &n), STREAM_OK);
	assert_true(stream_pending(&b));
	while (stream_pending(&b) || got < 20) {
		if (stream_read(&b, &c, 1, &n) == STREAM_OK)
			got++;
	}
	assert_int_equal(got, 20);
	assert_int_equal(c, 'j');
	assert_false(stream_pending(&b));
	stream_close(&a, false);
	stream_close(&b, false);
}

static void half_close(bool tls)
{
	struct stream a, b;
	char buf[16];
	size_t n;

	pair_of(tls, &a, &b);
	expect_text(&a, &b, "last");
	assert_int_equal(stream_shutdown_write(&a), STREAM_OK);
	assert_int_equal(read_wait(&b, buf, sizeof(buf), &n), STREAM_EOF);
	assert_int_equal(stream_read(&b, buf, sizeof(buf), &n), STREAM_EOF);
	expect_text(&b, &a, "answer"); /* the other direction lives */
	assert_int_equal(stream_shutdown_write(&b), STREAM_OK);
	assert_int_equal(read_wait(&a, buf, sizeof(buf), &n), STREAM_EOF);
	stream_close(&a, false);
	stream_close(&b, false);
}

static void stream_shutdown_write__plain__other_direction_lives(void **state)
{
	(void)state;
	half_close(false);
}

static void stream_shutdown_write__tls__other_direction_lives(void **state)
{
	(void)state;
	half_close(true);
}

static void stream_read__tls_bare_fin__eof(void **state)
{
	struct stream a, b;
	char c;
	size_t n;

	(void)state;
	tls_pair(&a, &b);
	expect_text(&a, &b, "x");
	expect_text(&b, &a,
		    "y"); /* and the ticket before it: bytes left unread make a reset of a close */
	stream_close(&a, false); /* no close_notify */
	assert_int_equal(read_wait(&b, &c, 1, &n), STREAM_EOF);
	stream_close(&b, false);
}

static void abort_seen(bool tls)
{
	struct stream a, b;
	char c;
	size_t n;

	pair_of(tls, &a, &b);
	expect_text(&a, &b, "x");
	stream_close(&a, true);
	assert_int_equal(read_wait(&b, &c, 1, &n), STREAM_FAILED);
	assert_true(b.reset);
	assert_int_equal(b.sys_errno, ECONNRESET);
	stream_close(&b, false);
}

static void stream_close__plain_abort__peer_sees_reset(void **state)
{
	(void)state;
	abort_seen(false);
}

static void stream_close__tls_abort__peer_sees_reset(void **state)
{
	(void)state;
	abort_seen(true);
}

static void write_after_reset(bool tls)
{
	struct stream a, b;
	char c;
	size_t n;

	pair_of(tls, &a, &b);
	stream_close(&a, true);
	assert_int_equal(read_wait(&b, &c, 1, &n), STREAM_FAILED);
	b.reset = false;
	assert_int_equal(stream_write(&b, "x", 1, &n), STREAM_FAILED); /* no SIGPIPE */
	if (!tls) { /* OpenSSL refuses by itself after a failure */
		assert_true(b.reset);
		assert_int_equal(b.sys_errno, EPIPE);
	}
	stream_close(&b, false);
}

static void stream_write__after_reset__fails_without_signal(void **state)
{
	(void)state;
	write_after_reset(false);
	write_after_reset(true);
}

static void stream_init_tls__prefix__read_before_the_socket(void **state)
{
	struct stream client, server;
	uint8_t first[4096];
	size_t n;
	SSL *ssl = SSL_new(server_ctx);
	int fd[2];

	(void)state;
	tcp_pair(fd);
	SSL_set_accept_state(ssl);
	assert_int_equal(stream_init_tls(&client, fd[0],
					 tls_client_new(client_ctx, TLS_CONTROL, NULL, NULL), NULL,
					 0),
			 NP_OK);
	assert_int_equal(stream_handshake(&client), STREAM_AGAIN);
	stream_init(&server, fd[1]); /* the acceptor reads some of it before it knows */
	assert_int_equal(read_wait(&server, first, 5, &n), STREAM_OK);
	assert_int_equal(first[0], 0x16);
	assert_int_equal(stream_init_tls(&server, fd[1], ssl, first, n), NP_OK);
	memset(first, 0, sizeof(first)); /* it was copied */
	shake_hands(&client, &server);
	assert_false(stream_pending(&server));
	expect_text(&client, &server, "after the prefix");
	stream_close(&client, false);
	stream_close(&server, false);
}

static void stream_init_tls__no_memory__nothing_taken(void **state)
{
	struct stream s;
	SSL *ssl = SSL_new(server_ctx);
	int fd[2];

	(void)state;
	tcp_pair(fd);
	np_alloc_fail_after(0);
	assert_int_equal(stream_init_tls(&s, fd[0], ssl, "\x16", 1), NP_ENOMEM);
	np_alloc_fail_after(-1);
	assert_int_equal(fcntl(fd[0], F_GETFD), FD_CLOEXEC); /* still open, still ours */
	SSL_free(ssl);
	close(fd[0]);
	close(fd[1]);
}

static void stream_move__tls_in_use__goes_on_at_the_new_place(void **state)
{
	struct stream a, b, c;
	char left[16];
	size_t n;

	(void)state;
	tls_pair(&a, &b);
	assert_int_equal(stream_write(&a, "abcd", 4, &n), STREAM_OK);
	assert_int_equal(read_wait(&b, left, 2, &n), STREAM_OK);
	stream_move(&c, &b);
	assert_int_equal(b.fd, -1);
	assert_null(b.ssl);
	memset(&b, 0xff, sizeof(b));
	assert_true(stream_pending(&c));
	assert_int_equal(stream_read(&c, left, 2, &n), STREAM_OK);
	assert_memory_equal(left, "cd", 2);
	expect_text(&a, &c, "to the new place");
	expect_text(&c, &a, "and back");
	stream_close(&a, false);
	stream_close(&c, false);
}

static void handshake_fails(const void *bytes, size_t len, bool abort, const char *expected)
{
	SSL *ssl = SSL_new(server_ctx);
	struct stream client, server;
	enum stream_status st;
	char text[128];
	int fd[2];
	size_t n;

	tcp_pair(fd);
	SSL_set_accept_state(ssl);
	stream_init(&client, fd[0]);
	assert_int_equal(stream_init_tls(&server, fd[1], ssl, NULL, 0), NP_OK);
	if (len > 0)
		assert_int_equal(stream_write(&client, bytes, len, &n), STREAM_OK);
	stream_close(&client, abort);
	do {
		st = stream_handshake(&server);
	} while (st == STREAM_AGAIN);
	assert_int_equal(st, STREAM_FAILED);
	assert_string_equal(stream_handshake_error(&server, text, sizeof(text)), expected);
	stream_close(&server, false);
}

static void stream_handshake__peer_fails__reason_in_one_line(void **state)
{
	(void)state;
	handshake_fails("GET / HTTP/1.1\r\n\r\n", 18, false, "http request");
	handshake_fails("\x16\x03\x01", 3, false, "the peer closed the connection");
	handshake_fails("", 0, false, "the peer closed the connection");
	handshake_fails("", 0, true, "Connection reset by peer");
}

static void stream_read__more_key_updates_than_a_minute_may_have__fails(void **state)
{
	struct stream a, b;
	char text[4];
	size_t n = 0;
	unsigned passed = 0;
	enum stream_status st;

	(void)state;
	tls_pair(&a, &b);
	do {
		assert_int_equal(SSL_key_update(a.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		assert_int_equal(stream_write(&a, "x", 1, &n), STREAM_OK);
		st = read_wait(&b, text, sizeof(text), &n);
		passed += st == STREAM_OK;
	} while (st == STREAM_OK && passed < 100);
	assert_int_equal(st, STREAM_FAILED);
	assert_int_equal(passed, STREAM_KEY_UPDATES_PER_MIN);
	stream_close(&a, false);
	stream_close(&b, false);
}

static void np_reason_of__all_bytes__known_or_peer_abort(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(np_reason_of((uint8_t)i),
				 i < NP_REASON_COUNT ? i : NP_REASON_PEER_ABORT);
	for (unsigned i = 0; i < NP_REASON_COUNT; i++) {
		assert_true(strlen(np_reason_name((enum np_reason)i)) > 0);
		assert_true(strlen(np_reason_text((enum np_reason)i)) > 0);
	}
	assert_string_equal(np_reason_name(NP_REASON_PROTOCOL), "protocol_violation");
	assert_string_equal(np_reason_text(NP_REASON_UDP_IDLE),
			    "no datagram for NP_UDP_READ_TIMEOUT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(stream_read__plain__delivers),
	    cmocka_unit_test(stream_read__tls__delivers),
	    cmocka_unit_test(stream_write__plain_socket_full__goes_on_in_order),
	    cmocka_unit_test(stream_write__tls_socket_full__goes_on_in_order),
	    cmocka_unit_test(stream_write__tls_from_another_address__accepted),
	    cmocka_unit_test(stream_read__tls_many_records__all_in_one_call),
	    cmocka_unit_test(stream_write__tls_socket_full__rest_may_come_in_smaller_pieces),
	    cmocka_unit_test(stream_shutdown_write__tls_bytes_wait__close_notify_behind_them),
	    cmocka_unit_test(stream_pending__tls_small_reads__true_until_drained),
	    cmocka_unit_test(stream_shutdown_write__plain__other_direction_lives),
	    cmocka_unit_test(stream_shutdown_write__tls__other_direction_lives),
	    cmocka_unit_test(stream_read__tls_bare_fin__eof),
	    cmocka_unit_test(stream_close__plain_abort__peer_sees_reset),
	    cmocka_unit_test(stream_close__tls_abort__peer_sees_reset),
	    cmocka_unit_test(stream_write__after_reset__fails_without_signal),
	    cmocka_unit_test(stream_init_tls__prefix__read_before_the_socket),
	    cmocka_unit_test(stream_init_tls__no_memory__nothing_taken),
	    cmocka_unit_test(stream_move__tls_in_use__goes_on_at_the_new_place),
	    cmocka_unit_test(stream_handshake__peer_fails__reason_in_one_line),
	    cmocka_unit_test(stream_read__more_key_updates_than_a_minute_may_have__fails),
	    cmocka_unit_test(np_reason_of__all_bytes__known_or_peer_abort),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
