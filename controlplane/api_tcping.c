/*
 * api_tcping.c - GET /tcping?target=host:port. What cannot be reached is an answer, not an error.
 */
#include "app.h"

#include "base/alloc.h"
#include "json_write.h"
#include "tcping.h"

#include <string.h>

#include "base/banned.h"

#define TARGET_MAX 512

/* A request that waits for its probe. */
struct ping {
	struct http_req *req;
	struct tcping_probe *probe;
	char target[TARGET_MAX + 1];
};

static void reply(struct http_req *r, const char *target, const struct tcping_result *res)
{
	struct np_buf b;

	np_buf_init(&b, 16 * 1024);
	json_put_begin(&b, NULL, '{');
	json_put_str(&b, "target", target);
	json_put_bool(&b, "connected", res->connected);
	json_put_i64(&b, "latency", res->latency_ms);
	if (res->error[0] != '\0')
		json_put_str(&b, "error", res->error);
	else
		json_put_null(&b, "error");
	json_put_end(&b, '}');
	http_reply_json(r, 200, &b);
	np_buf_release(&b);
}

static void ping_on_done(void *arg, const struct tcping_result *res)
{
	struct ping *p = arg;

	reply(p->req, p->target, res);
	np_free(p);
}

static void ping_on_gone(struct http_req *r, void *arg)
{
	struct ping *p = arg;

	(void)r;
	tcping_cancel(p->probe);
	np_free(p);
}

void api_tcping(struct app *app, struct http_req *r, const char *id)
{
	struct ping *p = np_calloc(1, sizeof(*p));

	(void)id;
	if (p == NULL) {
		http_reply_error(r, 503, "Out of memory");
		return;
	}
	p->req = r;
	if (!http_req_query_value(r, "target", p->target, sizeof(p->target)) ||
	    p->target[0] == '\0') {
		http_reply_error(r, 400, "Target address required");
		np_free(p);
		return;
	}
	p->probe = tcping_start(app->tcping, p->target, ping_on_done, p);
	if (p->probe == NULL) {
		http_reply_error(r, 503, "Out of memory");
		np_free(p);
		return;
	}
	http_req_on_gone(r, ping_on_gone, p);
}
