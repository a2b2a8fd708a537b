/*
 * test_sse_end.c - readers that are quiet, stuck or gone, the end of all of them, lack of memory.
 */
#include "sse_bed.h"

#include "base/alloc.h"
#include "base/mono.h"

#define PATIENCE_MS 20000

/* One pass of the loop, in which no timer comes more than once. */
static void pass(void)
{
	(void)event_base_loop(base, EVLOOP_ONCE);
	kernel();
}

#define UNTIL(condition)                                                          \
	do {                                                                      \
		struct np_mono end_ = np_mono_add_ms(np_mono_now(), PATIENCE_MS); \
		while (!(condition) && np_mono_before(np_mono_now(), end_))       \
			pass();                                                   \
		assert_true(condition);                                           \
	} while (0)

static void sse_sweep__quiet__pings(void **state)
{
	struct http_stream *s = connected();

	(void)state;
	sse_set_times(sse, 10000, 60);
	UNTIL(count(s, ": ping\n\n") >= 3);
	assert_seen(s, OPENING "ping ping ping ");
}

/* Some byte now and again is progress: here between any two looks at the readers. */
static bool trickles(struct http_stream *s)
{
	if (s->queued > 1)
		s->queued--;
	return true;
}

static void sse_sweep__reader_takes_nothing__aborted(void **state)
{
	struct http_stream *s = connected(), *trickle = connected();

	(void)state;
	s->slow = trickle->slow = true;
	publish(SSE_UPDATE, "00000001", 1, NULL);
	sse_set_times(sse, 300, 10000);
	UNTIL(trickles(trickle) && s->aborted);
	assert_false(trickle->aborted);
	assert_true(nstreams == 2);
}

static bool all_ended;

static void on_ended(void *arg)
{
	assert_ptr_equal(arg, &all_ended);
	all_ended = true;
}

static void sse_end_all__readers__shutdown_and_clean_end(void **state)
{
	struct http_stream *s = connected(), *late;
	struct sse_figures f;
	char id[40];

	(void)state;
	all_ended = false;
	publish(SSE_UPDATE, "00000001", 1, NULL);
	sse_end_all(sse, on_ended, &all_ended);
	assert_false(all_ended);
	UNTIL(all_ended);
	assert_true(s->ended && !s->aborted);
	assert_seen(s, OPENING "update/00000001/1 shutdown ");
	assert_int_equal(count(s, "\"instance\":null,\"logs\":\"\"}"), 1);
	sse_figures(sse, &f);
	assert_int_equal(f.subscribers, 0);
	/* Who comes back is not told of it again, and sees what is so now. */
	instances = 1;
	last_id(s, id);
	late = connect_with(id, NULL, false);
	settle();
	assert_seen(late, "initial/********/0 initial/00000000/0 ");
	assert_false(late->ended);
}

static void sse_end_all__nobody__done_from_the_loop(void **state)
{
	(void)state;
	all_ended = false;
	sse_end_all(sse, on_ended, &all_ended);
	assert_false(all_ended);
	UNTIL(all_ended);
}

static void sse_end_all__reader_takes_nothing__aborted_after_two_seconds(void **state)
{
	struct http_stream *s = connected(), *good = connected();
	struct np_mono start = np_mono_now();

	(void)state;
	all_ended = false;
	s->slow = true;
	publish(SSE_UPDATE, "00000001", 1, NULL);
	settle();
	sse_end_all(sse, on_ended, &all_ended);
	UNTIL(all_ended); /* a sweep would come later than PATIENCE_MS */
	assert_true(s->aborted && good->ended);
	assert_true(np_mono_diff_ms(np_mono_now(), start) >= 2000);
}

static void on_close__at_any_time__reader_gone(void **state)
{
	struct http_stream *s = connected(), *dies = connected(), *waits;
	struct sse_figures f;

	(void)state;
	publish(SSE_UPDATE, "00000001", 1, NULL);
	s->aborted = true;
	s->on_close(s->arg); /* with an event that waits */
	dies->dies = true;   /* inside of the next send */
	settle();
	waits = connect_with(NULL, NULL, false); /* before its opening */
	waits->aborted = true;
	waits->on_close(waits->arg);
	settle();
	sse_figures(sse, &f);
	assert_int_equal(f.subscribers, 0);
	assert_int_equal(f.evicted, 0);
	publish(SSE_UPDATE, "00000001", 2, NULL);
	settle();
}

static void all__each_allocation_fails__aborted_or_complete(void **state)
{
	(void)state;
	for (long fail = 0; fail < 60; fail++) {
		struct http_req r = {0};

		np_alloc_fail_after(fail);
		sse_open(sse, &r);
		publish(SSE_CREATE, "0000000a", 1, NULL);
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
		publish(SSE_UPDATE, "0000000a", 2, NULL);
		publish(SSE_DELETE, "0000000a", 3, NULL);
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
		np_alloc_fail_after(-1);
		settle();
		if (r.stream == NULL) {
			assert_int_equal(r.status, 503);
			continue;
		}
		if (!r.stream->aborted) {
			/* Within the second of an earlier opening it is the earlier one. */
			assert_int_equal(count(r.stream, "\"type\":\"initial\""), 3);
			assert_true(count(r.stream, "\"type\":\"delete\"") >= 1);
			r.stream->aborted = true;
			r.stream->on_close(r.stream->arg);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(sse_sweep__quiet__pings),
	    T(sse_sweep__reader_takes_nothing__aborted),
	    T(sse_end_all__readers__shutdown_and_clean_end),
	    T(sse_end_all__nobody__done_from_the_loop),
	    T(sse_end_all__reader_takes_nothing__aborted_after_two_seconds),
	    T(on_close__at_any_time__reader_gone),
	    T(all__each_allocation_fails__aborted_or_complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
