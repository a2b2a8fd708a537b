/*
 * datagram.c - "np-load udp": datagrams into a relay at opt.to, and out of it at opt.sink.
 *
 * Each says its number and has bytes of the pattern that belong to it, so that what is lost, doubled,
 * cut or mixed is seen. A thread receives; the main one sends. A round is a time of sending at one rate
 * and the silence after it; rounds have numbers of their own, so that late datagrams do not count.
 */
#include "load.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define DATAGRAM_MAGIC UINT32_C(0x4e504244)
#define ROUND_MAX      (1u << 25) /* datagrams of a round */
#define LOSS_MAX       0.01
#define QUIET_NS       UINT64_C(120000000)
#define AFTER_NS       UINT64_C(2000000000)
#define OPEN_TRIES     60
#define SEARCH_STEPS   24
#define SEARCH_NEAR    0.04 /* the bounds of the search are near enough */
#define SEARCH_BEGIN   8000.0
#define SEARCH_MAX     8e6

struct head {
	uint32_t magic, round;
	uint64_t number;
};

struct result {
	uint64_t sent, got, doubled, damaged, refused;
	double seconds, loss;
};

/* Written by the receiver, read by the sender, counters of the round alone. */
static struct {
	int fd;
	atomic_bool stop;
	atomic_uint round;
	atomic_ullong got, doubled, damaged, last_ns;
	uint8_t *seen; /* a bit for each number; cleared when no round runs */
} rx;

static struct mmsghdr messages[DATAGRAM_BATCH];
static struct iovec vectors[DATAGRAM_BATCH];
static uint8_t out[DATAGRAM_BATCH][DATAGRAM_MAX];

static const uint8_t *payload_of(uint64_t number)
{
	return pattern + number % (PATTERN_LEN / 2);
}

static void take(const uint8_t *p, size_t len)
{
	struct head h;

	memcpy(&h, p, sizeof(h)); /* the buffer is longer than a head */
	if (len != (size_t)opt.size || h.magic != DATAGRAM_MAGIC || h.number >= ROUND_MAX ||
	    memcmp(p + sizeof(h), payload_of(h.number), len - sizeof(h)) != 0) {
		atomic_fetch_add(&rx.damaged, 1);
		return;
	}
	if (h.round != atomic_load(&rx.round))
		return;
	if ((rx.seen[h.number >> 3] >> (h.number & 7) & 1) != 0) {
		atomic_fetch_add(&rx.doubled, 1);
		return;
	}
	rx.seen[h.number >> 3] |= (uint8_t)(1u << (h.number & 7));
	atomic_fetch_add_explicit(&rx.got, 1, memory_order_relaxed);
}

static void *receiver(void *arg)
{
	static uint8_t in[DATAGRAM_BATCH][DATAGRAM_MAX];
	static struct mmsghdr m[DATAGRAM_BATCH];
	static struct iovec v[DATAGRAM_BATCH];
	struct timeval tv = {.tv_usec = 20000};

	(void)arg;
	for (size_t i = 0; i < DATAGRAM_BATCH; i++) {
		v[i] = (struct iovec){in[i], DATAGRAM_MAX};
		m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
	}
	setsockopt(rx.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	while (!atomic_load(&rx.stop)) {
		int n = recvmmsg(rx.fd, m, DATAGRAM_BATCH, MSG_WAITFORONE, NULL);

		if (n > 0)
			atomic_store(&rx.last_ns, now_ns());
		for (int i = 0; i < n; i++)
			take(in[i], m[i].msg_len);
	}
	return NULL;
}

static void nap_us(long us)
{
	struct timespec ts = {.tv_nsec = us * 1000};

	nanosleep(&ts, NULL);
}

/* Sends @n datagrams from @number on; what the socket refuses counts as sent and lost. */
static void send_batch(int fd, unsigned n, uint64_t number, struct result *r)
{
	struct head h = {.magic = DATAGRAM_MAGIC, .round = atomic_load(&rx.round)};

	for (unsigned i = 0; i < n; i++) {
		h.number = number + i;
		memcpy(out[i], &h, sizeof(h));
		memcpy(out[i] + sizeof(h), payload_of(h.number), (size_t)opt.size - sizeof(h));
		vectors[i] = (struct iovec){out[i], (size_t)opt.size};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
	}
	for (unsigned done = 0; done < n;) {
		int k = sendmmsg(fd, messages + done, n - done, 0);

		if (k <= 0) {
			r->refused++;
			k = 1;
			if (errno == ECONNREFUSED)
				nap_us(100);
		}
		done += (unsigned)k;
	}
}

static void round_begin(void)
{
	atomic_fetch_add(&rx.round, 1);
	/* The receiver may still be at a late one of the round before: it does not touch these then. */
	memset(rx.seen, 0, ROUND_MAX / 8);
	atomic_store(&rx.got, 0);
	atomic_store(&rx.doubled, 0);
	atomic_store(&rx.damaged, 0);
}

static void round_settle(const struct result *r)
{
	uint64_t begin = now_ns(), now = begin;

	while (atomic_load(&rx.got) < r->sent && now - begin < AFTER_NS) {
		uint64_t last = atomic_load(&rx.last_ns);

		if (now - (last > begin ? last : begin) > QUIET_NS)
			break;
		nap_us(2000);
		now = now_ns();
	}
}

static struct result round_run(int fd, double rate, double seconds)
{
	struct result r = {0};
	uint64_t begin, end, now;

	round_begin();
	begin = now_ns();
	end = begin + (uint64_t)(seconds * 1e9);
	while ((now = now_ns()) < end && r.sent + DATAGRAM_BATCH < ROUND_MAX) {
		unsigned n = DATAGRAM_BATCH / 2;

		if (rate > 0) {
			double due = (double)(now - begin) / 1e9 * rate - (double)r.sent;

			if (due < 1) {
				/* The processor is for the relay when there is time. */
				if (due < -rate / 20000)
					nap_us(20);
				continue;
			}
			n = due > DATAGRAM_BATCH ? DATAGRAM_BATCH : (unsigned)due;
		}
		send_batch(fd, n, r.sent, &r);
		r.sent += n;
	}
	r.seconds = seconds_since(begin);
	round_settle(&r);
	r.got = atomic_load(&rx.got);
	r.doubled = atomic_load(&rx.doubled);
	r.damaged = atomic_load(&rx.damaged);
	r.loss = r.sent > 0 ? 1.0 - (double)r.got / (double)r.sent : 1.0;
	return r;
}

static bool carried(const struct result *r, double rate)
{
	return r->loss < LOSS_MAX && (double)r->sent > 0.95 * rate * r->seconds;
}

/* Doubles until datagrams are lost, then halves the distance. A rate fails when it fails twice. */
static struct result search(int fd)
{
	double low = 0, high = 0, rate = opt.hint > 0 ? opt.hint : SEARCH_BEGIN;
	double factor = opt.hint > 0 ? 1.3 : 2;
	struct result best = {0};

	for (int i = 0; i < SEARCH_STEPS && rate < SEARCH_MAX; i++) {
		struct result r = round_run(fd, rate, opt.seconds);

		if (!carried(&r, rate))
			r = round_run(fd, rate, opt.seconds);
		if (carried(&r, rate)) {
			low = rate;
			best = r;
		} else {
			high = rate;
		}
		if (low > 0 && high > 0 && high - low < SEARCH_NEAR * high)
			break;
		if (high == 0)
			rate = low * factor;
		else
			rate = low > 0 ? (low + high) / 2 : high / factor;
	}
	return best;
}

int datagram_run(void)
{
	struct result r = {0};
	pthread_t thread;
	bool open = false;
	int fd, err;

	rx.fd = udp_open(&opt.sink, NULL);
	rx.seen = malloc(ROUND_MAX / 8);
	fd = udp_open(NULL, &opt.to);
	if (rx.seen == NULL)
		die("malloc");
	err = pthread_create(&thread, NULL, receiver, NULL);
	if (err != 0) {
		errno = err;
		die("pthread_create");
	}
	for (int i = 0; i < OPEN_TRIES && !open; i++) /* the way must be open first */
		open = round_run(fd, 200, 0.03).got > 0;
	if (open)
		r = opt.search ? search(fd) : round_run(fd, opt.rate, opt.seconds);
	atomic_store(&rx.stop, true);
	pthread_join(thread, NULL);
	printf("{\"size\":%d,\"open\":%s,\"sent\":%llu,\"got\":%llu,\"seconds\":%.4f,"
	       "\"sent_pps\":%.0f,\"got_pps\":%.0f,\"loss\":%.5f,\"doubled\":%llu,"
	       "\"damaged\":%llu,\"refused\":%llu}\n",
	       opt.size, open ? "true" : "false", (unsigned long long)r.sent,
	       (unsigned long long)r.got, r.seconds, r.seconds > 0 ? (double)r.sent / r.seconds : 0,
	       r.seconds > 0 ? (double)r.got / r.seconds : 0, r.loss, (unsigned long long)r.doubled,
	       (unsigned long long)r.damaged, (unsigned long long)r.refused);
	return open ? 0 : EXIT_UNMEASURED;
}
