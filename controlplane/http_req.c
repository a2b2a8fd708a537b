/*
 * http_req.c - one request from evhttp's callback to its answer.
 */
#include "http.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "http_guard.h"
#include "http_priv.h"
#include "json_write.h"

#include <event2/buffer.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/banned.h"

#define REQ_MAGIC      0x52455148
#define ERROR_TEXT_MAX 1024

enum http_method http_req_method(const struct http_req *r)
{
	/* Not a switch: methods that evhttp has no name for are no value of its enum. */
	int command = (int)evhttp_request_get_command(r->ev);

	if (command == EVHTTP_REQ_GET)
		return HTTP_GET;
	if (command == EVHTTP_REQ_HEAD)
		return HTTP_HEAD;
	if (command == EVHTTP_REQ_POST)
		return HTTP_POST;
	if (command == EVHTTP_REQ_PUT)
		return HTTP_PUT;
	if (command == EVHTTP_REQ_PATCH)
		return HTTP_PATCH;
	if (command == EVHTTP_REQ_DELETE)
		return HTTP_DELETE;
	if (command == EVHTTP_REQ_OPTIONS)
		return HTTP_OPTIONS;
	return HTTP_OTHER;
}

const char *http_req_path(const struct http_req *r)
{
	return r->path;
}

const char *http_req_query(const struct http_req *r)
{
	return r->query;
}

const char *http_req_header(const struct http_req *r, const char *name)
{
	return evhttp_find_header(evhttp_request_get_input_headers(r->ev), name);
}

const char *http_req_body(struct http_req *r, size_t *len)
{
	*len = r->body_len;
	return r->body;
}

const char *http_req_peer(const struct http_req *r)
{
	return r->conn->peer;
}

bool http_req_query_value(const struct http_req *r, const char *name, char *out, size_t max)
{
	return http_query_find(r->query, name, out, max);
}

void http_req_on_gone(struct http_req *r, void (*fn)(struct http_req *r, void *arg), void *arg)
{
	r->on_gone = fn;
	r->gone_arg = arg;
}

void http_req_drop_body(struct http_req *r)
{
	if (r->body != NULL)
		explicit_bzero(r->body, r->body_len);
	np_free(r->body);
	r->body = NULL;
	r->body_len = 0;
}

void http_req_free(struct http_req *r)
{
	NP_CHECK_MAGIC(r, REQ_MAGIC);
	r->magic = 0;
	http_req_drop_body(r);
	np_free(r->path);
	np_free(r->query);
	np_free(r);
}

/* --- a request comes --------------------------------------------------------------------------- */

static struct http_facts facts_of(struct evhttp_request *ev)
{
	struct http_facts f = {.minor = (unsigned)ev->minor, .header_len = 16};
	struct evkeyval *h;

	TAILQ_FOREACH(h, evhttp_request_get_input_headers(ev), next)
	http_guard_field(&f, h->key, h->value);
	f.body_len = evbuffer_get_length(evhttp_request_get_input_buffer(ev));
	return f;
}

/* "/a?b#c" or "http://host/a?b": path and query. */
static bool take_target(struct http_req *r, const char *target)
{
	const char *scheme = strstr(target, "://"), *path = target;
	size_t len;

	if (target[0] != '/' && scheme != NULL) {
		path = scheme + 3 + strcspn(scheme + 3, "/?#");
	}
	len = strcspn(path, "?#");
	r->path = len > 0 ? np_strndup(path, len) : np_strdup("/");
	if (r->path == NULL)
		return false;
	if (path[len] == '?') {
		path += len + 1;
		r->query = np_strndup(path, strcspn(path, "#"));
		return r->query != NULL;
	}
	return true;
}

static bool take_body(struct http_req *r, struct evbuffer *in)
{
	size_t len = evbuffer_get_length(in);

	r->body = np_malloc(len + 1);
	if (r->body == NULL)
		return false;
	if (len > 0 && evbuffer_remove(in, r->body, len) != (int)len)
		len = 0;
	r->body[len] = '\0';
	r->body_len = len;
	return true;
}

void http_req_begin(struct evhttp_request *ev, void *server)
{
	struct http_server *s = server;
	struct http_conn *c = http_conn_find(s, evhttp_request_get_connection(ev));
	struct http_facts f = facts_of(ev);
	const char *target = evhttp_request_get_uri(ev);
	struct http_verdict verdict = http_guard_verdict(&f, target);
	struct http_req *r = np_calloc(1, sizeof(*r));

	http_conn_received(c);
	if (r == NULL) {
		evhttp_send_error(ev, HTTP_SERVUNAVAIL, NULL);
		http_conn_answered(c);
		return;
	}
	r->magic = REQ_MAGIC;
	r->conn = c;
	r->ev = ev;
	c->req = r;
	/* A body of a method that evhttp does not know would be read as the next request. */
	if (verdict.status != 0 || http_req_method(r) == HTTP_OTHER)
		http_header(r, "Connection", "close");
	if (verdict.status == HTTP_BADREQUEST) /* no request of the API: as text */
		http_reply(r, verdict.status, "text/plain; charset=utf-8", verdict.text,
			   strlen(verdict.text));
	else if (verdict.status != 0)
		http_reply_error(r, verdict.status, "%s", verdict.text);
	else if (!take_target(r, target) || !take_body(r, evhttp_request_get_input_buffer(ev)))
		http_reply_error(r, HTTP_SERVUNAVAIL, "Out of memory");
	else
		s->on_request(r, s->arg);
}

/* --- answers ----------------------------------------------------------------------------------- */

void http_header(struct http_req *r, const char *name, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(r->ev), name, value);
}

void http_cors(struct http_req *r)
{
	if (r->cors)
		return;
	r->cors = true;
	http_header(r, "Access-Control-Allow-Origin", "*");
	http_header(r, "Access-Control-Allow-Methods", "GET, PATCH, POST, PUT, DELETE, OPTIONS");
	http_header(r, "Access-Control-Allow-Headers",
		    "Content-Type, Authorization, X-API-Key, Cache-Control");
}

/* evhttp says the time to clients of HTTP/1.1 alone. */
void http_date(struct http_req *r)
{
	char date[64];

	if (r->ev->major == 1 && r->ev->minor >= 1)
		return;
	if (evutil_date_rfc1123(date, sizeof(date), NULL) > 0)
		http_header(r, "Date", date);
}

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {{200, "OK"},
		       {201, "Created"},
		       {204, "No Content"},
		       {301, "Moved Permanently"},
		       {400, "Bad Request"},
		       {401, "Unauthorized"},
		       {403, "Forbidden"},
		       {404, "Not Found"},
		       {405, "Method Not Allowed"},
		       {409, "Conflict"},
		       {413, "Content Too Large"},
		       {431, "Request Header Fields Too Large"},
		       {500, "Internal Server Error"},
		       {503, "Service Unavailable"}};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].status == status)
			return reasons[i].text;
	}
	return "Status";
}

/* @out may be NULL, and is freed; @len: of the body. */
static void reply_body(struct http_req *r, int status, const char *type, struct evbuffer *out,
		       size_t len)
{
	struct evhttp_request *ev = r->ev;
	char length[24];

	if (type != NULL)
		http_header(r, "Content-Type", type);
	http_date(r);
	if (status != 204) {
		snprintf(length, sizeof(length), "%zu", len);
		http_header(r, "Content-Length", length);
	}
	http_conn_answered(r->conn);
	http_req_free(r);
	evhttp_send_reply(ev, status, reason_of(status), out);
	if (out != NULL)
		evbuffer_free(out);
}

void http_reply(struct http_req *r, int status, const char *type, const void *body, size_t len)
{
	struct evbuffer *out = evbuffer_new();

	/* evhttp sends what it is given, also after HEAD. */
	if (out != NULL && len > 0 && http_req_method(r) != HTTP_HEAD)
		evbuffer_add(out, body, len);
	reply_body(r, status, type, out, len);
}

static void reply_buffer(struct http_req *r, int status, struct np_buf *b)
{
	if (b->err != NP_OK) {
		static const char text[] = "{\"error\":\"Out of memory\"}\n";

		http_reply(r, HTTP_SERVUNAVAIL, "application/json", text, sizeof(text) - 1);
	} else {
		http_reply(r, status, "application/json", np_buf_ptr(b), np_buf_len(b));
	}
}

void http_reply_json(struct http_req *r, int status, const struct np_buf *json)
{
	struct np_buf b;

	np_buf_init(&b, np_buf_len(json) + 1);
	b.err = json->err;
	np_buf_put(&b, np_buf_ptr(json), np_buf_len(json));
	np_buf_put_u8(&b, '\n');
	reply_buffer(r, status, &b);
	np_buf_wipe(&b);
}

static void on_sent(const void *data, size_t len, void *arg)
{
	struct np_buf *b = arg;

	(void)data;
	(void)len;
	np_buf_wipe(b);
	np_free(b);
}

void http_reply_json_take(struct http_req *r, int status, struct np_buf *json)
{
	struct np_buf *b = np_malloc(sizeof(*b));
	struct evbuffer *out = evbuffer_new();

	np_buf_put_u8(json, '\n');
	if (b == NULL || out == NULL || json->err != NP_OK) {
		reply_buffer(r, status, json);
		np_buf_wipe(json);
		np_free(b);
		if (out != NULL)
			evbuffer_free(out);
		return;
	}
	*b = *json;
	np_buf_init(json, json->max);
	if (http_req_method(r) == HTTP_HEAD ||
	    evbuffer_add_reference(out, np_buf_ptr(b), np_buf_len(b), on_sent, b) != 0) {
		http_reply(r, status, "application/json", np_buf_ptr(b), np_buf_len(b));
		on_sent(NULL, 0, b);
		evbuffer_free(out);
		return;
	}
	reply_body(r, status, "application/json", out, np_buf_len(b));
}

void http_reply_error(struct http_req *r, int status, const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX];
	struct np_buf b;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	http_cors(r);
	np_buf_init(&b, ERROR_TEXT_MAX * 6 + 64);
	json_put_begin(&b, NULL, '{');
	json_put_str(&b, "error", text);
	json_put_end(&b, '}');
	np_buf_put_u8(&b, '\n');
	reply_buffer(r, status, &b);
	np_buf_release(&b);
}
