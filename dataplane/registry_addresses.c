/*
 * registry_addresses.c - which addresses belong to whom: what servers want keeps clients from probing
 * it, and what one could not listen on says who has it. Addresses are compared as they were written;
 * names are not resolved here.
 */
#include "registry_priv.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct wanted {
	struct wanted *next; /* registry->wanted */
	struct entry *entry;
	uint16_t port;
	char host[];
};

/* Every address of the host: in the URL without a host, or as the unspecified address. */
static bool is_any(const char *host)
{
	return host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

/* The one name that means the same on all hosts. */
static const char *plain(const char *host, bool v6)
{
	if (strcasecmp(host, "localhost") == 0)
		return v6 ? "::1" : "127.0.0.1";
	return host;
}

static bool is_same_host(const char *a, const char *b)
{
	struct np_addr x, y;

	if (strcasecmp(a, b) == 0)
		return true;
	for (int v6 = 0; v6 < 2; v6++)
		if (np_addr_from_literal(plain(a, v6 == 1), 1, &x) &&
		    np_addr_from_literal(plain(b, v6 == 1), 1, &y) && np_addr_same_host(&x, &y))
			return true;
	return false;
}

static bool is_same_or_any(const char *a, const char *b)
{
	return is_any(a) || is_any(b) || is_same_host(a, b);
}

static bool overlaps(const struct np_hostport *a, const struct np_hostport *b)
{
	return a->port == b->port && is_same_or_any(a->host, b->host);
}

/* -- what servers want -- */

static struct wanted **bucket_of(struct registry *r, uint16_t port)
{
	return &r->wanted[port % REGISTRY_BUCKETS];
}

void wants_clear(struct entry *e)
{
	struct wanted **at, *w = e->wanted;

	if (w == NULL)
		return;
	at = bucket_of(e->registry, w->port);
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	np_free(w);
	e->wanted = NULL;
}

void wants_set(struct entry *e, const struct np_config *cfg)
{
	size_t host = strlen(cfg->tunnel.host) + 1;
	struct wanted *w;

	wants_clear(e);
	if (cfg->role != NP_ROLE_SERVER)
		return;
	w = np_calloc(1, sizeof(*w) + host);
	if (w == NULL) {
		np_log(NP_LOG_ERROR, e->spec.id, "out of memory");
		return;
	}
	w->entry = e;
	w->port = cfg->tunnel.port;
	memcpy(w->host, cfg->tunnel.host, host);
	w->next = *bucket_of(e->registry, w->port);
	*bucket_of(e->registry, w->port) = w;
	e->wanted = w;
}

void wants_update(struct entry *e)
{
	struct np_diag diag;
	struct np_config cfg;

	wants_clear(e);
	if (np_config_parse(e->spec.url, &cfg, &diag) != NP_OK)
		return; /* only without memory: it was parsed before */
	wants_set(e, &cfg);
	np_config_release(&cfg);
}

/* One that is tried again, that is being made or that lacks something wants it, too. */
static const struct entry *who_wants(struct registry *r, const struct np_hostport *at)
{
	for (const struct wanted *w = *bucket_of(r, at->port); w != NULL; w = w->next)
		if (w->port == at->port && is_same_or_any(w->host, at->host) &&
		    !w->entry->removing && w->entry->spec.desired != CTL_DESIRED_STOPPED)
			return w->entry;
	return NULL;
}

/* What was chosen stands while address and mode stay the same, whatever else is changed. */
static bool has_chosen(const struct run *run, const struct np_config *cfg)
{
	const struct run *cur = run->entry->cur;
	const struct np_config *is;

	if (run == cur || cur == NULL || cur->phase != RUN_STARTED || cur->mode != MODE_SINGLE)
		return false;
	is = &cur->settings->cfg;
	return is->mode == 0 && is->tunnel.port == cfg->tunnel.port &&
	       strcmp(is->tunnel.host, cfg->tunnel.host) == 0;
}

void run_yield(struct run *run)
{
	const struct np_config *cfg = &run->settings->cfg;
	char at[NP_HOST_MAX + 16], text[160];
	const struct entry *server;

	if (cfg->role != NP_ROLE_CLIENT || cfg->mode != 0 || has_chosen(run, cfg))
		return;
	server = who_wants(run->registry, &cfg->tunnel);
	if (server == NULL)
		return;
	np_hostport_format(&cfg->tunnel, at, sizeof(at));
	snprintf(text, sizeof(text), "tunnel address %.*s is that of instance %s", 50, at,
		 server->spec.id);
	run->inst->joins = true;
	run->inst->mode_reason = np_strdup(text);
}

/* -- who has what another one could not listen on -- */

static bool listens_on(const struct run *run, const struct np_hostport *hp)
{
	const struct np_config *cfg = &run->settings->cfg;

	if (run->phase != RUN_STARTED || run->retired)
		return false;
	switch (run->mode) {
	case MODE_SINGLE:
	case MODE_SERVER_FORWARD:
		return overlaps(&cfg->tunnel, hp);
	case MODE_SERVER_REVERSE:
		return overlaps(&cfg->tunnel, hp) || overlaps(&cfg->targets[0], hp);
	case MODE_CLIENT:
		return run->flow == NP_FLOW_FORWARD && overlaps(&cfg->targets[0], hp);
	case MODE_UNDECIDED:
		break;
	}
	return false;
}

/* Who of us has the address that @run could not listen on? NULL: nobody. */
static const struct entry *owner_of_address(const struct run *run)
{
	const struct np_config *cfg = &run->settings->cfg;
	const struct np_hostport *hp =
	    run->inst->taken == TAKEN_TUNNEL ? &cfg->tunnel : &cfg->targets[0];
	const struct registry *r = run->registry;

	if (run->inst->taken == TAKEN_NONE)
		return NULL;
	for (size_t i = 0; i < r->n; i++) {
		const struct entry *e = r->entries[i];

		if (e != run->entry && e->cur != NULL && listens_on(e->cur, hp))
			return e;
	}
	return NULL;
}

/* Was it meant for the server that finds it in its place? */
static bool is_lost_client(const struct run *owner, const struct run *server)
{
	return owner->mode == MODE_SINGLE && owner->settings->cfg.mode == 0 &&
	       server->settings->cfg.role == NP_ROLE_SERVER && server->inst->taken == TAKEN_TUNNEL;
}

/* The line of a taken address is left to us by instance_failed. */
void run_failure_say(const struct run *run, char text[CTL_TEXT_MAX + 1])
{
	const struct entry *owner = owner_of_address(run);
	const char *why = run->inst->error != NULL ? run->inst->error : "out of memory";

	if (owner != NULL)
		snprintf(text, CTL_TEXT_MAX + 1, "%s, in use by instance %s%s", why, owner->spec.id,
			 is_lost_client(owner->cur, run)
			     ? ", a mode=0 client that was there first: started again, it joins "
			       "this server"
			     : "");
	else
		snprintf(text, CTL_TEXT_MAX + 1, "%s", why);
	if (run->inst->taken != TAKEN_NONE)
		INSTANCE_LOG(run->inst, ERROR, "%s", text);
}
