/*
 * tcping.c - a few probes at a time. A lookup that outlives its probe keeps the slot: threads are
 * bounded by the slots, whatever the resolver does.
 */
#include "tcping.h"

#include "base/alloc.h"
#include "base/mono.h"
#include "base/num.h"
#include "core/addr.h"
#include "helpers.h"

#include <utlist.h>

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define ADDRS_MAX 8

/* One getaddrinfo. Owned by the helpers until it ends. */
struct lookup {
	struct helper_job job;
	struct tcping *owner;
	struct tcping_probe *probe; /* NULL = nobody waits any more */
	char host[NP_HOST_MAX + 1];
	uint16_t port;
	int rc;
	struct np_addr addr[ADDRS_MAX];
	size_t n;
};

struct tcping_probe {
	struct tcping_probe *prev, *next; /* tcping->probes or ->waiting */
	struct tcping *owner;
	bool has_slot;
	struct lookup *lookup; /* NULL = none runs */
	tcping_done_fn done;
	void *arg;
	char *target; /* owned */
	struct np_hostport hp;
	struct event *timer; /* the slot, then the whole, then one address */
	struct event *ev;    /* of fd */
	int fd;
	struct np_addr addr[ADDRS_MAX];
	size_t n, at;
	struct np_mono began;
	char error[TCPING_TEXT]; /* of the last address */
};

struct tcping {
	struct event_base *base;
	int64_t timeout_ms;
	struct helpers *helpers; /* owned; as many threads as slots */
	struct tcping_probe *probes, *waiting;
	unsigned slots, queued;
};

static void probe_connect(struct tcping_probe *p);
static void waiting_start(struct tcping *t);

/* --- end of a probe ---------------------------------------------------------------------------- */

static void probe_free(struct tcping_probe *p)
{
	struct tcping *t = p->owner;

	if (p->ev != NULL)
		event_free(p->ev);
	if (p->fd != -1)
		close(p->fd);
	if (p->timer != NULL)
		event_free(p->timer);
	if (p->has_slot) {
		DL_DELETE(t->probes, p);
		if (p->lookup != NULL)
			p->lookup->probe = NULL; /* gives the slot back when it returns */
		else
			t->slots--;
	} else {
		DL_DELETE(t->waiting, p);
		t->queued--;
	}
	np_free(p->target);
	np_free(p);
}

static void probe_finish(struct tcping_probe *p, const struct tcping_result *res)
{
	struct tcping *t = p->owner;
	tcping_done_fn done = p->done;
	void *arg = p->arg;

	probe_free(p);
	done(arg, res);
	waiting_start(t);
}

static void NP_PRINTF(2, 3) probe_fail(struct tcping_probe *p, const char *fmt, ...)
{
	struct tcping_result res = {.connected = false};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(res.error, sizeof(res.error), fmt, ap);
	va_end(ap);
	probe_finish(p, &res);
}

void tcping_cancel(struct tcping_probe *p)
{
	struct tcping *t = p->owner;

	probe_free(p);
	waiting_start(t);
}

/* --- connecting -------------------------------------------------------------------------------- */

static void set_timer(struct tcping_probe *p, int64_t ms)
{
	struct timeval wait;

	if (ms < 1)
		ms = 1;
	wait = (struct timeval){ms / 1000, (ms % 1000) * 1000};
	event_add(p->timer, &wait);
}

static int64_t left_ms(const struct tcping_probe *p)
{
	return p->owner->timeout_ms - np_mono_diff_ms(np_mono_now(), p->began);
}

static void address_failed(struct tcping_probe *p, const char *what)
{
	char text[NP_ADDR_TEXT_MAX];

	np_addr_format(&p->addr[p->at], text);
	snprintf(p->error, sizeof(p->error), "dial tcp %s: %s", text, what);
	if (p->ev != NULL)
		event_free(p->ev);
	p->ev = NULL;
	if (p->fd != -1)
		close(p->fd);
	p->fd = -1;
	p->at++;
	probe_connect(p);
}

static void connect_failed(struct tcping_probe *p, int err)
{
	char text[160], reason[128];
	const char *s = strerror_r(err, reason, sizeof(reason));

	snprintf(text, sizeof(text), "connect: %c%s", tolower((unsigned char)s[0]), s + 1);
	address_failed(p, text);
}

static void probe_on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct tcping_probe *p = arg;
	struct tcping_result res = {.connected = true};
	int err = 0;
	socklen_t len = sizeof(err);

	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1)
		err = errno;
	if (err != 0) {
		connect_failed(p, err);
		return;
	}
	res.latency_ms = np_mono_diff_ms(np_mono_now(), p->began);
	probe_finish(p, &res);
}

/* The address p->at; the rest of the time is shared with those that follow. */
static void probe_connect(struct tcping_probe *p)
{
	struct np_addr *a = &p->addr[p->at];

	if (p->at >= p->n) {
		probe_fail(p, "%s", p->error);
		return;
	}
	p->fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd == -1 || (connect(p->fd, &a->sa, a->len) == -1 && errno != EINPROGRESS)) {
		connect_failed(p, errno);
		return;
	}
	p->ev = event_new(p->owner->base, p->fd, EV_WRITE, probe_on_connected, p);
	if (p->ev == NULL || event_add(p->ev, NULL) != 0) {
		connect_failed(p, ENOMEM);
		return;
	}
	set_timer(p, left_ms(p) / (int64_t)(p->n - p->at));
}

/* --- names ------------------------------------------------------------------------------------- */

static void lookup_run(struct helper_job *job)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct lookup *l = (struct lookup *)job;
	struct addrinfo *list = NULL;

	l->rc = getaddrinfo(l->host, NULL, &hints, &list);
	for (struct addrinfo *ai = l->rc == 0 ? list : NULL; ai != NULL && l->n < ADDRS_MAX;
	     ai = ai->ai_next) {
		struct np_addr *a = &l->addr[l->n];

		if (ai->ai_addrlen > sizeof(a->in6))
			continue;
		memcpy(&a->sa, ai->ai_addr, ai->ai_addrlen);
		a->len = ai->ai_addrlen;
		np_addr_set_port(a, l->port);
		l->n++;
	}
	if (l->rc == 0)
		freeaddrinfo(list);
}

static void lookup_drop(struct helper_job *job)
{
	np_free(job);
}

static void lookup_done(struct helper_job *job);

static bool lookup_start(struct tcping_probe *p)
{
	struct lookup *l = np_calloc(1, sizeof(*l));

	if (l == NULL)
		return false;
	l->job = (struct helper_job){.run = lookup_run, .done = lookup_done, .drop = lookup_drop};
	l->owner = p->owner;
	l->probe = p;
	l->port = p->hp.port;
	memcpy(l->host, p->hp.host, sizeof(l->host));
	if (helpers_submit(p->owner->helpers, &l->job) != NP_OK) {
		np_free(l);
		return false;
	}
	p->lookup = l;
	return true;
}

static void lookup_take(struct tcping *t, struct lookup *l)
{
	struct tcping_probe *p = l->probe;

	if (p == NULL) {
		t->slots--;
		waiting_start(t);
		return;
	}
	p->lookup = NULL;
	if (l->rc != 0 || l->n == 0) {
		probe_fail(p, "dial tcp: lookup %s: %s", l->host,
			   l->rc == EAI_NONAME || l->rc == 0 ? "no such host"
							     : gai_strerror(l->rc));
		return;
	}
	memcpy(p->addr, l->addr, sizeof(p->addr));
	p->n = l->n;
	probe_connect(p);
}

static void lookup_done(struct helper_job *job)
{
	struct lookup *l = (struct lookup *)job;

	lookup_take(l->owner, l);
	np_free(l);
}

/* --- a question -------------------------------------------------------------------------------- */

/* Splits "host:port". False: *why says what is wrong with it. */
static bool split(const char *target, struct np_hostport *hp, char *why, size_t max)
{
	const char *colon = strrchr(target, ':'), *host = target;
	size_t len = colon != NULL ? (size_t)(colon - target) : 0;
	uint64_t port;

	if (colon == NULL || (target[0] == '[' && (len == 0 || colon[-1] != ']'))) {
		snprintf(why, max, "address %.300s: missing port in address", target);
		return false;
	}
	if (target[0] == '[') {
		host++;
		len -= 2;
	} else if (memchr(target, ':', len) != NULL) {
		snprintf(why, max, "address %.300s: too many colons in address", target);
		return false;
	}
	if (np_parse_u64(colon + 1, strlen(colon + 1), 1, 65535, &port) != NP_OK) {
		snprintf(why, max, "address %.64s: invalid port", colon + 1);
		return false;
	}
	if (len > NP_HOST_MAX) {
		snprintf(why, max, "lookup %.300s: no such host", target);
		return false;
	}
	memcpy(hp->host, host, len);
	hp->host[len] = '\0';
	hp->port = (uint16_t)port;
	return true;
}

static void probe_begin(struct tcping_probe *p)
{
	char why[TCPING_TEXT];

	p->began = np_mono_now();
	if (!split(p->target, &p->hp, why, sizeof(why))) {
		probe_fail(p, "dial tcp: %s", why);
		return;
	}
	if (p->hp.host[0] == '\0')
		memcpy(p->hp.host, "127.0.0.1", sizeof("127.0.0.1"));
	if (np_addr_from_literal(p->hp.host, p->hp.port, &p->addr[0])) {
		p->n = 1;
		probe_connect(p);
		return;
	}
	set_timer(p, p->owner->timeout_ms);
	if (!lookup_start(p))
		probe_fail(p, "dial tcp: lookup %s: no thread", p->hp.host);
}

static void probe_take_slot(struct tcping_probe *p)
{
	struct tcping *t = p->owner;

	DL_DELETE(t->waiting, p);
	t->queued--;
	DL_APPEND(t->probes, p);
	t->slots++;
	p->has_slot = true;
	/* The caller of tcping_start must have its probe before done is called. */
	set_timer(p, 0);
}

static void waiting_start(struct tcping *t)
{
	while (t->waiting != NULL && t->slots < TCPING_SLOTS)
		probe_take_slot(t->waiting);
}

static void probe_on_time(evutil_socket_t fd, short what, void *arg)
{
	struct tcping_probe *p = arg;

	(void)fd;
	(void)what;
	if (!p->has_slot)
		probe_fail(p, "too many requests");
	else if (!np_mono_is_set(p->began))
		probe_begin(p);
	else if (p->lookup != NULL)
		probe_fail(p, "dial tcp: lookup %s: i/o timeout", p->hp.host);
	else
		address_failed(p, "i/o timeout");
}

struct tcping_probe *tcping_start(struct tcping *t, const char *target, tcping_done_fn done,
				  void *arg)
{
	struct tcping_probe *p = np_calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->owner = t;
	p->fd = -1;
	p->done = done;
	p->arg = arg;
	p->target = np_strdup(target);
	p->timer = event_new(t->base, -1, 0, probe_on_time, p);
	DL_APPEND(t->waiting, p);
	t->queued++;
	if (p->target == NULL || p->timer == NULL) {
		probe_free(p);
		return NULL;
	}
	set_timer(p, t->queued > TCPING_QUEUED ? 0 : TCPING_WAIT_MS);
	waiting_start(t);
	return p;
}

/* --- life -------------------------------------------------------------------------------------- */

enum np_err tcping_new(struct event_base *base, int64_t timeout_ms, struct tcping **out)
{
	struct tcping *t = np_calloc(1, sizeof(*t));

	if (t == NULL)
		return NP_ENOMEM;
	t->base = base;
	t->timeout_ms = timeout_ms;
	if (helpers_new(base, TCPING_SLOTS, &t->helpers) != NP_OK) {
		np_free(t);
		return NP_ENOMEM;
	}
	*out = t;
	return NP_OK;
}

void tcping_free(struct tcping *t)
{
	if (t == NULL)
		return;
	t->slots += TCPING_SLOTS; /* nothing starts any more */
	while (t->probes != NULL)
		probe_fail(t->probes, "the master ends");
	while (t->waiting != NULL)
		probe_fail(t->waiting, "the master ends");
	helpers_free(t->helpers);
	np_free(t);
}
