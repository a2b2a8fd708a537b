/*
 * auth.h - the API key of a request. Wrong keys are answered later, one after the other for each
 * source address; right ones never are, as others may sit behind the same address.
 * Thread: the loop's.
 */
#ifndef CP_AUTH_H
#define CP_AUTH_H

#include "http.h"

#define AUTH_DELAY_MS	  1000 /* between wrong keys of one source */
#define AUTH_DELAY_MAX_MS 4000 /* clients give up after 5 s */
#define AUTH_SOURCES_MAX  4096
#define AUTH_WAITING_MAX  1024 /* answers that are held back; a further one goes out at once */

struct auth;

enum np_err auth_new(struct event_base *base, struct auth **out) NP_MUST_CHECK;
/*
 * auth_check - true: the key is @key or @other (NULL = none). With @other the key may also come as
 * "Authorization: Bearer". False: the request was answered with 401, or will be.
 */
bool auth_check(struct auth *a, struct http_req *r, const char *key, const char *other);
/* auth_free - answers that were held back are dropped with their connections, so after http_free.
 */
void auth_free(struct auth *a);

#endif
