/*
 * openapi.h - the API's own description, OpenAPI 3.1.1, made once from the tables of routes, fields
 * and errors.
 */
#ifndef CP_OPENAPI_H
#define CP_OPENAPI_H

#include "base/buf.h"

struct openapi; /* of app->openapi, made with the first request */

/* openapi_render - @root: of the API, decoded. Errors: sticky in @out. */
void openapi_render(const char *root, struct np_buf *out);
void openapi_free(struct openapi *o);
/* openapi_put_url - @path percent-encoded; the result is safe in HTML and JSON, too. */
void openapi_put_url(const char *path, struct np_buf *out);

#endif
