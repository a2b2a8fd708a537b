/*
 * sse_bed.h - for tests: the event stream over streams of memory, behind each of which a "kernel" stands
 * that takes all, nothing, or some bytes.
 *
 * The functions of http.h that it calls are defined here, so the real ones are not linked.
 */
#ifndef NP_TEST_SSE_BED_H
#define NP_TEST_SSE_BED_H

#include "sse.h"

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

static inline void keep(struct http_stream *s, const void *data, size_t len)
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

static inline void put_instance(char *out, size_t max, const char *id, unsigned n)
{
	(void)snprintf(
	    out, max, "{\"id\":\"%s\",\"n\":%u,\"pad\":\"%.*s\"}", id, n, (int)instance_bytes,
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
}

static inline void initial(void *arg, sse_emit_fn emit, void *emit_arg)
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

static inline int setup(void **state)
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

static inline int teardown(void **state)
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

static inline void drain(struct http_stream *s)
{
	s->queued = 0;
	if (!s->ended && !s->aborted && s->on_drained != NULL)
		s->on_drained(s->arg);
}

static inline void kernel(void)
{
	for (size_t i = 0; i < nstreams; i++) {
		if (!streams[i]->slow && streams[i]->queued > 0)
			drain(streams[i]);
	}
}

/* Until nothing moves any more. */
static inline void settle(void)
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

static inline struct http_stream *connect_with(const char *header, const char *query, bool slow)
{
	struct http_req r = {.header = header, .query = query};

	sse_open(sse, &r);
	assert_int_equal(r.status, 200);
	r.stream->slow = slow;
	return r.stream;
}

static inline struct http_stream *connected(void)
{
	struct http_stream *s = connect_with(NULL, NULL, false);

	settle();
	return s;
}

static inline void publish(enum sse_type type, const char *id, unsigned n, const char *logs)
{
	char json[700];

	put_instance(json, sizeof(json), id, n);
	sse_publish(sse, type, id, json, strlen(json), logs);
}

/* -- what a reader has seen -- */

static inline size_t count(struct http_stream *s, const char *what)
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
static inline void parse(struct http_stream *s, struct np_buf *out, char *last)
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

static inline void assert_seen(struct http_stream *s, const char *expected)
{
	struct np_buf b;

	np_buf_init(&b, 1024 * 1024);
	parse(s, &b, NULL);
	if (strcmp(np_buf_cstr(&b) != NULL ? np_buf_cstr(&b) : "", expected) != 0)
		print_error("seen:     %s\nexpected: %s\n", np_buf_cstr(&b), expected);
	assert_string_equal(np_buf_cstr(&b), expected);
	np_buf_release(&b);
}

static inline void last_id(struct http_stream *s, char out[40])
{
	struct np_buf b;

	np_buf_init(&b, 1024 * 1024);
	out[0] = '\0';
	parse(s, &b, out);
	np_buf_release(&b);
}

#define OPENING "initial/********/0 initial/00000000/0 initial/00000001/0 "

#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
