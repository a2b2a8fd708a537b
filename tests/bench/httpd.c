/*
 * httpd.c - the web server that the connection-rate measurement runs against.
 *
 * Answers every request on 127.0.0.1:<port> with the same few bytes, one thread, so that what is
 * measured is the way to it. Closes after the answer when the request says "Connection: close". For
 * measurements only: requests are taken to arrive whole.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
static const char last_answer[] =
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

static bool serve(int fd)
{
	char request[4096];
	ssize_t n = read(fd, request, sizeof(request) - 1);

	if (n <= 0)
		return n == -1 && errno == EAGAIN;
	request[n] = '\0';
	if (strcasestr(request, "\r\nconnection: close") != NULL) {
		if (write(fd, last_answer, sizeof(last_answer) - 1) == -1)
			return false;
		return false;
	}
	return write(fd, answer, sizeof(answer) - 1) == (ssize_t)sizeof(answer) - 1;
}

static int listen_on(const char *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	sin.sin_port = htons((unsigned short)strtoul(port, NULL, 10));
	if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == -1 ||
	    bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == -1 || listen(fd, 4096) == -1)
		return -1;
	return fd;
}

int main(int argc, char **argv)
{
	int listener = argc == 2 ? listen_on(argv[1]) : -1, loop = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[256], ev = {.events = EPOLLIN, .data.fd = listener};
	int one = 1;

	if (listener == -1 || loop == -1 || epoll_ctl(loop, EPOLL_CTL_ADD, listener, &ev) == -1) {
		fprintf(stderr, "httpd: cannot listen on 127.0.0.1:%s\n",
			argc == 2 ? argv[1] : "?");
		return 1;
	}
	for (;;) {
		int n = epoll_wait(loop, events, 256, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd != listener) {
				if (!serve(fd))
					close(fd);
				continue;
			}
			while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) != -1) {
				setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
				ev = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
				if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &ev) == -1)
					close(fd);
			}
		}
	}
}
