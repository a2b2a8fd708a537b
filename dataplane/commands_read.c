/*
 * commands_read.c - what is asked and changes nothing: the node, pages of instances, one instance.
 *
 * Private keys and derived tunnel keys never leave the node again; the URL does, its owner needs it.
 */
#include "commands_priv.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

/* What a view takes of a message besides its URL and certificates. */
#define VIEW_BYTES 500

void commands_info(struct commands *c, struct ctl_node_info *out)
{
	struct registry_counts counts;
	struct utsname system = {0};
	struct sysinfo si = {0};
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	memset(out, 0, sizeof(*out));
	registry_counts(c->registry, &counts);
	if (uname(&system) == 0) {
		snprintf(out->os, sizeof(out->os), "%.15s", system.sysname);
		snprintf(out->arch, sizeof(out->arch), "%.15s", system.machine);
		for (char *p = out->os; *p != '\0'; p++)
			if (*p >= 'A' && *p <= 'Z')
				*p = (char)(*p - 'A' + 'a');
	}
	if (sysinfo(&si) == 0)
		out->mem_total = (uint64_t)si.totalram * si.mem_unit;
	memcpy(out->node_id, c->node_id, sizeof(out->node_id));
	memcpy(out->boot_id, c->boot_id, sizeof(out->boot_id));
	memcpy(out->controller_id, c->controller_id, sizeof(out->controller_id));
	out->start_time_ms = c->start_time_ms;
	snprintf(out->software, sizeof(out->software), "nodepass-dataplane %s", NP_VERSION);
	out->cpus = cpus > 0 ? (uint32_t)cpus : 1;
	out->instances = counts.all;
	out->max_instances = REGISTRY_MAX;
	out->applied_revision = c->applied;
	out->epoch = c->epoch;
	out->state = commands_state(c);
	out->pid = (uint32_t)getpid();
	snprintf(out->features, sizeof(out->features), "json snapshot logs sessions metrics probe");
}

static enum np_err put_spec(const struct ctl_spec *from, struct ctl_spec *to)
{
	struct ctl_spec open = *from;

	open.key_pem = open.auth_salt = open.auth_k = (struct ctl_blob){0};
	return ctl_spec_copy(&open, to);
}

/* False: no such instance, or no memory (*err). */
static bool put_view(struct commands *c, const char *id, bool spec, bool stats,
		     struct ctl_view *out, enum np_err *err)
{
	const struct ctl_spec *s = registry_spec(c->registry, id);

	*err = NP_OK;
	if (s == NULL || !registry_status(c->registry, id, &out->status))
		return false;
	out->has_status = true;
	if (stats)
		out->has_stats = registry_stats(c->registry, id, &out->stats);
	if (spec) {
		s = registry_spec(c->registry, id);
		*err = s != NULL ? put_spec(s, &out->spec) : NP_ENOMEM;
		out->has_spec = *err == NP_OK;
	}
	return *err == NP_OK;
}

static size_t view_bytes(const struct ctl_view *v)
{
	size_t n = VIEW_BYTES + strlen(v->status.error) + strlen(v->status.nack_text);

	if (v->has_spec) /* certificates as base64 */
		n += strlen(v->spec.url) * 2 + (v->spec.cert_pem.len + v->spec.ca_pem.len) * 4 / 3;
	return n;
}

struct page {
	struct ctl_view *views; /* grows up to the limit; becomes the reply's */
	size_t n, cap, limit, bytes;
};

/* False: the page is full, or no memory (*err). */
static bool page_add(struct commands *c, const struct ctl_request *r, struct page *p,
		     const char *id, enum np_err *err)
{
	struct ctl_view *v;

	*err = NP_OK;
	if (p->n == p->limit || p->bytes >= COMMANDS_PAGE_BYTES)
		return false;
	if (p->n == p->cap) {
		size_t cap = p->cap == 0 ? 16 : p->cap * 2;

		v = np_realloc(p->views, cap * sizeof(*v));
		if (v == NULL) {
			*err = NP_ENOMEM;
			return false;
		}
		p->views = v;
		p->cap = cap;
	}
	v = &p->views[p->n];
	memset(v, 0, sizeof(*v));
	if (put_view(c, id, r->list.with_spec, r->list.with_stats, v, err)) {
		p->bytes += view_bytes(v);
		p->n++;
	}
	return *err == NP_OK;
}

static void list_ids(struct commands *c, const struct ctl_request *r, struct page *p,
		     enum np_err *err)
{
	for (size_t i = 0; i < r->list.nids; i++)
		if (!page_add(c, r, p, r->list.ids[i], err))
			return;
}

static void list_all(struct commands *c, const struct ctl_request *r, struct page *p, char *next,
		     enum np_err *err)
{
	char after[CTL_ID_MAX + 1];
	const char *id;

	snprintf(after, sizeof(after), "%s", r->list.after);
	while ((id = registry_next(c->registry, after)) != NULL) {
		char here[CTL_ID_MAX + 1];

		snprintf(here, sizeof(here), "%s", id);
		if (!page_add(c, r, p, here, err)) {
			/* The next page begins behind the last one of this. */
			memcpy(next, after, sizeof(after));
			return;
		}
		memcpy(after, here, sizeof(after));
	}
}

void commands_list(struct commands *c, const struct ctl_request *r, struct ctl_reply *out)
{
	struct page p = {.limit = r->list.limit};
	enum np_err err = NP_OK;

	if (p.limit == 0 || p.limit > CTL_PAGE_MAX)
		p.limit = CTL_PAGE_MAX;
	out->result = CTL_CMD_LIST;
	if (r->list.nids > 0)
		list_ids(c, r, &p, &err);
	else
		list_all(c, r, &p, out->list.next, &err);
	out->list.views = p.views;
	out->list.n = p.n;
	if (err != NP_OK) {
		ctl_reply_release(out);
		commands_reply_to(c, r->request_id, out);
		reply_error(out, CTL_INTERNAL, "%s", np_err_text(err));
	}
}

void commands_get(struct commands *c, const struct ctl_request *r, struct ctl_reply *out)
{
	enum np_err err;

	out->result = CTL_CMD_GET;
	if (put_view(c, r->get.id, true, true, &out->get, &err))
		return;
	if (err == NP_OK)
		reply_error(out, CTL_NOT_FOUND, "no instance %s", r->get.id);
	else
		reply_error(out, CTL_INTERNAL, "%s", np_err_text(err));
}
