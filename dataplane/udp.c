/*
 * udp.c - the visitors' UDP socket, and the flows of kind 2 channels at both ends. See udp.h.
 */
#include "udp.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "core/proxyproto.h"
#include "runtime.h"
#include "udp_flow.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union pktinfo_space {
	struct cmsghdr align;
	char v4[CMSG_SPACE(sizeof(struct in_pktinfo))];
	char v6[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* -- socket -- */

static int socket_bind(const struct np_addr *addr, bool v6only)
{
	const int on = 1, off = 0, size = UDP_SOCKET_BUFFER;
	bool v6 = addr->sa.sa_family == AF_INET6;
	int fd = socket(addr->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int saved;

	if (fd == -1)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if ((v6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only ? &on : &off, sizeof(on)) == -1) ||
	    (v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) == -1) ||
	    (!v6 && setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) == -1) ||
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
	struct np_addr v4 = {.in = {.sin_family = AF_INET}, .len = sizeof(v4.in)};
	int fd = socket_bind(addr, !any);

	if (fd != -1 || !any || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL))
		return fd;
	np_addr_set_port(&v4, np_addr_port(addr));
	return socket_bind(&v4, false);
}

/* Which address the datagram was sent to. The port is the listener's. */
static void local_of(struct msghdr *mh, uint16_t port, struct np_addr *out)
{
	memset(out, 0, sizeof(*out));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo pi;

			memcpy(&pi, CMSG_DATA(c), sizeof(pi));
			out->in.sin_family = AF_INET;
			out->in.sin_addr = pi.ipi_addr;
			out->len = sizeof(out->in);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo pi;

			memcpy(&pi, CMSG_DATA(c), sizeof(pi));
			out->in6.sin6_family = AF_INET6;
			out->in6.sin6_addr = pi.ipi6_addr;
			if (IN6_IS_ADDR_LINKLOCAL(&pi.ipi6_addr))
				out->in6.sin6_scope_id = pi.ipi6_ifindex;
			out->len = sizeof(out->in6);
		}
	}
	if (out->len != 0)
		np_addr_set_port(out, port);
}

static void put_source(struct msghdr *mh, const struct np_addr *local)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(mh);

	if (local->sa.sa_family == AF_INET) {
		struct in_pktinfo pi = {.ipi_spec_dst = local->in.sin_addr};

		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(pi));
		memcpy(CMSG_DATA(c), &pi, sizeof(pi));
		mh->msg_controllen = CMSG_SPACE(sizeof(pi));
	} else {
		struct in6_pktinfo pi = {.ipi6_addr = local->in6.sin6_addr,
					 .ipi6_ifindex = local->in6.sin6_scope_id};

		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(pi));
		memcpy(CMSG_DATA(c), &pi, sizeof(pi));
		mh->msg_controllen = CMSG_SPACE(sizeof(pi));
	}
}

void udp_flow_to_visitor(struct udp_flow *fl, const uint8_t *p, size_t len)
{
	struct counters *c = udp_counters(fl->inst);
	struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = len};
	union pktinfo_space space;
	struct msghdr mh = {.msg_name = &fl->visitor.sa,
			    .msg_namelen = fl->visitor.len,
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &space,
			    .msg_controllen = sizeof(space)};

	memset(&space, 0, sizeof(space));
	if (fl->local.len != 0) {
		put_source(&mh, &fl->local);
	} else {
		mh.msg_control = NULL;
		mh.msg_controllen = 0;
	}
	if (sendmsg(fl->ingress->fd, &mh, MSG_NOSIGNAL) == -1) {
		counter_add(c, COUNTER_UDP_DROPPED, 1);
		return;
	}
	fl->tx += len;
	counter_add(c, COUNTER_UDP_TX, len);
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

/* Tells the egress of a flow on a channel that it is new to. */
static bool flow_open(struct udp_flow *fl, struct channel *ch)
{
	struct np_proxy_info info = {.udp = true, .src = fl->visitor, .dst = fl->local};
	uint8_t payload[4 + NP_PROXY_V2_MAX];
	struct udp_flows *f = ch->flows;
	size_t n;

	if (HASH_CNT(hh_id, f->by_id) >= UDP_FLOWS_PER_CHANNEL || f->next_id == UINT32_MAX)
		return false;
	fl->id = ++f->next_id;
	np_addr_unmap(&info.src);
	np_addr_unmap(&info.dst);
	payload[0] = (uint8_t)(fl->id >> 24);
	payload[1] = (uint8_t)(fl->id >> 16);
	payload[2] = (uint8_t)(fl->id >> 8);
	payload[3] = (uint8_t)fl->id;
	n = np_proxy_v2_write(&info, payload + 4, sizeof(payload) - 4);
	NP_ASSERT(n > 0);
	fl->flows = f;
	HASH_ADD(hh_id, f->by_id, id, sizeof(fl->id), fl);
	if (fl->hh_id.tbl == NULL) {
		fl->flows = NULL;
		return false;
	}
	channel_put(ch, NP_FRAME_DOPEN, payload, 4 + n);
	return fl->flows != NULL;
}

static struct udp_flow *flow_of(struct udp_ingress *u, const struct np_addr *peer,
				const struct np_addr *local)
{
	struct udp_key key;
	struct udp_flow *fl = NULL;

	key_of(peer, local, &key);
	HASH_FIND(hh_key, u->by_key, &key, sizeof(key), fl);
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

/* allow= and deny= are asked again when they changed; a flow that may not be here any more ends. */
static bool flow_is_admitted(struct udp_flow *fl)
{
	if (fl->lists == fl->inst->lists)
		return true;
	fl->lists = fl->inst->lists;
	if (instance_admits(fl->inst, &fl->visitor))
		return true;
	udp_flow_end(fl, NP_REASON_DENIED, true);
	return false;
}

/* One datagram of a visitor, at @buf + DGRAM_HEAD. Returns the channel that has frames to flush, or
 * NULL. */
static struct channel *ingress_datagram(struct udp_ingress *u, const struct np_addr *peer,
					const struct np_addr *local, uint8_t *buf, size_t len)
{
	struct counters *c = udp_counters(u->inst);
	struct udp_flow *fl;
	struct channel *ch;

	fl = flow_of(u, peer, local);
	if (fl != NULL ? !flow_is_admitted(fl) : !instance_admits(u->inst, peer)) {
		counter_add(c, COUNTER_UDP_DROPPED, 1);
		return NULL;
	}
	if (!udp_rate(u->inst, RATE_RX, len))
		return NULL;
	ch = fl != NULL && fl->flows != NULL ? fl->flows->channel : NULL;
	if (u->inst->mode != MODE_SINGLE && ch == NULL) {
		ch = pool_datagram_channel(u->inst);
		/* A new flow costs a DOPEN, which is never dropped: none when DGRAMs would be. */
		if (ch == NULL || np_buf_len(&ch->tx) + len > DATAGRAM_BACKLOG) {
			counter_add(c, COUNTER_UDP_DROPPED, 1);
			return NULL;
		}
	}
	if (fl == NULL)
		fl = flow_begin(u, peer, local);
	if (fl == NULL) {
		counter_add(c, COUNTER_UDP_DROPPED, 1);
		return NULL;
	}
	udp_flow_touch(fl);
	fl->rx += len;
	counter_add(c, COUNTER_UDP_RX, len);
	if (u->inst->mode == MODE_SINGLE) {
		bool fresh = fl->fd == -1 && fl->resolving.on_answer == NULL;

		if (!fresh || udp_flow_target(fl))
			udp_flow_to_target(fl, buf + DGRAM_HEAD, len);
		return NULL;
	}
	/* New, or its channel was lost. */
	if (fl->flows == NULL && !flow_open(fl, ch)) {
		counter_add(c, COUNTER_UDP_DROPPED, 1);
		return NULL;
	}
	udp_flow_to_channel(fl, buf, len);
	return ch;
}

static void ingress_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct udp_ingress *u = arg;
	uint8_t *buf = u->inst->home->scratch;
	struct channel *dirty = NULL;

	(void)what;
	for (int i = 0; i < UDP_BATCH; i++) {
		struct np_addr peer = {.len = 0}, local;
		struct iovec iov = {.iov_base = buf + DGRAM_HEAD, .iov_len = udp_recv_max()};
		union pktinfo_space space;
		struct msghdr mh = {.msg_name = &peer.sa,
				    .msg_namelen = sizeof(peer.in6),
				    .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = &space,
				    .msg_controllen = sizeof(space)};
		ssize_t n = recvmsg(fd, &mh, 0);
		struct channel *ch;

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			break;
		if ((mh.msg_flags & MSG_TRUNC) != 0) {
			counter_add(udp_counters(u->inst), COUNTER_UDP_DROPPED, 1);
			continue;
		}
		peer.len = mh.msg_namelen;
		local_of(&mh, u->port, &local);
		ch = ingress_datagram(u, &peer, &local, buf, (size_t)n);
		if (dirty != NULL && ch != dirty)
			channel_flush(dirty);
		dirty = ch != NULL ? ch : dirty;
	}
	if (dirty != NULL)
		channel_flush(dirty);
}

enum np_err udp_ingress_new(struct instance *inst, int fd, const struct np_addr *addr,
			    struct udp_ingress **out)
{
	struct udp_ingress *u = np_calloc(1, sizeof(*u));

	if (u == NULL || instance_shard(inst, inst->home) == NULL) {
		np_free(u);
		return NP_ENOMEM;
	}
	u->inst = inst;
	u->port = np_addr_port(addr);
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

void udp_ingress_tick(struct udp_ingress *u, struct np_mono now)
{
	while (u->list != NULL &&
	       np_mono_diff_ms(now, u->list->last) >= runtime.env.udp_read_timeout_ms)
		udp_flow_end(u->list, NP_REASON_UDP_IDLE, true);
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

/* -- flows of a channel -- */

struct udp_flows *udp_flows_new(struct channel *ch, bool ingress)
{
	struct udp_flows *f = np_calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	f->channel = ch;
	f->ingress = ingress;
	return f;
}

unsigned udp_flows_count(const struct udp_flows *f)
{
	return f != NULL ? HASH_CNT(hh_id, f->by_id) : 0;
}

/* The channel is closed: an egress' flows end, an ingress' ones are opened anew elsewhere when they
 * are used again. */
void udp_flows_close(struct udp_flows *f)
{
	struct udp_flow *fl, *next;

	HASH_ITER (hh_id, f->by_id, fl, next) {
		if (f->ingress) {
			HASH_DELETE(hh_id, f->by_id, fl);
			fl->flows = NULL;
		} else {
			udp_flow_end(fl, NP_REASON_CHANNEL_LOST, false);
		}
	}
}

void udp_flows_free(struct udp_flows *f)
{
	np_free(f);
}

static void refuse_flow(struct udp_flows *f, const uint8_t id[4])
{
	channel_put(f->channel, NP_FRAME_DCLOSE, id, 4);
}

static void egress_open(struct udp_flows *f, uint32_t id, const uint8_t *payload, size_t len)
{
	struct instance *inst = f->channel->shard->inst;
	struct np_proxy_info info;
	struct udp_flow *fl;

	if (np_proxy_read_strict(payload + 4, len - 4, true, &info) != NP_OK) {
		channel_violation(f->channel, "bad DOPEN");
		return;
	}
	if (!instance_admits(inst, &info.src)) {
		struct session_record r = {
		    .udp = true, .reason = NP_REASON_DENIED, .visitor = &info.src, .target = "-"};

		shard_record(f->channel->shard, &r);
		refuse_flow(f, payload);
		return;
	}
	if (instance_cfg(inst)->noudp ||
	    atomic_load_explicit(&inst->draining, memory_order_relaxed) ||
	    HASH_CNT(hh_id, f->by_id) >= UDP_FLOWS_PER_CHANNEL || !instance_slot_take(inst)) {
		refuse_flow(f, payload);
		return;
	}
	fl = udp_flow_new(inst, &info.src, &info.dst);
	if (fl == NULL) {
		instance_slot_give(inst);
		refuse_flow(f, payload);
		return;
	}
	fl->id = id;
	HASH_ADD(hh_id, f->by_id, id, sizeof(fl->id), fl);
	if (fl->hh_id.tbl == NULL) {
		udp_flow_end(fl, NP_REASON_NO_MEMORY, false);
		refuse_flow(f, payload);
		return;
	}
	fl->flows = f;
	DL_APPEND(f->list, fl);
	udp_flow_target(fl);
}

static void frame_dgram(struct udp_flows *f, struct udp_flow *fl, const uint8_t *payload,
			size_t len)
{
	struct instance *inst = f->channel->shard->inst;

	if (fl == NULL) {
		counter_add(udp_counters(inst), COUNTER_UDP_DROPPED, 1);
		if (np_mono_diff_ms(np_mono_now(), f->last_dclose) >= 1000) {
			f->last_dclose = np_mono_now();
			refuse_flow(f, payload);
		}
		return;
	}
	if (!flow_is_admitted(fl)) {
		counter_add(udp_counters(inst), COUNTER_UDP_DROPPED, 1);
		return;
	}
	udp_flow_touch(fl);
	if (!udp_rate(inst, RATE_TX, len - 4))
		return;
	if (f->ingress)
		udp_flow_to_visitor(fl, payload + 4, len - 4);
	else
		udp_flow_to_target(fl, payload + 4, len - 4);
}

void udp_flows_frame(struct udp_flows *f, const struct np_frame *frame, const uint8_t *payload)
{
	struct np_reader r = np_reader_of(payload, frame->len);
	uint32_t id = np_reader_u32(&r);
	struct udp_flow *fl = NULL;

	if (frame->type != NP_FRAME_DOPEN && frame->type != NP_FRAME_DGRAM &&
	    frame->type != NP_FRAME_DCLOSE)
		return; /* RETIRE: it is closed by who made it */
	HASH_FIND(hh_id, f->by_id, &id, sizeof(id), fl);
	if (frame->type == NP_FRAME_DGRAM) {
		frame_dgram(f, fl, payload, frame->len);
	} else if (frame->type == NP_FRAME_DCLOSE) {
		if (fl != NULL)
			udp_flow_end(fl, NP_REASON_DONE, false);
	} else if (f->ingress || fl != NULL) {
		channel_violation(f->channel, "DOPEN");
	} else {
		egress_open(f, id, payload, frame->len);
	}
}

void udp_flows_tick(struct udp_flows *f, struct np_mono now)
{
	while (f->list != NULL && f->channel->state != CHANNEL_CLOSED &&
	       np_mono_diff_ms(now, f->list->last) >= runtime.env.udp_read_timeout_ms)
		udp_flow_end(f->list, NP_REASON_UDP_IDLE, true);
}
