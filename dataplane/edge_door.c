/*
 * edge_door.c - see edge_door.h.
 */
#include "edge_door.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DOOR_MAGIC 0x444f4f52u

struct edge_door {
	unsigned magic;
	nng_socket socket;			  /* borrowed */
	nng_listener listeners[DOOR_OLD_MAX + 1]; /* the oldest first */
	unsigned nlisteners, serial;
	struct event *timer;
	struct sockaddr_un addr;
	unsigned char hello[8]; /* what a peer says first */
	int fd;			/* the check that is under way, -1 = none */
	int left;		/* the one that the listener before did not notice, -1 = none */
	unsigned missed;	/* times in a row that it was looked at in vain */
	atomic_bool awaited;	/* the check was not noticed yet; cleared by nng's threads */
};

bool door_seen(struct edge_door *d, nng_pipe p)
{
	uint64_t pid;

	if (nng_pipe_get_uint64(p, NNG_OPT_IPC_PEER_PID, &pid) != 0 || pid != (uint64_t)getpid())
		return false;
	return atomic_exchange(&d->awaited, false);
}

/*
 * Bound to a name of its own, which is then renamed: nng takes away the name that it bound when it
 * closes, and that must not be its successor's.
 */
static int listen_on(struct edge_door *d)
{
	char name[sizeof(d->addr.sun_path) + 16], url[sizeof(name) + sizeof("ipc://")];
	nng_listener listener;
	int rc;

	snprintf(name, sizeof(name), "%s.%u", d->addr.sun_path, d->serial++ % 10);
	unlink(name); /* of a process that was killed just then */
	snprintf(url, sizeof(url), "ipc://%s", name);
	rc = nng_listener_create(&listener, d->socket, url);
	if (rc != 0)
		return rc;
	rc = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, 0600);
	if (rc == 0)
		rc = nng_listener_start(listener, 0);
	if (rc == 0 && rename(name, d->addr.sun_path) == -1)
		rc = NNG_ESYSERR + errno;
	if (rc != 0)
		nng_listener_close(listener);
	else
		d->listeners[d->nlisteners++] = listener;
	return rc;
}

static void check_end(struct edge_door *d)
{
	if (d->fd != -1)
		close(d->fd);
	d->fd = -1;
	atomic_store(&d->awaited, false);
}

static void left_end(struct edge_door *d)
{
	if (d->left != -1)
		close(d->left);
	d->left = -1;
}

static void open_anew(struct edge_door *d)
{
	int rc;

	np_log(NP_LOG_WARN, NULL, "%s does not accept any more and is opened anew",
	       d->addr.sun_path);
	if (d->nlisteners > DOOR_OLD_MAX) {
		nng_listener_close(d->listeners[0]);
		memmove(&d->listeners[0], &d->listeners[1], DOOR_OLD_MAX * sizeof(d->listeners[0]));
		d->nlisteners--;
	}
	/* It may be slow, not deaf: who leaves it now takes those with them who wait there. */
	left_end(d);
	d->left = d->fd;
	d->fd = -1;
	rc = listen_on(d);
	if (rc != 0) /* the next check fails as well, and it is tried again */
		np_log(NP_LOG_ERROR, NULL, "%s: %s", d->addr.sun_path, nng_strerror(rc));
}

/* False: a full backlog, or no listener. What fails for want of descriptors says nothing. */
static bool check_begin(struct edge_door *d)
{
	d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->fd == -1)
		return true;
	if (connect(d->fd, (const struct sockaddr *)&d->addr, sizeof(d->addr)) == -1) {
		check_end(d);
		return false;
	}
	atomic_store(&d->awaited, true);
	if (send(d->fd, d->hello, sizeof(d->hello), MSG_NOSIGNAL) != (ssize_t)sizeof(d->hello))
		check_end(d);
	return true;
}

/* A check that was not noticed yet stays: closed now, it would be what it looks for. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct edge_door *d = arg;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(d, DOOR_MAGIC);
	if (d->fd != -1 && atomic_load(&d->awaited)) {
		d->missed++;
	} else {
		if (d->fd != -1) {
			d->missed = 0;
			left_end(d);
		}
		check_end(d);
		if (!check_begin(d))
			d->missed++;
	}
	if (d->missed >= DOOR_DEAF) {
		d->missed = 0;
		open_anew(d);
	}
}

enum np_err door_open(nng_socket socket, const char *path, struct event_base *base,
		      struct edge_door **out, struct np_diag *diag)
{
	const struct timeval often = {.tv_sec = DOOR_CHECK_MS / 1000,
				      .tv_usec = DOOR_CHECK_MS % 1000 * 1000};
	struct edge_door *d;
	int rc, peer;

	if (strlen(path) + sizeof(".0") > sizeof(d->addr.sun_path))
		return np_diag_set(diag, NP_ELIMIT, "socket", "%s: too long for a socket's path",
				   path);
	d = np_calloc(1, sizeof(*d));
	if (d == NULL)
		return NP_ENOMEM;
	d->magic = DOOR_MAGIC;
	d->socket = socket;
	d->fd = d->left = -1;
	d->addr.sun_family = AF_UNIX;
	memcpy(d->addr.sun_path, path, strlen(path));
	rc = nng_socket_get_int(socket, NNG_OPT_PEER, &peer);
	NP_ASSERT(rc == 0);
	memcpy(d->hello, (unsigned char[]){0, 'S', 'P', 0, 0, (unsigned char)peer, 0, 0},
	       sizeof(d->hello));
	d->timer = event_new(base, -1, EV_PERSIST, on_timer, d);
	if (d->timer == NULL || event_add(d->timer, &often) != 0) {
		door_shut(d);
		return NP_ENOMEM;
	}
	*out = d; /* before the first pipe */
	rc = listen_on(d);
	if (rc != 0) {
		*out = NULL;
		door_shut(d);
		return np_diag_set(diag, rc == NNG_ENOMEM ? NP_ENOMEM : NP_ESYS, "socket", "%s: %s",
				   path, nng_strerror(rc));
	}
	return NP_OK;
}

void door_shut(struct edge_door *d)
{
	if (d == NULL)
		return;
	if (d->timer != NULL)
		event_free(d->timer);
	check_end(d);
	left_end(d);
	unlink(d->addr.sun_path);
	d->magic = 0;
	np_free(d);
}
