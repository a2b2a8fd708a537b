/*
 * http_stream.c - answers without an end: chunks as they come, and two ways to stop.
 */
#include "http.h"

#include "base/alloc.h"
#include "http_priv.h"

#include <event2/buffer.h>

#include <sys/socket.h>

#include "base/banned.h"

#define STREAM_SNDBUF	 (64 * 1024) /* the kernel would else hide a stalled reader behind megabytes */
#define STREAM_INPUT_MAX (4 * 1024)	    /* of what nobody reads */
#define STREAM_IDLE_SEC	 (10 * 365 * 86400) /* evhttp has no way to say never */

struct http_stream *http_stream_open(struct http_req *r, const char *type,
				     void (*on_close)(void *arg), void *arg)
{
	struct http_conn *c = r->conn;
	struct http_stream *s = np_calloc(1, sizeof(*s));
	int size = STREAM_SNDBUF;

	if (s == NULL) {
		http_reply_error(r, HTTP_SERVUNAVAIL, "Out of memory");
		return NULL;
	}
	*s = (struct http_stream){.conn = c, .ev = r->ev, .on_close = on_close, .arg = arg};
	http_cors(r);
	http_date(r);
	http_header(r, "Content-Type", type);
	http_header(r, "Cache-Control", "no-cache");
	http_header(r, "Connection", "close"); /* a pipelined request would wait for ever */
	c->req = NULL;
	c->stream = s;
	http_req_free(r);
	setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	evhttp_connection_set_timeout(c->evcon, STREAM_IDLE_SEC);
	evhttp_send_reply_start(s->ev, HTTP_OK, "OK");
	/* evhttp rests reading during an answer; only reading shows that the client left. */
	bufferevent_setwatermark(c->bev, EV_READ, 0, STREAM_INPUT_MAX);
	bufferevent_enable(c->bev, EV_READ);
	return s;
}

static void stream_on_written(struct evhttp_connection *evcon, void *arg)
{
	struct http_stream *s = arg;

	(void)evcon;
	if (s->on_drained != NULL)
		s->on_drained(s->arg);
}

void http_stream_send(struct http_stream *s, const void *data, size_t len)
{
	struct evbuffer *out = evbuffer_new();

	if (out == NULL || evbuffer_add(out, data, len) != 0) {
		/* A gap must not go unseen: the connection is lost with the block. */
		int fd = bufferevent_getfd(s->conn->bev);

		if (fd != -1)
			shutdown(fd, SHUT_RDWR);
	} else {
		evhttp_send_reply_chunk_with_cb(s->ev, out, stream_on_written, s);
	}
	if (out != NULL)
		evbuffer_free(out);
}

size_t http_stream_queued(const struct http_stream *s)
{
	return evbuffer_get_length(bufferevent_get_output(s->conn->bev));
}

void http_stream_on_drained(struct http_stream *s, void (*fn)(void *arg))
{
	s->on_drained = fn;
}

void http_stream_end(struct http_stream *s)
{
	struct http_conn *c = s->conn;
	struct evhttp_request *ev = s->ev;

	c->stream = NULL;
	np_free(s);
	evhttp_connection_set_timeout(c->evcon, HTTP_IDLE_MS / 1000);
	evhttp_send_reply_end(ev);
}

void http_stream_abort(struct http_stream *s)
{
	struct http_conn *c = s->conn;
	struct linger none = {.l_onoff = 1};

	c->stream = NULL;
	np_free(s);
	setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	evhttp_connection_free(c->evcon);
}

void http_stream_gone(struct http_stream *s)
{
	s->conn->stream = NULL;
	s->on_close(s->arg);
	np_free(s);
}
