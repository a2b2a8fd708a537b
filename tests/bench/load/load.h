/*
 * load.h - np-load: the load that ./dev bench puts on relays, and the target behind them.
 *
 * One process is either the target ("serve") or one load; a load prints a line of JSON when
 * what counts begins, when it is over, and with its figures.
 * Shared here: options, time, the bytes that are sent and compared, sockets. IPv4, by intent: what is
 * measured is the relay, and all of them have it.
 *
 * Threads: opt and pattern are set by main() before anything else runs and only read afterwards.
 */
#ifndef LOAD_H
#define LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>

#define PATTERN_LEN	(1 << 18) /* the bytes repeat after this many */
#define CHUNK		(1 << 17) /* one send or receive of a stream */
#define DATAGRAM_MAX	2048
#define DATAGRAM_BATCH	64
#define EPOLL_BATCH	256
#define HEADER_LEN	8
#define HEADER_MAGIC	"NPB1"
#define EXIT_USAGE	1
#define EXIT_UNMEASURED 2 /* nothing came through */

enum direction {
	DIR_UP = 'u',	/* load to target */
	DIR_DOWN = 'd', /* target to load */
	DIR_BOTH = 'b',
};

struct load_options {
	int streams;		 /* tput */
	int conns;		 /* crr, rr, hold: connections at a time */
	int sessions;		 /* hold */
	int size;		 /* bytes of a request, a reply, a datagram */
	double seconds, warm_s;	 /* warm_s is measured and not counted */
	double rate;		 /* udp: datagrams a second, 0 = as fast as it goes */
	double hint;		 /* udp, search: where to begin */
	enum direction dir;	 /* tput */
	bool verify;		 /* tput: every byte is compared */
	bool search;		 /* udp: the highest rate that loses less than 1 % */
	struct sockaddr_in to;	 /* the relay, or where to serve */
	struct sockaddr_in sink; /* udp: where datagrams come out again */
};

extern struct load_options opt;
extern uint8_t *pattern; /* 2 * PATTERN_LEN bytes, so that each offset has PATTERN_LEN behind it */

/* die - says @what and errno on standard error and ends the process with EXIT_UNMEASURED. */
noreturn void die(const char *what);

uint64_t now_ns(void);
double seconds_since(uint64_t ns);

void pattern_make(void);

/* pattern_faults - in how many pieces of @p the bytes are not those of the stream's offset @at. */
uint64_t pattern_faults(const uint8_t *p, size_t len, uint64_t at);

/* would_block - @n, the result of a call on a socket, says: later. */
bool would_block(ssize_t n);

/* tcp_dial - a socket that connects to opt.to, non-blocking; -1 with errno. */
int tcp_dial(void);

/*
 * udp_open - a datagram socket with large buffers.
 * @local: address to bind to, or NULL.  @peer: address to connect to, or NULL.
 */
int udp_open(const struct sockaddr_in *local, const struct sockaddr_in *peer);

void socket_flag(int fd, int level, int name, int value);

/* say - a line for whoever measures CPU time meanwhile: "warm", from now on it counts, or "over". */
void say(const char *event);

/* watch - epoll_ctl that cannot fail but by a fault of this program. */
void watch(int ep, int op, int fd, uint32_t events, void *ptr);

/* One per command: they return the exit status. */
int serve_run(void);
int stream_run(void);
int request_run(bool persistent);
int hold_run(void);
int first_run(void);
int datagram_run(void);

#endif
