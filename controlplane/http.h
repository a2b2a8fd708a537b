/*
 * http.h - the HTTP server: evhttp with what evhttp leaves open (limits, deadlines, strictness).
 *
 * One thread, the loop's. A request is answered exactly once, at once or later; a stream is opened
 * instead of an answer. A handler that answers later learns of a client that left by on_gone.
 */
#ifndef CP_HTTP_H
#define CP_HTTP_H

#include "base/buf.h"

#include <event2/event.h>
#include <stdbool.h>

#define HTTP_HEADER_MAX	     (16 * 1024)   /* 431 */
#define HTTP_BODY_MAX	     (1024 * 1024) /* 413 */
#define HTTP_HEADER_MS	     10000
#define HTTP_BODY_MS	     30000
#define HTTP_IDLE_MS	     60000
#define HTTP_CONNECTIONS_MAX 8192
#define HTTP_RECEIVING_MAX   (256 * 1024 * 1024) /* of all requests that are not complete yet */
#define HTTP_STREAM_QUEUE_MAX \
	(256 * 1024) /* bytes a stream's reader may be behind in our buffers */

enum http_method {
	HTTP_GET = 0,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_PATCH,
	HTTP_DELETE,
	HTTP_OPTIONS,
	HTTP_OTHER,
};

#define HTTP_PIN_SIZE 45 /* 32 bytes in base64, with NUL */

struct http_server;
struct http_req;

struct http_options {
	const char *host; /* "" = all addresses */
	uint16_t port;
	int tls; /* 0, 1 own certificate, 2 files */
	const char *crt, *key;
	int64_t reload_ms; /* the files are looked at again this often at the latest */
	/* Every request that is well-formed; answers through the functions below. */
	void (*on_request)(struct http_req *req, void *arg);
	void (*on_certificate)(void *arg); /* it was changed; http_pin says to what. NULL = none */
	void *arg;
};

/* http_new - binds and loads the certificate. Errors: NP_ESYS (@diag names the address), NP_EINVAL
 * (files), NP_ENOMEM. */
enum np_err http_new(struct event_base *base, const struct http_options *o,
		     struct http_server **out, struct np_diag *diag) NP_MUST_CHECK;
/* http_open - connections are taken from now on; those that came before have waited. */
void http_open(struct http_server *s);
void http_reload(struct http_server *s); /* certificate files, now */
/* http_pin - "" without TLS, else as http_tls_pin. Errors: NP_ECRYPTO. */
enum np_err http_pin(const struct http_server *s, char out[HTTP_PIN_SIZE]) NP_MUST_CHECK;
/* http_free - closes the listener and all connections. http_close_listener - takes no more. */
void http_close_listener(struct http_server *s);
void http_free(struct http_server *s);
unsigned http_connections(const struct http_server *s);

enum http_method http_req_method(const struct http_req *r);
/* The path as sent, without query, not decoded; the query without '?', or NULL. */
const char *http_req_path(const struct http_req *r);
const char *http_req_query(const struct http_req *r);
/* http_req_header - the first one of that name, NULL = none. */
const char *http_req_header(const struct http_req *r, const char *name);
const char *http_req_body(struct http_req *r, size_t *len); /* NUL-terminated copy, owned by @r */
/* http_req_drop_body - before a wait in which nobody needs it. */
void http_req_drop_body(struct http_req *r);
const char *http_req_peer(const struct http_req *r); /* address without port */
/* http_req_query_value - decoded value of the first @name; false: absent, or bad escapes. */
bool http_req_query_value(const struct http_req *r, const char *name, char *out, size_t max);
/* http_req_on_gone - called once if the client leaves before the answer; @r dies right after. */
void http_req_on_gone(struct http_req *r, void (*fn)(struct http_req *r, void *arg), void *arg);

/* Answers. http_header - adds one before the answer. All routes add CORS by http_cors. */
void http_header(struct http_req *r, const char *name, const char *value);
void http_cors(struct http_req *r);
/* http_reply - @type NULL = no body and no Content-Type. HEAD: headers only. Frees @r. */
void http_reply(struct http_req *r, int status, const char *type, const void *body, size_t len);
/* http_reply_json - "application/json", @json without its final LF. http_reply_json_take - the same;
 * what was in @json is sent and wiped, not copied, and needs room for the LF. http_reply_error - the
 * error body {"error":"…"} with CORS. All free @r. */
void http_reply_json(struct http_req *r, int status, const struct np_buf *json);
void http_reply_json_take(struct http_req *r, int status, struct np_buf *json);
void http_reply_error(struct http_req *r, int status, const char *fmt, ...) NP_PRINTF(3, 4);

/* Streams: chunked, exempt from the idle limit. */
struct http_stream;
/* http_stream_open - answers 200 with @type, no-cache, CORS. @on_close: the reader left (the stream
 * is freed after it returns). NULL without memory (answered 503 then). */
struct http_stream *http_stream_open(struct http_req *r, const char *type,
				     void (*on_close)(void *arg), void *arg);
void http_stream_send(struct http_stream *s, const void *data, size_t len);
/* http_stream_queued - bytes that the kernel has not taken yet. */
size_t http_stream_queued(const struct http_stream *s);
/* http_stream_end - last chunk, clean end. http_stream_abort - reset. on_close is not called. */
void http_stream_end(struct http_stream *s);
void http_stream_abort(struct http_stream *s);
/* http_stream_on_drained - @fn whenever the queue became empty. */
void http_stream_on_drained(struct http_stream *s, void (*fn)(void *arg));

#endif
