/*
 * udp.h - datagram flows: visitors' listener, flows on kind 2 channels, flows to targets.
 *
 * All on the instance's home worker. A flow is one visitor address (and the address it asked); it
 * ends after NP_UDP_READ_TIMEOUT without a datagram.
 */
#ifndef NP_UDP_H
#define NP_UDP_H

#include "channel.h"

#define UDP_BATCH	      64 /* packets in one callback */
#define UDP_FLOWS_PER_CHANNEL 65536
#define UDP_LEAVE_MS \
	2000 /* a channel whose session is over takes what was sent before; an egress twice */
#define UDP_HELD_ALL_MAX (16 << 20) /* ... of all flows of an instance */
/* Bytes of a flow that are held: at an egress while its target's name is resolved, at an ingress
 * while there is no datagram channel (at most NP_POOL_GET_TIMEOUT, as visitors wait). */
#define UDP_HELD_MAX (64 * 1024)

struct udp_ingress;
struct udp_flows;

/* udp_socket - bound, non-blocking, told which address a datagram came to. -1 with errno. */
int udp_socket(const struct np_addr *addr, bool any);
/* udp_ingress_new - takes @fd. Errors: NP_ENOMEM. */
enum np_err udp_ingress_new(struct instance *inst, int fd, const struct np_addr *addr,
			    struct udp_ingress **out) NP_MUST_CHECK;
/* udp_ingress_deafen - another reads its datagrams from now on; its flows' answers still go out. */
void udp_ingress_deafen(struct udp_ingress *u);
int udp_ingress_fd(const struct udp_ingress *u); /* borrowed */
void udp_ingress_free(struct udp_ingress *u);
void udp_ingress_tick(struct udp_ingress *u, struct np_mono now);

/* udp_channel_up - @inst has a kind 2 channel: what was held for want of one goes on its way. */
void udp_channel_up(struct instance *inst);

/* The flows of one kind 2 channel. */
struct udp_flows *udp_flows_new(struct channel *ch, bool ingress);
/* udp_flows_leave - the session with the other end is over: what is on its way is still taken, the next
 * datagram of a visitor begins a flow elsewhere. false: there are none. */
bool udp_flows_leave(struct udp_flows *f);
/* udp_flows_close - its channel is closed; udp_flows_free - nobody on the stack holds it any more. */
void udp_flows_close(struct udp_flows *f);
void udp_flows_free(struct udp_flows *f);
/* udp_flows_frame - DOPEN, DGRAM, DCLOSE with its whole payload. */
void udp_flows_frame(struct udp_flows *f, const struct np_frame *frame, const uint8_t *payload);
/* udp_flows_parsed - the memory of the payloads is used for something else now. */
void udp_flows_parsed(struct udp_flows *f);
void udp_flows_tick(struct udp_flows *f, struct np_mono now);
unsigned udp_flows_count(const struct udp_flows *f);

#endif
