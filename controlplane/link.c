/*
 * link.c - see link.h.
 *
 * A raw req socket: several requests are on their way at once and are answered in their order; the
 * number in the header of the protocol tells which reply is for which. Nothing is ever repeated.
 */
#include "link.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/mono.h"

#include <nng/nng.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/req.h>
#include <utlist.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define LINK_MAGIC    0x4c494e4bu
#define PATH_LEN      sizeof(((struct sockaddr_un *)NULL)->sun_path)
#define REQUEST_BIT   0x80000000u /* the last word of the header of a request or reply */
#define CLOSE_WAIT_MS 1000	  /* for the sockets at the end */
#define DYING_MS      100
#define RETRY_OPEN_MS 200 /* after sockets could not be opened */

enum { END_CTL = 0, END_EVENTS, END_COUNT };

/* One socket of a connection. Owned by link->conn. */
struct link_end {
	struct link_conn *conn; /* borrowed: contains this */
	nng_socket socket;
	nng_aio *aio;
	bool is_open;
	/* guarded by conn->lock: */
	nng_msg *queue[LINK_QUEUE_MAX];
	size_t first, count;
	bool paused; /* no receive is under way */
	bool up, down;
	int pid;
};

/* Owned by the link until conn_close, then by the thread that closes it. */
struct link_conn {
	pthread_mutex_t lock; /* guards the ends; never held around a call of nng */
	int wake_fd;	      /* owned; another descriptor of the link's */
	struct link_end ends[END_COUNT];
};

struct link_pending {
	struct link_pending *prev, *next; /* link->pending: order of sending */
	struct link_call call;
	uint32_t number;
	struct np_mono deadline;
	link_reply_fn done;
};

struct link {
	unsigned magic;
	struct event_base *base;
	char paths[END_COUNT][PATH_LEN];
	struct link_callbacks cb;
	void *arg;
	struct event *wake, *timer;
	int wake_fd;
	struct link_conn *conn; /* owned; NULL: could not be opened, the timer tries again */
	struct link_pending *pending;
	unsigned npending;
	uint32_t number;
	struct np_mono dead_at;	   /* with dying */
	struct np_mono dial_until; /* without up */
	bool up, reset, dying;	   /* dying: one socket is down, the other gets DYING_MS */
};

static void wake(int wake_fd)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is full, the loop wakes all the same. */
	if (write(wake_fd, &one, sizeof(one)) == -1 && errno != EAGAIN)
		np_log(NP_LOG_ERROR, NULL, "eventfd: %s", strerror(errno));
}

/* -- on threads of nng's -- */

static void on_received(void *arg)
{
	struct link_end *e = arg;
	int rc = nng_aio_result(e->aio);
	nng_msg *msg = rc == 0 ? nng_aio_get_msg(e->aio) : NULL;
	bool again;

	if (rc == NNG_ECLOSED || rc == NNG_ECANCELED)
		return;
	pthread_mutex_lock(&e->conn->lock);
	if (msg != NULL) {
		e->queue[(e->first + e->count) % LINK_QUEUE_MAX] = msg;
		e->count++;
	}
	again = msg != NULL && e->count < LINK_QUEUE_MAX;
	e->paused = !again;
	pthread_mutex_unlock(&e->conn->lock);
	wake(e->conn->wake_fd);
	if (again)
		nng_recv_aio(e->socket, e->aio);
}

/* Only root or this very user may be at the other end: it is told the tunnels' keys. */
static bool is_trusted(nng_pipe p)
{
	uint64_t uid;

	if (nng_pipe_get_uint64(p, NNG_OPT_IPC_PEER_UID, &uid) != 0)
		return false;
	return uid == 0 || uid == (uint64_t)geteuid();
}

static void on_pipe(nng_pipe p, nng_pipe_ev ev, void *arg)
{
	struct link_end *e = arg;
	uint64_t pid = 0;

	if (ev == NNG_PIPE_EV_ADD_PRE) {
		if (!is_trusted(p))
			nng_pipe_close(p);
		return;
	}
	if (ev == NNG_PIPE_EV_ADD_POST && nng_pipe_get_uint64(p, NNG_OPT_IPC_PEER_PID, &pid) != 0)
		pid = 0;
	pthread_mutex_lock(&e->conn->lock);
	if (ev == NNG_PIPE_EV_ADD_POST) {
		e->up = true;
		e->pid = (int)pid;
	} else if (ev == NNG_PIPE_EV_REM_POST && e->up) {
		e->down = true;
	}
	pthread_mutex_unlock(&e->conn->lock);
	wake(e->conn->wake_fd);
}

/* -- the connection -- */

static nng_msg *end_pop(struct link_end *e, bool *resume)
{
	nng_msg *msg = NULL;

	pthread_mutex_lock(&e->conn->lock);
	if (e->count > 0) {
		msg = e->queue[e->first];
		e->first = (e->first + 1) % LINK_QUEUE_MAX;
		e->count--;
	}
	*resume = e->paused && e->count < LINK_QUEUE_MAX / 4;
	if (*resume)
		e->paused = false;
	pthread_mutex_unlock(&e->conn->lock);
	return msg;
}

static void end_close(struct link_end *e)
{
	nng_msg *msg;
	bool resume;

	if (e->aio != NULL)
		nng_aio_stop(e->aio);
	if (e->is_open)
		nng_close(e->socket);
	while ((msg = end_pop(e, &resume)) != NULL)
		nng_msg_free(msg);
	if (e->aio != NULL)
		nng_aio_free(e->aio);
}

static int end_open(struct link_end *e, int which, const char *path)
{
	char url[PATH_LEN + sizeof("ipc://")];
	nng_dialer dialer;
	int rc;

	snprintf(url, sizeof(url), "ipc://%s", path);
	rc = which == END_CTL ? nng_req0_open_raw(&e->socket) : nng_sub0_open(&e->socket);
	e->is_open = rc == 0;
	if (rc == 0)
		rc = nng_aio_alloc(&e->aio, on_received, e);
	if (rc == 0)
		rc = nng_socket_set_size(e->socket, NNG_OPT_RECVMAXSZ, CTL_MESSAGE_MAX);
	if (rc == 0)
		rc = nng_socket_set_ms(e->socket, NNG_OPT_RECONNMINT, 10);
	if (rc == 0)
		rc = nng_socket_set_ms(e->socket, NNG_OPT_RECONNMAXT, LINK_REDIAL_MS);
	if (rc == 0 && which == END_CTL)
		rc = nng_socket_set_int(e->socket, NNG_OPT_SENDBUF, 2 * LINK_WINDOW);
	if (rc == 0 && which == END_EVENTS)
		rc = nng_socket_set_int(e->socket, NNG_OPT_RECVBUF, 256);
	if (rc == 0 && which == END_EVENTS)
		rc = nng_socket_set(e->socket, NNG_OPT_SUB_SUBSCRIBE, "", 0);
	for (int ev = NNG_PIPE_EV_ADD_PRE; ev < NNG_PIPE_EV_NUM && rc == 0; ev++)
		rc = nng_pipe_notify(e->socket, (nng_pipe_ev)ev, on_pipe, e);
	if (rc == 0)
		nng_recv_aio(e->socket, e->aio);
	if (rc == 0)
		rc = nng_dialer_create(&dialer, e->socket, url);
	if (rc == 0)
		rc = nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
	return rc;
}

static void *conn_free(void *arg)
{
	struct link_conn *conn = arg;

	for (int i = 0; i < END_COUNT; i++)
		end_close(&conn->ends[i]);
	pthread_mutex_destroy(&conn->lock);
	if (conn->wake_fd != -1)
		close(conn->wake_fd);
	np_free(conn);
	return NULL;
}

/*
 * On a thread of its own: in nng 1.5.2 nng_close never returns when a message was being read just
 * then (the transport asks for its body with an aio that was closed, and nobody ends the one above).
 * @wait_ms: how long to wait for it.
 */
static void conn_close(struct link *l, int wait_ms)
{
	struct link_conn *conn = l->conn;
	struct timespec end;
	sigset_t all, old;
	pthread_t thread;
	int rc;

	l->conn = NULL;
	if (conn == NULL)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	rc = pthread_create(&thread, NULL, conn_free, conn);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0) {
		conn_free(conn);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += wait_ms / 1000;
	if (wait_ms == 0 || pthread_timedjoin_np(thread, NULL, &end) != 0)
		pthread_detach(thread);
}

static void timer_update(struct link *l);

static struct link_conn *conn_new(int wake_fd)
{
	struct link_conn *conn = np_calloc(1, sizeof(*conn));

	if (conn == NULL)
		return NULL;
	conn->wake_fd = fcntl(wake_fd, F_DUPFD_CLOEXEC, 0);
	if (conn->wake_fd == -1) {
		np_free(conn);
		return NULL;
	}
	pthread_mutex_init(&conn->lock, NULL);
	for (int i = 0; i < END_COUNT; i++)
		conn->ends[i].conn = conn;
	return conn;
}

static void conn_open(struct link *l)
{
	int rc = 0;

	l->dying = false;
	l->dial_until = np_mono_add_ms(np_mono_now(), LINK_DIAL_MS);
	l->conn = conn_new(l->wake_fd);
	/* Events first: what happens after the state was asked for must not be missed. */
	for (int i = END_COUNT - 1; i >= 0 && l->conn != NULL && rc == 0; i--)
		rc = end_open(&l->conn->ends[i], i, l->paths[i]);
	if (rc != 0) {
		np_log(NP_LOG_WARN, NULL, "connection to the data plane: %s", nng_strerror(rc));
		conn_close(l, 0);
	}
	timer_update(l);
}

/* -- calls -- */

static void timer_update(struct link *l)
{
	struct np_mono now = np_mono_now(), first = {0};
	struct link_pending *p;
	int64_t us = RETRY_OPEN_MS * 1000;

	if (l->dying)
		first = l->dead_at;
	else if (l->conn != NULL && !l->up)
		first = l->dial_until;
	DL_FOREACH (l->pending, p) {
		if (!np_mono_is_set(first) || np_mono_before(p->deadline, first))
			first = p->deadline;
	}
	if (!np_mono_is_set(first) && l->conn != NULL) {
		event_del(l->timer);
		return;
	}
	if (np_mono_is_set(first))
		us = np_mono_diff_us(first, now) > 0 ? np_mono_diff_us(first, now) : 0;
	event_add(l->timer, &(struct timeval){.tv_sec = us / 1000000, .tv_usec = us % 1000000});
}

static void pending_end(struct link *l, struct link_pending *p, enum np_err err,
			const struct ctl_reply *reply)
{
	DL_DELETE(l->pending, p);
	l->npending--;
	p->done(l->arg, &p->call, err, reply);
	np_free(p);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;
	struct np_mono now = np_mono_now();
	struct link_pending *p, *tmp;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(l, LINK_MAGIC);
	if (l->conn == NULL) {
		conn_open(l);
		return;
	}
	if (l->dying && !np_mono_before(now, l->dead_at)) {
		l->dying = false;
		link_reset(l);
	} else if (!l->up && !np_mono_before(now, l->dial_until)) {
		/* A peer that goes away in the middle of the handshake can end nng's dialling for
		 * good (1.5.2: it takes NNG_ECLOSED of the connection for its own end). */
		conn_close(l, 0);
		conn_open(l);
	}
	DL_FOREACH_SAFE (l->pending, p, tmp) {
		if (!np_mono_before(now, p->deadline))
			pending_end(l, p, NP_ETIMEOUT, NULL);
	}
	timer_update(l);
}

static void call_of(const struct ctl_request *req, struct link_call *call)
{
	call->command = req->command;
	call->revision = req->revision;
	if (req->command == CTL_CMD_APPLY)
		snprintf(call->id, sizeof(call->id), "%s", req->apply.id);
	else if (req->command == CTL_CMD_REMOVE)
		snprintf(call->id, sizeof(call->id), "%s", req->remove.id);
	else if (req->command == CTL_CMD_SNAPSHOT)
		call->last = req->snapshot.last;
}

static enum np_err send_bytes(struct link *l, uint32_t number, const struct np_buf *bytes)
{
	nng_msg *msg = NULL;
	int rc = nng_msg_alloc(&msg, 0);

	if (rc == 0)
		rc = nng_msg_header_append_u32(msg, number);
	if (rc == 0)
		rc = nng_msg_append(msg, np_buf_ptr(bytes), np_buf_len(bytes));
	if (rc == 0)
		rc = nng_sendmsg(l->conn->ends[END_CTL].socket, msg, NNG_FLAG_NONBLOCK);
	if (rc == 0)
		return NP_OK;
	if (msg != NULL)
		nng_msg_free(msg);
	return rc == NNG_ENOMEM ? NP_ENOMEM : NP_EAGAIN;
}

enum np_err link_send(struct link *l, struct ctl_request *req, int timeout_ms, link_reply_fn done)
{
	struct link_pending *p;
	struct np_buf bytes;
	enum np_err err;

	if (!l->up || l->reset || l->dying || l->conn == NULL)
		return NP_ESTATE;
	if (l->npending >= LINK_WINDOW)
		return NP_EAGAIN;
	p = np_calloc(1, sizeof(*p));
	if (p == NULL)
		return NP_ENOMEM;
	p->number = ++l->number | REQUEST_BIT;
	p->deadline = np_mono_add_ms(np_mono_now(), timeout_ms);
	p->done = done;
	call_of(req, &p->call);
	req->encoding = CTL_PROTOBUF;
	req->version = CTL_VERSION;
	snprintf(req->request_id, sizeof(req->request_id), "%08x", p->number);
	np_buf_init(&bytes, CTL_MESSAGE_MAX);
	err = ctl_request_encode(req, &bytes);
	if (err == NP_OK)
		err = send_bytes(l, p->number, &bytes);
	np_buf_wipe(&bytes);
	if (err != NP_OK) {
		np_free(p);
		return err;
	}
	DL_APPEND(l->pending, p);
	l->npending++;
	timer_update(l);
	return NP_OK;
}

unsigned link_room(const struct link *l)
{
	return l->up && !l->reset && !l->dying && l->npending < LINK_WINDOW
		   ? LINK_WINDOW - l->npending
		   : 0;
}

/* -- what came -- */

static uint32_t number_of(const nng_msg *msg)
{
	const uint8_t *h = nng_msg_header((nng_msg *)(uintptr_t)msg);
	size_t len = nng_msg_header_len(msg);

	if (len < 4)
		return 0;
	h += len - 4;
	return (uint32_t)h[0] << 24 | (uint32_t)h[1] << 16 | (uint32_t)h[2] << 8 | h[3];
}

static void reply_handle(struct link *l, nng_msg *msg)
{
	uint32_t number = number_of(msg);
	struct link_pending *p;
	struct np_diag diag = {0};
	struct ctl_reply reply;
	enum np_err err;

	DL_FOREACH (l->pending, p) {
		if (p->number == number)
			break;
	}
	if (p == NULL) /* too late */
		return;
	err = ctl_reply_decode(nng_msg_body(msg), nng_msg_len(msg), &reply, &diag);
	if (err != NP_OK) {
		np_log(NP_LOG_WARN, NULL, "a reply of the data plane was not understood: %s",
		       diag.text);
		pending_end(l, p, NP_EPROTO, NULL);
		return;
	}
	pending_end(l, p, NP_OK, &reply);
	ctl_reply_release(&reply);
}

static void event_handle(struct link *l, nng_msg *msg)
{
	struct np_diag diag = {0};
	struct ctl_event ev;

	if (ctl_event_decode(nng_msg_body(msg), nng_msg_len(msg), &ev, &diag) != NP_OK) {
		np_log(NP_LOG_WARN, NULL, "an event of the data plane was not understood: %s",
		       diag.text);
		return;
	}
	l->cb.on_event(l->arg, &ev);
	ctl_event_release(&ev);
}

/* True: there may be more. */
static bool end_drain(struct link *l, int which)
{
	struct link_end *e = &l->conn->ends[which];
	nng_msg *msg = NULL;
	bool resume;
	int n = 0;

	do {
		msg = end_pop(e, &resume);
		if (resume)
			nng_recv_aio(e->socket, e->aio);
		if (msg == NULL)
			break;
		if (which == END_CTL)
			reply_handle(l, msg);
		else if (l->up)
			event_handle(l, msg);
		nng_msg_free(msg);
	} while (++n < LINK_BATCH_MAX);
	return msg != NULL;
}

static void link_down(struct link *l)
{
	bool was_up = l->up, at_once = was_up || l->reset;

	l->up = false;
	conn_close(l, 0);
	l->reset = false;
	while (l->pending != NULL)
		pending_end(l, l->pending, NP_ECLOSED, NULL);
	if (was_up)
		l->cb.on_down(l->arg);
	if (at_once)
		conn_open(l);
	else /* somebody accepts and closes */
		timer_update(l);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;
	struct link_conn *before = l->conn;
	struct link_end *ctl, *events;
	bool up, down, both, more;
	uint64_t n;
	int pid;

	(void)what;
	NP_CHECK_MAGIC(l, LINK_MAGIC);
	if (read(fd, &n, sizeof(n)) == -1 && errno != EAGAIN)
		return;
	if (l->conn == NULL)
		return;
	ctl = &l->conn->ends[END_CTL];
	events = &l->conn->ends[END_EVENTS];
	pthread_mutex_lock(&l->conn->lock);
	up = ctl->up && events->up;
	down = ctl->down || events->down;
	both = ctl->down && events->down;
	pid = ctl->pid;
	pthread_mutex_unlock(&l->conn->lock);
	if (up && !down && !l->up && !l->reset) {
		l->up = true;
		l->cb.on_up(l->arg, pid);
	}
	/* Replies first: what they are the answer to came before what is reported now. */
	more = end_drain(l, END_CTL);
	more = end_drain(l, END_EVENTS) || more;
	if (l->reset || (both && !more) || (down && !l->up))
		link_down(l);
	else if (more)
		wake(l->wake_fd);
	/* A process that ends loses both: closing the other while it still reads is avoided. */
	if (down && l->up && l->conn == before && !l->dying && !l->reset) {
		l->dying = true;
		l->dead_at = np_mono_add_ms(np_mono_now(), DYING_MS);
	}
	timer_update(l);
}

void link_reset(struct link *l)
{
	l->reset = true;
	wake(l->wake_fd);
}

/*
 * A dial that is under way is left alone: it is tried again every LINK_REDIAL_MS by itself, and a
 * connection that goes away in the middle of nng's handshake can leave the listener at the other
 * end without an accept (nng 1.5.2), until the data plane finds out.
 */
void link_kick(struct link *l)
{
	if (l->conn == NULL)
		conn_open(l);
}

enum np_err link_new(struct event_base *base, const char *ctl_path, const char *events_path,
		     const struct link_callbacks *cb, void *arg, struct link **out)
{
	struct link *l;

	if (strlen(ctl_path) >= PATH_LEN || strlen(events_path) >= PATH_LEN)
		return NP_ELIMIT;
	l = np_calloc(1, sizeof(*l));
	if (l == NULL)
		return NP_ENOMEM;
	l->magic = LINK_MAGIC;
	l->base = base;
	l->cb = *cb;
	l->arg = arg;
	snprintf(l->paths[END_CTL], PATH_LEN, "%s", ctl_path);
	snprintf(l->paths[END_EVENTS], PATH_LEN, "%s", events_path);
	l->timer = evtimer_new(base, on_timer, l);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd != -1)
		l->wake = event_new(base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
	if (l->timer == NULL || l->wake == NULL || event_add(l->wake, NULL) != 0) {
		link_free(l);
		return NP_ENOMEM;
	}
	conn_open(l);
	*out = l;
	return NP_OK;
}

void link_free(struct link *l)
{
	struct link_pending *p, *tmp;

	if (l == NULL)
		return;
	conn_close(l, CLOSE_WAIT_MS);
	DL_FOREACH_SAFE (l->pending, p, tmp) {
		DL_DELETE(l->pending, p);
		np_free(p);
	}
	if (l->wake != NULL)
		event_free(l->wake);
	if (l->timer != NULL)
		event_free(l->timer);
	if (l->wake_fd != -1)
		close(l->wake_fd);
	l->magic = 0;
	np_free(l);
}
