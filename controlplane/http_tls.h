/*
 * http_tls.h - TLS of the API: 1.3 only, ALPN http/1.1, an own certificate or files that are looked
 * at again while serving. Thread: the loop's.
 */
#ifndef CP_HTTP_TLS_H
#define CP_HTTP_TLS_H

#include "base/err.h"
#include "http.h"

#include <stdint.h>

struct bufferevent;
struct event_base;
struct http_tls;

/* http_tls_new - @crt NULL: a self-signed certificate. @reload_ms: files are read again with the
 * first connection that comes later than this. @on_reload (NULL = none): other files are used from
 * now on. Errors: NP_EINVAL (@diag names the file), NP_ECRYPTO, NP_ENOMEM. */
enum np_err http_tls_new(const char *crt, const char *key, int64_t reload_ms,
			 void (*on_reload)(void *arg), void *arg, struct http_tls **out,
			 struct np_diag *diag) NP_MUST_CHECK;
/*
 * http_tls_pin - the SHA-256 of the public key that is shown now (DER, as in RFC 7469), in base64.
 * Errors: NP_ECRYPTO.
 */
enum np_err http_tls_pin(const struct http_tls *t, char out[HTTP_PIN_SIZE]) NP_MUST_CHECK;
/* http_tls_reload - files that cannot be used are said in the log, the old ones stay. */
void http_tls_reload(struct http_tls *t);
/* http_tls_bufferevent - for one accepted connection, without its descriptor; NULL: no memory. */
struct bufferevent *http_tls_bufferevent(struct http_tls *t, struct event_base *base);
void http_tls_free(struct http_tls *t);

#endif
