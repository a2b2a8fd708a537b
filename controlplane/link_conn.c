/*
 * link_conn.c - see link_conn.h.
 */
#include "link_conn.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/wake_fd.h"
#include "link.h"

#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/req.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define REDIAL_FIRST_MS 10 /* doubled up to LINK_REDIAL_MS */

/* One socket of a connection. */
struct link_end {
	struct link_conn *conn; /* borrowed: contains this */
	nng_socket socket;
	nng_aio *aio;
	bool is_open;
	char path[LINK_PATH_LEN];
	/* guarded by conn->lock: */
	nng_msg *queue[LINK_QUEUE_MAX];
	size_t first, count;
	bool paused; /* no receive is under way */
	bool up, down;
	int pid;
};

/* Owned by the link until link_conn_close, then by its thread. */
struct link_conn {
	pthread_mutex_t lock;	/* guards the ends and the flags; never held around a call of nng */
	pthread_cond_t changed; /* the flags */
	pthread_t thread;
	bool kicked, closing;
	int wake_fd; /* owned; another descriptor of the link's */
	struct link_end ends[LINK_END_COUNT];
};

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
	np_wake_fd_set(e->conn->wake_fd);
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
	/*
	 * Its dialer goes with it: nng would dial anew as soon as this callback has returned, half of the
	 * times at once whatever RECONNMINT says (1.5.2 takes a random number as signed).
	 */
	if (ev == NNG_PIPE_EV_REM_POST)
		nng_dialer_close(nng_pipe_dialer(p));
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
	np_wake_fd_set(e->conn->wake_fd);
}

/* -- opening and closing -- */

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

static int end_open(struct link_end *e, int which)
{
	int rc = which == LINK_CTL ? nng_req0_open_raw(&e->socket) : nng_sub0_open(&e->socket);

	e->is_open = rc == 0;
	if (rc == 0)
		rc = nng_aio_alloc(&e->aio, on_received, e);
	if (rc == 0)
		rc = nng_socket_set_size(e->socket, NNG_OPT_RECVMAXSZ, CTL_MESSAGE_MAX);
	if (rc == 0 && which == LINK_CTL)
		rc = nng_socket_set_int(e->socket, NNG_OPT_SENDBUF, 2 * LINK_WINDOW);
	if (rc == 0 && which == LINK_EVENTS)
		rc = nng_socket_set_int(e->socket, NNG_OPT_RECVBUF, 256);
	if (rc == 0 && which == LINK_EVENTS)
		rc = nng_socket_set(e->socket, NNG_OPT_SUB_SUBSCRIBE, "", 0);
	for (int ev = NNG_PIPE_EV_ADD_PRE; ev < NNG_PIPE_EV_NUM && rc == 0; ev++)
		rc = nng_pipe_notify(e->socket, (nng_pipe_ev)ev, on_pipe, e);
	if (rc == 0)
		nng_recv_aio(e->socket, e->aio);
	return rc;
}

/* Returns when nng's handshake has ended, which it does after 10 s at the latest. */
static bool end_dial(struct link_end *e)
{
	char url[LINK_PATH_LEN + sizeof("ipc://")];
	nng_dialer dialer;
	bool up;

	snprintf(url, sizeof(url), "ipc://%s", e->path);
	if (nng_dialer_create(&dialer, e->socket, url) != 0)
		return false;
	if (nng_dialer_start(dialer, 0) != 0) {
		nng_dialer_close(dialer); /* one that got NNG_ECLOSED cannot be started again */
		return false;
	}
	pthread_mutex_lock(&e->conn->lock);
	up = e->up; /* not: the other end was not trusted */
	pthread_mutex_unlock(&e->conn->lock);
	return up;
}

static void conn_destroy(struct link_conn *conn)
{
	for (int i = 0; i < LINK_END_COUNT; i++)
		end_close(&conn->ends[i]);
	pthread_cond_destroy(&conn->changed);
	pthread_mutex_destroy(&conn->lock);
	if (conn->wake_fd != -1)
		close(conn->wake_fd);
	np_free(conn);
}

/* Between two attempts. False: it is to be closed. */
static bool conn_wait(struct link_conn *conn, int ms)
{
	struct timespec end;
	bool closing;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += (long)ms * 1000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	pthread_mutex_lock(&conn->lock);
	while (!conn->closing && !conn->kicked && rc == 0)
		rc = pthread_cond_timedwait(&conn->changed, &conn->lock, &end);
	conn->kicked = false;
	closing = conn->closing;
	pthread_mutex_unlock(&conn->lock);
	return !closing;
}

/*
 * Dials, and closes when it is told to: never while a dial is under way, and on this thread, as in
 * nng 1.5.2 nng_close never returns when a message was being read just then (the transport asks for
 * its body with an aio that was closed, and nobody ends the one above).
 */
static void *conn_run(void *arg)
{
	struct link_conn *conn = arg;
	/* Events first: what happens after the state was asked for must not be missed. */
	int which = LINK_END_COUNT - 1, ms = REDIAL_FIRST_MS;

	while (which >= 0 && conn_wait(conn, 0)) {
		if (end_dial(&conn->ends[which])) {
			which--;
			continue;
		}
		if (!conn_wait(conn, ms))
			break;
		ms = ms * 2 < LINK_REDIAL_MS ? ms * 2 : LINK_REDIAL_MS;
	}
	pthread_mutex_lock(&conn->lock);
	while (!conn->closing)
		pthread_cond_wait(&conn->changed, &conn->lock);
	pthread_mutex_unlock(&conn->lock);
	conn_destroy(conn);
	return NULL;
}

void link_conn_kick(struct link_conn *conn)
{
	pthread_mutex_lock(&conn->lock);
	conn->kicked = true;
	pthread_cond_signal(&conn->changed);
	pthread_mutex_unlock(&conn->lock);
}

void link_conn_close(struct link_conn *conn, int wait_ms)
{
	struct timespec end;
	pthread_t thread;

	if (conn == NULL)
		return;
	pthread_mutex_lock(&conn->lock);
	thread = conn->thread;
	conn->closing = true;
	pthread_cond_signal(&conn->changed);
	pthread_mutex_unlock(&conn->lock);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += wait_ms / 1000;
	if (wait_ms == 0 || pthread_timedjoin_np(thread, NULL, &end) != 0)
		pthread_detach(thread);
}

static struct link_conn *conn_new(const char (*paths)[LINK_PATH_LEN], int wake_fd)
{
	struct link_conn *conn = np_calloc(1, sizeof(*conn));
	pthread_condattr_t attr;

	if (conn == NULL)
		return NULL;
	conn->wake_fd = fcntl(wake_fd, F_DUPFD_CLOEXEC, 0);
	if (conn->wake_fd == -1) {
		np_free(conn);
		return NULL;
	}
	pthread_mutex_init(&conn->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&conn->changed, &attr);
	pthread_condattr_destroy(&attr);
	for (int i = 0; i < LINK_END_COUNT; i++) {
		conn->ends[i].conn = conn;
		snprintf(conn->ends[i].path, LINK_PATH_LEN, "%s", paths[i]);
	}
	return conn;
}

static int conn_start(struct link_conn *conn)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	rc = pthread_create(&conn->thread, NULL, conn_run, conn);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc == 0 ? 0 : NNG_ENOMEM;
}

struct link_conn *link_conn_open(const char (*paths)[LINK_PATH_LEN], int wake_fd)
{
	struct link_conn *conn = conn_new(paths, wake_fd);
	int rc = 0;

	for (int i = 0; i < LINK_END_COUNT && conn != NULL && rc == 0; i++)
		rc = end_open(&conn->ends[i], i);
	if (rc == 0 && conn != NULL)
		rc = conn_start(conn);
	if (rc == 0)
		return conn;
	np_log(NP_LOG_WARN, NULL, "connection to the data plane: %s", nng_strerror(rc));
	conn_destroy(conn);
	return NULL;
}

/* -- while it lives -- */

struct link_conn_state link_conn_state(struct link_conn *conn)
{
	const struct link_end *ctl = &conn->ends[LINK_CTL], *events = &conn->ends[LINK_EVENTS];
	struct link_conn_state st;

	pthread_mutex_lock(&conn->lock);
	st.up = ctl->up && events->up;
	st.down = ctl->down || events->down;
	st.both_down = ctl->down && events->down;
	st.pid = ctl->pid;
	pthread_mutex_unlock(&conn->lock);
	return st;
}

nng_msg *link_conn_take(struct link_conn *conn, enum link_end_kind which)
{
	struct link_end *e = &conn->ends[which];
	bool resume;
	nng_msg *msg = end_pop(e, &resume);

	if (resume)
		nng_recv_aio(e->socket, e->aio);
	return msg;
}

enum np_err link_conn_send(struct link_conn *conn, uint32_t number, const struct np_buf *bytes)
{
	nng_msg *msg = NULL;
	int rc = nng_msg_alloc(&msg, 0);

	if (rc == 0)
		rc = nng_msg_header_append_u32(msg, number);
	if (rc == 0)
		rc = nng_msg_append(msg, np_buf_ptr(bytes), np_buf_len(bytes));
	if (rc == 0)
		rc = nng_sendmsg(conn->ends[LINK_CTL].socket, msg, NNG_FLAG_NONBLOCK);
	if (rc == 0)
		return NP_OK;
	if (msg != NULL)
		nng_msg_free(msg);
	return rc == NNG_ENOMEM ? NP_ENOMEM : NP_EAGAIN;
}

uint32_t link_conn_number(const nng_msg *msg)
{
	const uint8_t *h = nng_msg_header((nng_msg *)(uintptr_t)msg);
	size_t len = nng_msg_header_len(msg);

	if (len < 4)
		return 0;
	h += len - 4;
	return (uint32_t)h[0] << 24 | (uint32_t)h[1] << 16 | (uint32_t)h[2] << 8 | h[3];
}
