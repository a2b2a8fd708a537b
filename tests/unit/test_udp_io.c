/*
 * test_udp_io.c - datagrams through sockets in batches: boundaries, order, counters, with packets of
 * several datagrams and without, and what a route does that refuses them.
 */
#include "udp_io.h"

#include "base/alloc.h"
#include "runtime.h"
#include "shard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 5000

struct runtime runtime;

static struct event_base *base;
static struct worker *w;
static struct instance inst;
static struct shard shard;
static struct shard *_Atomic shards[1] = {&shard};
static bool can_offload;

/* A datagram of the sequence that both ends know: @seed gives its size and its bytes. */
static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	return *x ^= *x << 5;
}

static void fill(uint8_t *p, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((seed + i) * 131 >> 3);
}

static int set_up(void **state)
{
	(void)state;
	base = event_base_new();
	if (base == NULL || worker_attach(base, &w) != NP_OK)
		return -1;
	w->index = 0;
	w->scratch = malloc(WORKER_SCRATCH);
	inst.home = w;
	inst.shards = shards;
	shard.worker = w;
	shard.inst = &inst;
	return udp_io_init(w) != NP_OK;
}

static int tear_down(void **state)
{
	(void)state;
	w->udp_free(w->udp);
	free(w->scratch);
	worker_detach(w);
	event_base_free(base);
	return 0;
}

static int bound(struct np_addr *addr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*addr =
	    (struct np_addr){.in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}},
			     .len = sizeof(addr->in)};
	assert_int_equal(bind(fd, &addr->sa, addr->len), 0);
	assert_int_equal(getsockname(fd, &addr->sa, &addr->len), 0);
	return fd;
}

struct pair {
	struct udp_flow fl; /* its fd is connected to @far */
	int far;
	struct np_addr far_addr, near_addr;
	uint64_t tx, dropped; /* of the counters, before */
};

static void pair_init(struct pair *p, bool offload)
{
	runtime.env.udp_offload = offload;
	*p = (struct pair){.fl = {.inst = &inst, .gso_max = offload ? UINT16_MAX : 0}};
	p->far = bound(&p->far_addr);
	p->fl.fd = bound(&p->near_addr);
	assert_int_equal(connect(p->fl.fd, &p->far_addr.sa, p->far_addr.len), 0);
	assert_int_equal(connect(p->far, &p->near_addr.sa, p->near_addr.len), 0);
	udp_io_prepare(p->fl.fd);
	udp_io_prepare(p->far);
	p->tx = counter_get(&shard.counters, COUNTER_UDP_TX);
	p->dropped = counter_get(&shard.counters, COUNTER_UDP_DROPPED);
}

static void pair_release(struct pair *p)
{
	close(p->far);
	close(p->fl.fd);
}

/* The datagrams of @seed, one after the other, at a socket that may get them in packets. */
struct expect {
	uint32_t seed, n;
	size_t size;
	const size_t *sizes; /* instead of size; 0 ends them */
};

static size_t size_of(const struct expect *e, uint32_t i)
{
	return e->sizes != NULL ? e->sizes[i] : e->size;
}

static void expect_all(int fd, struct expect *e, uint32_t total)
{
	static uint8_t want[65536];

	while (e->n < total) {
		size_t n;
		struct udp_packet *packets = udp_io_recv(w->udp, fd, &n);

		assert_true(n > 0); /* loopback has delivered when send returns */
		for (size_t i = 0; i < n; i++) {
			size_t off = 0;

			do {
				size_t left = packets[i].len - off;
				size_t len = left < packets[i].segment ? left : packets[i].segment;

				assert_int_equal(len, size_of(e, e->n));
				fill(want, len, e->seed + e->n);
				assert_memory_equal(packets[i].data + off, want, len);
				e->n++;
				off += len;
			} while (off < packets[i].len);
		}
	}
	assert_int_equal(e->n, total);
}

/* Runs of equal sizes, shorter ends, empty ones and the largest, in every order. */
static void any_sizes(bool offload)
{
	static const size_t some[] = {0,    1,	  2,	64,   64,   64,	  512,
				      1199, 1400, 1400, 1400, 9000, 65507};
	static uint8_t data[UDP_BATCH][65536];
	static size_t sizes[MANY];
	struct expect e = {.seed = 77, .sizes = sizes};
	uint32_t x = 4711, sent = 0;
	uint64_t bytes = 0;
	struct pair p;

	pair_init(&p, offload);
	while (sent < MANY) {
		uint32_t batch = 1 + next_random(&x) % UDP_BATCH;

		for (uint32_t i = 0; i < batch && sent < MANY; i++) {
			size_t len = next_random(&x) % 4 != 0 && sent > 0
					 ? sizes[sent - 1]
					 : some[next_random(&x) % (sizeof(some) / sizeof(some[0]))];

			if (len > 2000 && next_random(&x) % 8 != 0)
				len = 300;
			sizes[sent] = len;
			fill(data[i], len, e.seed + sent++);
			bytes += len;
			udp_io_to_target(w->udp, &p.fl, data[i], len);
		}
		udp_io_flush(w->udp);
		expect_all(p.far, &e, sent);
	}
	assert_int_equal(p.fl.tx, bytes);
	assert_int_equal(counter_get(&shard.counters, COUNTER_UDP_TX) - p.tx, bytes);
	assert_int_equal(counter_get(&shard.counters, COUNTER_UDP_DROPPED), p.dropped);
	pair_release(&p);
}

static void udp_io_flush__any_sizes_one_by_one__kept_in_order(void **state)
{
	(void)state;
	any_sizes(false);
}

static void udp_io_flush__any_sizes_in_packets__kept_in_order(void **state)
{
	(void)state;
	any_sizes(true);
}

/* What the kernel kept together comes as one packet with the size of its datagrams. */
static void udp_io_recv__packet_of_several__tells_their_size(void **state)
{
	static uint8_t data[40][1200];
	struct udp_packet *packets;
	struct pair p;
	size_t n;

	(void)state;
	if (!can_offload)
		skip();
	pair_init(&p, true);
	for (size_t i = 0; i < 40; i++) {
		fill(data[i], sizeof(data[i]), (uint32_t)i);
		udp_io_to_target(w->udp, &p.fl, data[i], i < 39 ? 1200 : 7);
	}
	udp_io_flush(w->udp);
	packets = udp_io_recv(w->udp, p.far, &n);
	assert_int_equal(n, 1);
	assert_int_equal(packets[0].len, 39 * 1200 + 7);
	assert_int_equal(packets[0].segment, 1200);
	assert_memory_equal(packets[0].data, data, packets[0].len);
	assert_true(np_addr_equal(&packets[0].peer, &p.near_addr));
	pair_release(&p);
}

/* A socket without checksums refuses packets of several, as some devices and tunnels do. */
static void udp_io_flush__packet_refused__one_by_one_from_then_on(void **state)
{
	static uint8_t data[UDP_BATCH][1000];
	struct expect e = {.seed = 5, .size = 1000};
	const int on = 1;
	struct pair p;

	(void)state;
	if (!can_offload)
		skip();
	pair_init(&p, true);
	assert_int_equal(setsockopt(p.fl.fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)), 0);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < UDP_BATCH; i++) {
			fill(data[i], 1000, e.seed + round * UDP_BATCH + i);
			udp_io_to_target(w->udp, &p.fl, data[i], 1000);
		}
		udp_io_flush(w->udp);
		assert_int_equal(p.fl.gso_max, 999);
		expect_all(p.far, &e, (round + 1) * UDP_BATCH);
	}
	assert_int_equal(p.fl.tx, 3 * UDP_BATCH * 1000);
	assert_int_equal(counter_get(&shard.counters, COUNTER_UDP_DROPPED), p.dropped);
	pair_release(&p);
}

/* Nobody listens any more: the answer to one datagram fails a later call, which is tried again. */
static void udp_io_flush__port_unreachable__next_datagrams_go_out(void **state)
{
	uint8_t data[3][10] = {{0}};
	struct pair p;

	(void)state;
	pair_init(&p, true);
	close(p.far);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 3; i++)
			udp_io_to_target(w->udp, &p.fl, data[i], 10 - i);
		udp_io_flush(w->udp);
	}
	assert_int_equal(p.fl.tx + (counter_get(&shard.counters, COUNTER_UDP_DROPPED) - p.dropped),
			 p.fl.tx);
	assert_int_equal(p.fl.tx, 4 * (10 + 9 + 8));
	close(p.fl.fd);
}

/* Larger than a datagram can be: the call fails for it alone. */
static void udp_io_flush__one_cannot_be_sent__the_others_are(void **state)
{
	static uint8_t data[65536];
	struct expect e = {.seed = 0, .sizes = (size_t[]){100, 100, 0}};
	struct pair p;

	(void)state;
	pair_init(&p, true);
	udp_io_to_target(w->udp, &p.fl, data, 65536);
	fill(data, 100, 0);
	udp_io_to_target(w->udp, &p.fl, data, 100);
	udp_io_flush(w->udp);
	expect_all(p.far, &e, 1);
	assert_int_equal(p.fl.tx, 100);
	assert_int_equal(counter_get(&shard.counters, COUNTER_UDP_DROPPED) - p.dropped, 1);
	pair_release(&p);
}

static void udp_io_to_visitor__two_flows_in_turns__each_to_its_own(void **state)
{
	static uint8_t data[UDP_BATCH][200];
	struct udp_ingress in = {.inst = &inst};
	struct udp_flow a = {.inst = &inst, .ingress = &in, .gso_max = UINT16_MAX, .fd = -1};
	struct udp_flow b = {.inst = &inst, .ingress = &in, .gso_max = UINT16_MAX, .fd = -1};
	struct udp_packet *packets;
	int fa, fb;
	size_t n, off;

	(void)state;
	runtime.env.udp_offload = 0; /* the receivers get single datagrams */
	in.fd = bound(&in.addr);
	fa = bound(&a.visitor);
	fb = bound(&b.visitor);
	for (size_t i = 0; i < UDP_BATCH; i++) {
		fill(data[i], 200, (uint32_t)i);
		udp_io_to_visitor(w->udp, i / 3 % 2 != 0 ? &b : &a, data[i], 200);
	}
	assert_true(udp_io_is_queued(w->udp, &a));
	udp_io_flush(w->udp);
	assert_false(udp_io_is_queued(w->udp, &a));
	for (int side = 0; side < 2; side++) {
		packets = udp_io_recv(w->udp, side != 0 ? fb : fa, &n);
		off = 0;
		for (size_t i = 0; i < UDP_BATCH; i++) {
			if ((int)(i / 3 % 2) != side)
				continue;
			assert_true(off < n);
			assert_int_equal(packets[off].len, 200);
			assert_memory_equal(packets[off].data, data[i], 200);
			assert_true(np_addr_equal(&packets[off++].peer, &in.addr));
		}
		assert_int_equal(off, n);
	}
	assert_int_equal(a.tx + b.tx, UDP_BATCH * 200);
	close(fa);
	close(fb);
	close(in.fd);
}

/* A datagram that comes after quiet finds the memory again that was given back. */
static void udp_io_tick__after_quiet__memory_comes_back(void **state)
{
	static uint8_t data[1000];
	struct expect e = {.seed = 9, .size = 1000};
	struct pair p;

	(void)state;
	pair_init(&p, true);
	for (uint32_t i = 0; i < 3; i++) {
		fill(data, sizeof(data), e.seed + i);
		udp_io_to_target(w->udp, &p.fl, data, sizeof(data));
		udp_io_flush(w->udp);
		udp_io_tick(w, np_mono_add_ms(np_mono_now(), 60000));
		expect_all(p.far, &e, i + 1);
	}
	pair_release(&p);
}

/* Does this kernel have packets of several at all? */
static void probe(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;

	can_offload = setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)) == 0;
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(udp_io_flush__any_sizes_one_by_one__kept_in_order),
	    cmocka_unit_test(udp_io_flush__any_sizes_in_packets__kept_in_order),
	    cmocka_unit_test(udp_io_recv__packet_of_several__tells_their_size),
	    cmocka_unit_test(udp_io_flush__packet_refused__one_by_one_from_then_on),
	    cmocka_unit_test(udp_io_flush__port_unreachable__next_datagrams_go_out),
	    cmocka_unit_test(udp_io_flush__one_cannot_be_sent__the_others_are),
	    cmocka_unit_test(udp_io_to_visitor__two_flows_in_turns__each_to_its_own),
	    cmocka_unit_test(udp_io_tick__after_quiet__memory_comes_back),
	};

	probe();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
