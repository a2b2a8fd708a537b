/*
 * api_docs.c - GET /docs: Swagger UI from the program itself, no foreign host; without it a plain
 * list of routes. The page holds no script of its own, so its policy can forbid inline scripts.
 */
#include "app.h"

#include "docs_asset.h"
#include "openapi.h"
#include "router.h"

#include <string.h>
#include <strings.h>

#include "base/banned.h"

#define PAGE_MAX (16 * 1024)

static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";

static const char start_js[] =
    "\"use strict\";\n"
    "const place = document.getElementById(\"ui\");\n"
    "SwaggerUIBundle({url: place.dataset.description, domNode: place, deepLinking: true,\n"
    "    validatorUrl: null, presets: [SwaggerUIBundle.presets.apis]});\n";

static void put_page(struct app *app, struct np_buf *b)
{
	struct np_buf root;
	const char *url;

	np_buf_init(&root, 4096);
	openapi_put_url(app->root, &root);
	url = np_buf_cstr(&root);
	if (url == NULL)
		url = "";
	np_buf_putf(b,
		    "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
		    "<title>NodePass API</title>\n"
		    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
		    "<link rel=\"stylesheet\" href=\"%s/docs/swagger-ui.css\"></head>\n"
		    "<body><div id=\"ui\" data-description=\"%s/openapi.json\"></div>\n"
		    "<script src=\"%s/docs/swagger-ui-bundle.js\"></script>\n"
		    "<script src=\"%s/docs/start.js\"></script></body>\n</html>\n",
		    url, url, url, url);
	np_buf_release(&root);
}

static void put_plain_page(struct app *app, struct np_buf *b)
{
	static const char *const names[HTTP_OTHER] = {"GET",   "HEAD",	 "POST",   "PUT",
						      "PATCH", "DELETE", "OPTIONS"};
	struct np_buf root;
	size_t n;
	const struct route *t = router_table(&n);
	const char *url;

	np_buf_init(&root, 4096);
	openapi_put_url(app->root, &root);
	url = np_buf_cstr(&root);
	np_buf_put_str(b, "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
			  "<title>NodePass API</title></head>\n<body><h1>NodePass API</h1>\n"
			  "<p>This program was built without Swagger UI. The description is ");
	np_buf_putf(b, "<a href=\"%s/openapi.json\">openapi.json</a>.</p>\n<ul>\n", url);
	for (size_t i = 0; i < n; i++) {
		if (t[i].rest && strncmp(t[i].path, "/docs/", 6) == 0)
			continue;
		np_buf_putf(b, "<li><code>%s%s%s</code>:", t[i].rooted ? "" : url, t[i].path,
			    t[i].rest ? "{id}" : "");
		for (size_t m = 0; m < HTTP_OTHER; m++) {
			if (t[i].on[m] != NULL)
				np_buf_putf(b, " %s", names[m]);
		}
		np_buf_put_str(b, "</li>\n");
	}
	np_buf_put_str(b, "</ul></body>\n</html>\n");
	np_buf_release(&root);
}

static void reply_page(struct app *app, struct http_req *r)
{
	struct np_buf b;

	np_buf_init(&b, PAGE_MAX);
	if (docs_assets_count > 0)
		put_page(app, &b);
	else
		put_plain_page(app, &b);
	http_header(r, "Content-Security-Policy", policy);
	http_header(r, "Referrer-Policy", "no-referrer");
	if (b.err == NP_OK)
		http_reply(r, 200, "text/html; charset=utf-8", np_buf_ptr(&b), np_buf_len(&b));
	else
		http_reply_error(r, 503, "Out of memory");
	np_buf_release(&b);
}

static bool takes_gzip(const struct http_req *r)
{
	const char *s = http_req_header(r, "Accept-Encoding");
	const char *at = s != NULL ? strcasestr(s, "gzip") : NULL;

	/* "gzip;q=0" refuses it */
	return at != NULL && strncmp(at + 4, ";q=0", 4) != 0;
}

static void reply_asset(struct http_req *r, const struct docs_asset *a)
{
	bool gzip = takes_gzip(r);
	const unsigned char *from = gzip ? a->gzip : a->plain,
			    *end = gzip ? a->gzip_end : a->plain_end;

	http_header(r, "Vary", "Accept-Encoding");
	if (gzip)
		http_header(r, "Content-Encoding", "gzip");
	http_reply(r, 200, a->type, from, (size_t)(end - from));
}

/* @id: NULL for the page, else the name of one of its files. */
void api_docs(struct app *app, struct http_req *r, const char *id)
{
	http_header(r, "X-Content-Type-Options", "nosniff");
	http_header(r, "Cache-Control", "no-cache");
	if (id == NULL) {
		reply_page(app, r);
		return;
	}
	for (size_t i = 0; i < docs_assets_count; i++) {
		if (strcmp(docs_assets[i].name, id) == 0) {
			reply_asset(r, &docs_assets[i]);
			return;
		}
	}
	if (docs_assets_count > 0 && strcmp(id, "start.js") == 0)
		http_reply(r, 200, "text/javascript; charset=utf-8", start_js,
			   sizeof(start_js) - 1);
	else
		http_reply(r, 404, "text/plain; charset=utf-8", "404 page not found\n", 19);
}
