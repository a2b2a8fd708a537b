/*
 * link_conn.c - see link_conn.h.
 */
#include "link_conn.h"

#include "base/alloc.h"
#include "base/log.h"
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

/* One socket of a connection. */
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

/* Owned by the link until link_conn_close, then by the thread that closes it. */
struct link_conn {
	pthread_mutex_t lock; /* guards the ends; never held around a call of nng */
	int wake_fd;	      /* owned; another descriptor of the link's */
	struct link_end ends[LINK_END_COUNT];
};

void link_conn_wake(int wake_fd)
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
	link_conn_wake(e->conn->wake_fd);
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
	link_conn_wake(e->conn->wake_fd);
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

static int end_open(struct link_end *e, int which, const char *path)
{
	char url[LINK_PATH_LEN + sizeof("ipc://")];
	nng_dialer dialer;
	int rc;

	snprintf(url, sizeof(url), "ipc://%s", path);
	rc = which == LINK_CTL ? nng_req0_open_raw(&e->socket) : nng_sub0_open(&e->socket);
	e->is_open = rc == 0;
	if (rc == 0)
		rc = nng_aio_alloc(&e->aio, on_received, e);
	if (rc == 0)
		rc = nng_socket_set_size(e->socket, NNG_OPT_RECVMAXSZ, CTL_MESSAGE_MAX);
	if (rc == 0)
		rc = nng_socket_set_ms(e->socket, NNG_OPT_RECONNMINT, 10);
	if (rc == 0)
		rc = nng_socket_set_ms(e->socket, NNG_OPT_RECONNMAXT, LINK_REDIAL_MS);
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
	if (rc == 0)
		rc = nng_dialer_create(&dialer, e->socket, url);
	if (rc == 0)
		rc = nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
	return rc;
}

static void *conn_free(void *arg)
{
	struct link_conn *conn = arg;

	for (int i = 0; i < LINK_END_COUNT; i++)
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
void link_conn_close(struct link_conn *conn, int wait_ms)
{
	struct timespec end;
	sigset_t all, old;
	pthread_t thread;
	int rc;

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
	for (int i = 0; i < LINK_END_COUNT; i++)
		conn->ends[i].conn = conn;
	return conn;
}

struct link_conn *link_conn_open(const char (*paths)[LINK_PATH_LEN], int wake_fd)
{
	struct link_conn *conn = conn_new(wake_fd);
	int rc = 0;

	/* Events first: what happens after the state was asked for must not be missed. */
	for (int i = LINK_END_COUNT - 1; i >= 0 && conn != NULL && rc == 0; i--)
		rc = end_open(&conn->ends[i], i, paths[i]);
	if (rc == 0)
		return conn;
	np_log(NP_LOG_WARN, NULL, "connection to the data plane: %s", nng_strerror(rc));
	link_conn_close(conn, 0);
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
