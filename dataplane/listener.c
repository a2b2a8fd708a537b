/*
 * listener.c - accept in batches, pause when the process has no descriptors or memory. See
 * listener.h.
 */
#include "listener.h"

#include "base/alloc.h"
#include "bind_any.h"
#include "loopback.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct listener {
	struct worker *worker;
	int fd; /* owned */
	listener_fn fn;
	listener_pause_fn on_pause;
	void *arg;
	struct event *event, *resume;
	int pause_ms;
	bool warned;
	bool local;  /* on a loopback address: its sockets are tuned like itself */
	bool *freed; /* set when the callback frees us */
};

static int socket_listen(const struct np_addr *addr, bool v6only)
{
	const int on = 1, off = 0;
	int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int saved;

	if (fd == -1)
		return -1;
	/* Those that are accepted have it from here. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (loopback_is(addr))
		loopback_tune(fd);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1 ||
	    (addr->sa.sa_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only ? &on : &off, sizeof(on)) == -1) ||
	    bind(fd, &addr->sa, addr->len) == -1 || listen(fd, LISTENER_BACKLOG) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

int listener_socket(const struct np_addr *addr, bool any)
{
	return bind_any(addr, any, socket_listen);
}

static void listener_on_resume(evutil_socket_t fd, short what, void *arg);

static void listener_pause(struct listener *l, int err)
{
	struct timeval tv = tv_of_ms(l->pause_ms);

	if (l->resume == NULL)
		l->resume = evtimer_new(l->worker->base, listener_on_resume, l);
	if (l->resume == NULL)
		return; /* no memory even to pause: accept fails again at once */
	if (!l->warned)
		l->on_pause(l->arg, err);
	l->warned = true;
	event_del(l->event);
	evtimer_add(l->resume, &tv);
	l->pause_ms = l->pause_ms * 2 > 1000 ? 1000 : l->pause_ms * 2;
}

static void listener_on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	/* No memory even for this: tried again. */
	if (event_add(l->event, NULL) != 0)
		evtimer_add(l->resume, &(struct timeval){.tv_sec = 1});
}

static bool is_exhausted(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

static void listener_on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	bool freed = false;

	(void)what;
	l->freed = &freed;
	for (int i = 0; i < LISTENER_BATCH; i++) {
		struct np_addr peer = {.len = sizeof(peer.in6)};
		int c = accept4(fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (c == -1) {
			if (is_exhausted(errno))
				listener_pause(l, errno);
			/* EAGAIN: done. Others (ECONNABORTED, …) concern one connection. */
			break;
		}
		if (l->warned)
			l->on_pause(l->arg, 0);
		l->warned = false;
		l->pause_ms = LISTENER_PAUSE_MS;
		if (!l->local && loopback_is(&peer))
			loopback_tune(c);
		l->fn(l->arg, c, &peer);
		if (freed)
			return;
	}
	l->freed = NULL;
}

enum np_err listener_new(struct worker *w, int fd, listener_fn fn, listener_pause_fn on_pause,
			 void *arg, struct listener **out)
{
	struct listener *l = np_calloc(1, sizeof(*l));
	struct np_addr at = {.len = sizeof(at.in6)};

	if (l == NULL)
		return NP_ENOMEM;
	*l = (struct listener){.worker = w, .fd = fd, .fn = fn, .on_pause = on_pause, .arg = arg};
	l->pause_ms = LISTENER_PAUSE_MS;
	l->local = getsockname(fd, &at.sa, &at.len) == 0 && loopback_is(&at);
	l->event = event_new(w->base, fd, EV_READ | EV_PERSIST, listener_on_accept, l);
	if (l->event == NULL || event_add(l->event, NULL) != 0) {
		l->fd = -1;
		listener_free(l);
		return NP_ENOMEM;
	}
	*out = l;
	return NP_OK;
}

int listener_fd(const struct listener *l)
{
	return l->fd;
}

void listener_free(struct listener *l)
{
	if (l == NULL)
		return;
	if (l->freed != NULL)
		*l->freed = true;
	if (l->event != NULL)
		event_free(l->event);
	if (l->resume != NULL)
		event_free(l->resume);
	if (l->fd != -1)
		close(l->fd);
	np_free(l);
}
