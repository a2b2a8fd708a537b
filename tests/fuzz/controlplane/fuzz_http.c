/*
 * fuzz_http.c - bytes of a client into the server, over a real connection: whatever they are, the
 * connection ends, every request is answered once, and nothing is left of it.
 */
#include "http.h"

#include "base/assert.h"
#include "http_guard.h"
#include "http_priv.h"

#include <event2/event.h>
#include <event2/listener.h>

#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct event_base *base;
static struct http_server *server;
static struct sockaddr_in address;

/* A path that was cleaned is clean, one that decodes has no NUL, a value that is found is a text. */
static void check_path(const char *path)
{
	struct np_buf once, twice;
	char value[64];

	np_buf_init(&once, 1024 * 1024);
	np_buf_init(&twice, 1024 * 1024);
	if (path[0] == '/') {
		(void)http_path_clean(path, strlen(path), &once);
		NP_ASSERT(np_buf_cstr(&once) != NULL && np_buf_ptr(&once)[0] == '/');
		NP_ASSERT(http_path_clean(np_buf_cstr(&once), np_buf_len(&once), &twice));
		np_buf_release(&twice);
	}
	if (http_path_decode(path, strlen(path), &twice))
		NP_ASSERT(np_buf_len(&twice) == 0 ||
			  memchr(np_buf_ptr(&twice), '\0', np_buf_len(&twice)) == NULL);
	(void)http_query_find(path, "a", value, sizeof(value));
	np_buf_release(&once);
	np_buf_release(&twice);
}

static void on_request(struct http_req *r, void *arg)
{
	size_t len;
	const char *body = http_req_body(r, &len);
	char value[64];

	(void)arg;
	NP_ASSERT(body[len] == '\0' && len <= HTTP_BODY_MAX);
	check_path(http_req_path(r));
	(void)http_req_query_value(r, "a", value, sizeof(value));
	if (http_req_method(r) == HTTP_PUT)
		http_reply_error(r, 405, "%s", http_req_path(r));
	else
		http_reply(r, 200, "text/plain", "ok", 2);
}

static void start(void)
{
	struct http_options o = {.host = "127.0.0.1", .on_request = on_request};
	socklen_t len = sizeof(address);
	struct np_diag diag;

	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	NP_ASSERT(base != NULL && http_new(base, &o, &server, &diag) == NP_OK);
	http_open(server);
	NP_ASSERT(getsockname(evconnlistener_get_fd(server->listener), (struct sockaddr *)&address,
			      &len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct linger none = {.l_onoff = 1}; /* no port stays behind */
	char path[256] = {0};
	size_t sent = 0;
	int fd;

	if (server == NULL)
		start();
	memcpy(path, data, size < sizeof(path) - 1 ? size : sizeof(path) - 1);
	check_path(path);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	NP_ASSERT(fd != -1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == -1) {
		/* Out of ports for the moment, or who asked before fills the backlog: not tried. */
		event_base_loop(base, EVLOOP_NONBLOCK);
		close(fd);
		return -1;
	}
	while (sent < size) {
		ssize_t n = send(fd, data + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else
			break; /* what the kernel does not hold is not needed */
	}
	shutdown(fd, SHUT_WR);
	do {
		event_active(server->sweep, EV_TIMEOUT, 0); /* else up to 250 ms later */
		event_base_loop(base, EVLOOP_ONCE);
	} while (server->count > 0);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(fd);
	return 0;
}
