/*
 * test_stream.c - plain and TLS streams: data, partial writes.
 */
#include "stream_bed.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

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

/* All that @from wrote is in the other end's socket. */
static void until_delivered(const struct stream *from)
{
	int left = 1;

	while (left > 0)
		assert_int_equal(ioctl(from->fd, SIOCOUTQ, &left), 0);
}

/*
 * Who is told that a read took all does not read again before the socket has an event: so nothing may
 * be left then, neither in the socket nor in the stream.
 */
static void drained(bool tls)
{
	static uint8_t block[16384], sink[65536];
	unsigned yes = 0, no = 0;
	struct stream a, b;
	uint32_t x = 11;
	size_t n, max;

	pair_of(tls, &a, &b);
	for (unsigned round = 0; round < 400; round++) {
		enum stream_status st;
		bool said = false;

		for (unsigned i = round % 4; i < 4; i++) {
			x = x * 1664525u + 1013904223u;
			assert_int_equal(stream_write(&a, block, 1 + (x >> 16) % 8000, &n),
					 STREAM_OK);
		}
		until_delivered(&a);
		max = round % 3 == 0 ? sizeof(sink) : 1 + (x >> 8) % 5000;
		while ((st = stream_read(&b, sink, max, &n)) == STREAM_OK) {
			assert_false(said);
			said = stream_drained(&b, n, max);
			yes += said;
			no += !said;
		}
		assert_int_equal(st, STREAM_AGAIN);
	}
	assert_true(yes > 100 && no > 100);
	stream_close(&a, true);
	stream_close(&b, true);
}

static void stream_drained__plain_random_sizes__nothing_is_left(void **state)
{
	(void)state;
	drained(false);
}

static void stream_drained__tls_random_sizes__nothing_is_left(void **state)
{
	(void)state;
	drained(true);
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
	    cmocka_unit_test(stream_drained__plain_random_sizes__nothing_is_left),
	    cmocka_unit_test(stream_drained__tls_random_sizes__nothing_is_left),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
