/*
 * flood.c - connections that bring garbage, at a steady rate, until standard input ends.
 *
 *     flood <IPv4 address> <port> <connects a second> [sources [hex]]
 *
 * From 127.77.0.1 on, so many sources in turn. Each connection sends @hex, or one of four things:
 * nothing, random bytes, a TLS record that is none, the beginning of a preamble. The last KEEP ones stay
 * open, then they are reset. Then it says what it did: "connects=N failed=N ms=N".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEEP 256

static uint8_t given[2048]; /* what each connection sends */
static size_t given_len;

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int take_hex(const char *s)
{
	unsigned byte;

	for (; s[0] != '\0' && given_len < sizeof(given); s += 2) {
		if (sscanf(s, "%2x", &byte) != 1 || s[1] == '\0')
			return -1;
		given[given_len++] = (uint8_t)byte;
	}
	return s[0] == '\0' ? 0 : -1;
}

static ssize_t say(int fd, unsigned n)
{
	static const char heads[4][5] = {"", "\xa5\x5a\x33\x0f", "\x16\x03\x01\x02", "NPD2"};
	uint8_t data[64];

	if (given_len > 0)
		return send(fd, given, given_len, MSG_NOSIGNAL);
	if (n % 4 == 0)
		return 0;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)rand();
	memcpy(data, heads[n % 4], 4);
	return send(fd, data, sizeof(data), MSG_NOSIGNAL);
}

static int flood_once(const struct sockaddr_in *to, unsigned n, unsigned sources)
{
	struct sockaddr_in from = {.sin_family = AF_INET};
	struct linger hard = {1, 0};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1)
		return -1;
	from.sin_addr.s_addr = htonl(0x7f4d0001u + n % sources);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) == -1 ||
	    (connect(fd, (const struct sockaddr *)to, sizeof(*to)) == -1 && errno != EINPROGRESS) ||
	    say(fd, n) == -1) {
		close(fd);
		return -1;
	}
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct pollfd in = {STDIN_FILENO, POLLIN, 0};
	static int kept[KEEP];
	uint64_t began = now_us(), start = began, due;
	unsigned long rate, done = 0, failed = 0;
	unsigned sources = argc > 4 ? (unsigned)atoi(argv[4]) : 1;

	if (argc < 4 || sources == 0 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 ||
	    (argc > 5 && take_hex(argv[5]) != 0))
		return 2;
	to.sin_port = htons((uint16_t)atoi(argv[2]));
	rate = strtoul(argv[3], NULL, 10);
	memset(kept, -1, sizeof(kept));
	while (poll(&in, 1, 1) == 0) {
		due = (now_us() - start) * rate / 1000000;
		if (due > done + rate / 10) { /* too slow for it: what is late stays undone */
			start = now_us() - done * 1000000 / rate;
			continue;
		}
		for (; done < due; done++) {
			int *slot = &kept[done % KEEP];

			if (*slot != -1)
				close(*slot);
			*slot = flood_once(&to, (unsigned)done, sources);
			failed += *slot == -1;
		}
	}
	printf("connects=%lu failed=%lu ms=%lu\n", done, failed,
	       (unsigned long)((now_us() - began) / 1000));
	return 0;
}
