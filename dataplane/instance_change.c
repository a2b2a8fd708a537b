/*
 * instance_change.c - what changes while an instance runs: settings it takes over, and sockets that
 * go from an instance to the one that takes its place.
 */
#include "instance.h"

#include "base/alloc.h"
#include "client.h"
#include "listener.h"
#include "server.h"
#include "single.h"
#include "tls_files.h"
#include "udp.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* -- sockets -- */

static void lend(struct handed *h, int fd, bool udp)
{
	int copy;

	if (h->n == INSTANCE_HANDED_MAX)
		return;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy == -1)
		return; /* the new one meets an address in use, and is tried again */
	h->socket[h->n].fd = copy;
	h->socket[h->n++].udp = udp;
}

void instance_lend(const struct instance *inst, struct handed *out)
{
	out->n = 0;
	for (int i = 0; i < INSTANCE_LISTENERS_MAX; i++) {
		int fd = inst->server != NULL ? server_listener_fd(inst->server, i) : -1;

		if (inst->visitors[i] != NULL)
			lend(out, listener_fd(inst->visitors[i]), false);
		if (inst->udp[i] != NULL)
			lend(out, udp_ingress_fd(inst->udp[i]), true);
		if (fd != -1)
			lend(out, fd, false);
	}
	/* What it was lent itself and did not need yet. */
	for (unsigned i = 0; inst->handed != NULL && i < inst->handed->n; i++)
		if (inst->handed->socket[i].fd != -1)
			lend(out, inst->handed->socket[i].fd, inst->handed->socket[i].udp);
}

void handed_free(struct handed *h)
{
	if (h == NULL)
		return;
	for (unsigned i = 0; i < h->n; i++)
		if (h->socket[i].fd != -1)
			close(h->socket[i].fd);
	np_free(h);
}

static bool is_same_socket(int a, int b)
{
	struct np_addr x = {.len = sizeof(x.in6)}, y = {.len = sizeof(y.in6)};

	return getsockname(a, &x.sa, &x.len) == 0 && getsockname(b, &y.sa, &y.len) == 0 &&
	       np_addr_equal(&x, &y);
}

static bool has_socket(const struct handed *h, int fd, bool udp)
{
	for (unsigned i = 0; i < h->n; i++)
		if (h->socket[i].udp == udp && h->socket[i].fd != -1 &&
		    is_same_socket(h->socket[i].fd, fd))
			return true;
	return false;
}

struct handed *handed_join(struct handed *to, struct handed *from)
{
	if (to == NULL || from == NULL)
		return to != NULL ? to : from;
	for (unsigned i = 0; i < from->n; i++) {
		int fd = from->socket[i].fd;
		bool udp = from->socket[i].udp;

		if (fd == -1 || to->n == INSTANCE_HANDED_MAX || has_socket(to, fd, udp))
			continue;
		to->socket[to->n].fd = fd;
		to->socket[to->n++].udp = udp;
		from->socket[i].fd = -1;
	}
	handed_free(from);
	return to;
}

/* Is @fd bound to what listener_socket or udp_socket would bind for @addr? */
static bool is_bound_to(int fd, const struct np_addr *addr, bool any)
{
	struct np_addr is = {.len = sizeof(is.in6)};
	socklen_t len = sizeof(int);
	int v6only = 0;

	if (getsockname(fd, &is.sa, &is.len) == -1 || np_addr_port(&is) != np_addr_port(addr))
		return false;
	if (any && is.sa.sa_family == AF_INET)
		return is.in.sin_addr.s_addr == htonl(INADDR_ANY);
	if (is.sa.sa_family != addr->sa.sa_family)
		return false;
	if (is.sa.sa_family == AF_INET)
		return is.in.sin_addr.s_addr == addr->in.sin_addr.s_addr;
	if (getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &len) == -1 || (v6only == 0) != any)
		return false;
	return memcmp(&is.in6.sin6_addr, &addr->in6.sin6_addr, sizeof(is.in6.sin6_addr)) == 0 &&
	       is.in6.sin6_scope_id == addr->in6.sin6_scope_id;
}

void handed_prune(struct handed *h, const struct np_config *cfg, bool tunnel)
{
	for (unsigned i = 0; h != NULL && i < h->n; i++) {
		struct np_addr is = {.len = sizeof(is.in6)};
		int *fd = &h->socket[i].fd;

		if (*fd == -1 ||
		    (getsockname(*fd, &is.sa, &is.len) == 0 &&
		     ((tunnel && np_addr_port(&is) == cfg->tunnel.port) ||
		      (cfg->ntargets > 0 && np_addr_port(&is) == cfg->targets[0].port))))
			continue;
		close(*fd);
		*fd = -1;
	}
}

int handed_take(struct handed *h, const struct np_addr *addr, bool any, bool udp)
{
	for (unsigned i = 0; h != NULL && i < h->n; i++) {
		int fd = h->socket[i].fd;

		if (fd == -1 || h->socket[i].udp != udp || !is_bound_to(fd, addr, any))
			continue;
		h->socket[i].fd = -1;
		return fd;
	}
	return -1;
}

void instance_close_listeners(struct instance *inst)
{
	resolve_cancel(&inst->resolving);
	for (int i = 0; i < INSTANCE_LISTENERS_MAX; i++) {
		listener_free(inst->visitors[i]);
		inst->visitors[i] = NULL;
		if (inst->udp[i] != NULL)
			udp_ingress_deafen(inst->udp[i]);
	}
}

/* -- settings -- */

static bool is_same_path(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

struct settings *instance_configure(struct instance *inst, struct settings *st,
				    struct tls_identity *identity)
{
	struct settings *old = atomic_exchange_explicit(&inst->settings, st, memory_order_acq_rel);
	const struct np_config *was = &old->cfg, *is = &st->cfg;

	np_bucket_set_rate(&inst->rate[RATE_RX], is->rate * BYTES_S_PER_MBIT);
	np_bucket_set_rate(&inst->rate[RATE_TX], is->rate * BYTES_S_PER_MBIT);
	atomic_store(&inst->log_level, (int)is->log);
	INSTANCE_LOG(inst, INFO, "settings changed while running");
	if (!np_netlist_equal(&was->allow, &is->allow) || !np_netlist_equal(&was->deny, &is->deny))
		inst->lists++; /* flows ask again at their next datagram */
	if (inst->single != NULL)
		single_configure(inst->single, !np_config_same_targets(was, is) ||
						   was->dial_auto != is->dial_auto ||
						   !np_addr_equal(&was->dial, &is->dial));
	if (inst->client != NULL && inst->mode == MODE_CLIENT)
		client_configure(inst->client);
	if (inst->server != NULL && was->max != is->max)
		server_tell_max(inst->server);
	if (identity != NULL && inst->tls_files != NULL)
		tls_files_take(inst->tls_files, identity);
	else if (identity != NULL)
		tls_identity_release(identity);
	else if (tls_files_are_read(inst->tls_files) &&
		 (!is_same_path(was->crt, is->crt) || !is_same_path(was->keyfile, is->keyfile)))
		tls_files_check(inst->tls_files, true);
	return old;
}
