/*
 * udp_io.c - datagrams through sockets in batches. See udp_io.h.
 */
#include "udp_io.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "runtime.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* Since Linux 4.18 and 5.0; libc's headers may be older. */
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

/*
 * A slot takes the largest packet. They lie side by side in memory that costs nothing before it is
 * written; 17 cache lines more than 64 KiB, so that the beginnings of all slots do not share one
 * set of the cache.
 */
#define SLOT_SIZE     (65536 + 17 * 64)
#define SLOTS_IDLE_MS 1000

#define PKTINFO_SPACE CMSG_SPACE(sizeof(struct in6_pktinfo))
union recv_control {
	struct cmsghdr align;
	char space[PKTINFO_SPACE + CMSG_SPACE(sizeof(int))];
};
union send_control {
	struct cmsghdr align;
	char space[PKTINFO_SPACE + CMSG_SPACE(sizeof(uint16_t))];
};

/* One packet of the queue: datagrams of one flow in iov[first ...]. */
struct out {
	struct udp_flow *flow;
	size_t first, n, bytes;
	size_t segment; /* of the first one */
	bool full;	/* nothing may follow: its last datagram was shorter */
	bool outer;	/* see udp_flow_sent */
};

struct udp_io {
	struct worker *worker;
	/* in */
	uint8_t *slots; /* mmap */
	bool slots_used;
	struct np_mono slots_at;
	struct mmsghdr in[UDP_BATCH];
	struct iovec in_iov[UDP_BATCH];
	union recv_control in_control[UDP_BATCH];
	struct udp_packet packets[UDP_BATCH];
	size_t in_used; /* of the arrays, since they were prepared */
	bool refused;	/* by an ICMP answer: the last read */
	/* out: all for one socket */
	int out_fd;
	size_t nout, niov;
	struct out out[UDP_BATCH];
	struct mmsghdr msg[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	union send_control control[UDP_BATCH];
	/* frames, in the worker's scratch */
	struct channel *frames_of;
	size_t frames_len;
};

static void udp_io_free(struct udp_io *io)
{
	munmap(io->slots, (size_t)UDP_BATCH * SLOT_SIZE);
	np_free(io);
}

enum np_err udp_io_init(struct worker *w)
{
	struct udp_io *io;

	if (w->udp != NULL)
		return NP_OK;
	io = np_calloc(1, sizeof(*io));
	if (io == NULL)
		return NP_ENOMEM;
	io->slots = mmap(NULL, (size_t)UDP_BATCH * SLOT_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (io->slots == MAP_FAILED) {
		np_free(io);
		return NP_ENOMEM;
	}
	/* A huge page for the first byte of a slot would cost 2 MiB. */
	(void)madvise(io->slots, (size_t)UDP_BATCH * SLOT_SIZE, MADV_NOHUGEPAGE);
	io->worker = w;
	io->in_used = UDP_BATCH;
	io->out_fd = -1;
	w->udp = io;
	w->udp_free = udp_io_free;
	return NP_OK;
}

void udp_io_tick(struct worker *w, struct np_mono now)
{
	struct udp_io *io = w->udp;

	if (io == NULL || !io->slots_used || np_mono_diff_ms(now, io->slots_at) < SLOTS_IDLE_MS)
		return;
	(void)madvise(io->slots, (size_t)UDP_BATCH * SLOT_SIZE, MADV_DONTNEED);
	io->slots_used = false;
}

/* As root past the limit of the system (net.core.rmem_max), which holds 100 datagrams only. */
static void set_buffer(int fd, int force, int option)
{
	const int size = UDP_SOCKET_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof(size)) == -1)
		(void)setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size));
}

void udp_io_prepare(int fd)
{
	const int on = 1;

	set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	if (runtime.env.udp_offload != 0)
		(void)setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on));
}

/* -- in -- */

/* An ICMP answer to an earlier datagram, told once by whatever call comes next. */
static bool is_icmp(int err)
{
	return err == ECONNREFUSED || err == EHOSTUNREACH || err == ENETUNREACH;
}

/* What the kernel says beside a packet: the address it was sent to, the size of its segments. */
static void read_control(struct msghdr *mh, struct udp_packet *p)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo pi;

			memcpy(&pi, CMSG_DATA(c), sizeof(pi));
			p->local.in.sin_family = AF_INET;
			p->local.in.sin_addr = pi.ipi_addr;
			p->local.len = sizeof(p->local.in);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo pi;

			memcpy(&pi, CMSG_DATA(c), sizeof(pi));
			p->local.in6.sin6_family = AF_INET6;
			p->local.in6.sin6_addr = pi.ipi6_addr;
			if (IN6_IS_ADDR_LINKLOCAL(&pi.ipi6_addr))
				p->local.in6.sin6_scope_id = pi.ipi6_ifindex;
			p->local.len = sizeof(p->local.in6);
		} else if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
			int segment;

			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
			if (segment > 0 && (size_t)segment < p->len)
				p->segment = (size_t)segment;
		}
	}
}

static void recv_prepare(struct udp_io *io, size_t i)
{
	io->in_iov[i] = (struct iovec){.iov_base = io->slots + i * SLOT_SIZE, .iov_len = SLOT_SIZE};
	io->in[i].msg_hdr = (struct msghdr){.msg_name = &io->packets[i].peer.sa,
					    .msg_namelen = sizeof(io->packets[i].peer.in6),
					    .msg_iov = &io->in_iov[i],
					    .msg_iovlen = 1,
					    .msg_control = &io->in_control[i],
					    .msg_controllen = sizeof(io->in_control[i])};
}

struct udp_packet *udp_io_recv(struct udp_io *io, int fd, size_t *n)
{
	int got;

	NP_ASSERT(io->niov == 0 && io->frames_len == 0);
	*n = 0;
	for (size_t i = 0; i < io->in_used; i++)
		recv_prepare(io, i);
	io->in_used = 0;
	do {
		got = recvmmsg(fd, io->in, UDP_BATCH, 0, NULL);
	} while (got == -1 && errno == EINTR);
	io->refused = got == -1 && is_icmp(errno);
	if (got <= 0)
		return io->packets;
	io->slots_used = true;
	io->slots_at = worker_pass_now(io->worker);
	for (size_t i = 0; i < (size_t)got; i++) {
		struct udp_packet *p = &io->packets[i];

		p->peer.len = io->in[i].msg_hdr.msg_namelen;
		memset(&p->local, 0, sizeof(p->local));
		p->data = io->in_iov[i].iov_base;
		p->len = p->segment = io->in[i].msg_len;
		read_control(&io->in[i].msg_hdr, p);
	}
	*n = io->in_used = (size_t)got;
	return io->packets;
}

bool udp_io_refused(const struct udp_io *io)
{
	return io->refused;
}

/* -- out -- */

static void put_source(struct msghdr *mh, const struct np_addr *local)
{
	struct cmsghdr *c;

	mh->msg_controllen = PKTINFO_SPACE;
	c = CMSG_FIRSTHDR(mh);
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

/* The control bytes of packet @i: its source was put there already. */
static void put_segment(struct udp_io *io, size_t i)
{
	struct msghdr *mh = &io->msg[i].msg_hdr;
	const uint16_t segment = (uint16_t)io->out[i].segment;
	struct cmsghdr *c = (struct cmsghdr *)(io->control[i].space + mh->msg_controllen);

	mh->msg_control = &io->control[i];
	mh->msg_controllen += CMSG_SPACE(sizeof(segment));
	c->cmsg_level = SOL_UDP;
	c->cmsg_type = UDP_SEGMENT;
	c->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(c), &segment, sizeof(segment));
}

/* Is @len the next datagram of the last packet of the queue? */
static bool out_joins(const struct udp_io *io, const struct udp_flow *fl, size_t len)
{
	const struct out *o;

	if (io->nout == 0)
		return false;
	o = &io->out[io->nout - 1];
	return o->flow == fl && !o->full && len > 0 && len <= o->segment &&
	       o->segment <= fl->gso_max && o->n < UDP_SEGMENTS_MAX &&
	       o->bytes + len <= UDP_PACKET_MAX;
}

static void out_begin(struct udp_io *io, struct udp_flow *fl, bool visitor, size_t len)
{
	size_t i = io->nout++;
	struct msghdr *mh = &io->msg[i].msg_hdr;

	io->out[i] = (struct out){
	    .flow = fl, .first = io->niov, .segment = len, .outer = visitor || fl->ingress == NULL};
	*mh = (struct msghdr){.msg_iov = &io->iov[io->niov]};
	if (!visitor)
		return;
	mh->msg_name = &fl->visitor.sa;
	mh->msg_namelen = fl->visitor.len;
	if (fl->local.len != 0 && fl->ingress->any) {
		memset(&io->control[i], 0, sizeof(io->control[i]));
		mh->msg_control = &io->control[i];
		put_source(mh, &fl->local);
	}
}

static void out_add(struct udp_io *io, int fd, struct udp_flow *fl, bool visitor, const uint8_t *p,
		    size_t len)
{
	struct out *o;

	if (io->niov > 0 && (io->out_fd != fd || io->niov == UDP_BATCH))
		udp_io_flush(io);
	io->out_fd = fd;
	if (!out_joins(io, fl, len))
		out_begin(io, fl, visitor, len);
	o = &io->out[io->nout - 1];
	io->iov[io->niov++] = (struct iovec){.iov_base = (void *)(uintptr_t)p, .iov_len = len};
	o->n++;
	o->bytes += len;
	o->full = len < o->segment || len == 0;
}

void udp_io_to_target(struct udp_io *io, struct udp_flow *fl, const uint8_t *p, size_t len)
{
	out_add(io, fl->fd, fl, false, p, len);
}

void udp_io_to_visitor(struct udp_io *io, struct udp_flow *fl, const uint8_t *p, size_t len)
{
	out_add(io, fl->ingress->fd, fl, true, p, len);
}

bool udp_io_is_queued(const struct udp_io *io, const struct udp_flow *fl)
{
	for (size_t i = 0; io != NULL && i < io->nout; i++)
		if (io->out[i].flow == fl)
			return true;
	return false;
}

static bool send_one(int fd, const struct msghdr *mh)
{
	ssize_t n;
	int tries = 2;

	do {
		n = sendmsg(fd, mh, MSG_NOSIGNAL);
	} while (n == -1 && (errno == EINTR || (is_icmp(errno) && --tries > 0)));
	return n != -1;
}

/* The route does not take packet @i as a whole: larger than its MTU, or a device without checksums.
 * One by one, this time and from now on. */
static void send_apart(struct udp_io *io, size_t i)
{
	struct out *o = &io->out[i];
	struct msghdr mh = io->msg[i].msg_hdr;

	o->flow->gso_max = (uint16_t)(o->segment - 1);
	mh.msg_controllen -= CMSG_SPACE(sizeof(uint16_t));
	if (mh.msg_controllen == 0)
		mh.msg_control = NULL;
	mh.msg_iovlen = 1;
	for (size_t k = 0; k < o->n; k++) {
		mh.msg_iov = &io->iov[o->first + k];
		udp_flow_sent(o->flow, o->outer, 1, mh.msg_iov->iov_len, send_one(io->out_fd, &mh));
	}
}

/* Packet @i was refused with @err. */
static void send_failed(struct udp_io *io, size_t i, int err)
{
	struct out *o = &io->out[i];

	if (is_icmp(err) && io->out_fd == o->flow->fd)
		udp_flow_refused(o->flow);
	if (is_icmp(err) && send_one(io->out_fd, &io->msg[i].msg_hdr))
		udp_flow_sent(o->flow, o->outer, o->n, o->bytes, true);
	else if (o->n > 1 && err != EAGAIN && err != ENOBUFS)
		send_apart(io, i);
	else
		udp_flow_sent(o->flow, o->outer, o->n, o->bytes, false);
}

void udp_io_flush(struct udp_io *io)
{
	size_t i = 0;

	if (io == NULL)
		return;
	for (size_t k = 0; k < io->nout; k++) {
		io->msg[k].msg_hdr.msg_iovlen = io->out[k].n;
		if (io->out[k].n > 1)
			put_segment(io, k);
	}
	while (i < io->nout) {
		int n = sendmmsg(io->out_fd, &io->msg[i], (unsigned)(io->nout - i), MSG_NOSIGNAL);

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0) {
			send_failed(io, i++, errno);
			continue;
		}
		for (; n > 0; n--, i++)
			udp_flow_sent(io->out[i].flow, io->out[i].outer, io->out[i].n,
				      io->out[i].bytes, true);
	}
	io->nout = io->niov = 0;
}

/* -- frames -- */

void udp_io_frame(struct udp_io *io, struct udp_flow *fl, enum np_frame_type type, const uint8_t *p,
		  size_t len)
{
	struct channel *ch = fl->flows->channel;
	struct np_frame f = {type, 0, (uint32_t)(len + 4)};
	uint8_t *to;

	NP_ASSERT(!ch->parsing); /* the scratch has what it reads */
	if (io->frames_of != ch || io->frames_len + DGRAM_HEAD + len > WORKER_SCRATCH) {
		udp_io_frames_flush(io);
		if (ch->state == CHANNEL_CLOSED)
			return;
	}
	io->frames_of = ch;
	to = io->worker->scratch + io->frames_len;
	np_frame_write(&f, to);
	to[NP_FRAME_HEADER] = (uint8_t)(fl->id >> 24);
	to[NP_FRAME_HEADER + 1] = (uint8_t)(fl->id >> 16);
	to[NP_FRAME_HEADER + 2] = (uint8_t)(fl->id >> 8);
	to[NP_FRAME_HEADER + 3] = (uint8_t)fl->id;
	memcpy(to + DGRAM_HEAD, p, len);
	io->frames_len += DGRAM_HEAD + len;
}

void udp_io_frames_flush(struct udp_io *io)
{
	size_t len;
	struct channel *ch;

	if (io == NULL || io->frames_len == 0)
		return;
	len = io->frames_len;
	ch = io->frames_of;
	io->frames_len = 0;
	io->frames_of = NULL;
	channel_send_frames(ch, io->worker->scratch, len);
}

void udp_io_frames_forget(struct udp_io *io, const struct channel *ch)
{
	if (io == NULL || io->frames_of != ch)
		return;
	io->frames_len = 0;
	io->frames_of = NULL;
}

size_t udp_io_frames_len(const struct udp_io *io, const struct channel *ch)
{
	return io != NULL && io->frames_of == ch ? io->frames_len : 0;
}
