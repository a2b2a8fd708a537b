/*
 * test_sse_open.c - a reader's beginning: the opening with all instances, shared and in slices, and
 * what was missed since the last event id.
 */
#include "sse_bed.h"

static void sse_open__new_reader__retry_and_all_instances(void **state)
{
	struct http_stream *s = connected();

	(void)state;
	assert_seen(s, OPENING);
	publish(SSE_UPDATE, "00000001", 7, NULL);
	publish(SSE_LOG, "00000001", 8, "a \033[32m<line>");
	settle();
	assert_seen(s, OPENING "update/00000001/7 log/00000001/8 ");
	assert_int_equal(count(s, "\"logs\":\"a \\u001b[32m\\u003cline\\u003e\"}\nid: "), 1);
	assert_int_equal(count(s, "\"logs\":\"\"}"), 4);
}

static void sse_open__no_instances__key_only(void **state)
{
	struct http_stream *s;

	(void)state;
	instances = 0;
	s = connected();
	assert_seen(s, "initial/********/0 ");
}

static void sse_open__many_at_once__one_opening_for_all(void **state)
{
	(void)state;
	for (size_t i = 0; i < 500; i++)
		(void)connect_with(NULL, NULL, false);
	settle();
	assert_int_equal(openings, 1);
	publish(SSE_UPDATE, "00000000", 1, NULL);
	/* Within the second: the same opening, then what happened since. */
	(void)connect_with(NULL, NULL, false);
	settle();
	assert_int_equal(openings, 1);
	for (size_t i = 0; i < nstreams; i++)
		assert_seen(streams[i], OPENING "update/00000000/1 ");
}

static void sse_open__too_many_readers__503(void **state)
{
	struct http_req r = {0};

	(void)state;
	for (size_t i = 0; i < SSE_SUBSCRIBERS_MAX; i++)
		(void)connect_with(NULL, NULL, false);
	sse_open(sse, &r);
	assert_int_equal(r.status, 503);
}

static void sse_open__last_event_id__what_was_missed_after_the_opening(void **state)
{
	struct http_stream *s = connected();
	char id[40], other[40];

	(void)state;
	publish(SSE_CREATE, "00000001", 1, NULL);
	settle();
	last_id(s, id);
	publish(SSE_UPDATE, "00000001", 2, NULL);
	publish(SSE_LOG, "00000001", 3, "x");
	publish(SSE_UPDATE, "00000001", 4, NULL);
	publish(SSE_DELETE, "00000001", 5, NULL);
	/* Updates that were missed count once, in the place of the first. */
	s = connect_with(id, NULL, false);
	settle();
	assert_seen(s, OPENING "update/00000001/4 log/00000001/3 delete/00000001/5 ");
	s = connect_with(NULL, id, false);
	settle();
	assert_seen(s, OPENING "update/00000001/4 log/00000001/3 delete/00000001/5 ");
	last_id(s, other);
	s = connect_with(other, NULL, false); /* missed nothing */
	settle();
	assert_seen(s, OPENING);
	last_id(s, id);
	assert_string_equal(id, other);
	id[3] = id[3] == '0' ? '1' : '0'; /* of another boot */
	s = connect_with(id, NULL, false);
	settle();
	assert_seen(s, OPENING);
	s = connect_with("rubbish", NULL, false);
	settle();
	assert_seen(s, OPENING);
}

static void sse_open__id_no_longer_in_the_ring__opening_only(void **state)
{
	struct http_stream *s = connected();
	char id[40];
	unsigned n;

	(void)state;
	publish(SSE_UPDATE, "00000001", 1, NULL);
	settle();
	last_id(s, id);
	instance_bytes = 380;
	for (n = 0; n < SSE_RING_BYTES / 380 + 10; n++)
		publish(SSE_UPDATE, "00000001", n, NULL);
	instance_bytes = 0;
	s = connect_with(id, NULL, false);
	settle();
	assert_seen(s, OPENING);
}

static void sse_open__ten_thousand_instances_slow_reader__all_in_slices(void **state)
{
	struct http_stream *s;
	size_t steps = 0;

	(void)state;
	instances = 10000;
	instance_bytes = 380;
	s = connect_with(NULL, NULL, true);
	settle();
	assert_true(s->len < 2 * HTTP_STREAM_QUEUE_MAX / 4);
	instance_bytes = 0;
	for (unsigned n = 1; n <= 50; n++)
		publish(SSE_UPDATE, "00000000", n, NULL);
	publish(SSE_CREATE, "0000ffff", 1, NULL);
	while (count(s, "create") == 0 && steps++ < 10000) {
		drain(s);
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	}
	assert_true(steps > 20);
	assert_int_equal(count(s, "\"type\":\"initial\""), 10001);
	assert_int_equal(count(s, "\"type\":\"update\""), 1);
	assert_int_equal(count(s, "\"n\":50,"), 1);
	assert_true(most_queued <= HTTP_STREAM_QUEUE_MAX / 4 + SSE_BLOCK_MAX);
	assert_int_equal(openings, 1);
}

/* Each of them holds another opening: a further reader waits until one is free. */
static void sse_open__openings_in_memory_at_their_maximum__waits(void **state)
{
	struct http_stream *held[SSE_OPENINGS_MAX], *s;

	(void)state;
	instances = 1000;
	instance_bytes = 380;
	for (size_t i = 0; i < SSE_OPENINGS_MAX; i++) {
		held[i] = connect_with(NULL, NULL, true);
		settle();
		/* More than the ring holds: the next reader cannot share. */
		for (unsigned n = 0; n < SSE_RING_BYTES / 380; n++)
			publish(SSE_UPDATE, "00000001", n, NULL);
		settle();
	}
	assert_int_equal(openings, SSE_OPENINGS_MAX);
	s = connect_with(NULL, NULL, false);
	settle();
	assert_int_equal(openings, SSE_OPENINGS_MAX);
	assert_seen(s, "");
	held[0]->aborted = true;
	held[0]->on_close(held[0]->arg);
	settle();
	assert_int_equal(openings, SSE_OPENINGS_MAX + 1);
	assert_int_equal(count(s, "\"type\":\"initial\""), 1001);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(sse_open__new_reader__retry_and_all_instances),
	    T(sse_open__no_instances__key_only),
	    T(sse_open__many_at_once__one_opening_for_all),
	    T(sse_open__too_many_readers__503),
	    T(sse_open__last_event_id__what_was_missed_after_the_opening),
	    T(sse_open__id_no_longer_in_the_ring__opening_only),
	    T(sse_open__ten_thousand_instances_slow_reader__all_in_slices),
	    T(sse_open__openings_in_memory_at_their_maximum__waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
