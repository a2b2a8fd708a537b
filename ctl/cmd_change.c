/*
 * cmd_change.c - add, set, alias, and what is done to many instances at a time.
 */
#include "ctl.h"

#include "base/alloc.h"
#include "core/proof.h"
#include "pick.h"
#include "started.h"
#include "text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define URL_MAX 8192

/* print_reply - the instance, or its id alone. */
static int print_reply(struct ctl *c, struct api_call *call)
{
	char id[64];
	const char *reply = (const char *)np_buf_ptr(&call->reply);
	size_t len = np_buf_len(&call->reply);

	if (c->json)
		return ctl_put(reply, len);
	if (!json_member(reply, len, "id", id, sizeof(id)))
		return ctl_fail("%s: the answer is no instance", c->where.url);
	printf("%s\n", id);
	return ctl_flush();
}

/* given_url - the URL, or the first line of standard input for "-", in @out (URL_MAX). */
static int given_url(const char *word, char *out)
{
	if (strcmp(word, "-") != 0) {
		if (snprintf(out, URL_MAX, "%s", word) >= URL_MAX)
			return ctl_usage("the URL is too long");
		return CTL_OK;
	}
	if (fgets(out, URL_MAX, stdin) == NULL)
		return ctl_usage("there is no URL on standard input");
	out[strcspn(out, "\r\n")] = '\0';
	return CTL_OK;
}

/* send_pairs - @call is the request and its answer; the caller releases it. */
static int send_pairs(struct ctl *c, const char *method, const char *path,
		      const struct json_pair *pairs, size_t n, struct api_call *call)
{
	struct np_buf body;
	int status;

	np_buf_init(&body, 8 * URL_MAX);
	if (json_object(pairs, n, &body) != NP_OK || np_buf_cstr(&body) == NULL) {
		np_buf_wipe(&body);
		return ctl_fail("%s", np_err_text(NP_ENOMEM));
	}
	api_call_init(call, method, np_buf_cstr(&body), "%s", path);
	status = ctl_call(c, call);
	call->body = NULL;
	np_buf_wipe(&body);
	return status;
}

/* change_one - a change of one instance; what the API answers is of interest to scripts only. */
static int change_one(struct ctl *c, const char *method, const char *path,
		      const struct json_pair *pair)
{
	struct api_call call = {.path = ""};
	int status = send_pairs(c, method, path, pair, 1, &call);

	if (status == CTL_OK && c->json)
		status = print_reply(c, &call);
	api_call_release(&call);
	return status;
}

/* is_hex - an id as the API makes them; another one would have to be escaped in a path. */
static bool is_hex(const char *id)
{
	return id[0] != '\0' && strspn(id, "0123456789abcdefABCDEF") == strlen(id);
}

/* await_added - waits for the instance that @added, an answer of the API, shows. */
static int await_added(struct ctl *c, const struct api_call *added)
{
	struct api_call call;
	char id[64];

	if (!json_member((const char *)np_buf_ptr(&added->reply), np_buf_len(&added->reply), "id",
			 id, sizeof(id)) ||
	    !is_hex(id))
		return ctl_fail("%s: the answer is no instance", c->where.url);
	api_call_init(&call, "GET", NULL, "/instances/%s", id);
	return started_wait(c, &call, 1);
}

int cmd_add(struct ctl *c, char **words, size_t n)
{
	char url[URL_MAX];
	struct json_pair pairs[2] = {{"url", url}, {"alias", c->alias}};
	struct api_call call = {.path = ""};
	int status = given_url(words[0], url);

	(void)n;
	if (status == CTL_OK)
		status = ctl_connect(c);
	if (status == CTL_OK)
		status =
		    send_pairs(c, "POST", "/instances", pairs, c->alias != NULL ? 2 : 1, &call);
	np_wipe(url, sizeof(url));
	if (status == CTL_OK)
		status = print_reply(c, &call);
	if (status == CTL_OK)
		status = await_added(c, &call);
	api_call_release(&call);
	return status;
}

/* one_path - the path of the one instance that @word names. */
static int one_path(struct ctl *c, char *word, char out[API_PATH_MAX])
{
	struct np_diag diag = {.text = ""};
	struct inst_list l;
	bool *chosen;
	size_t found = 0, at = 0;
	enum np_err err = NP_ENOMEM;
	int status = ctl_list(c, &l);

	if (status != CTL_OK)
		return status;
	chosen = np_calloc(l.n + 1, sizeof(*chosen));
	if (chosen != NULL)
		err = pick(&l, &word, 1, chosen, &diag);
	for (size_t i = 0; err == NP_OK && i < l.n; i++) {
		at = chosen[i] ? i : at;
		found += chosen[i];
	}
	if (err != NP_OK)
		status = ctl_fail("%s", diag.text[0] != '\0' ? diag.text : np_err_text(err));
	else if (found != 1)
		status = ctl_fail("'%s': one instance is expected", word);
	else
		snprintf(out, API_PATH_MAX, "/instances/%s", l.v[at].id);
	np_free(chosen);
	json_list_release(&l);
	return status;
}

int cmd_set(struct ctl *c, char **words, size_t n)
{
	char url[URL_MAX], path[API_PATH_MAX];
	struct json_pair pair = {"url", url};
	int status = given_url(words[1], url);

	(void)n;
	if (status == CTL_OK)
		status = one_path(c, words[0], path);
	if (status == CTL_OK)
		status = change_one(c, "PUT", path, &pair);
	np_wipe(url, sizeof(url));
	return status;
}

int cmd_alias(struct ctl *c, char **words, size_t n)
{
	char path[API_PATH_MAX];
	struct json_pair pair = {"alias", words[1]};
	int status = CTL_OK;

	(void)n;
	if (words[1][0] == '\0')
		return ctl_usage("an alias cannot be empty");
	status = one_path(c, words[0], path);
	return status == CTL_OK ? change_one(c, "PATCH", path, &pair) : status;
}

/* --- many at a time ----------------------------------------------------------------------- */

struct bulk {
	struct ctl *ctl;
	size_t n, done, failed;
	bool progress; /* standard error is a terminal */
};

static void bulk_clear(const struct bulk *b)
{
	if (b->progress)
		fputs("\r\033[K", stderr);
}

static void bulk_done(void *arg, struct api_call *call)
{
	struct bulk *b = arg;
	const char *id = strrchr(call->path, '/') + 1;

	api_call_release(call);
	if (call->error[0] == '\0') {
		b->done++;
	} else {
		b->failed++;
		bulk_clear(b);
		fprintf(stderr, "nodepass ctl: %s: %s\n", id, call->error);
	}
	if (b->progress)
		fprintf(stderr, "\r%s: %zu of %zu", b->ctl->command, b->done + b->failed, b->n);
}

static int bulk_report(const struct bulk *b, const struct api_call *calls)
{
	struct np_buf out;
	int status;

	bulk_clear(b);
	if (!b->ctl->json) {
		printf("done %zu, failed %zu\n", b->done, b->failed);
		return ctl_flush();
	}
	np_buf_init(&out, API_REPLY_MAX);
	np_buf_put_str(&out, "[");
	for (size_t i = 0; i < b->n; i++) {
		np_buf_putf(&out, "%s{\"id\":\"%s\",\"status\":%ld,\"error\":", i > 0 ? "," : "",
			    strrchr(calls[i].path, '/') + 1, calls[i].status);
		if (calls[i].error[0] == '\0')
			np_buf_put_str(&out, "null");
		else if (json_string(calls[i].error, &out) != NP_OK)
			break;
		np_buf_put_str(&out, "}");
	}
	np_buf_put_str(&out, "]\n");
	status = out.err == NP_OK ? ctl_put(np_buf_ptr(&out), np_buf_len(&out))
				  : ctl_fail("%s", np_err_text(out.err));
	np_buf_release(&out);
	return status;
}

/*
 * await_started - of what 'start' was told to, those that it was done to and that were not running:
 * of the others the status tells nothing about this start.
 */
static int await_started(struct ctl *c, const struct inst_list *l, const bool *chosen,
			 struct api_call *calls)
{
	size_t n = 0, call = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (!chosen[i] || !is_hex(l->v[i].id))
			continue;
		if (calls[call].error[0] == '\0' && strcmp(l->v[i].status, "stopped") == 0)
			calls[n++] = calls[call];
		call++;
	}
	return started_wait(c, calls, n);
}

/* bulk_run - the calls of what is chosen. */
static int bulk_run(struct ctl *c, const struct inst_list *l, const bool *chosen)
{
	bool remove = strcmp(c->command, "rm") == 0;
	struct bulk b = {.ctl = c, .progress = isatty(STDERR_FILENO) == 1};
	struct api_call *calls = np_calloc(l->n + 1, sizeof(*calls));
	char body[64];
	int status;

	if (calls == NULL)
		return ctl_fail("%s", np_err_text(NP_ENOMEM));
	snprintf(body, sizeof(body), "{\"action\":\"%s\"}", c->command);
	for (size_t i = 0; i < l->n; i++) {
		if (chosen[i] && is_hex(l->v[i].id))
			api_call_init(&calls[b.n++], remove ? "DELETE" : "PATCH",
				      remove ? NULL : body, "/instances/%s", l->v[i].id);
	}
	if (api_each(c->api, calls, b.n, bulk_done, &b) != NP_OK)
		ctl_fail("%s", np_err_text(NP_ENOMEM));
	status = bulk_report(&b, calls);
	if (strcmp(c->command, "start") == 0 && await_started(c, l, chosen, calls) != CTL_OK)
		status = CTL_FAILED;
	np_free(calls);
	return b.failed > 0 ? CTL_FAILED : status;
}

/* is_meant - 'rm all' at a terminal asks; without one it wants --yes. */
static bool is_meant(struct ctl *c, char **words, size_t n, size_t count)
{
	bool all = false;
	char answer[16];

	for (size_t i = 0; i < n; i++)
		all = all || strcmp(words[i], "all") == 0;
	if (!all || c->yes || count == 0 || strcmp(c->command, "rm") != 0)
		return true;
	if (isatty(STDIN_FILENO) != 1) {
		ctl_usage("'rm all' removes %zu instances; say --yes if that is meant", count);
		return false;
	}
	fprintf(stderr, "Remove all %zu instances? [y/N] ", count);
	return fgets(answer, sizeof(answer), stdin) != NULL && (answer[0] | 0x20) == 'y';
}

int cmd_bulk(struct ctl *c, char **words, size_t n)
{
	struct np_diag diag = {.text = ""};
	struct inst_list l;
	bool *chosen;
	int status = ctl_list(c, &l);

	if (status != CTL_OK)
		return status;
	chosen = np_calloc(l.n + 1, sizeof(*chosen));
	if (chosen == NULL)
		status = ctl_fail("%s", np_err_text(NP_ENOMEM));
	else if (pick(&l, words, n, chosen, &diag) != NP_OK)
		status = ctl_fail("%s", diag.text);
	else if (!is_meant(c, words, n, l.n))
		status = CTL_USAGE;
	else
		status = bulk_run(c, &l, chosen);
	np_free(chosen);
	json_list_release(&l);
	return status;
}
