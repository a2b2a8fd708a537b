/*
 * link.c - a link between two TUN devices: delay, jitter, loss, reordering, partitions, and a NAT
 * in front of the far end that forgets.
 *
 *     link <near TUN> <far TUN> <seed>        (descriptors; IFF_TUN | IFF_NO_PI, non-blocking)
 *
 * One command a line on standard input, each answered by one line of counters, so that who gave it
 * knows that it holds. The program ends with its standard input.
 *
 *     delay US   jitter US   loss PPM   reorder PPM   each way; a reordered packet overtakes
 *     slow A.B.C.D   extra US   what this address sends and gets is so much later, each way
 *     cut open|drop|reset       a partition; reset: TCP packets are answered by RST
 *     nat A.B.C.D|off           source address of all that the far end sends (TCP, UDP)
 *     idle MS                   the NAT forgets a flow that was silent for so long, 0 = never
 *     unknown drop|reset        what TCP packets get that belong to no flow and are no SYN
 *     forget                    all flows are forgotten now
 *     show
 *
 * IPv4 only. What waits is bounded by QUEUE_MAX packets, flows by FLOWS_MAX; what is more is
 * dropped and counted ("full"). One thread; standard input is the only thing it blocks on.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PACKET_MAX 1500
#define QUEUE_MAX  16384
#define FLOWS_MAX  2048
#define FLOW_PORT  20000 /* outer port of flow 0 */
#define BATCH	   64	 /* packets of one device in a pass */
#define NS_PER_US  1000ull

enum side { NEAR, FAR };
enum fate { PASS, DROP, RESET };

struct packet {
	uint64_t due, number;
	enum side to;
	size_t len;
	uint8_t data[PACKET_MAX];
};

struct flow {
	bool used;
	uint8_t proto, inner[6], peer[6]; /* address and port as they stand in the packet */
	uint64_t seen;
};

static struct {
	uint64_t delay, jitter, extra; /* ns */
	uint8_t slow[4];	       /* whose packets have the extra delay */
	uint32_t loss, reorder;	       /* of a million */
	enum fate cut, unknown;
	bool nat;
	uint8_t outer[4];
	uint64_t idle; /* ns */
} cfg = {.unknown = DROP};

static struct {
	uint64_t in[2], out[2], lost, cut, reset, overtook, full, unknown, forgotten;
} sum;

static int tun[2];
static struct packet *heap[QUEUE_MAX];
static size_t waiting;
static uint64_t last_due[2][2], numbers, dice; /* last_due: by side and slowness */
static struct flow flows[FLOWS_MAX];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t roll(uint64_t below)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return below != 0 ? dice % below : 0;
}

static bool chance(uint32_t ppm)
{
	return ppm != 0 && roll(1000000) < ppm;
}

/* --- what waits ------------------------------------------------------------------------------ */

static bool is_before(const struct packet *a, const struct packet *b)
{
	return a->due != b->due ? a->due < b->due : a->number < b->number;
}

static void heap_put(struct packet *p)
{
	size_t i = waiting++;

	for (; i > 0 && is_before(p, heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = p;
}

static struct packet *heap_take(void)
{
	struct packet *first = heap[0], *p = heap[--waiting];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < waiting) {
		if (child + 1 < waiting && is_before(heap[child + 1], heap[child]))
			child++;
		if (!is_before(heap[child], p))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = p;
	return first;
}

static void deliver(enum side to, const uint8_t *data, size_t len)
{
	if (write(tun[to], data, len) == (ssize_t)len)
		sum.out[to]++;
	else
		sum.full++;
}

static void forward(enum side to, const uint8_t *data, size_t len, uint64_t now)
{
	struct packet *p;
	bool slow = cfg.extra != 0 &&
		    (memcmp(data + 12, cfg.slow, 4) == 0 || memcmp(data + 16, cfg.slow, 4) == 0);
	uint64_t due = now + cfg.delay + roll(cfg.jitter) + (slow ? cfg.extra : 0);

	if (cfg.delay == 0 && cfg.jitter == 0 && !slow && waiting == 0) {
		deliver(to, data, len);
		return;
	}
	if (chance(cfg.reorder)) {
		due = now;
		sum.overtook++;
	} else if (due < last_due[to][slow]) {
		due = last_due[to][slow]; /* jitter alone keeps the order */
	} else {
		last_due[to][slow] = due;
	}
	p = waiting < QUEUE_MAX ? malloc(sizeof(*p)) : NULL;
	if (p == NULL) {
		sum.full++;
		return;
	}
	p->due = due;
	p->number = numbers++;
	p->to = to;
	p->len = len;
	memcpy(p->data, data, len);
	heap_put(p);
}

/* --- packets --------------------------------------------------------------------------------- */

static size_t ip_header(const uint8_t *p)
{
	return (size_t)(p[0] & 15) * 4;
}

static bool is_ours(const uint8_t *p, size_t len)
{
	size_t head;

	if (len < 20 || p[0] >> 4 != 4)
		return false;
	head = ip_header(p);
	return head >= 20 && len >= head + (p[9] == 6 ? 20u : 8u) && (p[6] & 0x3f) == 0 &&
	       p[7] == 0;
}

static uint32_t sum16(uint32_t s, const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i + 1 < n; i += 2)
		s += (uint32_t)p[i] << 8 | p[i + 1];
	return n % 2 != 0 ? s + ((uint32_t)p[n - 1] << 8) : s;
}

static void put_sum(uint8_t *field, uint32_t s)
{
	while (s >> 16 != 0)
		s = (s & 0xffff) + (s >> 16);
	s = ~s & 0xffff;
	field[0] = (uint8_t)(s >> 8);
	field[1] = (uint8_t)s;
}

/* Replaces @n bytes at @at; @fields are the checksums that cover them (RFC 1624). */
static void replace(uint8_t *at, const uint8_t *with, size_t n, uint8_t *const *fields,
		    size_t n_fields)
{
	size_t i, k;

	for (i = 0; i < n_fields; i++) {
		uint32_t s = ~((uint32_t)fields[i][0] << 8 | fields[i][1]) & 0xffff;

		for (k = 0; k < n; k += 2)
			s += ~((uint32_t)at[k] << 8 | at[k + 1]) & 0xffff;
		put_sum(fields[i], sum16(s, with, n));
	}
	memcpy(at, with, n);
}

/* Address at @ip_at and port at @port_at become @with (4 + 2 bytes). */
static void rewrite(uint8_t *p, size_t ip_at, size_t port_at, const uint8_t with[6])
{
	size_t head = ip_header(p);
	uint8_t *fields[2] = {p + 10, p + head + (p[9] == 6 ? 16 : 6)};
	bool no_sum = p[9] == 17 && fields[1][0] == 0 && fields[1][1] == 0;

	replace(p + ip_at, with, 4, fields, no_sum ? 1 : 2);
	replace(p + head + port_at, with + 4, 2, fields + 1, no_sum ? 0 : 1);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, 4);
}

/* Answers a TCP packet by a reset in the name of who it was for. */
static void answer_reset(enum side from, const uint8_t *p, size_t len)
{
	const uint8_t *t = p + ip_header(p);
	uint8_t r[40] = {0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6};
	uint32_t total = (uint32_t)p[2] << 8 | p[3], head = (uint32_t)ip_header(p);
	uint32_t data = total - head - (uint32_t)(t[12] >> 4) * 4;

	if (p[9] != 6 || (t[13] & 4) != 0 || total > len)
		return;
	memcpy(r + 12, p + 16, 4);
	memcpy(r + 16, p + 12, 4);
	memcpy(r + 20, t + 2, 2);
	memcpy(r + 22, t, 2);
	r[32] = 0x50;
	if ((t[13] & 16) != 0) {
		memcpy(r + 24, t + 8, 4);
		r[33] = 4;
	} else {
		put32(r + 28, get32(t + 4) + data + ((t[13] & 2) != 0) + (t[13] & 1));
		r[33] = 4 | 16;
	}
	put_sum(r + 10, sum16(0, r, 20));
	put_sum(r + 36, sum16(sum16(6 + 20, r + 12, 8), r + 20, 20));
	sum.reset++;
	deliver(from, r, sizeof(r));
}

/* --- the NAT --------------------------------------------------------------------------------- */

static void flows_forget(uint64_t now)
{
	size_t i;

	for (i = 0; i < FLOWS_MAX; i++) {
		if (flows[i].used && cfg.idle != 0 && now - flows[i].seen >= cfg.idle) {
			flows[i].used = false;
			sum.forgotten++;
		}
	}
}

static struct flow *flow_find(const uint8_t *p, const uint8_t *l4, bool may_make, uint64_t now)
{
	struct flow *f, *room = NULL;
	size_t i;

	for (i = 0; i < FLOWS_MAX; i++) {
		f = &flows[i];
		if (!f->used) {
			room = room != NULL ? room : f;
			continue;
		}
		if (f->proto == p[9] && memcmp(f->inner, p + 12, 4) == 0 &&
		    memcmp(f->inner + 4, l4, 2) == 0 && memcmp(f->peer, p + 16, 4) == 0 &&
		    memcmp(f->peer + 4, l4 + 2, 2) == 0)
			return f;
	}
	if (!may_make || room == NULL)
		return NULL;
	*room = (struct flow){.used = true, .proto = p[9], .seen = now};
	memcpy(room->inner, p + 12, 4);
	memcpy(room->inner + 4, l4, 2);
	memcpy(room->peer, p + 16, 4);
	memcpy(room->peer + 4, l4 + 2, 2);
	return room;
}

/* Translates in place; false: the packet goes no further. */
static bool translate(enum side from, uint8_t *p, uint64_t now)
{
	uint8_t *l4 = p + ip_header(p), outer[6];
	struct flow *f;
	size_t n;

	if (from == FAR) {
		f = flow_find(p, l4, p[9] == 17 || (l4[13] & 0x17) == 2, now);
		if (f == NULL)
			return false;
		n = FLOW_PORT + (size_t)(f - flows);
		memcpy(outer, cfg.outer, 4);
		outer[4] = (uint8_t)(n >> 8);
		outer[5] = (uint8_t)n;
		rewrite(p, 12, 0, outer);
	} else {
		n = ((size_t)l4[2] << 8 | l4[3]) - FLOW_PORT;
		f = memcmp(p + 16, cfg.outer, 4) == 0 && n < FLOWS_MAX ? &flows[n] : NULL;
		if (f == NULL || !f->used || f->proto != p[9] || memcmp(f->peer, p + 12, 4) != 0 ||
		    memcmp(f->peer + 4, l4, 2) != 0)
			return false;
		rewrite(p, 16, 2, f->inner);
	}
	f->seen = now;
	return true;
}

/* --- the loop -------------------------------------------------------------------------------- */

static void take(enum side from, uint8_t *p, size_t len, uint64_t now)
{
	if (!is_ours(p, len) || (p[9] != 6 && p[9] != 17 && cfg.nat))
		return;
	sum.in[from]++;
	if (cfg.cut != PASS) {
		sum.cut++;
		if (cfg.cut == RESET)
			answer_reset(from, p, len);
		return;
	}
	if (cfg.nat && !translate(from, p, now)) {
		sum.unknown++;
		if (cfg.unknown == RESET)
			answer_reset(from, p, len);
		return;
	}
	if (chance(cfg.loss)) {
		sum.lost++;
		return;
	}
	forward(from == NEAR ? FAR : NEAR, p, len, now);
}

static void read_device(enum side from)
{
	static uint8_t data[65536];
	uint64_t now = now_ns();
	int i;

	for (i = 0; i < BATCH; i++) {
		ssize_t n = read(tun[from], data, sizeof(data));

		if (n <= 0)
			return;
		if (n > PACKET_MAX)
			sum.full++;
		else
			take(from, data, (size_t)n, now);
	}
}

static bool set(const char *word, const char *value)
{
	uint64_t n = strtoull(value, NULL, 10);
	struct in_addr a;

	if (strcmp(word, "delay") == 0) {
		cfg.delay = n * NS_PER_US;
	} else if (strcmp(word, "jitter") == 0) {
		cfg.jitter = n * NS_PER_US;
	} else if (strcmp(word, "extra") == 0) {
		cfg.extra = n * NS_PER_US;
	} else if (strcmp(word, "slow") == 0) {
		return inet_pton(AF_INET, value, cfg.slow) == 1;
	} else if (strcmp(word, "loss") == 0) {
		cfg.loss = (uint32_t)n;
	} else if (strcmp(word, "reorder") == 0) {
		cfg.reorder = (uint32_t)n;
	} else if (strcmp(word, "idle") == 0) {
		cfg.idle = n * 1000 * NS_PER_US;
	} else if (strcmp(word, "cut") == 0) {
		cfg.cut = value[0] == 'o' ? PASS : value[0] == 'd' ? DROP : RESET;
	} else if (strcmp(word, "unknown") == 0) {
		cfg.unknown = value[0] == 'd' ? DROP : RESET;
	} else if (strcmp(word, "nat") == 0) {
		cfg.nat = inet_pton(AF_INET, value, &a) == 1;
		memcpy(cfg.outer, &a, cfg.nat ? 4 : 0);
	} else if (strcmp(word, "forget") == 0) {
		memset(flows, 0, sizeof(flows));
	} else {
		return strcmp(word, "show") == 0;
	}
	return true;
}

static void run_command(const char *line)
{
	char word[16] = "", value[32] = "";

	if (sscanf(line, "%15s %31s", word, value) < 1 || !set(word, value)) {
		printf("unknown command\n");
	} else {
		printf("near_in=%" PRIu64 " far_in=%" PRIu64 " near_out=%" PRIu64
		       " far_out=%" PRIu64 " lost=%" PRIu64 " cut=%" PRIu64 " reset=%" PRIu64
		       " overtook=%" PRIu64 " full=%" PRIu64 " unknown=%" PRIu64
		       " forgotten=%" PRIu64 " waiting=%zu\n",
		       sum.in[NEAR], sum.in[FAR], sum.out[NEAR], sum.out[FAR], sum.lost, sum.cut,
		       sum.reset, sum.overtook, sum.full, sum.unknown, sum.forgotten, waiting);
	}
	fflush(stdout);
}

/* false: the end of standard input. */
static bool read_commands(void)
{
	static char line[256];
	static size_t len;
	ssize_t n = read(STDIN_FILENO, line + len, sizeof(line) - 1 - len);
	char *end;

	if (n <= 0)
		return n < 0 && errno == EINTR;
	len += (size_t)n;
	line[len] = '\0';
	while ((end = strchr(line, '\n')) != NULL) {
		*end = '\0';
		run_command(line);
		len -= (size_t)(end + 1 - line);
		memmove(line, end + 1, len + 1);
	}
	return len < sizeof(line) - 1;
}

static int wait_for(struct pollfd *fds)
{
	uint64_t now = now_ns(), left = 1000000000ull; /* the NAT is swept once a second */
	struct timespec t;

	if (waiting > 0 && heap[0]->due < now + left)
		left = heap[0]->due > now ? heap[0]->due - now : 0;
	t = (struct timespec){(time_t)(left / 1000000000ull), (long)(left % 1000000000ull)};
	return ppoll(fds, 3, &t, NULL);
}

int main(int argc, char **argv)
{
	struct pollfd fds[3] = {{.events = POLLIN}, {.events = POLLIN}, {STDIN_FILENO, POLLIN, 0}};
	uint64_t swept = 0, now;

	if (argc != 4)
		return 2;
	tun[NEAR] = fds[NEAR].fd = atoi(argv[1]);
	tun[FAR] = fds[FAR].fd = atoi(argv[2]);
	dice = strtoull(argv[3], NULL, 10) * 2654435761ull + 88172645463325252ull;
	for (;;) {
		if (wait_for(fds) < 0 && errno != EINTR)
			return 1;
		if (fds[2].revents != 0 && !read_commands())
			return 0;
		read_device(NEAR);
		read_device(FAR);
		now = now_ns();
		while (waiting > 0 && heap[0]->due <= now) {
			struct packet *p = heap_take();

			deliver(p->to, p->data, p->len);
			free(p);
		}
		if (now - swept >= 200000000ull) {
			flows_forget(now);
			swept = now;
		}
	}
}
