/*
 * api.c - requests to the API: see api.h.
 */
#include "api.h"

#include "base/alloc.h"
#include "base/mono.h"
#include "core/proof.h"
#include "json.h"
#include "text.h"

#include <curl/curl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

struct api {
	const struct where *where; /* borrowed */
	CURLM *multi;		   /* owned */
	CURL *easy;		   /* owned; for one call at a time, keeps its connection */
	struct curl_slist *head;   /* owned; holds the key */
};

/* What one transfer needs beside its call; lives as long as the transfer. */
struct transfer {
	struct api_call *call;
	const struct api_stream_fns *fns; /* NULL = collect the answer */
	CURL *easy;
	struct np_mono last;
	bool ended, used;
	char error[CURL_ERROR_SIZE];
};

enum np_err api_new(const struct where *w, struct api **out)
{
	struct api *a = np_calloc(1, sizeof(*a));
	char line[WHERE_KEY_MAX + 32];

	if (a == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		np_free(a);
		return NP_ENOMEM;
	}
	a->where = w;
	a->multi = curl_multi_init();
	a->easy = curl_easy_init();
	snprintf(line, sizeof(line), "X-API-Key: %s", w->key);
	a->head = curl_slist_append(NULL, line);
	np_wipe(line, sizeof(line));
	if (a->multi == NULL || a->easy == NULL || a->head == NULL ||
	    curl_slist_append(a->head, "Content-Type: application/json") == NULL ||
	    curl_slist_append(a->head, "Expect:") == NULL) {
		api_free(a);
		return NP_ENOMEM;
	}
	*out = a;
	curl_multi_setopt(a->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)API_PARALLEL);
	return NP_OK;
}

void api_free(struct api *a)
{
	if (a == NULL)
		return;
	curl_easy_cleanup(a->easy);
	curl_multi_cleanup(a->multi);
	for (struct curl_slist *l = a->head; l != NULL; l = l->next)
		np_wipe(l->data, strlen(l->data));
	curl_slist_free_all(a->head);
	np_free(a);
	curl_global_cleanup();
}

void api_call_init(struct api_call *c, const char *method, const char *body, const char *fmt, ...)
{
	va_list ap;

	memset(c, 0, sizeof(*c));
	c->method = method;
	c->body = body;
	np_buf_init(&c->reply, API_REPLY_MAX);
	va_start(ap, fmt);
	vsnprintf(c->path, sizeof(c->path), fmt, ap);
	va_end(ap);
}

void api_call_release(struct api_call *c)
{
	np_buf_wipe(&c->reply);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	long status = 0;

	n *= size;
	t->last = np_mono_now();
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	if (t->fns == NULL || status != 200) {
		np_buf_put(&t->call->reply, p, n);
		return t->call->reply.err == NP_OK ? n : CURL_WRITEFUNC_ERROR;
	}
	t->ended = !t->fns->data(t->fns->arg, p, n);
	return t->ended ? CURL_WRITEFUNC_ERROR : n;
}

static int on_tick(void *arg, curl_off_t total, curl_off_t now, curl_off_t up, curl_off_t up_now)
{
	struct transfer *t = arg;
	int64_t idle = np_mono_diff_ms(np_mono_now(), t->last);

	(void)total, (void)now, (void)up, (void)up_now;
	if (t->fns == NULL)
		return 0;
	t->ended = t->ended || !t->fns->tick(t->fns->arg, idle);
	return t->ended || idle > API_SILENCE_MS;
}

static void set_where(CURL *e, const struct where *w)
{
	char pin[sizeof("sha256//") - 1 + WHERE_PIN_SIZE] = "sha256//";
	bool pinned = where_pin(w, pin + strlen(pin));

	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, API_CONNECT_MS);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "nodepass-ctl/" NP_VERSION);
	if (w->local) /* no proxy of the environment sees the key of this machine */
		curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
	if (w->cacert != NULL)
		curl_easy_setopt(e, CURLOPT_CAINFO, w->cacert);
	/* No authority can vouch for an address such as 127.0.0.1, but the key itself is known. */
	if (pinned)
		curl_easy_setopt(e, CURLOPT_PINNEDPUBLICKEY, pin);
	if (pinned || w->insecure) {
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
	}
}

/* prepare - a handle for @c, whose answer goes to @t. Errors: NP_ENOMEM. */
static enum np_err prepare(struct api *a, struct transfer *t)
{
	struct api_call *c = t->call;
	struct np_buf url;
	const char *text;
	CURL *e = t->easy;
	enum np_err err = NP_ENOMEM;

	np_buf_init(&url, WHERE_URL_MAX + API_PATH_MAX);
	np_buf_putf(&url, "%s%s", a->where->url, c->path);
	text = np_buf_cstr(&url);
	curl_easy_reset(e);
	t->error[0] = '\0';
	t->last = np_mono_now();
	t->ended = false;
	if (text == NULL || curl_easy_setopt(e, CURLOPT_URL, text) != CURLE_OK)
		goto out;
	set_where(e, a->where);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, a->head);
	curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->method);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_tick);
	curl_easy_setopt(e, CURLOPT_XFERINFODATA, t);
	curl_easy_setopt(e, CURLOPT_NOPROGRESS, t->fns == NULL ? 1L : 0L);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, t->fns == NULL ? API_TIMEOUT_MS : 0L);
	curl_easy_setopt(e, CURLOPT_PRIVATE, t);
	if (c->body != NULL)
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, c->body);
	err = NP_OK;
out:
	np_buf_release(&url);
	return err;
}

/* set_error - @text is of others and goes to a terminal; it is cut to fit. */
static void set_error(struct api_call *c, const char *text)
{
	struct np_buf clean;
	const char *s;

	np_buf_init(&clean, TEXT_MAX);
	text_clean(text, false, &clean);
	s = np_buf_cstr(&clean);
	snprintf(c->error, sizeof(c->error), "%s (HTTP %ld)", s != NULL ? s : "", c->status);
	np_buf_release(&clean);
}

/* finish - how a transfer ended, in the words of the API where it said some. */
static void finish(struct transfer *t, CURLcode code)
{
	struct api_call *c = t->call;
	char said[API_ERROR_MAX - 32];

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &c->status);
	if (t->ended)
		return;
	if (code != CURLE_OK) {
		snprintf(c->error, sizeof(c->error), "%s",
			 c->reply.err != NP_OK ? np_err_text(c->reply.err)
			 : t->error[0] != '\0' ? t->error
					       : curl_easy_strerror(code));
		return;
	}
	if (c->status >= 200 && c->status < 300)
		return;
	if (json_member((const char *)np_buf_ptr(&c->reply), np_buf_len(&c->reply), "error", said,
			sizeof(said)))
		set_error(c, said);
	else
		snprintf(c->error, sizeof(c->error), "the answer is HTTP %ld, not of this API",
			 c->status);
}

void api_run(struct api *a, struct api_call *c)
{
	api_stream(a, c, NULL);
}

void api_stream(struct api *a, struct api_call *c, const struct api_stream_fns *fns)
{
	struct transfer t = {.call = c, .fns = fns, .easy = a->easy};

	if (prepare(a, &t) != NP_OK)
		snprintf(c->error, sizeof(c->error), "%s", np_err_text(NP_ENOMEM));
	else
		finish(&t, curl_easy_perform(a->easy));
}

/* begin - puts the next call into the first free place; false: it could not. */
static bool begin(struct api *a, struct transfer *places, struct api_call *c)
{
	struct transfer *t = places;

	while (t->used)
		t++;
	t->call = c;
	if (prepare(a, t) != NP_OK || curl_multi_add_handle(a->multi, t->easy) != CURLM_OK)
		return false;
	t->used = true;
	return true;
}

/* collect - ends what is through; returns how many. */
static size_t collect(struct api *a, void (*done)(void *arg, struct api_call *c), void *arg)
{
	size_t n = 0;
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(a->multi, &left)) != NULL) {
		struct transfer *t;
		CURLcode code = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
		curl_multi_remove_handle(a->multi, t->easy);
		finish(t, code);
		t->used = false;
		done(arg, t->call);
		n++;
	}
	return n;
}

enum np_err api_each(struct api *a, struct api_call *calls, size_t n,
		     void (*done)(void *arg, struct api_call *c), void *arg)
{
	struct transfer places[API_PARALLEL] = {0};
	size_t next = 0, running = 0;
	enum np_err err = NP_ENOMEM;
	int alive;

	for (size_t i = 0; i < API_PARALLEL; i++) {
		places[i].easy = curl_easy_init();
		if (places[i].easy == NULL)
			goto out;
	}
	while (next < n || running > 0) {
		for (; next < n && running < API_PARALLEL; next++, running++) {
			if (!begin(a, places, &calls[next]))
				goto out;
		}
		if (curl_multi_perform(a->multi, &alive) != CURLM_OK)
			goto out;
		running -= collect(a, done, arg);
		if (running > 0 && curl_multi_poll(a->multi, NULL, 0, 1000, NULL) != CURLM_OK)
			goto out;
	}
	err = NP_OK;
out:
	for (size_t i = 0; i < API_PARALLEL; i++) {
		if (places[i].used) {
			curl_multi_remove_handle(a->multi, places[i].easy);
			snprintf(places[i].call->error, API_ERROR_MAX, "%s", np_err_text(err));
			done(arg, places[i].call);
		}
		curl_easy_cleanup(places[i].easy);
	}
	for (; next < n; next++) {
		snprintf(calls[next].error, API_ERROR_MAX, "%s", np_err_text(err));
		done(arg, &calls[next]);
	}
	return err;
}

void api_escape(const char *s, struct np_buf *out)
{
	static const char kept[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";

	for (; *s != '\0'; s++) {
		if (strchr(kept, *s) != NULL)
			np_buf_put_u8(out, (uint8_t)*s);
		else
			np_buf_putf(out, "%%%02X", (unsigned)(unsigned char)*s);
	}
}
