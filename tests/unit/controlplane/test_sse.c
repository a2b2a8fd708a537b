/*
 * test_sse.c - the event stream over streams of memory: openings, order, replay, slow readers, ends.
 *
 * A "kernel" that takes all, nothing, or some bytes stands behind each stream.
 */
#include "sse.h"

#include "base/alloc.h"
#include "base/mono.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STREAMS_MAX 4096

struct http_req {
	const char *header, *query; /* Last-Event-ID */
	struct http_stream *stream; /* out */
	int status;		    /* out */
};

struct http_stream {
	char *text; /* all that was sent; not from np_malloc, whose failures are tested */
	size_t len, cap;
	size_t queued; /* of it, not taken by the kernel */
	bool slow;     /* the kernel takes nothing on its own */
	bool ended, aborted, dies;
	void (*on_close)(void *arg);
	void (*on_drained)(void *arg);
	void *arg;
};

static struct http_stream *streams[STREAMS_MAX];
static size_t nstreams;
static size_t most_queued;

/* -- what the server would do -- */

const char *http_req_header(const struct http_req *r, const char *name)
{
	assert_string_equal(name, "Last-Event-ID");
	return r->header;
}

bool http_req_query_value(const struct http_req *r, const char *name, char *out, size_t max)
{
	assert_string_equal(name, "last_event_id");
	if (r->query == NULL || strlen(r->query) >= max)
		return false;
	(void)snprintf(out, max, "%s", r->query);
	return true;
}

void http_reply_error(struct http_req *r, int status, const char *fmt, ...)
{
	(void)fmt;
	r->status = status;
}

struct http_stream *http_stream_open(struct http_req *r, const char *type,
				     void (*on_close)(void *arg), void *arg)
{
	struct http_stream *s = calloc(1, sizeof(*s));

	assert_string_equal(type, "text/event-stream");
	assert_true(nstreams < STREAMS_MAX);
	s->on_close = on_close;
	s->arg = arg;
	r->status = 200;
	r->stream = streams[nstreams++] = s;
	return s;
}

static void keep(struct http_stream *s, const void *data, size_t len)
{
	if (s->len + len + 1 > s->cap) {
		s->cap = 2 * s->cap + len + 1;
		s->text = realloc(s->text, s->cap);
		assert_non_null(s->text);
	}
	memcpy(s->text + s->len, data, len);
	s->len += len;
	s->text[s->len] = '\0';
}

void http_stream_send(struct http_stream *s, const void *data, size_t len)
{
	assert_false(s->ended || s->aborted);
	assert_true(len > 0);
	keep(s, data, len);
	s->queued += len;
	if (s->queued > most_queued)
		most_queued = s->queued;
	assert_true(s->queued < HTTP_STREAM_QUEUE_MAX);
	if (s->dies) {
		s->aborted = true;
		s->on_close(s->arg);
	}
}

size_t http_stream_queued(const struct http_stream *s)
{
	assert_false(s->ended || s->aborted);
	return s->queued;
}

void http_stream_end(struct http_stream *s)
{
	assert_false(s->ended || s->aborted);
	s->ended = true;
}

void http_stream_abort(struct http_stream *s)
{
	assert_false(s->ended || s->aborted);
	s->aborted = true;
}

void http_stream_on_drained(struct http_stream *s, void (*fn)(void *arg))
{
	s->on_drained = fn;
}

/* -- the world of a test -- */

static struct event_base *base;
static struct sse *sse;
static unsigned instances, openings; /* of the model; how often they were asked for */
static size_t instance_bytes;

static void put_instance(char *out, size_t max, const char *id, unsigned n)
{
	(void)snprintf(
	    out, max, "{\"id\":\"%s\",\"n\":%u,\"pad\":\"%.*s\"}", id, n, (int)instance_bytes,
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
}

static void initial(void *arg, sse_emit_fn emit, void *emit_arg)
{
	static const char key[] = "{\"id\":\"********\",\"n\":0}";
	char json[700], id[16];

	(void)arg;
	openings++;
	emit(emit_arg, "********", key, strlen(key));
	for (unsigned i = 0; i < instances; i++) {
		(void)snprintf(id, sizeof(id), "%08x", i);
		put_instance(json, sizeof(json), id, 0);
		emit(emit_arg, id, json, strlen(json));
	}
}

static int setup(void **state)
{
	(void)state;
	base = event_base_new();
	instances = 2;
	openings = 0;
	instance_bytes = 0;
	nstreams = most_queued = 0;
	assert_int_equal(sse_new(base, initial, NULL, &sse), NP_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sse_free(sse);
	event_base_free(base);
	for (size_t i = 0; i < nstreams; i++) {
		free(streams[i]->text);
		free(streams[i]);
	}
	return 0;
}

static void drain(struct http_stream *s)
{
	s->queued = 0;
	if (!s->ended && !s->aborted && s->on_drained != NULL)
		s->on_drained(s->arg);
}

static void kernel(void)
{
	for (size_t i = 0; i < nstreams; i++) {
		if (!streams[i]->slow && streams[i]->queued > 0)
			drain(streams[i]);
	}
}

/* Until nothing moves any more. */
static void settle(void)
{
	size_t quiet = 0, before = 0;

	while (quiet < 3) {
		size_t sum = 0;

		(void)event_base_loop(base, EVLOOP_NONBLOCK);
		kernel();
		for (size_t i = 0; i < nstreams; i++)
			sum += streams[i]->len + streams[i]->ended + streams[i]->aborted;
		quiet = sum == before ? quiet + 1 : 0;
		before = sum;
	}
}

static struct http_stream *connect_with(const char *header, const char *query, bool slow)
{
	struct http_req r = {.header = header, .query = query};

	sse_open(sse, &r);
	assert_int_equal(r.status, 200);
	r.stream->slow = slow;
	return r.stream;
}

static struct http_stream *connected(void)
{
	struct http_stream *s = connect_with(NULL, NULL, false);

	settle();
	return s;
}

static void publish(enum sse_type type, const char *id, unsigned n, const char *logs)
{
	char json[700];

	put_instance(json, sizeof(json), id, n);
	sse_publish(sse, type, id, json, strlen(json), logs);
}

static size_t count(struct http_stream *s, const char *what)
{
	const char *p = s->text;
	size_t n = 0;

	for (p = strstr(p, what); p != NULL; p = strstr(p + 1, what))
		n++;
	return n;
}

/*
 * Every block of @s, strictly: "retry: 3000", ": ping", or event, data and id. Appends what
 * happened to @out as "type/id/n ", and its last id to @last.
 */
static void parse(struct http_stream *s, struct np_buf *out, char *last)
{
	const char *p = s->text;
	bool first = true;

	np_buf_consume(out, np_buf_len(out));
	while (*p != '\0') {
		const char *end = strstr(p, "\n\n");
		char type[20] = "", id[20] = "", n[20] = "", boot[40] = "";
		const char *q;

		assert_non_null(end);
		assert_true(end - p < 61440);
		if (first) {
			assert_memory_equal(p, "retry: 3000\n\n", 13);
			first = false;
			p = end + 2;
			continue;
		}
		if (strncmp(p, ": ping\n\n", 8) == 0) {
			np_buf_put_str(out, "ping ");
			p = end + 2;
			continue;
		}
		assert_memory_equal(p, "event: instance\ndata: {\"type\":\"", 31);
		p += 31;
		(void)snprintf(type, sizeof(type), "%.*s", (int)strcspn(p, "\""), p);
		p += strlen(type);
		assert_memory_equal(p, "\",\"time\":\"20", 12);
		p += 10;
		assert_true(p[4] == '-' && p[10] == 'T' && p[13] == ':' && p[16] == ':');
		q = p + 19;
		if (*q == '.') {
			size_t digits = strspn(q + 1, "0123456789");

			assert_true(digits >= 1 && digits <= 9 && q[digits] != '0');
			q += 1 + digits;
		}
		assert_true(*q == 'Z' || ((*q == '+' || *q == '-') && q[3] == ':'));
		p = strstr(q, "\",\"instance\":");
		assert_true(p == q + 1 || p == q + 6);
		p += 13;
		if (strncmp(p, "null", 4) != 0) {
			assert_memory_equal(p, "{\"id\":\"", 7);
			(void)snprintf(id, sizeof(id), "/%.8s", p + 7);
			q = strstr(p, "\"n\":");
			(void)snprintf(n, sizeof(n), "/%.*s", (int)strspn(q + 4, "0123456789"),
				       q + 4);
		}
		assert_memory_equal(p + (end - p) - (end - strchr(p, '\n')) - 1, "}", 1);
		q = strchr(p, '\n');
		if (q < end) {
			assert_memory_equal(q + 1, "id: ", 4);
			assert_int_equal(strspn(q + 5, "0123456789abcdef"), 16);
			assert_int_equal(q[21], '-');
			(void)snprintf(boot, sizeof(boot), "%.*s", (int)(end - q - 5), q + 5);
			if (last != NULL)
				(void)snprintf(last, 40, "%s", boot);
		}
		np_buf_putf(out, "%s%s%s ", type, id, n);
		p = end + 2;
	}
}

static void assert_seen(struct http_stream *s, const char *expected)
{
	struct np_buf b;

	np_buf_init(&b, 1024 * 1024);
	parse(s, &b, NULL);
	if (strcmp(np_buf_cstr(&b) != NULL ? np_buf_cstr(&b) : "", expected) != 0)
		print_error("seen:     %s\nexpected: %s\n", np_buf_cstr(&b), expected);
	assert_string_equal(np_buf_cstr(&b), expected);
	np_buf_release(&b);
}

static void last_id(struct http_stream *s, char out[40])
{
	struct np_buf b;

	np_buf_init(&b, 1024 * 1024);
	out[0] = '\0';
	parse(s, &b, out);
	np_buf_release(&b);
}

#define OPENING "initial/********/0 initial/00000000/0 initial/00000001/0 "

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

static void run_ms(int ms)
{
	struct np_mono end = np_mono_add_ms(np_mono_now(), ms);

	while (np_mono_before(np_mono_now(), end)) {
		struct timeval tv = {.tv_usec = 5000};

		(void)event_base_loopexit(base, &tv);
		(void)event_base_dispatch(base);
		kernel();
	}
}

static void sse_sweep__quiet__pings(void **state)
{
	struct http_stream *s = connected();

	(void)state;
	sse_set_times(sse, 10000, 60);
	for (int i = 0; i < 100 && count(s, ": ping\n\n") < 3; i++)
		run_ms(20);
	assert_true(count(s, ": ping\n\n") >= 3);
	assert_seen(s, OPENING "ping ping ping ");
}

static void sse_sweep__reader_takes_nothing__aborted(void **state)
{
	struct http_stream *s = connected(), *trickle = connected();

	(void)state;
	s->slow = trickle->slow = true;
	publish(SSE_UPDATE, "00000001", 1, NULL);
	sse_set_times(sse, 300, 10000);
	for (int i = 0; i < 100 && !s->aborted; i++) {
		run_ms(20);
		if (trickle->queued > 1)
			trickle->queued--; /* some byte now and again is progress */
	}
	assert_true(s->aborted);
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
	for (int i = 0; i < 100 && !all_ended; i++)
		run_ms(10);
	assert_true(all_ended && s->ended && !s->aborted);
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
	for (int i = 0; i < 100 && !all_ended; i++)
		run_ms(10);
	assert_true(all_ended);
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
	for (int i = 0; i < 300 && !all_ended; i++)
		run_ms(10);
	assert_true(all_ended && s->aborted && good->ended);
	assert_true(np_mono_diff_ms(np_mono_now(), start) < 2500);
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

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(sse_open__new_reader__retry_and_all_instances),
	    T(sse_open__no_instances__key_only),
	    T(sse_open__many_at_once__one_opening_for_all),
	    T(sse_open__too_many_readers__503),
	    T(sse_open__last_event_id__what_was_missed_after_the_opening),
	    T(sse_open__id_no_longer_in_the_ring__opening_only),
	    T(sse_publish__reader_is_behind__updates_coalesced_others_kept),
	    T(sse_publish__reader_is_behind__oldest_logs_lost_and_said_once),
	    T(sse_publish__creates_past_the_bound__aborted_not_ended),
	    T(sse_publish__burst_in_one_pass__healthy_reader_has_all),
	    T(sse_publish__log_of_escapes__block_within_its_maximum),
	    T(sse_publish__instance_too_large__not_published),
	    T(sse_open__ten_thousand_instances_slow_reader__all_in_slices),
	    T(sse_open__openings_in_memory_at_their_maximum__waits),
	    T(sse_sweep__quiet__pings),
	    T(sse_sweep__reader_takes_nothing__aborted),
	    T(sse_end_all__readers__shutdown_and_clean_end),
	    T(sse_end_all__nobody__done_from_the_loop),
	    T(sse_end_all__reader_takes_nothing__aborted_after_two_seconds),
	    T(on_close__at_any_time__reader_gone),
	    T(all__each_allocation_fails__aborted_or_complete),
	    T(sse_publish__two_thousand_readers__in_bounded_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
