/*
 * http_priv.h - inside of the HTTP server: connections, requests, streams.
 */
#ifndef CP_HTTP_PRIV_H
#define CP_HTTP_PRIV_H

#include "base/mono.h"
#include "http.h"
#include "http_tls.h"

#include <event2/bufferevent.h>
#include <event2/http.h>
#include <uthash.h>

struct http_stream {
	struct http_conn *conn;
	struct evhttp_request *ev;
	void (*on_close)(void *arg);
	void (*on_drained)(void *arg);
	void *arg;
};

struct http_req {
	unsigned magic;
	struct http_conn *conn;
	struct evhttp_request *ev; /* owned by its connection until the answer */
	char *path, *query;	   /* owned; query NULL = none */
	char *body;		   /* owned; may hold a secret */
	size_t body_len;
	bool cors;
	void (*on_gone)(struct http_req *r, void *arg);
	void *gone_arg;
};

/* What is being read. */
enum http_phase {
	HTTP_PHASE_IDLE = 0, /* nothing of a request has come; evhttp's own limit holds */
	HTTP_PHASE_HEADER,
	HTTP_PHASE_BODY,
	HTTP_PHASE_BUSY, /* the request is being answered */
};

/*
 * A connection, from the making of its bufferevent on. evhttp tells of its end only after a first
 * request; so a reference to the bufferevent is kept, and one without callbacks is one that evhttp
 * has let go.
 */
struct http_conn {
	struct http_server *server;
	struct http_conn *prev, *next;	 /* server->conns */
	UT_hash_handle hh;		 /* server->by_bev */
	struct bufferevent *bev;	 /* one reference */
	struct evhttp_connection *evcon; /* NULL before the first request */
	enum http_phase phase;
	struct np_mono deadline;
	size_t received;     /* since the last request was complete */
	unsigned line_feeds; /* of the empty line that ends a header block */
	char peer[64];
	struct http_req *req;	    /* owned; waits for its answer */
	struct http_stream *stream; /* owned */
};

struct http_server {
	struct event_base *base;
	struct evhttp *http;
	struct evhttp_bound_socket *bound;
	struct evconnlistener *listener; /* owned by bound */
	struct event *sweep;
	struct http_tls *tls; /* owned, NULL = plain */
	struct http_conn *conns, *by_bev;
	unsigned count;
	size_t receiving;    /* sum of conns' received: HTTP_RECEIVING_MAX */
	struct np_mono said; /* when the pause was last logged */
	bool paused;	     /* the listener rests: descriptors or connections are at their limit */
	void (*on_request)(struct http_req *req, void *arg);
	void *arg;
};

/* http_req_begin - gencb of evhttp. http_req_free - not its evhttp part. */
void http_req_begin(struct evhttp_request *ev, void *server);
void http_req_free(struct http_req *r);
/* http_conn_answered - the answer was given to evhttp: what comes next is a new request. */
void http_conn_answered(struct http_conn *c);
/* http_conn_received - the request is complete: its bytes are accounted for elsewhere. */
void http_conn_received(struct http_conn *c);
struct http_conn *http_conn_find(struct http_server *s, struct evhttp_connection *evcon);
/* http_stream_gone - the connection of @s ended; tells its owner and frees it. */
void http_stream_gone(struct http_stream *s);

/* http_date - for answers that evhttp gives no Date. */
void http_date(struct http_req *r);

#endif
