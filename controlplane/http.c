/*
 * http.c - listener, connections and their deadlines. Requests are http_req.c, streams
 * http_stream.c, what is refused http_guard.c.
 *
 * evhttp's time limit starts anew with every byte, so one byte a second holds a connection for
 * ever. Here the first byte of a request starts a clock that bytes do not reset; the end of the
 * header block sets it once more for the body.
 */
#include "http.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "core/addr.h"
#include "http_priv.h"

#include <event2/buffer.h>
#include <event2/listener.h>
#include <utlist.h>

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define BACKLOG	      1024
#define SWEEP_MS      250
#define EV_HEADER_MAX (64 * 1024) /* evhttp's own limits: its stock answers stand past them */
#define EV_BODY_MAX   (4 * 1024 * 1024)
/* evhttp takes a body off the input when it is there as a whole. */
#define READ_AHEAD_MAX (EV_HEADER_MAX + EV_BODY_MAX)
#define SAY_AGAIN_MS   10000
#define METHODS_ALL    0xffff /* also the bit of methods that evhttp has no name for */

static void conn_free(struct http_conn *c)
{
	struct http_server *s = c->server;

	HASH_DEL(s->by_bev, c);
	DL_DELETE(s->conns, c);
	s->count--;
	s->receiving -= c->received;
	bufferevent_decref(c->bev);
	np_free(c);
}

/* The connection ends, with or without an answer on its way. */
static void conn_on_close(struct evhttp_connection *evcon, void *arg)
{
	struct http_conn *c = arg;
	struct http_req *r = c->req;

	(void)evcon;
	if (c->stream != NULL) {
		struct http_stream *st = c->stream;

		/* A request that evhttp took off its connection belongs to us from then on. */
		if (evhttp_request_get_connection(st->ev) == NULL)
			evhttp_request_free(st->ev);
		http_stream_gone(st);
	}
	if (r != NULL) {
		c->req = NULL;
		if (evhttp_request_get_connection(r->ev) == NULL)
			evhttp_request_free(r->ev);
		if (r->on_gone != NULL)
			r->on_gone(r, r->gone_arg);
		http_req_free(r);
	}
	conn_free(c);
}

struct http_conn *http_conn_find(struct http_server *s, struct evhttp_connection *evcon)
{
	struct bufferevent *bev = evhttp_connection_get_bufferevent(evcon);
	struct http_conn *c;
	char *address = NULL;
	ev_uint16_t port;

	HASH_FIND_PTR(s->by_bev, &bev, c);
	NP_ASSERT(c != NULL);
	if (c->evcon == NULL) {
		c->evcon = evcon;
		evhttp_connection_get_peer(evcon, &address, &port);
		snprintf(c->peer, sizeof(c->peer), "%s", address != NULL ? address : "-");
		evhttp_connection_set_closecb(evcon, conn_on_close, c);
	}
	return c;
}

/* --- what is being read ------------------------------------------------------------------------ */

static void phase_start(struct http_conn *c)
{
	c->phase = HTTP_PHASE_HEADER;
	c->line_feeds = 0;
	c->deadline = np_mono_add_ms(np_mono_now(), HTTP_HEADER_MS);
}

/* The last @n bytes of @in: does the header block end in them? */
static bool has_header_end(struct http_conn *c, struct evbuffer *in, size_t n)
{
	struct evbuffer_iovec vec;
	struct evbuffer_ptr at;
	size_t pos = evbuffer_get_length(in) - n;

	while (n > 0) {
		const char *p;
		size_t len;

		if (evbuffer_ptr_set(in, &at, pos, EVBUFFER_PTR_SET) != 0 ||
		    evbuffer_peek(in, (ev_ssize_t)n, &at, &vec, 1) < 1)
			return false;
		p = vec.iov_base;
		len = vec.iov_len < n ? vec.iov_len : n;
		for (size_t i = 0; i < len; i++) {
			if (p[i] == '\n' && ++c->line_feeds == 2)
				return true;
			if (p[i] != '\n' && p[i] != '\r')
				c->line_feeds = 0;
		}
		pos += len;
		n -= len;
	}
	return false;
}

static void conn_on_input(struct evbuffer *in, const struct evbuffer_cb_info *info, void *arg)
{
	struct http_conn *c = arg;

	if (info->n_added == 0)
		return;
	c->received += info->n_added;
	c->server->receiving += info->n_added;
	if (c->phase == HTTP_PHASE_IDLE)
		phase_start(c);
	if (c->server->receiving > HTTP_RECEIVING_MAX && c->received > EV_HEADER_MAX &&
	    c->phase != HTTP_PHASE_BUSY) {
		/* Bodies come before keys are looked at. The sweep ends the connection. */
		bufferevent_disable(c->bev, EV_READ);
		c->phase = HTTP_PHASE_BODY;
		c->deadline = np_mono_now();
		return;
	}
	if (c->phase == HTTP_PHASE_HEADER && has_header_end(c, in, info->n_added)) {
		c->phase = HTTP_PHASE_BODY;
		c->deadline = np_mono_add_ms(np_mono_now(), HTTP_BODY_MS);
	}
}

void http_conn_received(struct http_conn *c)
{
	c->phase = HTTP_PHASE_BUSY;
	c->server->receiving -= c->received;
	c->received = 0;
}

void http_conn_answered(struct http_conn *c)
{
	c->req = NULL;
	c->phase = HTTP_PHASE_IDLE;
	/* Of a next request that came early the end of its header may have passed unseen. */
	if (evbuffer_get_length(bufferevent_get_input(c->bev)) > 0) {
		phase_start(c);
		c->phase = HTTP_PHASE_BODY;
	}
}

/* --- connections ------------------------------------------------------------------------------- */

static void listener_pause(struct http_server *s, const char *why)
{
	if (s->paused || s->listener == NULL)
		return;
	s->paused = true;
	evconnlistener_disable(s->listener);
	if (np_mono_is_set(s->said) && np_mono_diff_ms(np_mono_now(), s->said) < SAY_AGAIN_MS)
		return;
	s->said = np_mono_now();
	np_log(NP_LOG_WARN, NULL, "api: no new connections for now reason=%s", why);
}

static struct bufferevent *conn_new(struct event_base *base, void *arg)
{
	struct http_server *s = arg;
	struct http_conn *c = np_calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL; /* evhttp makes one of its own and goes without our deadlines */
	c->server = s;
	c->bev = s->tls != NULL ? http_tls_bufferevent(s->tls, base)
				: bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (c->bev == NULL) {
		np_free(c);
		return NULL;
	}
	bufferevent_incref(c->bev);
	bufferevent_setwatermark(c->bev, EV_READ, 0, READ_AHEAD_MAX);
	evbuffer_add_cb(bufferevent_get_input(c->bev), conn_on_input, c);
	/* A handshake counts as part of the header. */
	phase_start(c);
	DL_APPEND(s->conns, c);
	HASH_ADD_PTR(s->by_bev, bev, c);
	if (++s->count >= HTTP_CONNECTIONS_MAX)
		listener_pause(s, "too_many");
	return c->bev;
}

static bool is_let_go(const struct http_conn *c)
{
	bufferevent_data_cb on_read, on_write;
	bufferevent_event_cb on_event;
	void *arg;

	bufferevent_getcb(c->bev, &on_read, &on_write, &on_event, &arg);
	return on_event == NULL;
}

static void server_on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *s = arg;
	struct np_mono now = np_mono_now();
	struct http_conn *c, *next;

	(void)fd;
	(void)what;
	DL_FOREACH_SAFE (s->conns, c, next) {
		if (is_let_go(c))
			conn_free(c);
		else if ((c->phase == HTTP_PHASE_HEADER || c->phase == HTTP_PHASE_BODY) &&
			 !np_mono_before(now, c->deadline))
			bufferevent_trigger_event(c->bev, BEV_EVENT_READING | BEV_EVENT_TIMEOUT,
						  BEV_TRIG_DEFER_CALLBACKS);
	}
	if (s->paused && s->count < HTTP_CONNECTIONS_MAX && s->listener != NULL) {
		s->paused = false;
		evconnlistener_enable(s->listener);
	}
}

static void listener_on_error(struct evconnlistener *l, void *arg)
{
	(void)l;
	listener_pause(arg, strerror(errno));
}

/* --- listener ---------------------------------------------------------------------------------- */

static int listen_on(const struct addrinfo *ai)
{
	static const int on = 1, off = 0;
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int saved;

	if (fd == -1)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	/* Accepted sockets inherit it; without it every TLS answer waits 40 ms for an ACK. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == -1 || listen(fd, BACKLOG) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* The first address that can be bound; "" is [::] for both families, then 0.0.0.0. */
static enum np_err listen_any(const struct http_options *o, int *out, struct np_diag *diag)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	const char *hosts[] = {"::", "0.0.0.0", NULL}, *named[] = {o->host, NULL};
	bool any = o->host == NULL || o->host[0] == '\0';
	struct addrinfo *list;
	char port[8];
	int fd = -1, failed = 0;

	snprintf(port, sizeof(port), "%u", o->port);
	for (const char **host = any ? hosts : named; *host != NULL && fd == -1; host++) {
		int rc = getaddrinfo(*host, port, &hints, &list);

		if (rc != 0) {
			if (!any)
				return np_diag_set(diag, NP_ESYS, "API address",
						   "cannot listen on %s:%s: %s", o->host, port,
						   gai_strerror(rc));
			continue;
		}
		for (struct addrinfo *ai = list; ai != NULL && fd == -1; ai = ai->ai_next) {
			fd = listen_on(ai);
			if (fd == -1 && (failed == 0 || errno == EADDRINUSE))
				failed = errno;
			if (fd == -1 && errno == EADDRINUSE && any)
				host = hosts + 1; /* in use: not half of it either */
		}
		freeaddrinfo(list);
	}
	if (fd == -1)
		return np_diag_set(diag, NP_ESYS, "API address", "cannot listen on %s:%s: %s",
				   any ? "" : o->host, port, strerror(failed));
	*out = fd;
	return NP_OK;
}

static enum np_err server_listen(struct http_server *s, int fd)
{
	s->listener = evconnlistener_new(
	    s->base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED,
	    0, fd);
	if (s->listener == NULL) {
		close(fd);
		return NP_ENOMEM;
	}
	s->bound = evhttp_bind_listener(s->http, s->listener);
	if (s->bound == NULL) {
		evconnlistener_free(s->listener);
		s->listener = NULL;
		return NP_ENOMEM;
	}
	evconnlistener_set_error_cb(s->listener, listener_on_error);
	return NP_OK;
}

enum np_err http_new(struct event_base *base, const struct http_options *o,
		     struct http_server **out, struct np_diag *diag)
{
	struct http_server *s = np_calloc(1, sizeof(*s));
	struct timeval period = {0, SWEEP_MS * 1000};
	enum np_err err = NP_ENOMEM;
	int fd = -1;

	if (s == NULL)
		return NP_ENOMEM;
	s->base = base;
	s->on_request = o->on_request;
	s->arg = o->arg;
	s->http = evhttp_new(base);
	s->sweep = event_new(base, -1, EV_PERSIST, server_on_sweep, s);
	if (s->http == NULL || s->sweep == NULL || event_add(s->sweep, &period) != 0)
		goto fail;
	if (o->tls != 0) {
		err = http_tls_new(o->tls == 2 ? o->crt : NULL, o->tls == 2 ? o->key : NULL,
				   o->reload_ms, o->on_certificate, o->arg, &s->tls, diag);
		if (err != NP_OK)
			goto fail;
	}
	evhttp_set_bevcb(s->http, conn_new, s);
	evhttp_set_gencb(s->http, http_req_begin, s);
	evhttp_set_allowed_methods(s->http, METHODS_ALL);
	evhttp_set_default_content_type(s->http, NULL);
	evhttp_set_max_headers_size(s->http, EV_HEADER_MAX);
	evhttp_set_max_body_size(s->http, EV_BODY_MAX);
	evhttp_set_timeout(s->http, HTTP_IDLE_MS / 1000);
	err = listen_any(o, &fd, diag);
	if (err == NP_OK)
		err = server_listen(s, fd);
	if (err != NP_OK)
		goto fail;
	*out = s;
	return NP_OK;
fail:
	http_free(s);
	return err;
}

void http_open(struct http_server *s)
{
	evconnlistener_enable(s->listener);
}

void http_reload(struct http_server *s)
{
	if (s->tls != NULL)
		http_tls_reload(s->tls);
}

enum np_err http_pin(const struct http_server *s, char out[HTTP_PIN_SIZE])
{
	out[0] = '\0';
	return s->tls != NULL ? http_tls_pin(s->tls, out) : NP_OK;
}

void http_close_listener(struct http_server *s)
{
	if (s->bound != NULL)
		evhttp_del_accept_socket(s->http, s->bound);
	s->bound = NULL;
	s->listener = NULL;
}

void http_free(struct http_server *s)
{
	if (s == NULL)
		return;
	if (s->http != NULL) {
		http_close_listener(s);
		evhttp_free(s->http);
	}
	while (s->conns != NULL)
		conn_free(s->conns);
	if (s->sweep != NULL)
		event_free(s->sweep);
	http_tls_free(s->tls);
	np_free(s);
}

unsigned http_connections(const struct http_server *s)
{
	return s->count;
}
