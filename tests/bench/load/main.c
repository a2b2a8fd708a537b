/*
 * main.c - np-load: options and commands.
 */
#include "load.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATAGRAM_MIN 16 /* magic, round, number */

static void usage(void)
{
	fputs("usage: np-load COMMAND HOST:PORT [-OPTION VALUE ...]\n"
	      "  serve   the target of all others but udp: echo, or what a stream asks for\n"
	      "  tput    -n streams -d up|down|both -v (compare the bytes)\n"
	      "  crr     connect, request, reply, close; -c at a time, -s bytes\n"
	      "  rr      request, reply; -c connections that stay, -s bytes\n"
	      "  hold    -n sessions, opened -c at a time; then waits for a line or the end of\n"
	      "          the input, and tries them all\n"
	      "  first   tries until a byte comes back; says when\n"
	      "  udp     -l HOST:PORT where the datagrams come out, -s bytes, -r a second\n"
	      "          (0 = flat out), or -S [-g rate to begin with]: the highest rate that\n"
	      "          loses less than 1 %\n"
	      "  -t seconds, -w seconds before them that do not count; then a line says so\n",
	      stderr);
	exit(EXIT_USAGE);
}

static struct sockaddr_in address(const char *text)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN] = "";
	long port = colon != NULL ? strtol(colon + 1, NULL, 10) : 0;

	if (colon != NULL && (size_t)(colon - text) < sizeof(host))
		memcpy(host, text, (size_t)(colon - text));
	if (port < 1 || port > 65535 || inet_pton(AF_INET, host, &sin.sin_addr) != 1) {
		fprintf(stderr, "np-load: %s: an IPv4 address and a port\n", text);
		exit(EXIT_USAGE);
	}
	sin.sin_port = htons((uint16_t)port);
	return sin;
}

static double number(char option, const char *text, double min, double max)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end != '\0' || !(v >= min && v <= max)) {
		fprintf(stderr, "np-load: -%c %s: a number from %g to %g\n", option, text, min,
			max);
		exit(EXIT_USAGE);
	}
	return v;
}

static enum direction direction(const char *text)
{
	if (strcmp(text, "up") == 0)
		return DIR_UP;
	if (strcmp(text, "down") == 0)
		return DIR_DOWN;
	if (strcmp(text, "both") == 0)
		return DIR_BOTH;
	fprintf(stderr, "np-load: -d %s: up, down or both\n", text);
	exit(EXIT_USAGE);
}

static void options(int argc, char **argv)
{
	int c;

	opt = (struct load_options){.streams = 1,
				    .conns = 1,
				    .sessions = 1,
				    .size = 64,
				    .seconds = 3,
				    .dir = DIR_UP,
				    .to = address(argv[2])};
	optind = 3;
	while ((c = getopt(argc, argv, "n:c:s:t:w:r:g:d:l:vS")) != -1) {
		char o = (char)c;

		switch (c) {
		case 'n':
			opt.streams = opt.sessions = (int)number(o, optarg, 1, 100000);
			break;
		case 'c':
			opt.conns = (int)number(o, optarg, 1, 10000);
			break;
		case 's':
			opt.size = (int)number(o, optarg, 1, PATTERN_LEN);
			break;
		case 't':
			opt.seconds = number(o, optarg, 0.01, 3600);
			break;
		case 'w':
			opt.warm_s = number(o, optarg, 0, 60);
			break;
		case 'r':
			opt.rate = number(o, optarg, 0, 1e8);
			break;
		case 'g':
			opt.hint = number(o, optarg, 0, 1e8);
			break;
		case 'd':
			opt.dir = direction(optarg);
			break;
		case 'l':
			opt.sink = address(optarg);
			break;
		case 'v':
			opt.verify = true;
			break;
		case 'S':
			opt.search = true;
			break;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();
}

static int udp(void)
{
	if (opt.sink.sin_port == 0 || opt.size < DATAGRAM_MIN || opt.size >= DATAGRAM_MAX) {
		fprintf(stderr, "np-load: udp needs -l, and -s from %d to %d\n", DATAGRAM_MIN,
			DATAGRAM_MAX - 1);
		return EXIT_USAGE;
	}
	return datagram_run();
}

int main(int argc, char **argv)
{
	if (argc < 3)
		usage();
	signal(SIGPIPE, SIG_IGN);
	options(argc, argv);
	pattern_make();
	if (strcmp(argv[1], "serve") == 0)
		return serve_run();
	if (strcmp(argv[1], "tput") == 0)
		return stream_run();
	if (strcmp(argv[1], "crr") == 0)
		return request_run(false);
	if (strcmp(argv[1], "rr") == 0)
		return request_run(true);
	if (strcmp(argv[1], "hold") == 0)
		return hold_run();
	if (strcmp(argv[1], "first") == 0)
		return first_run();
	if (strcmp(argv[1], "udp") == 0)
		return udp();
	usage();
}
