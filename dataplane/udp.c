/*
 * udp.c - the visitors' UDP socket and what comes from it. See udp.h.
 */
#include "udp.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "bind_any.h"
#include "core/proxyproto.h"
#include "runtime.h"
#include "udp_io.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* -- socket -- */

/* Bound to it, a socket gets what comes to all addresses of the host. */
static bool is_any(const struct np_addr *addr)
{
	if (addr->sa.sa_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr);
	return addr->in.sin_addr.s_addr == htonl(INADDR_ANY);
}

static int socket_bind(const struct np_addr *addr, bool v6only)
{
	const int on = 1, off = 0;
	bool v6 = addr->sa.sa_family == AF_INET6, any = is_any(addr);
	int fd = socket(addr->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int saved;

	if (fd == -1)
		return -1;
	udp_io_prepare(fd);
	if ((v6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only ? &on : &off, sizeof(on)) == -1) ||
	    (any && v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) == -1) ||
	    (any && !v6 && setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) == -1) ||
	    bind(fd, &addr->sa, addr->len) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

int udp_socket(const struct np_addr *addr, bool any)
{
	return bind_any(addr, any, socket_bind);
}

/* -- ingress -- */

static void key_of(const struct np_addr *peer, const struct np_addr *local, struct udp_key *out)
{
	const struct np_addr *a[2] = {peer, local};
	uint8_t *p = out->bytes;

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < 2; i++, p += 20) {
		uint16_t port = np_addr_port(a[i]);

		p[0] = (uint8_t)a[i]->sa.sa_family;
		memcpy(p + 1, &port, sizeof(port));
		if (a[i]->sa.sa_family == AF_INET6)
			memcpy(p + 4, &a[i]->in6.sin6_addr, 16);
		else
			memcpy(p + 4, &a[i]->in.sin_addr, 4);
	}
}

/* Tells the egress of a flow on a channel that it is new to, and gives it what was held. */
static bool flow_open(struct udp_flow *fl, struct channel *ch)
{
	struct np_proxy_info info = {.udp = true, .src = fl->visitor, .dst = fl->local};
	struct udp_io *io = fl->inst->home->udp;
	struct udp_flows *f = ch->flows;
	uint8_t proxy[NP_PROXY_V2_MAX];
	size_t n;

	if (HASH_CNT(hh_id, f->by_id) >= UDP_FLOWS_PER_CHANNEL || f->next_id == UINT32_MAX)
		return false;
	fl->id = ++f->next_id;
	np_addr_unmap(&info.src);
	np_addr_unmap(&info.dst);
	n = np_proxy_v2_write(&info, proxy, sizeof(proxy));
	NP_ASSERT(n > 0);
	fl->flows = f;
	HASH_ADD(hh_id, f->by_id, id, sizeof(fl->id), fl);
	if (fl->hh_id.tbl == NULL) {
		fl->flows = NULL;
		return false;
	}
	udp_io_frame(io, fl, NP_FRAME_DOPEN, proxy, n);
	if (np_buf_len(&fl->held) > 0) {
		fl->ingress->holding--;
		udp_flow_held_send(fl, udp_flow_to_channel);
	}
	return fl->flows != NULL;
}

static struct udp_flow *flow_of(struct udp_ingress *u, const struct np_addr *peer,
				const struct np_addr *local)
{
	struct udp_key key;
	struct udp_flow *fl = u->recent;

	if (fl != NULL && np_addr_equal(peer, &fl->visitor) &&
	    (!u->any || np_addr_equal(local, &fl->local)))
		return fl;
	key_of(peer, local, &key);
	HASH_FIND(hh_key, u->by_key, &key, sizeof(key), fl);
	u->recent = fl;
	return fl;
}

static struct udp_flow *flow_begin(struct udp_ingress *u, const struct np_addr *peer,
				   const struct np_addr *local)
{
	struct udp_key key;
	struct udp_flow *fl;

	key_of(peer, local, &key);
	if (atomic_load_explicit(&u->inst->draining, memory_order_relaxed) ||
	    !instance_slot_take(u->inst))
		return NULL;
	fl = udp_flow_new(u->inst, peer, local);
	if (fl == NULL) {
		instance_slot_give(u->inst);
		return NULL;
	}
	fl->key = key;
	fl->ingress = u;
	DL_APPEND(u->list, fl);
	HASH_ADD(hh_key, u->by_key, key, sizeof(key), fl);
	if (fl->hh_key.tbl == NULL) {
		/* Not in the table: taken off by hand, then ended like others of an egress. */
		DL_DELETE(u->list, fl);
		fl->ingress = NULL;
		udp_flow_end(fl, NP_REASON_NO_MEMORY, false);
		return NULL;
	}
	return fl;
}

/* A datagram that waits for a channel, as visitors do. */
static void flow_wait(struct udp_flow *fl, const uint8_t *p, size_t len)
{
	bool first = np_buf_len(&fl->held) == 0;

	udp_flow_hold(fl, p, len);
	if (first && np_buf_len(&fl->held) > 0)
		fl->ingress->holding++;
}

static void to_single_target(struct udp_flow *fl, const uint8_t *p, size_t len)
{
	bool fresh = fl->fd == -1 && fl->resolving.on_answer == NULL;

	if (!fresh || udp_flow_target(fl))
		udp_flow_to_target(fl, p, len);
}

/* One datagram of a visitor. */
static void ingress_datagram(struct udp_ingress *u, const struct udp_packet *from, const uint8_t *p,
			     size_t len)
{
	struct udp_flow *fl = flow_of(u, &from->peer, &from->local);
	struct channel *ch = fl != NULL && fl->flows != NULL ? fl->flows->channel : NULL;
	bool single = u->inst->mode == MODE_SINGLE;

	if (len > udp_recv_max() ||
	    (fl != NULL ? !udp_flow_is_admitted(fl) : !instance_admits(u->inst, &from->peer))) {
		udp_dropped(u->inst, 1);
		return;
	}
	if (!udp_rate(u->inst, fl, RATE_RX, len))
		return;
	if (!single && ch == NULL) {
		ch = pool_datagram_channel(u->inst);
		/* A new flow costs a DOPEN, which is never dropped: none when DGRAMs would be. */
		if (ch != NULL && !udp_has_room(ch->flows, len)) {
			udp_dropped(u->inst, 1);
			return;
		}
	}
	if (fl == NULL)
		fl = flow_begin(u, &from->peer, &from->local);
	if (fl == NULL) {
		udp_dropped(u->inst, 1);
		return;
	}
	udp_flow_touch(fl);
	fl->rx += len;
	counter_add(udp_counters(u->inst), COUNTER_UDP_RX, len);
	if (single)
		to_single_target(fl, p, len);
	else if (ch == NULL)
		flow_wait(fl, p, len);
	else if (fl->flows != NULL || flow_open(fl, ch)) /* new, or its channel was lost */
		udp_flow_to_channel(fl, p, len);
	else
		udp_dropped(u->inst, 1);
}

static void ingress_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct udp_ingress *u = arg;
	struct udp_io *io = u->inst->home->udp;
	size_t n;
	struct udp_packet *packets = udp_io_recv(io, fd, &n);

	(void)what;
	for (size_t i = 0; i < n; i++) {
		struct udp_packet *p = &packets[i];
		size_t off = 0;

		if (!u->any)
			p->local = u->addr;
		else if (p->local.len != 0)
			np_addr_set_port(&p->local, np_addr_port(&u->addr));
		do {
			size_t left = p->len - off, len = left < p->segment ? left : p->segment;

			ingress_datagram(u, p, p->data + off, len);
			off += len;
		} while (off < p->len);
	}
	udp_io_flush(io);
	udp_io_frames_flush(io);
}

enum np_err udp_ingress_new(struct instance *inst, int fd, const struct np_addr *addr,
			    struct udp_ingress **out)
{
	struct udp_ingress *u = np_calloc(1, sizeof(*u));

	if (u == NULL || instance_shard(inst, inst->home) == NULL ||
	    udp_io_init(inst->home) != NP_OK) {
		np_free(u);
		return NP_ENOMEM;
	}
	u->inst = inst;
	u->addr = *addr;
	u->any = is_any(addr);
	u->event = event_new(inst->home->base, fd, EV_READ | EV_PERSIST, ingress_on_readable, u);
	if (u->event == NULL || event_add(u->event, NULL) != 0) {
		if (u->event != NULL)
			event_free(u->event);
		np_free(u);
		return NP_ENOMEM;
	}
	u->fd = fd;
	*out = u;
	return NP_OK;
}

/* Those that have waited for a channel as long as a visitor may. */
static void end_waiting(struct udp_ingress *u, struct np_mono now)
{
	struct udp_flow *fl, *next;

	DL_FOREACH_SAFE (u->list, fl, next) {
		if (np_buf_len(&fl->held) == 0 ||
		    np_mono_diff_ms(now, fl->held_since) < runtime.env.pool_get_timeout_ms)
			continue;
		udp_flow_end(fl, NP_REASON_POOL_TIMEOUT, false);
	}
}

void udp_ingress_tick(struct udp_ingress *u, struct np_mono now)
{
	while (u->list != NULL &&
	       np_mono_diff_ms(now, u->list->last) >= runtime.env.udp_read_timeout_ms)
		udp_flow_end(u->list, NP_REASON_UDP_IDLE, true);
	if (u->holding > 0 && u->inst->mode != MODE_SINGLE)
		end_waiting(u, now);
	udp_io_tick(u->inst->home, now);
}

static void ingress_go_on(struct udp_ingress *u)
{
	struct udp_flow *fl, *next;

	DL_FOREACH_SAFE (u->list, fl, next) {
		struct channel *ch;

		if (np_buf_len(&fl->held) == 0)
			continue;
		ch = pool_datagram_channel(u->inst);
		if (ch == NULL)
			return;
		if (!flow_open(fl, ch) && np_buf_len(&fl->held) > 0)
			return; /* the next channel, or the end of its time */
	}
}

void udp_channel_up(struct instance *inst)
{
	for (size_t i = 0; i < sizeof(inst->udp) / sizeof(inst->udp[0]); i++)
		if (inst->udp[i] != NULL && inst->udp[i]->holding > 0)
			ingress_go_on(inst->udp[i]);
	udp_io_frames_flush(inst->home->udp);
}

void udp_ingress_deafen(struct udp_ingress *u)
{
	event_del(u->event);
}

int udp_ingress_fd(const struct udp_ingress *u)
{
	return u->fd;
}

void udp_ingress_free(struct udp_ingress *u)
{
	if (u == NULL)
		return;
	while (u->list != NULL)
		udp_flow_end(u->list, (enum np_reason)atomic_load(&u->inst->end_reason), true);
	event_free(u->event);
	close(u->fd);
	np_free(u);
}
