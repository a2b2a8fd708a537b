/*
 * router.h - the table of routes, for the router itself and for the documents made from it.
 */
#ifndef CP_ROUTER_H
#define CP_ROUTER_H

#include "app.h"

#define ROUTER_PREFIX_MAX 256

enum route_key { ROUTE_OPEN = 0, ROUTE_API_KEY, ROUTE_METRICS_KEY };

struct route {
	const char *path; /* behind the API's root, or behind "/" */
	bool rooted;	  /* outside the prefix */
	bool rest;	  /* what follows @path is an id */
	bool any;	  /* every method is GET; HEAD has no body */
	enum route_key key;
	api_fn on[HTTP_OTHER]; /* per method, NULL = 405 */
};

const struct route *router_table(size_t *n);
/* router_match - the route of @path (decoded), NULL = none; @id is the rest of the path. */
const struct route *router_match(const char *root, const char *path, const char **id);
/* router_prefix_ok - may @prefix (decoded, "/a/b") be that of the API? */
bool router_prefix_ok(const char *prefix);

/* router_new - made by app_route with the first request. router_free - after http_free; @r may be
 * NULL. */
struct router;
void router_free(struct router *r);

#endif
