/*
 * api_metrics.c - GET /metrics: Prometheus text. The router has checked the key.
 */
#include "app.h"
#include "metrics.h"

#include "base/banned.h"

void api_metrics(struct app *app, struct http_req *r, const char *id)
{
	struct metrics_view v = {.model = app->model,
				 .node_up = app->node != NULL && node_is_up(app->node),
				 .synced = app->synced,
				 .http_connections = http_connections(app->http)};
	struct np_buf text;

	(void)id;
	sse_figures(app->sse, &v.sse);
	metrics_process_read(&v.process);
	np_buf_init(&text, METRICS_TEXT_MAX);
	metrics_render(app->metrics, &v, &text);
	if (text.err == NP_OK) {
		http_header(r, "Cache-Control", "no-store");
		http_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", np_buf_ptr(&text),
			   np_buf_len(&text));
	} else {
		http_reply_error(r, 503, "Service Unavailable: %s", np_err_text(text.err));
	}
	np_buf_release(&text);
}
