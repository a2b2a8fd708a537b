/*
 * api_events.c - GET /events: the event stream.
 */
#include "app.h"

#include "base/banned.h"

void api_events(struct app *app, struct http_req *r, const char *id)
{
	(void)id;
	sse_open(app->sse, r);
}
