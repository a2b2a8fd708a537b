/*
 * test_sse_publish.c - events on their way to the readers: what a slow one misses and what it is told of
 * it, bursts, large events, many readers.
 */
#include "sse_bed.h"

#include "base/mono.h"

/* Its buffers are full: from here on events wait. */
static struct http_stream *slow_reader(unsigned *fill)
{
	struct http_stream *s = connect_with(NULL, NULL, false);

	settle();
	s->slow = true;
	instance_bytes = 380;
	*fill = 0;
	while (s->queued < HTTP_STREAM_QUEUE_MAX / 4) {
		publish(SSE_LOG, "000000ff", 0, "f");
		settle();
		(*fill)++;
	}
	instance_bytes = 0;
	publish(SSE_LOG, "000000ff", 0, "f"); /* shows it that it is behind */
	(*fill)++;
	settle();
	s->len = 0;
	keep(s, "retry: 3000\n\n", 13);
	return s;
}

static void sse_publish__reader_is_behind__updates_coalesced_others_kept(void **state)
{
	unsigned fill;
	struct http_stream *s = slow_reader(&fill);
	struct sse_figures f;

	(void)state;
	for (unsigned n = 0; n < 100; n++) {
		publish(SSE_UPDATE, "00000000", n, NULL);
		publish(SSE_UPDATE, "00000001", n, NULL);
		settle();
	}
	publish(SSE_UPDATE, "00000000", 100, NULL);
	publish(SSE_DELETE, "00000000", 101, NULL);
	publish(SSE_CREATE, "00000000", 102, NULL);
	publish(SSE_UPDATE, "00000000", 103, NULL);
	publish(SSE_UPDATE, "00000000", 104, NULL);
	settle();
	assert_seen(s, "");
	s->slow = false;
	settle();
	assert_seen(s, "log/000000ff/0 update/00000000/100 update/00000001/99 delete/00000000/101 "
		       "create/00000000/102 update/00000000/104 ");
	sse_figures(sse, &f);
	assert_int_equal(f.coalesced, 99 + 1 + 99 + 1);
	publish(SSE_UPDATE, "00000000", 105, NULL);
	publish(SSE_UPDATE, "00000000", 106, NULL);
	settle(); /* it has caught up: each one */
	assert_int_equal(count(s, "\"n\":105"), 1);
	assert_int_equal(count(s, "\"n\":106"), 1);
}

static void sse_publish__reader_is_behind__oldest_logs_lost_and_said_once(void **state)
{
	unsigned fill, total = 20000;
	struct http_stream *s = slow_reader(&fill);
	struct sse_figures f;
	char said[100];

	(void)state;
	publish(SSE_CREATE, "00000007", 1, NULL);
	instance_bytes = 380;
	for (unsigned n = 0; n < total; n++)
		publish(SSE_LOG, "00000001", n, "a line");
	settle();
	s->slow = false;
	settle();
	sse_figures(sse, &f);
	assert_true(f.dropped_logs > total / 3 && f.dropped_logs < total);
	assert_int_equal(count(s, "a line"), total - f.dropped_logs + 1);
	(void)snprintf(said, sizeof(said), "\"logs\":\"%llu log lines were dropped",
		       (unsigned long long)f.dropped_logs);
	assert_int_equal(count(s, "were dropped"), 1);
	assert_int_equal(count(s, said), 1);
	assert_int_equal(count(s, "\"n\":19999,"), 1);
	assert_int_equal(count(s, "\"type\":\"create\""), 1);
	assert_int_equal(f.evicted, 0);
}

static void sse_publish__creates_past_the_bound__aborted_not_ended(void **state)
{
	unsigned fill;
	struct http_stream *s = slow_reader(&fill), *other = connected();
	struct sse_figures f;
	char id[16];

	(void)state;
	instance_bytes = 380;
	for (unsigned n = 0; n < SSE_SUBSCRIBER_MAX / 380; n++) {
		(void)snprintf(id, sizeof(id), "%08x", n + 100);
		publish(SSE_CREATE, id, n, NULL);
		if (n % 1000 == 0)
			settle();
	}
	settle();
	sse_figures(sse, &f);
	assert_int_equal(f.evicted, 1);
	assert_int_equal(f.subscribers, 1);
	assert_true(s->aborted && !s->ended);
	assert_false(other->aborted);
	assert_int_equal(count(other, "\"type\":\"create\""), SSE_SUBSCRIBER_MAX / 380);
}

static void sse_publish__burst_in_one_pass__healthy_reader_has_all(void **state)
{
	struct http_stream *s = connected();
	struct sse_figures f;
	char id[16];

	(void)state;
	instance_bytes = 380;
	for (unsigned n = 0; n < 10000; n++) { /* a tick of ten thousand */
		(void)snprintf(id, sizeof(id), "%08x", n);
		publish(SSE_UPDATE, id, n, NULL);
	}
	for (unsigned n = 0; n < 4096; n++) {
		(void)snprintf(id, sizeof(id), "%08x", 20000 + n);
		publish(SSE_CREATE, id, n, NULL);
	}
	settle();
	sse_figures(sse, &f);
	assert_int_equal(count(s, "\"type\":\"update\""), 10000);
	assert_int_equal(count(s, "\"type\":\"create\""), 4096);
	assert_int_equal(f.coalesced + f.dropped_logs + f.evicted, 0);
	assert_true(most_queued <= HTTP_STREAM_QUEUE_MAX / 4 + SSE_BLOCK_MAX);
}

static void sse_publish__log_of_escapes__block_within_its_maximum(void **state)
{
	struct http_stream *s = connected();
	size_t len = 40000, n;
	char *line = malloc(len + 1);

	(void)state;
	memset(line, 033, len);
	line[len] = '\0';
	publish(SSE_LOG, "00000001", 1, line);
	memset(line, 'x', len);
	publish(SSE_LOG, "00000001", 2, line);
	for (n = 0; n + 3 <= len; n += 3)
		memcpy(line + n, "\xe2\x82\xac", 3); /* cut between characters */
	publish(SSE_LOG, "00000001", 3, line);
	settle();
	assert_seen(s, OPENING "log/00000001/1 log/00000001/2 log/00000001/3 ");
	assert_int_equal(count(s, "\\u001b"), 8192);
	assert_int_equal(count(s, "xxxxxxxx"), SSE_LINE_MAX - 7);
	assert_int_equal(count(s, "\xe2\x82\xac"), SSE_LINE_MAX / 3);
	assert_int_equal(count(s, "\\ufffd"), 0);
	assert_int_equal(count(s, "\xef\xbf\xbd"), 0);
	free(line);
}

static void sse_publish__instance_too_large__not_published(void **state)
{
	struct http_stream *s = connected();
	char *json = malloc(70001);

	(void)state;
	memset(json, 'x', 70000);
	json[70000] = '\0';
	sse_publish(sse, SSE_UPDATE, "00000001", json, 70000, NULL);
	publish(SSE_UPDATE, "00000001", 2, NULL);
	settle();
	assert_seen(s, OPENING "update/00000001/2 ");
	free(json);
}

static void sse_publish__two_thousand_readers__in_bounded_time(void **state)
{
	struct np_mono start;

	(void)state;
	for (size_t i = 0; i < 2000; i++)
		(void)connect_with(NULL, NULL, false);
	settle();
	start = np_mono_now();
	instance_bytes = 380;
	for (unsigned n = 0; n < 50; n++) {
		publish(SSE_UPDATE, "00000001", n, NULL);
		settle();
	}
	print_message("2000 readers: %lld us an event\n",
		      (long long)np_mono_diff_us(np_mono_now(), start) / 50);
	for (size_t i = 0; i < nstreams; i++)
		assert_int_equal(count(streams[i], "\"type\":\"update\""), 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(sse_publish__reader_is_behind__updates_coalesced_others_kept),
	    T(sse_publish__reader_is_behind__oldest_logs_lost_and_said_once),
	    T(sse_publish__creates_past_the_bound__aborted_not_ended),
	    T(sse_publish__burst_in_one_pass__healthy_reader_has_all),
	    T(sse_publish__log_of_escapes__block_within_its_maximum),
	    T(sse_publish__instance_too_large__not_published),
	    T(sse_publish__two_thousand_readers__in_bounded_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
