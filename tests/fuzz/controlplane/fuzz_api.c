/*
 * fuzz_api.c - requests of somebody who has the key, into the whole control plane: router, bodies,
 * model, store, events. $KEY and $ID in the input stand for the key and for an instance.
 *
 * There is no data plane. What is answered is HTTP; the process, its key and its loop go on.
 */
#include "app.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/mono.h"
#include "http_priv.h"
#include "model_priv.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INPUT_MAX   65536
#define PATIENCE_MS 30 /* streams do not end by themselves */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A fuzzer asks nobody for names and connects to this machine alone, whatever /tcping is told. */
int connect(int fd, const struct sockaddr *to, socklen_t len)
{
	const struct sockaddr_in *in = (const void *)to;

	if ((to->sa_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 != 127) ||
	    to->sa_family == AF_INET6) {
		errno = ENETUNREACH;
		return -1;
	}
	return (int)syscall(SYS_connect, fd, to, len);
}

int getaddrinfo(const char *restrict host, const char *restrict service,
		const struct addrinfo *restrict hints, struct addrinfo **restrict out)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	struct addrinfo numeric = hints == NULL ? (struct addrinfo){0} : *hints;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	numeric.ai_flags |= AI_NUMERICHOST;
	return real == NULL ? EAI_FAIL : real(host, service, &numeric, out);
}

static struct app app;
static char dir[] = "/tmp/np-fuzz-api-XXXXXX";
static char key[MODEL_KEY_LEN + 1];
static struct event *ticks;

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static const char *env_of(void *arg, const char *name)
{
	(void)arg;
	return getenv(name);
}

static void no_warning(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

static uint16_t free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	NP_ASSERT(fd != -1 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
		  getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	close(fd);
	return ntohs(a.sin_port);
}

static void remove_dir(void)
{
	char text[128];

	snprintf(text, sizeof(text), "rm -rf %s", dir);
	if (system(text) != 0)
		fprintf(stderr, "%s is left\n", dir);
}

static void start(void)
{
	static const struct timeval often = {.tv_usec = 1000};
	struct np_diag diag = {.text = ""};
	char text[128];
	enum np_err err;

	signal(SIGPIPE, SIG_IGN);
	NP_ASSERT(mkdtemp(dir) != NULL);
	atexit(remove_dir);
	snprintf(text, sizeof(text), "%s/state", dir);
	setenv("NP_STATE_DIR", text, 1);
	snprintf(text, sizeof(text), "%s/run", dir);
	setenv("NP_RUN_DIR", text, 1);
	setenv("NP_DATAPLANE", "external", 1);
	setenv("NP_REPORT_INTERVAL", "50ms", 1);
	snprintf(text, sizeof(text), "master://127.0.0.1:%u?log=none", free_port());
	NP_ASSERT(np_config_parse(text, &app.cfg, &diag) == NP_OK);
	np_env_load(&app.env, env_of, no_warning, NULL);
	app.base = event_base_new();
	app.root = np_strdup("/api/v1");
	NP_ASSERT(app.base != NULL && app.root != NULL);
	err = app_start(&app, &diag);
	if (err != NP_OK)
		fprintf(stderr, "%s\n", diag.text);
	NP_ASSERT(err == NP_OK);
	snprintf(key, sizeof(key), "%s", app.model->key);
	ticks = event_new(app.base, -1, EV_PERSIST, on_tick, NULL);
	NP_ASSERT(ticks != NULL && event_add(ticks, &often) == 0);
}

/* @data with what its words stand for. Owned by the caller. */
static char *fill_in(const uint8_t *data, size_t size, size_t *len)
{
	const char *id = app.model->list != NULL ? app.model->list->id : "00000000";
	char *out = malloc(size * 9 + 1);
	size_t n = 0;

	NP_ASSERT(out != NULL);
	for (size_t i = 0; i < size;) {
		const char *with = NULL;
		size_t skip = 0;

		if (size - i >= 4 && memcmp(data + i, "$KEY", 4) == 0) {
			with = app.model->key;
			skip = 4;
		} else if (size - i >= 3 && memcmp(data + i, "$ID", 3) == 0) {
			with = id;
			skip = 3;
		}
		if (with == NULL) {
			out[n++] = (char)data[i++];
			continue;
		}
		memcpy(out + n, with, strlen(with));
		n += strlen(with);
		i += skip;
	}
	*len = n;
	return out;
}

static void check_answer(int fd)
{
	char head[10] = "";
	ssize_t n = recv(fd, head, sizeof(head) - 1, MSG_DONTWAIT);

	NP_ASSERT(n <= 0 || n < 9 || memcmp(head, "HTTP/", 5) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct linger none = {.l_onoff = 1};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct np_mono end;
	size_t len;
	char *text;
	int fd;

	if (size > INPUT_MAX)
		return -1;
	if (app.base == NULL)
		start();
	to.sin_port = htons(app.cfg.tunnel.port);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	NP_ASSERT(fd != -1);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == -1) {
		event_base_loop(app.base, EVLOOP_NONBLOCK);
		close(fd);
		return -1;
	}
	text = fill_in(data, size, &len);
	if (send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL) == -1)
		NP_ASSERT(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
	free(text);
	shutdown(fd, SHUT_WR);
	end = np_mono_add_ms(np_mono_now(), PATIENCE_MS);
	do {
		event_active(app.http->sweep, EV_TIMEOUT, 0);
		event_base_loop(app.base, EVLOOP_ONCE);
	} while (app.http->count > 0 && np_mono_before(np_mono_now(), end));
	check_answer(fd);
	close(fd);
	while (app.http->count > 0) { /* a reset ends what is left */
		event_active(app.http->sweep, EV_TIMEOUT, 0);
		event_base_loop(app.base, EVLOOP_ONCE);
	}
	NP_ASSERT(strlen(app.model->key) == MODEL_KEY_LEN);
	return 0;
}
