/*
 * test_stream_end.c - plain and TLS streams: ends, resets, prefix, hand-over, failures.
 */
#include "stream_bed.h"

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
