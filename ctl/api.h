/*
 * api.h - requests to the API: one, many at a time, and a stream.
 *
 * Owns connections, limits and times; knows no meaning of what it carries. The only file of
 * nodepass-ctl that knows the HTTP library. Single thread; everything blocks.
 */
#ifndef CTL_API_H
#define CTL_API_H

#include "base/buf.h"
#include "where.h"

#include <stdbool.h>
#include <stddef.h>

#define API_PARALLEL   8		   /* requests under way at a time */
#define API_REPLY_MAX  (256 * 1024 * 1024) /* 10 000 instances are some 10 MB */
#define API_PATH_MAX   1024
#define API_ERROR_MAX  512
#define API_CONNECT_MS 10000L
#define API_TIMEOUT_MS 60000L
#define API_SILENCE_MS 45000 /* of a stream; its other end says something every 15 s */

struct api;

struct api_call {
	const char *method;
	char path[API_PATH_MAX]; /* below the root of the API, with its query */
	const char *body;	 /* borrowed; NULL = none */
	long status;		 /* of the answer; 0 = there was none */
	struct np_buf reply;	 /* owned; released by api_call_release */
	char error
	    [API_ERROR_MAX]; /* "" = it was done; one line, as the API or the library says it */
};

/* api_new - borrows @w. Errors: NP_ENOMEM. */
enum np_err api_new(const struct where *w, struct api **out) NP_MUST_CHECK;
void api_free(struct api *a);

/* api_call_init - a call to the path that @fmt makes. */
void api_call_init(struct api_call *c, const char *method, const char *body, const char *fmt, ...)
    NP_PRINTF(4, 5);
void api_call_release(struct api_call *c); /* wipes the reply */

/* api_run - one call; how it went is in @c. */
void api_run(struct api *a, struct api_call *c);
/*
 * api_each - all @n calls, API_PARALLEL at a time, in order; @done after each of them (it may
 * release its reply). Errors: NP_ENOMEM; then the rest has no status and an error.
 */
enum np_err api_each(struct api *a, struct api_call *calls, size_t n,
		     void (*done)(void *arg, struct api_call *c), void *arg) NP_MUST_CHECK;

/*
 * api_stream - a GET whose answer is handed on as it comes. @data and @tick (about once a second,
 * at the latest; @idle_ms since the last byte) return false to end it; then @c has no error.
 */
struct api_stream_fns {
	bool (*data)(void *arg, const char *p, size_t len);
	bool (*tick)(void *arg, int64_t idle_ms);
	void *arg;
};
void api_stream(struct api *a, struct api_call *c, const struct api_stream_fns *fns);

/* api_escape - @s for a query, appended to @out. */
void api_escape(const char *s, struct np_buf *out);

#endif
