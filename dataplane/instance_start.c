/*
 * instance_start.c - how an instance begins: the addresses it listens on, and the mode that they
 * decide.
 */
#include "instance.h"

#include "base/alloc.h"
#include "client.h"
#include "listener.h"
#include "report.h"
#include "server.h"
#include "single.h"
#include "tls_files.h"
#include "udp.h"
#include "visitor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* -- addresses to listen on -- */

static void on_resolved(struct resolve_request *r, const struct resolve_answer *a)
{
	struct instance *inst =
	    (struct instance *)((char *)r - offsetof(struct instance, resolving));

	inst->resolved(inst, a);
}

/* Calls @fn with the addresses of @hp, now or later. "" = all addresses: one answer, the IPv6
 * any-address. */
static void with_addresses(struct instance *inst, const struct np_hostport *hp,
			   void (*fn)(struct instance *inst, const struct resolve_answer *a))
{
	struct resolve_answer a = {.n = 1};
	enum np_err err;

	inst->resolved = fn;
	inst->resolving.on_answer = on_resolved;
	if (hp->host[0] == '\0') {
		a.addr[0].in6.sin6_family = AF_INET6;
		a.addr[0].len = sizeof(a.addr[0].in6);
		fn(inst, &a);
		return;
	}
	err = resolve(inst->home, hp->host, instance_cfg(inst)->dns_ms, &inst->resolving, &a);
	if (err == NP_EAGAIN)
		return;
	if (err != NP_OK) {
		a.n = 0;
		snprintf(a.error, sizeof(a.error), "%s", np_err_text(err));
	}
	fn(inst, &a);
}

/* A socket that was handed over, else a new one. -1 with errno. */
static int socket_on(struct instance *inst, const struct np_addr *addr, bool any, bool udp)
{
	int fd = handed_take(inst->handed, addr, any, udp);

	if (fd != -1)
		return fd;
	return udp ? udp_socket(addr, any) : listener_socket(addr, any);
}

/*
 * Sockets on all addresses that the name means, as far as this host has them. Returns their number,
 * or -1 with errno of the address that is taken, else of the last one that could not be bound.
 */
static int bind_all(struct instance *inst, const struct np_hostport *hp,
		    const struct resolve_answer *a, bool udp, int fds[INSTANCE_LISTENERS_MAX],
		    struct np_addr *addrs)
{
	bool any = hp->host[0] == '\0';
	int n = 0, err = EADDRNOTAVAIL;

	for (size_t i = 0; i < a->n && n < INSTANCE_LISTENERS_MAX; i++) {
		addrs[n] = a->addr[i];
		np_addr_set_port(&addrs[n], hp->port);
		fds[n] = socket_on(inst, &addrs[n], any, udp);
		if (fds[n] != -1) {
			n++;
			continue;
		}
		if (errno == EAFNOSUPPORT) /* says nothing about the address */
			continue;
		err = errno;
		if (err == EADDRNOTAVAIL)
			continue;
		while (n > 0)
			close(fds[--n]);
		errno = err;
		return -1;
	}
	errno = err;
	return n > 0 ? n : -1;
}

static void close_fds(const int *fds, int n)
{
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

static void on_visitor(void *arg, int fd, const struct np_addr *peer)
{
	visitor_accept(arg, fd, peer);
}

void instance_accept_pauses(const struct instance *inst, int err)
{
	if (err != 0)
		INSTANCE_LOG(inst, WARN, "accept pauses, who comes now waits in the backlog: %s",
			     strerror(err));
	else
		INSTANCE_LOG(inst, INFO, "accept goes on");
}

static void on_visitors_pause(void *arg, int err)
{
	instance_accept_pauses(arg, err);
}

/* Visitors of both protocols on @hp. false: errno, *proto says which one failed; nothing is left
 * open. */
static bool open_visitors(struct instance *inst, const struct np_hostport *hp,
			  const struct resolve_answer *a, const char **proto)
{
	int tcp[INSTANCE_LISTENERS_MAX], udp[INSTANCE_LISTENERS_MAX], nt = 0, nu = 0, saved;
	struct np_addr addrs[INSTANCE_LISTENERS_MAX];
	int i = 0;

	*proto = "TCP";
	if (!instance_cfg(inst)->notcp && (nt = bind_all(inst, hp, a, false, tcp, addrs)) == -1)
		return false;
	*proto = "UDP";
	if (!instance_cfg(inst)->noudp && (nu = bind_all(inst, hp, a, true, udp, addrs)) == -1) {
		saved = errno;
		close_fds(tcp, nt);
		errno = saved;
		return false;
	}
	for (i = 0; i < nt; i++) {
		if (listener_new(inst->home, tcp[i], on_visitor, on_visitors_pause, inst,
				 &inst->visitors[i]) != NP_OK)
			goto fail;
		tcp[i] = -1;
	}
	for (i = 0; i < nu; i++) {
		if (udp_ingress_new(inst, udp[i], &addrs[i], &inst->udp[i]) != NP_OK)
			goto fail;
		udp[i] = -1;
	}
	return true;
fail:
	for (i = 0; i < nt; i++)
		if (tcp[i] != -1)
			close(tcp[i]);
	for (i = 0; i < nu; i++)
		if (udp[i] != -1)
			close(udp[i]);
	instance_close_visitors(inst);
	errno = ENOMEM;
	return false;
}

void instance_close_visitors(struct instance *inst)
{
	resolve_cancel(&inst->resolving);
	for (int i = 0; i < INSTANCE_LISTENERS_MAX; i++) {
		listener_free(inst->visitors[i]);
		inst->visitors[i] = NULL;
		udp_ingress_free(inst->udp[i]);
		inst->udp[i] = NULL;
	}
}

static const char *address_text(const struct np_hostport *hp, char *out, size_t max)
{
	np_hostport_format(hp, out, max);
	return out;
}

static void listen_failed(struct instance *inst, const char *what, const struct np_hostport *hp,
			  const char *proto)
{
	char text[NP_HOST_MAX + 16];
	int err = errno;

	if (err == EADDRINUSE)
		inst->taken = hp == &instance_cfg(inst)->tunnel ? TAKEN_TUNNEL : TAKEN_TARGET;
	instance_failed(inst, "%s %s: listen (%s): %s", what, address_text(hp, text, sizeof(text)),
			proto, err == EADDRINUSE ? "address already in use" : strerror(err));
}

/* -- starting -- */

static void log_mode(struct instance *inst)
{
	static const char *const names[] = {"undecided", "single-end forwarding",
					    "server receives (reverse)", "server sends (forward)",
					    "client of a server"};
	char text[NP_HOST_MAX + 16];

	INSTANCE_LOG(inst, INFO, "mode: %s, because %s", names[inst->mode],
		     inst->mode_reason != NULL ? inst->mode_reason : "(out of memory)");
	for (int i = 0; i < INSTANCE_LISTENERS_MAX; i++) {
		if (inst->visitors[i] == NULL && inst->udp[i] == NULL)
			continue;
		INSTANCE_LOG(inst, INFO, "listening for visitors on %s%s%s",
			     address_text(inst->mode == MODE_SINGLE
					      ? &instance_cfg(inst)->tunnel
					      : &instance_cfg(inst)->targets[0],
					  text, sizeof(text)),
			     instance_cfg(inst)->notcp ? " (UDP only)" : "",
			     instance_cfg(inst)->noudp ? " (TCP only)" : "");
		break;
	}
	if (inst->on_state != NULL)
		inst->on_state(inst, inst->on_state_arg);
}

static void say_reason(struct instance *inst, const char *fmt, ...) NP_PRINTF(2, 3);
static void say_reason(struct instance *inst, const char *fmt, ...)
{
	char text[INSTANCE_REASON_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	np_free(inst->mode_reason);
	inst->mode_reason = np_strdup(text);
}

/* Only these two say that the address is another machine's or another program's. */
static bool means_other_mode(int err)
{
	return err == EADDRINUSE || err == EADDRNOTAVAIL;
}

static void server_with_tunnel(struct instance *inst, const struct resolve_answer *a)
{
	const struct np_hostport *hp = &instance_cfg(inst)->tunnel;
	int fds[INSTANCE_LISTENERS_MAX], n;
	struct np_addr addrs[INSTANCE_LISTENERS_MAX];
	char text[NP_HOST_MAX + 16];

	if (a->n == 0) {
		instance_failed(inst, "tunnel address %s: %s", address_text(hp, text, sizeof(text)),
				a->error);
		return;
	}
	n = bind_all(inst, hp, a, false, fds, addrs);
	if (n == -1) {
		listen_failed(inst, "tunnel address", hp, "TCP");
		return;
	}
	if (server_new(inst, fds, (unsigned)n, &inst->server) != NP_OK) {
		instance_failed(inst, "out of memory");
		return;
	}
	inst->flow = inst->mode == MODE_SERVER_REVERSE ? NP_FLOW_REVERSE : NP_FLOW_FORWARD;
	log_mode(inst);
	INSTANCE_LOG(inst, INFO, "listening for clients on %s tls=%d auth=%s",
		     address_text(hp, text, sizeof(text)), instance_cfg(inst)->tls,
		     inst->auth_none ? "none" : "key");
	if (tls_files_watch(inst->tls_files, server_announce_certificate) != NP_OK)
		instance_failed(inst, "out of memory");
	else
		instance_set_running(inst);
}

static void server_decided(struct instance *inst, enum instance_mode mode)
{
	inst->mode = mode;
	with_addresses(inst, &instance_cfg(inst)->tunnel, server_with_tunnel);
}

static void server_with_target(struct instance *inst, const struct resolve_answer *a)
{
	const struct np_hostport *hp = &instance_cfg(inst)->targets[0];
	char text[NP_HOST_MAX + 16];
	const char *proto = "TCP";

	address_text(hp, text, sizeof(text));
	if (a->n == 0 && instance_cfg(inst)->mode == 0) {
		say_reason(inst, "target address %s cannot be resolved here: %s", text, a->error);
		server_decided(inst, MODE_SERVER_FORWARD);
		return;
	}
	if (a->n == 0) {
		instance_failed(inst, "target address %s: %s", text, a->error);
		return;
	}
	inst->mode = MODE_SERVER_REVERSE; /* visitors may come at once: they wait for a client */
	inst->flow = NP_FLOW_REVERSE;
	if (open_visitors(inst, hp, a, &proto)) {
		if (instance_cfg(inst)->mode == 0)
			say_reason(inst, "target address %s could be bound", text);
		server_decided(inst, MODE_SERVER_REVERSE);
		return;
	}
	inst->mode = MODE_UNDECIDED;
	if (instance_cfg(inst)->mode == 0 && means_other_mode(errno) &&
	    (instance_cfg(inst)->notcp || strcmp(proto, "TCP") == 0)) {
		say_reason(inst, "target address %s: %s", text, strerror(errno));
		server_decided(inst, MODE_SERVER_FORWARD);
		return;
	}
	listen_failed(inst, "target address", hp, proto);
}

static void start_server(struct instance *inst)
{
	const struct np_config *cfg = instance_cfg(inst);

	if (cfg->mode == 1 && cfg->ntargets > 1) {
		instance_failed(inst,
				"mode=1 listens on one target address, %zu are given: name one, or "
				"use mode=2 to dial them",
				cfg->ntargets);
		return;
	}
	if (cfg->mode == 2 || cfg->ntargets > 1) {
		say_reason(inst, "%s",
			   cfg->mode == 2 ? "mode=2" : "several target addresses are given");
		server_decided(inst, MODE_SERVER_FORWARD);
		return;
	}
	say_reason(inst, "mode=1");
	with_addresses(inst, &cfg->targets[0], server_with_target);
}

static void become_client(struct instance *inst)
{
	struct np_diag diag;

	if (inst->client == NULL && client_new(inst, NULL, &inst->client, &diag) != NP_OK) {
		instance_failed(inst, "the client cannot be made");
		return;
	}
	inst->mode = MODE_CLIENT;
	handed_prune(inst->handed, instance_cfg(inst), false);
	tls_files_free(inst->tls_files); /* for visitors of a single end */
	inst->tls_files = client_take_files(inst->client);
	if (inst->tls_files != NULL &&
	    tls_files_watch(inst->tls_files, client_new_certificate) != NP_OK) {
		instance_failed(inst, "out of memory");
		return;
	}
	log_mode(inst);
	client_start(inst->client);
}

static void client_with_tunnel(struct instance *inst, const struct resolve_answer *a)
{
	const struct np_hostport *hp = &instance_cfg(inst)->tunnel;
	char text[NP_HOST_MAX + 16];
	const char *proto = "TCP";

	address_text(hp, text, sizeof(text));
	if (a->n == 0 && instance_cfg(inst)->mode == 0) {
		say_reason(inst, "tunnel address %s cannot be resolved here: %s", text, a->error);
		become_client(inst);
		return;
	}
	if (a->n == 0) {
		instance_failed(inst, "tunnel address %s: %s", text, a->error);
		return;
	}
	inst->mode = MODE_SINGLE;
	if (!open_visitors(inst, hp, a, &proto)) {
		inst->mode = MODE_UNDECIDED;
		if (instance_cfg(inst)->mode == 0 && means_other_mode(errno) &&
		    (instance_cfg(inst)->notcp || strcmp(proto, "TCP") == 0)) {
			say_reason(inst, "tunnel address %s: %s", text, strerror(errno));
			become_client(inst);
		} else {
			listen_failed(inst, "tunnel address", hp, proto);
		}
		return;
	}
	if (instance_cfg(inst)->tls == 2 && inst->tls_files == NULL) {
		instance_close_visitors(inst);
		instance_failed(inst, "tls=2: crt and key are required to receive visitors on %s",
				text);
		return;
	}
	if (instance_cfg(inst)->mode == 0)
		say_reason(inst, "tunnel address %s could be bound", text);
	log_mode(inst);
	if (single_new(inst, &inst->single) != NP_OK ||
	    (inst->tls_files != NULL && tls_files_watch(inst->tls_files, NULL) != NP_OK))
		instance_failed(inst, "out of memory");
	else
		instance_set_running(inst);
}

void instance_start(struct instance *inst)
{
	bool pooled = instance_cfg(inst)->mode != 1 || instance_cfg(inst)->role == NP_ROLE_SERVER;

	handed_prune(inst->handed, instance_cfg(inst), true);
	if (instance_shard(inst, inst->home) == NULL || report_start(inst) != NP_OK ||
	    (pooled && pool_init(inst) != NP_OK)) {
		instance_failed(inst, "out of memory");
		return;
	}
	if (instance_cfg(inst)->role == NP_ROLE_SERVER) {
		start_server(inst);
	} else if (inst->joins) { /* whose server it is says mode_reason */
		become_client(inst);
	} else if (instance_cfg(inst)->mode == 2) {
		say_reason(inst, "mode=2");
		become_client(inst);
	} else {
		say_reason(inst, "mode=1");
		with_addresses(inst, &instance_cfg(inst)->tunnel, client_with_tunnel);
	}
}

static void client_with_target(struct instance *inst, const struct resolve_answer *a)
{
	const struct np_hostport *hp = &instance_cfg(inst)->targets[0];
	char text[NP_HOST_MAX + 16];
	const char *proto = "TCP";

	address_text(hp, text, sizeof(text));
	if (a->n == 0)
		instance_failed(inst, "target address %s: %s", text, a->error);
	else if (!open_visitors(inst, hp, a, &proto))
		listen_failed(inst, "target address", hp, proto);
	else
		INSTANCE_LOG(inst, INFO, "listening for visitors on %s", text);
}

void instance_open_visitors(struct instance *inst)
{
	if (inst->visitors[0] == NULL && inst->udp[0] == NULL && inst->resolving.entry == NULL)
		with_addresses(inst, &instance_cfg(inst)->targets[0], client_with_target);
}
