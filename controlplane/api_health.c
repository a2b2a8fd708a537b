/*
 * api_health.c - /healthz: the control plane answers. /readyz: the data plane is there and holds
 * what is desired. At the root, without a key: they say nothing else.
 */
#include "app.h"

#include <string.h>

#include "base/banned.h"

static void reply_text(struct http_req *r, int status, const char *text)
{
	http_header(r, "Cache-Control", "no-store");
	http_reply(r, status, "text/plain; charset=utf-8", text, strlen(text));
}

void api_healthz(struct app *app, struct http_req *r, const char *id)
{
	(void)app;
	(void)id;
	reply_text(r, 200, "ok\n");
}

void api_readyz(struct app *app, struct http_req *r, const char *id)
{
	(void)id;
	if (app->stopping)
		reply_text(r, 503, "stopping\n");
	else if (app->node == NULL || !node_is_up(app->node))
		reply_text(r, 503, "no data plane\n");
	else if (!app->synced)
		reply_text(r, 503, "the data plane is being told\n");
	else
		reply_text(r, 200, "ready\n");
}
