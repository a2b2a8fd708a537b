/*
 * edge_door.c - see edge_door.h.
 */
#include "edge_door.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/mono.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <utlist.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DOOR_MAGIC     0x444f4f52u
#define PEER_MAGIC     0x50454552u
#define BACKLOG	       128
#define GREETING_LEN   8
#define SETTLE_STEP_MS 5

/* Owned by door->peers; freed by peer_free. */
struct peer {
	unsigned magic;
	struct peer *prev, *next;
	struct edge_door *door;	   /* borrowed */
	struct bufferevent *outer; /* owned: what was accepted */
	struct bufferevent *inner; /* owned: to nng; NULL until the greeting is there */
	bool is_stranger;
	bool greeted;	  /* waits for its inner connection */
	bool outer_ended; /* nothing more comes from it */
	bool outer_gone;  /* nothing more goes to it */
	bool inner_ended; /* nng has closed */
	struct np_mono
	    patience; /* set: outer_ended, and nng is told so at this time at the latest */
};

/* nng's listener for one kind of peers. */
struct inner {
	struct sockaddr_un addr;
	nng_listener listener;
};

enum { INNER_FRIENDS = 0, INNER_STRANGERS, INNER_COUNT };

struct edge_door {
	unsigned magic;
	struct event_base *base;
	struct sockaddr_un addr;
	struct evconnlistener *listener; /* owned */
	struct event *retry;		 /* owned */
	struct inner inner[INNER_COUNT];
	unsigned ninner;		      /* 2: strangers get in */
	unsigned char greeting[GREETING_LEN]; /* of a peer */
	struct peer *peers;
	unsigned npeers;
	bool quiet;
};

static void peer_free(struct peer *p)
{
	struct edge_door *d = p->door;

	DL_DELETE(d->peers, p);
	d->npeers--;
	if (p->outer != NULL)
		bufferevent_free(p->outer);
	if (p->inner != NULL)
		bufferevent_free(p->inner);
	p->magic = 0;
	np_free(p);
	if (!d->quiet && d->npeers == DOOR_PEERS_MAX - 1)
		evconnlistener_enable(d->listener);
}

static void retry_later(struct edge_door *d)
{
	event_add(d->retry, &(struct timeval){.tv_usec = DOOR_RETRY_MS * 1000});
}

/* -- the bytes -- */

/* Until @to has taken half of what it holds @from is not read when that is too much. */
static void carry(struct bufferevent *from, struct bufferevent *to)
{
	bufferevent_write_buffer(to, bufferevent_get_input(from));
	if (evbuffer_get_length(bufferevent_get_output(to)) < DOOR_BUFFER_MAX)
		return;
	bufferevent_disable(from, EV_READ);
	bufferevent_setwatermark(to, EV_WRITE, DOOR_BUFFER_MAX / 2, 0);
}

static size_t waiting(struct bufferevent *bev)
{
	return evbuffer_get_length(bufferevent_get_output(bev));
}

/*
 * nng reads the end when it has read the rest, and has said what it had to: of a connection that
 * closes under an answer nng 1.5 loses that answer's memory.
 */
static void inner_say_end(struct peer *p)
{
	const struct timeval quiet = {.tv_usec = DOOR_QUIET_MS * 1000};

	if (!p->outer_ended || waiting(p->inner) > 0 || np_mono_is_set(p->patience))
		return;
	p->patience = np_mono_add_ms(np_mono_now(), DOOR_TALK_MS);
	bufferevent_set_timeouts(p->inner, &quiet, NULL);
}

static void inner_shut(struct peer *p)
{
	shutdown(bufferevent_getfd(p->inner), SHUT_WR);
	/* In this order: libevent 2.1 else sets the old one again with each later read. */
	bufferevent_enable(p->inner, EV_READ);
	bufferevent_set_timeouts(p->inner, NULL, NULL);
}

static void inner_on_readable(struct bufferevent *bev, void *arg)
{
	struct peer *p = arg;
	struct evbuffer *in = bufferevent_get_input(bev);

	NP_CHECK_MAGIC(p, PEER_MAGIC);
	/* A listener's events may never pause. */
	if (np_mono_is_set(p->patience) && !np_mono_before(np_mono_now(), p->patience))
		inner_shut(p);
	if (p->outer_gone)
		evbuffer_drain(in, evbuffer_get_length(in));
	else
		carry(bev, p->outer);
}

static void inner_on_written(struct bufferevent *bev, void *arg)
{
	struct peer *p = arg;

	NP_CHECK_MAGIC(p, PEER_MAGIC);
	bufferevent_setwatermark(bev, EV_WRITE, 0, 0);
	if (!p->outer_ended && !p->door->quiet)
		bufferevent_enable(p->outer, EV_READ);
	inner_say_end(p);
}

static void outer_on_written(struct bufferevent *bev, void *arg)
{
	struct peer *p = arg;

	NP_CHECK_MAGIC(p, PEER_MAGIC);
	if (p->inner_ended && waiting(bev) == 0) {
		peer_free(p);
		return;
	}
	bufferevent_setwatermark(bev, EV_WRITE, 0, 0);
	if (p->inner != NULL && !p->inner_ended)
		bufferevent_enable(p->inner, EV_READ);
}

static void inner_on_event(struct bufferevent *bev, short what, void *arg)
{
	const struct timeval last = {.tv_sec = DOOR_LAST_MS / 1000};
	struct peer *p = arg;

	(void)bev;
	NP_CHECK_MAGIC(p, PEER_MAGIC);
	if ((what & BEV_EVENT_TIMEOUT) != 0) {
		inner_shut(p);
		return;
	}
	p->inner_ended = true;
	if (p->outer_gone || waiting(p->outer) == 0) {
		peer_free(p);
		return;
	}
	bufferevent_disable(p->outer, EV_READ);
	bufferevent_setwatermark(p->outer, EV_WRITE, 0, 0);
	bufferevent_set_timeouts(p->outer, NULL, &last);
}

/* -- peers -- */

/* The rest of what it said still goes in; what nng says to it is taken and dropped. */
static void outer_lost(struct peer *p)
{
	struct evbuffer *out = bufferevent_get_output(p->outer);

	p->outer_ended = p->outer_gone = true;
	bufferevent_disable(p->outer, EV_READ | EV_WRITE);
	evbuffer_unfreeze(out, 1); /* its bufferevent does not write any more */
	evbuffer_drain(out, evbuffer_get_length(out));
	bufferevent_enable(p->inner, EV_READ);
	inner_say_end(p);
}

static void outer_on_event(struct bufferevent *bev, short what, void *arg)
{
	struct peer *p = arg;

	(void)bev;
	NP_CHECK_MAGIC(p, PEER_MAGIC);
	if (p->inner == NULL || p->inner_ended) {
		peer_free(p);
	} else if ((what & BEV_EVENT_EOF) != 0) {
		p->outer_ended = true;
		inner_say_end(p);
	} else {
		outer_lost(p);
	}
}

/* False: @p is gone. */
static bool peer_enter(struct peer *p)
{
	struct edge_door *d = p->door;
	const struct sockaddr_un *addr =
	    &d->inner[p->is_stranger ? INNER_STRANGERS : INNER_FRIENDS].addr;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd == -1 || connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == -1) {
		if (fd != -1)
			close(fd);
		retry_later(d);
		return true;
	}
	p->inner = bufferevent_socket_new(d->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (p->inner == NULL) {
		close(fd);
		peer_free(p);
		return false;
	}
	bufferevent_setcb(p->inner, inner_on_readable, inner_on_written, inner_on_event, p);
	bufferevent_enable(p->inner, EV_READ | EV_WRITE);
	bufferevent_enable(p->outer, EV_READ);
	carry(p->outer, p->inner);
	return true;
}

static void outer_on_readable(struct bufferevent *bev, void *arg)
{
	struct peer *p = arg;
	unsigned char greeting[GREETING_LEN];

	NP_CHECK_MAGIC(p, PEER_MAGIC);
	if (p->inner != NULL) {
		carry(bev, p->inner);
		return;
	}
	if (evbuffer_get_length(bufferevent_get_input(bev)) < GREETING_LEN)
		return;
	evbuffer_copyout(bufferevent_get_input(bev), greeting, GREETING_LEN);
	if (memcmp(greeting, p->door->greeting, GREETING_LEN) != 0 ||
	    (p->is_stranger && p->door->ninner == 1)) {
		peer_free(p);
		return;
	}
	p->greeted = true;
	/* While it is enabled: libevent 2.1 else sets the old one again with each later read. */
	bufferevent_set_timeouts(bev, NULL, NULL);
	bufferevent_disable(bev, EV_READ);
	peer_enter(p);
}

/* Unknown is a stranger. */
static bool is_stranger(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == -1)
		return true;
	return cred.uid != 0 && cred.uid != geteuid();
}

static void on_accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
			int len, void *arg)
{
	const struct timeval patience = {.tv_sec = DOOR_GREETING_MS / 1000};
	struct edge_door *d = arg;
	struct peer *p;

	(void)addr;
	(void)len;
	NP_CHECK_MAGIC(d, DOOR_MAGIC);
	p = np_calloc(1, sizeof(*p));
	if (p == NULL) {
		close(fd);
		return;
	}
	p->magic = PEER_MAGIC;
	p->door = d;
	p->is_stranger = is_stranger(fd);
	DL_APPEND(d->peers, p);
	if (++d->npeers >= DOOR_PEERS_MAX)
		evconnlistener_disable(listener);
	p->outer = bufferevent_socket_new(d->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (p->outer == NULL) {
		close(fd);
		peer_free(p);
		return;
	}
	bufferevent_setcb(p->outer, outer_on_readable, outer_on_written, outer_on_event, p);
	bufferevent_set_timeouts(p->outer, &patience, NULL);
	bufferevent_enable(p->outer, EV_READ | EV_WRITE);
}

/* -- the door -- */

/* No descriptors, most likely: the listener would be ready again at once. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	struct edge_door *d = arg;

	NP_CHECK_MAGIC(d, DOOR_MAGIC);
	evconnlistener_disable(listener);
	retry_later(d);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct edge_door *d = arg;
	struct peer *p, *tmp;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(d, DOOR_MAGIC);
	if (d->quiet)
		return;
	if (d->npeers < DOOR_PEERS_MAX)
		evconnlistener_enable(d->listener);
	DL_FOREACH_SAFE (d->peers, p, tmp) {
		if (p->greeted && p->inner == NULL)
			peer_enter(p);
	}
}

static int inner_open(struct edge_door *d, nng_socket socket, struct inner *in, const char *path,
		      unsigned n)
{
	char url[sizeof(in->addr.sun_path) + sizeof("ipc://")];
	int rc;

	in->addr.sun_family = AF_UNIX;
	snprintf(in->addr.sun_path, sizeof(in->addr.sun_path), "%s.%u", path, n);
	unlink(in->addr.sun_path); /* of a process that was killed */
	snprintf(url, sizeof(url), "ipc://%s", in->addr.sun_path);
	rc = nng_listener_create(&in->listener, socket, url);
	if (rc == 0)
		d->ninner++;
	if (rc == 0)
		rc = nng_listener_set_int(in->listener, NNG_OPT_IPC_PERMISSIONS, 0600);
	if (rc == 0)
		rc = nng_listener_start(in->listener, 0);
	return rc;
}

/* -1: see errno. Nobody gets in before listen(2), so the mode is never another one. */
static int outer_open(struct edge_door *d)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int saved;

	if (fd == -1)
		return -1;
	if (bind(fd, (const struct sockaddr *)&d->addr, sizeof(d->addr)) == 0 &&
	    chmod(d->addr.sun_path, 0600) == 0 && listen(fd, BACKLOG) == 0) {
		d->listener = evconnlistener_new(
		    d->base, on_accepted, d, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
		if (d->listener != NULL) {
			evconnlistener_set_error_cb(d->listener, on_accept_error);
			return 0;
		}
		errno = ENOMEM;
	}
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

enum np_err door_open(nng_socket socket, const char *path, struct event_base *base, bool strangers,
		      struct edge_door **out, struct np_diag *diag)
{
	struct edge_door *d;
	int rc, peer;

	if (strlen(path) + sizeof(".0") > sizeof(d->addr.sun_path))
		return np_diag_set(diag, NP_ELIMIT, "socket", "%s: too long for a socket's path",
				   path);
	d = np_calloc(1, sizeof(*d));
	if (d == NULL)
		return NP_ENOMEM;
	d->magic = DOOR_MAGIC;
	d->base = base;
	d->addr.sun_family = AF_UNIX;
	memcpy(d->addr.sun_path, path, strlen(path));
	rc = nng_socket_get_int(socket, NNG_OPT_PEER, &peer);
	NP_ASSERT(rc == 0);
	memcpy(d->greeting, (unsigned char[]){0, 'S', 'P', 0, 0, (unsigned char)peer, 0, 0},
	       GREETING_LEN);
	*out = d; /* before the first pipe */
	d->retry = evtimer_new(base, on_retry, d);
	rc = d->retry == NULL ? NNG_ENOMEM : 0;
	for (unsigned i = 0; i <= (strangers ? 1u : 0u) && rc == 0; i++)
		rc = inner_open(d, socket, &d->inner[i], path, i);
	if (rc == 0 && outer_open(d) == -1)
		rc = errno == ENOMEM ? NNG_ENOMEM : NNG_ESYSERR + errno;
	if (rc == 0)
		return NP_OK;
	*out = NULL;
	door_shut(d);
	return np_diag_set(diag, rc == NNG_ENOMEM ? NP_ENOMEM : NP_ESYS, "socket", "%s: %s", path,
			   nng_strerror(rc));
}

bool door_is_friend(const struct edge_door *d, nng_pipe p)
{
	return nng_listener_id(nng_pipe_listener(p)) ==
	       nng_listener_id(d->inner[INNER_FRIENDS].listener);
}

/* Nobody comes in any more, and nothing more goes to nng. */
static void be_quiet(struct edge_door *d)
{
	struct peer *p;

	d->quiet = true;
	evconnlistener_disable(d->listener);
	event_del(d->retry);
	DL_FOREACH (d->peers, p) {
		bufferevent_disable(p->outer, EV_READ | EV_WRITE);
		if (p->inner != NULL)
			bufferevent_disable(p->inner, EV_READ | EV_WRITE);
	}
}

/* What nng has written goes to @p, as far as it takes it at once. */
static void last_words(struct peer *p)
{
	struct evbuffer *out = bufferevent_get_output(p->outer);
	int n;

	evbuffer_unfreeze(out, 1); /* only its bufferevent wrote from it until now */
	do {
		n = evbuffer_read(out, bufferevent_getfd(p->inner), DOOR_BUFFER_MAX);
		p->inner_ended = p->inner_ended || n == 0 || (n == -1 && errno != EAGAIN);
		if (p->outer_gone || evbuffer_get_length(out) >= DOOR_BUFFER_MAX)
			evbuffer_drain(out, evbuffer_get_length(out));
	} while (evbuffer_write(out, bufferevent_getfd(p->outer)) > 0 || n > 0);
}

/* True: there are connections that nng has not ended. */
static bool say_last_words(struct edge_door *d)
{
	struct peer *p;
	bool some = false;

	DL_FOREACH (d->peers, p) {
		if (p->inner == NULL || p->inner_ended)
			continue;
		last_words(p);
		shutdown(bufferevent_getfd(p->inner), SHUT_WR);
		some = some || !p->inner_ended;
	}
	return some;
}

/*
 * Until nng has read all to the end and closed: who closes a connection from which it is just about to
 * read on keeps it for ever, since it begins to read with what was closed meanwhile.
 */
static void settle(struct edge_door *d)
{
	poll(NULL, 0, DOOR_FLUSH_MS);
	for (int ms = 0; say_last_words(d) && ms < DOOR_SETTLE_MS; ms += SETTLE_STEP_MS)
		poll(NULL, 0, SETTLE_STEP_MS);
}

static void *close_run(void *arg)
{
	nng_close((nng_socket){.id = (uint32_t)(uintptr_t)arg});
	return NULL;
}

bool door_close(struct edge_door *d, nng_socket socket)
{
	struct timespec until;
	pthread_t thread;

	be_quiet(d);
	settle(d);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DOOR_CLOSE_S;
	if (pthread_create(&thread, NULL, close_run, (void *)(uintptr_t)socket.id) != 0)
		return false;
	if (pthread_timedjoin_np(thread, NULL, &until) == 0)
		return true;
	pthread_detach(thread);
	np_log(NP_LOG_WARN, NULL, "%s is left to the end of the process: nng does not close it",
	       d->addr.sun_path);
	return false;
}

void door_shut(struct edge_door *d)
{
	struct peer *p, *tmp;

	if (d == NULL)
		return;
	d->quiet = true;
	DL_FOREACH_SAFE (d->peers, p, tmp)
		peer_free(p);
	if (d->listener != NULL) {
		evconnlistener_free(d->listener);
		unlink(d->addr.sun_path);
	}
	if (d->retry != NULL)
		event_free(d->retry);
	for (unsigned i = 0; i < d->ninner; i++)
		unlink(d->inner[i].addr.sun_path);
	d->magic = 0;
	np_free(d);
}
