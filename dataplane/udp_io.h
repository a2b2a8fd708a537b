/*
 * udp_io.h - inside of udp: datagrams through sockets in batches. In: recvmmsg, with UDP_GRO what a
 * sender's kernel or card kept together comes as one packet. Out: sendmmsg, datagrams of one flow
 * and one size as one packet with UDP_SEGMENT. Where the kernel has neither, or NP_UDP_OFFLOAD=0
 * says so, it is one datagram a packet.
 *
 * One for each worker, NULL before its first socket (flush, forget, is_queued and len take that).
 * What is queued is sent before the callback ends, as it points into memory that others own. Frames
 * for a channel are collected in the same way, in the worker's scratch.
 */
#ifndef NP_UDP_IO_H
#define NP_UDP_IO_H

#include "udp_flow.h"

#define UDP_SOCKET_BUFFER (4 << 20)
/* Most datagrams that the kernel makes of one packet. */
#define UDP_SEGMENTS_MAX 64
/* Payload of one packet to be segmented: 65 535 less the headers of IPv6 and UDP. */
#define UDP_PACKET_MAX 65487

/* What one read of a socket brought: a datagram, or several of one sender. */
struct udp_packet {
	struct np_addr peer;  /* len 0 on a connected socket */
	struct np_addr local; /* the address it came to; len 0: not told */
	uint8_t *data;	      /* valid until the next udp_io_recv */
	size_t len;
	size_t segment; /* bytes of each datagram in @data but the last; = len: it is one */
};

/* udp_io_init - for all that a worker does with datagrams, once. Errors: NP_ENOMEM. */
enum np_err udp_io_init(struct worker *w) NP_MUST_CHECK;
/* udp_io_tick - gives memory back that was not used for a while. */
void udp_io_tick(struct worker *w, struct np_mono now);

/* udp_io_prepare - buffers and UDP_GRO of a socket, as far as they can be had. */
void udp_io_prepare(int fd);
/*
 * udp_io_recv - the next packets of @fd, at most UDP_BATCH; *@n of them are in the array that is
 * returned. 0: nothing now, or an error of an earlier datagram; then udp_io_refused says whether it
 * was an ICMP answer.
 */
struct udp_packet *udp_io_recv(struct udp_io *io, int fd, size_t *n);
bool udp_io_refused(const struct udp_io *io);

/*
 * udp_io_to_target, udp_io_to_visitor - queues a datagram of @fl; @p is read at the next
 * udp_io_flush, which counts what was sent and what was dropped.
 */
void udp_io_to_target(struct udp_io *io, struct udp_flow *fl, const uint8_t *p, size_t len);
void udp_io_to_visitor(struct udp_io *io, struct udp_flow *fl, const uint8_t *p, size_t len);
void udp_io_flush(struct udp_io *io);
/* udp_io_is_queued - does the queue hold something of @fl? */
bool udp_io_is_queued(const struct udp_io *io, const struct udp_flow *fl);

/*
 * udp_io_frame - a frame whose payload is @fl's id and @len bytes, for the channel of @fl, behind
 * those that wait. udp_io_frames_flush - all of them to their channel, which may be closed by it;
 * udp_io_frames_forget - @ch is closed. udp_io_frames_len - bytes collected for @ch.
 */
void udp_io_frame(struct udp_io *io, struct udp_flow *fl, enum np_frame_type type, const uint8_t *p,
		  size_t len);
void udp_io_frames_flush(struct udp_io *io);
void udp_io_frames_forget(struct udp_io *io, const struct channel *ch);
size_t udp_io_frames_len(const struct udp_io *io, const struct channel *ch);

#endif
