/*
 * drop.c - the least that any program does for a connection it does not want: accept, one read, a
 * reset. Beside it one sees what a flood costs the machine, and what it costs us.
 *
 *     drop <IPv4 address> <port>
 *
 * Says "ready"; at the end of standard input "dropped=N".
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	const struct linger hard = {1, 0};
	const int on = 1;
	struct pollfd p[2] = {{STDIN_FILENO, POLLIN, 0}, {-1, POLLIN, 0}};
	unsigned long dropped = 0;
	char buf[64];
	int fd;

	if (argc != 3 || inet_pton(AF_INET, argv[1], &at.sin_addr) != 1)
		return 2;
	at.sin_port = htons((uint16_t)atoi(argv[2]));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) == -1 || listen(fd, 4096) == -1) {
		perror("drop");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	p[1].fd = fd;
	while (poll(p, 2, -1) > 0 && p[0].revents == 0) {
		int c;

		while ((c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1) {
			(void)recv(c, buf, sizeof(buf), 0);
			(void)setsockopt(c, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
			close(c);
			dropped++;
		}
	}
	printf("dropped=%lu\n", dropped);
	return 0;
}
