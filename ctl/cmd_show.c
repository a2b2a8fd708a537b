/*
 * cmd_show.c - ls, show, info, tcping and key: what is asked and changes nothing (but the key).
 */
#include "ctl.h"

#include "base/alloc.h"
#include "core/proof.h"
#include "pick.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

/* narrow - leaves what the words name in the list; none = all. */
static int narrow(struct inst_list *l, char **words, size_t n)
{
	struct np_diag diag = {.text = ""};
	bool *chosen;
	size_t kept = 0;
	enum np_err err;

	if (n == 0)
		return CTL_OK;
	chosen = np_calloc(l->n + 1, sizeof(*chosen));
	if (chosen == NULL)
		return ctl_fail("%s", np_err_text(NP_ENOMEM));
	err = pick(l, words, n, chosen, &diag);
	for (size_t i = 0; err == NP_OK && i < l->n; i++) {
		if (chosen[i])
			l->v[kept++] = l->v[i];
	}
	np_free(chosen);
	if (err != NP_OK)
		return ctl_fail("%s", diag.text);
	l->n = kept;
	return CTL_OK;
}

/* The caller wipes @b; NULL: no memory. */
static const char *hide_key(const char *url, struct np_buf *b)
{
	np_buf_init(b, TEXT_MAX);
	text_hide_key(url, b);
	return np_buf_cstr(b);
}

static void put_hidden(struct table *t, const char *url)
{
	struct np_buf b;
	const char *text = hide_key(url, &b);

	table_put(t, "%s", text != NULL ? text : "?");
	np_buf_wipe(&b);
}

static int print_list(struct ctl *c, const struct inst_list *l)
{
	static const char *const heads[] = {"ID",    "ALIAS", "TYPE", "STATUS", ">TCP", ">UDP",
					    ">POOL", ">PING", ">RX",  ">TX",	"URL"};
	struct table t;
	enum np_err err;

	table_init(&t, heads, sizeof(heads) / sizeof(*heads));
	for (size_t i = 0; i < l->n; i++) {
		const struct inst *in = &l->v[i];
		char rx[16], tx[16];

		text_bytes(in->tcprx + in->udprx, rx);
		text_bytes(in->tcptx + in->udptx, tx);
		table_put(&t, "%s", in->id);
		table_put(&t, "%s", in->alias);
		table_put(&t, "%s", in->type);
		table_put(&t, "%s", in->status);
		table_put(&t, "%lld", (long long)in->tcps);
		table_put(&t, "%lld", (long long)in->udps);
		table_put(&t, "%lld", (long long)in->pool);
		table_put(&t, "%lldms", (long long)in->ping);
		table_put(&t, "%s", rx);
		table_put(&t, "%s", tx);
		put_hidden(&t, in->url);
	}
	err = table_print(&t, stdout, ctl_columns(c));
	table_release(&t);
	return err == NP_OK ? ctl_flush() : ctl_fail("%s", np_err_text(err));
}

static int print_json(const struct inst_list *l)
{
	struct np_buf b;
	enum np_err err;
	int status;

	np_buf_init(&b, API_REPLY_MAX);
	err = json_list_print(l, &b);
	status = err == NP_OK ? ctl_put(np_buf_ptr(&b), np_buf_len(&b))
			      : ctl_fail("%s", np_err_text(err));
	np_buf_wipe(&b);
	return status;
}

int cmd_ls(struct ctl *c, char **words, size_t n)
{
	struct inst_list l;
	int status = ctl_list(c, &l);

	if (status != CTL_OK)
		return status;
	status = narrow(&l, words, n);
	if (status == CTL_OK)
		status = c->json ? print_json(&l) : print_list(c, &l);
	json_list_release(&l);
	return status;
}

static void show_line(const char *name, const char *fmt, ...) NP_PRINTF(2, 3);

static void show_line(const char *name, const char *fmt, ...)
{
	char raw[8192];
	struct np_buf b;
	const char *text;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	np_buf_init(&b, TEXT_MAX);
	text_clean(raw, false, &b);
	text = np_buf_cstr(&b);
	printf("%-10s %s\n", name, text != NULL ? text : "");
	np_buf_wipe(&b);
}

static void show_url(const char *name, const char *url)
{
	struct np_buf b;
	const char *text = hide_key(url, &b);

	show_line(name, "%s", text != NULL ? text : "");
	np_buf_wipe(&b);
}

static void show_one(const struct inst *i)
{
	show_line("id", "%s", i->id);
	show_line("alias", "%s", i->alias);
	show_line("type", "%s", i->type);
	show_line("status", "%s", i->status);
	show_line("restart", "%s", i->restart ? "yes, when the master starts" : "no");
	show_line("mode", "%lld", (long long)i->mode);
	show_line("ping", "%lld ms", (long long)i->ping);
	show_line("pool", "%lld", (long long)i->pool);
	show_line("sessions", "%lld TCP, %lld UDP", (long long)i->tcps, (long long)i->udps);
	show_line("tcp", "%.0f bytes in, %.0f out", i->tcprx, i->tcptx);
	show_line("udp", "%.0f bytes in, %.0f out", i->udprx, i->udptx);
	show_url("url", i->url);
	show_url("config", i->config);
}

int cmd_show(struct ctl *c, char **words, size_t n)
{
	struct inst_list l;
	int status = ctl_list(c, &l);

	if (status != CTL_OK)
		return status;
	status = narrow(&l, words, n);
	if (status == CTL_OK && c->json) {
		status = print_json(&l);
	} else if (status == CTL_OK) {
		for (size_t i = 0; i < l.n; i++) {
			fputs(i > 0 ? "\n" : "", stdout);
			show_one(&l.v[i]);
		}
		status = ctl_flush();
	}
	json_list_release(&l);
	return status;
}

static void info_line(void *arg, const char *name, const char *value)
{
	(void)arg;
	show_line(name, "%s", value);
}

int cmd_info(struct ctl *c, char **words, size_t n)
{
	struct api_call call;
	int status = ctl_connect(c);
	size_t len;

	(void)words, (void)n;
	if (status != CTL_OK)
		return status;
	api_call_init(&call, "GET", NULL, "/info");
	status = ctl_call(c, &call);
	len = np_buf_len(&call.reply);
	if (status == CTL_OK && c->json)
		status = ctl_put(np_buf_ptr(&call.reply), len);
	else if (status == CTL_OK &&
		 json_each((const char *)np_buf_ptr(&call.reply), len, info_line, NULL) != NP_OK)
		status = ctl_fail("%s: the answer is no description", c->where.url);
	api_call_release(&call);
	return status != CTL_OK ? status : ctl_flush();
}

int cmd_tcping(struct ctl *c, char **words, size_t n)
{
	char connected[8] = "", latency[24] = "0", error[512] = "no connection";
	struct np_buf query;
	struct api_call call;
	int status = ctl_connect(c);
	const char *reply;

	(void)n;
	if (status != CTL_OK)
		return status;
	np_buf_init(&query, API_PATH_MAX / 2);
	api_escape(words[0], &query);
	if (np_buf_cstr(&query) == NULL) {
		np_buf_release(&query);
		return ctl_usage("the address is too long");
	}
	api_call_init(&call, "GET", NULL, "/tcping?target=%s", np_buf_cstr(&query));
	np_buf_release(&query);
	status = ctl_call(c, &call);
	reply = (const char *)np_buf_ptr(&call.reply);
	if (status == CTL_OK) {
		size_t len = np_buf_len(&call.reply);

		json_member(reply, len, "connected", connected, sizeof(connected));
		json_member(reply, len, "latency", latency, sizeof(latency));
		json_member(reply, len, "error", error, sizeof(error));
		status = strcmp(connected, "true") == 0 ? CTL_OK : CTL_FAILED;
		if (c->json)
			status |= ctl_put(reply, len);
		else if (status == CTL_OK)
			show_line("connected", "in %s ms", latency);
		else
			show_line("failed", "%s", error);
	}
	api_call_release(&call);
	return status != CTL_OK ? status : ctl_flush();
}

static int print_key(const char *key)
{
	printf("%s\n", key);
	return ctl_flush();
}

/* key_of_api - the key, or a new one, as the API itself says it. */
static int key_of_api(struct ctl *c, bool rotate)
{
	char key[WHERE_KEY_MAX];
	struct api_call call;
	int status = ctl_connect(c);

	if (status != CTL_OK)
		return status;
	api_call_init(&call, rotate ? "PATCH" : "GET", rotate ? "{\"action\":\"restart\"}" : NULL,
		      "/instances/" JSON_KEY_ID);
	status = ctl_call(c, &call);
	if (status == CTL_OK) {
		if (json_member((const char *)np_buf_ptr(&call.reply), np_buf_len(&call.reply),
				"url", key, sizeof(key)))
			status = print_key(key);
		else
			status = ctl_fail("%s: the answer has no key", c->where.url);
		np_wipe(key, sizeof(key));
	}
	api_call_release(&call);
	return status;
}

int cmd_key(struct ctl *c, char **words, size_t n)
{
	bool rotate = n == 1 && strcmp(words[0], "rotate") == 0;
	struct np_diag diag = {.text = ""};
	char key[WHERE_KEY_MAX];
	enum np_err err;
	int status;

	if (n == 1 && !rotate)
		return ctl_usage("usage: nodepass ctl key [rotate]");
	/* Here a master need not run: the store has the key. */
	err = where_find(&c->options, false, &c->where, &diag);
	if (!c->where.local || (err == NP_OK && rotate))
		return key_of_api(c, rotate);
	if (err != NP_OK && err != NP_ENOTFOUND)
		return ctl_fail("%s", diag.text);
	err = where_program(&c->where, rotate ? "--rotate-api-key" : "--print-api-key", key, &diag);
	status = err == NP_OK ? print_key(key) : ctl_fail("%s", diag.text);
	np_wipe(key, sizeof(key));
	return status;
}
