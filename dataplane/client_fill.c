/*
 * client_fill.c - keeps as many data channels ready as np_pool_fill wants. See client.h.
 */
#include "client_priv.h"

#include "base/alloc.h"
#include "channel.h"
#include "maker.h"
#include "runtime.h"
#include "udp.h"

#include <string.h>
#include <sys/resource.h>

static void fill_on_timer(evutil_socket_t fd, short what, void *arg);

enum np_err client_fill_init(struct client *c)
{
	np_backoff_init(&c->make_backoff, CLIENT_BACKOFF_BASE_MS, runtime.env.service_cooldown_ms);
	c->fill_timer = evtimer_new(c->inst->home->base, fill_on_timer, c);
	return c->fill_timer != NULL ? NP_OK : NP_ENOMEM;
}

void client_fill_release(struct client *c)
{
	if (c->fill_timer != NULL)
		event_free(c->fill_timer);
	c->fill_timer = NULL;
}

static uint32_t idle_bound(uint32_t max)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur / 4 < max)
		return (uint32_t)(rl.rlim_cur / 4);
	return max;
}

static struct np_pool_fill_limits limits_of(struct client *c)
{
	const struct np_config *cfg = instance_cfg(c->inst);
	struct np_pool_fill_limits l = {
	    .min = cfg->min,
	    .max = idle_bound(c->welcome.max),
	    .dial_rate = c->welcome.dial_rate,
	};

	if (l.min > l.max) {
		INSTANCE_LOG(c->inst, WARN, "min=%u is above the server's max=%u, lowered to it",
			     cfg->min, l.max);
		l.min = l.max;
	}
	if (l.dial_rate == 0 || l.dial_rate > 256)
		l.dial_rate = 256;
	if (cfg->notcp)
		l.min = l.max = 0;
	return l;
}

void client_fill_begin(struct client *c)
{
	struct np_pool_fill_limits l = limits_of(c);

	np_pool_fill_init(&c->fill, &l, np_mono_now());
	c->opens_seen = 0;
	c->told_target = UINT32_MAX;
	c->told_at = (struct np_mono){0};
	c->dialing = c->dialing_datagram = 0;
	c->failures = 0;
	np_backoff_reset(&c->make_backoff);
	c->make_after = (struct np_mono){0};
	c->fill_ms = runtime.env.min_pool_interval_ms;
	client_fill_run(c);
}

void client_configure(struct client *c)
{
	struct np_pool_fill_limits l;

	if (c->state != NP_CLIENT_UP)
		return; /* read when the session begins */
	l = limits_of(c);
	np_pool_fill_set_limits(&c->fill, &l);
	client_fill_run(c);
}

void client_fill_end(struct client *c)
{
	evtimer_del(c->fill_timer);
}

static void make_one(struct client *c, enum np_channel_kind kind)
{
	struct instance *inst = c->inst;
	struct worker *w = kind == NP_CHANNEL_DATAGRAM ? inst->home : worker_pick();
	struct shard *sh = instance_shard(inst, w);
	struct maker *m = np_calloc(1, sizeof(*m));

	if (m == NULL || sh == NULL) {
		np_free(m);
		return;
	}
	m->shard = sh;
	m->client = c;
	m->peer = c->peer;
	m->addr = c->server;
	m->kind = kind;
	m->ingress = inst->flow == NP_FLOW_FORWARD;
	m->conn_id = ++c->conn_id;
	memcpy(m->session_id, c->peer->session_id, sizeof(m->session_id));
	memcpy(m->d, c->peer->d, sizeof(m->d));
	m->fingerprints = c->fingerprints;
	m->certificates = c->certificates;
	if (c->welcome.tls != 0) {
		m->ssl = tls_client_new(client_ctx(c), TLS_DATA, client_server_name(c), c->ticket);
		if (m->ssl == NULL) {
			np_wipe(m->d, sizeof(m->d));
			np_free(m);
			return;
		}
	}
	c->peer->makers++;
	if (kind == NP_CHANNEL_STREAM)
		c->dialing++;
	else
		c->dialing_datagram++;
	maker_start(m);
}

static uint32_t stream_idle(const struct client *c, uint32_t busy)
{
	if (c->inst->flow == NP_FLOW_FORWARD)
		return c->peer->nidle;
	return c->peer->nchannels > busy ? c->peer->nchannels - busy : 0;
}

static unsigned datagram_wanted(const struct client *c)
{
	unsigned flows = 0, want;

	if (instance_cfg(c->inst)->noudp)
		return 0;
	for (unsigned i = 0; i < c->peer->ndatagram; i++)
		flows += udp_flows_count(c->peer->datagram[i]->flows);
	want = 1 + flows / CLIENT_FLOWS_PER_CHANNEL;
	return want > PEER_DATAGRAM_CHANNELS ? PEER_DATAGRAM_CHANNELS : want;
}

/* The ingress retires what is more than wanted: it must know the number. */
static void tell_target(struct client *c, uint32_t wanted)
{
	struct np_msg m = {.kind = NP_MSG_POOL_TARGET, .count = {wanted}};

	struct np_mono now = np_mono_now();

	c->peer->idle_target = wanted;
	if (c->inst->flow == NP_FLOW_FORWARD || wanted == c->told_target || c->control == NULL ||
	    np_mono_diff_ms(now, c->told_at) < POOL_DEMAND_MS) /* said by a later run */
		return;
	c->told_at = now;
	c->told_target = wanted;
	control_send(c->control, &m);
}

static void count_opens(struct client *c)
{
	uint32_t opens = atomic_load_explicit(&c->peer->opens, memory_order_relaxed);

	if (c->inst->flow == NP_FLOW_FORWARD) /* the pool told of each */
		return;
	while (c->opens_seen != opens) {
		c->opens_seen++;
		np_pool_fill_opened(&c->fill);
	}
}

void client_fill_run(struct client *c)
{
	struct np_mono now = np_mono_now();
	uint32_t busy, dials;
	struct timeval tv;
	bool quiet;

	if (c->peer == NULL || c->state != NP_CLIENT_UP || c->draining)
		return;
	busy = atomic_load_explicit(&c->peer->busy, memory_order_relaxed);
	count_opens(c);
	np_pool_fill_tick(&c->fill, now, busy);
	tell_target(c, np_pool_fill_wanted(&c->fill));
	quiet = c->dialing == 0;
	if (!np_mono_before(now, c->make_after)) {
		dials = np_pool_fill_dials(&c->fill, now, stream_idle(c, busy), c->dialing);
		quiet = quiet && dials == 0 && busy == 0;
		while (dials-- > 0)
			make_one(c, NP_CHANNEL_STREAM);
		if (c->peer->ndatagram + c->dialing_datagram < datagram_wanted(c))
			make_one(c, NP_CHANNEL_DATAGRAM);
	}
	c->fill_ms = quiet ? c->fill_ms * 2 : runtime.env.min_pool_interval_ms;
	if (c->fill_ms > runtime.env.max_pool_interval_ms)
		c->fill_ms = runtime.env.max_pool_interval_ms;
	tv = tv_of_ms(c->fill_ms);
	evtimer_add(c->fill_timer, &tv);
}

static void fill_on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	client_fill_run(arg);
}

void client_opened(struct client *c)
{
	np_pool_fill_opened(&c->fill);
	if (c->fill_ms > runtime.env.min_pool_interval_ms) {
		c->fill_ms = runtime.env.min_pool_interval_ms;
		client_fill_run(c);
	}
}

void client_demand(struct client *c, uint32_t waiting)
{
	if (c->peer == NULL)
		return;
	np_pool_fill_demand(&c->fill, waiting);
	client_fill_run(c);
}

void client_channel_gone(struct client *c, struct peer *p)
{
	if (p == c->peer)
		client_fill_run(c);
}

static void maker_failed(struct client *c, const struct maker *m)
{
	struct np_mono now = np_mono_now();
	int64_t wait;

	np_pool_fill_dial_failed(&c->fill);
	INSTANCE_LOG(c->inst, DEBUG, "data channel not made: %s", m->why);
	if (++c->failures % CLIENT_MAKER_FAILURES != 0)
		return;
	wait = np_backoff_next(&c->make_backoff, worker_random(c->inst->home), 0);
	c->make_after = np_mono_add_ms(now, wait > 0 ? wait : CLIENT_BACKOFF_BASE_MS);
	INSTANCE_LOG(c->inst, WARN, "data channels cannot be made, %u failed in a row: %s",
		     c->failures, m->why);
}

void client_made(struct client *c, struct maker *m, struct channel *ch)
{
	struct peer *p = m->peer;
	bool current = p == c->peer;

	p->makers--;
	if (ch != NULL)
		peer_add_channel(p, ch);
	if (current && m->kind == NP_CHANNEL_STREAM)
		c->dialing--;
	else if (current)
		c->dialing_datagram--;
	if (current && ch == NULL)
		maker_failed(c, m);
	if (current && ch != NULL) {
		c->failures = 0;
		np_backoff_reset(&c->make_backoff);
		INSTANCE_LOG(c->inst, DEBUG, "data channel made in %lld us%s",
			     (long long)m->took_us, m->resumed ? ", resumed" : "");
		if (m->kind == NP_CHANNEL_STREAM)
			np_pool_fill_dial_ok(&c->fill, m->took_us);
	}
	if (current && ch != NULL && m->ticket != NULL && c->welcome.tls != 0 &&
	    m->certificates == c->certificates) {
		SSL_SESSION_free(c->ticket); /* the next dials resume from it */
		c->ticket = m->ticket;
		m->ticket = NULL;
	}
	if (!current && ch != NULL)
		channel_command_close(ch);
	if (current)
		client_fill_run(c);
	peer_maybe_free(p);
}
