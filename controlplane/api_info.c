/*
 * api_info.c - GET and POST /info: the master and its machine.
 */
#include "app.h"

#include "base/alloc.h"
#include "base/mono.h"
#include "hostinfo.h"
#include "json_read.h"
#include "json_write.h"

#include <string.h>

#include "base/banned.h"

#define INFO_MAX (64 * 1024)

/* Names as Go's runtime has them: clients choose downloads by them. */
static const char *arch_name(void)
{
#if defined(__x86_64__)
	return "amd64";
#elif defined(__aarch64__)
	return "arm64";
#elif defined(__i386__)
	return "386";
#elif defined(__arm__)
	return "arm";
#elif defined(__riscv) && __riscv_xlen == 64
	return "riscv64";
#elif defined(__mips64) && defined(__MIPSEL__)
	return "mips64le";
#elif defined(__mips64)
	return "mips64";
#elif defined(__mips__) && defined(__MIPSEL__)
	return "mipsle";
#elif defined(__mips__)
	return "mips";
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
	return "ppc64le";
#elif defined(__s390x__)
	return "s390x";
#elif defined(__loongarch64)
	return "loong64";
#else
	return "unknown";
#endif
}

static const char *text_or_empty(const char *s)
{
	return s != NULL ? s : "";
}

static void put_host(struct np_buf *b, const struct hostinfo_figures *f)
{
	json_put_i64(b, "cpu", f->cpu);
	json_put_u64(b, "mem_total", f->mem_total);
	json_put_u64(b, "mem_used", f->mem_used);
	json_put_u64(b, "swap_total", f->swap_total);
	json_put_u64(b, "swap_used", f->swap_used);
	json_put_u64(b, "netrx", f->netrx);
	json_put_u64(b, "nettx", f->nettx);
	json_put_u64(b, "diskr", f->diskr);
	json_put_u64(b, "diskw", f->diskw);
	json_put_u64(b, "sysup", f->sysup);
}

static void reply_info(struct app *app, struct http_req *r)
{
	static const char *const log_names[] = {"debug", "info", "warn", "error", "event", "none"};
	static const char *const tls_names[] = {"0", "1", "2"};
	const struct np_config *cfg = &app->cfg;
	bool files = cfg->tls == 2;
	struct np_buf b;

	np_buf_init(&b, INFO_MAX);
	json_put_begin(&b, NULL, '{');
	json_put_str(&b, "mid", model_mid(app->model));
	json_put_str(&b, "alias", model_alias(app->model));
	json_put_str(&b, "os", "linux");
	json_put_str(&b, "arch", arch_name());
	put_host(&b, hostinfo_get(app->hostinfo));
	json_put_str(&b, "ver", "v" NP_VERSION);
	json_put_str(&b, "name", cfg->tunnel.host);
	json_put_u64(&b, "uptime", (uint64_t)(np_mono_now().us / 1000 - app->start_ms) / 1000);
	json_put_str(&b, "log", cfg->given[NP_PARAM_LOG] ? log_names[cfg->log] : "");
	json_put_str(&b, "tls", tls_names[cfg->tls >= 0 && cfg->tls <= 2 ? cfg->tls : 0]);
	json_put_str(&b, "crt", files ? text_or_empty(cfg->crt) : "");
	json_put_str(&b, "key", files ? text_or_empty(cfg->keyfile) : "");
	json_put_end(&b, '}');
	http_reply_json(r, 200, &b);
	np_buf_release(&b);
}

void api_info_get(struct app *app, struct http_req *r, const char *id)
{
	(void)id;
	reply_info(app, r);
}

/* --- POST -------------------------------------------------------------------------------------- */

/* An answer that waits for the store; its client may leave before. */
struct info_change {
	struct app *app;
	struct http_req *req; /* NULL = gone */
};

static void change_on_gone(struct http_req *r, void *arg)
{
	struct info_change *c = arg;

	(void)r;
	c->req = NULL;
}

static void change_on_done(void *arg, int status, const char *text,
			   const struct model_instance *inst)
{
	struct info_change *c = arg;

	(void)inst;
	if (c->req != NULL) {
		if (status == 200)
			reply_info(c->app, c->req);
		else
			http_reply_error(c->req, status, "%s", text);
	}
	np_free(c);
}

void api_info_post(struct app *app, struct http_req *r, const char *id)
{
	struct info_change *c;
	struct json_doc *doc;
	const struct json *root, *alias;
	enum json_kind kind;
	size_t len;
	const char *body = http_req_body(r, &len);

	(void)id;
	if (json_parse(body, len, &doc) != NP_OK) {
		http_reply_error(r, 400, "Invalid request body");
		return;
	}
	root = json_root(doc);
	kind = json_kind(root);
	alias = json_member(root, "alias");
	if ((kind != JSON_OBJECT && kind != JSON_NULL) ||
	    (alias != NULL && json_kind(alias) != JSON_STRING)) {
		http_reply_error(r, 400, "Invalid request body");
		goto out;
	}
	if (alias != NULL && strlen(json_string(alias)) > MODEL_TEXT_MAX) {
		http_reply_error(r, 400, "Master alias exceeds maximum length %d", MODEL_TEXT_MAX);
		goto out;
	}
	c = np_calloc(1, sizeof(*c));
	if (c == NULL) {
		http_reply_error(r, 503, "Out of memory");
		goto out;
	}
	*c = (struct info_change){app, r};
	http_req_on_gone(r, change_on_gone, c);
	model_set_alias(app->model, alias != NULL ? json_string(alias) : "", change_on_done, c);
out:
	json_doc_free(doc);
}
