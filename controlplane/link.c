/*
 * link.c - see link.h: calls, replies, events, and when a connection is given up. The connection
 * itself is in link_conn.c.
 */
#include "link.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/mono.h"
#include "base/wake_fd.h"
#include "link_conn.h"

#include <utlist.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define LINK_MAGIC    0x4c494e4bu
#define CLOSE_WAIT_MS 1000 /* for the sockets at the end */
#define DYING_MS      100
#define RETRY_OPEN_MS 200 /* after sockets could not be opened */

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
	char paths[LINK_END_COUNT][LINK_PATH_LEN];
	struct link_callbacks cb;
	void *arg;
	struct event *wake, *timer;
	int wake_fd;
	struct link_conn *conn; /* owned; NULL: could not be opened, the timer tries again */
	struct link_pending *pending;
	unsigned npending;
	uint32_t number;
	int pid;		   /* with up */
	struct np_mono dead_at;	   /* with dying */
	struct np_mono dial_until; /* while not up: then another try with new sockets */
	int dial_ms;
	bool up, reset, dying; /* dying: one socket is down, the other gets DYING_MS */
};

static void timer_update(struct link *l);

/* A new connection; the old one is gone. */
static void conn_open(struct link *l)
{
	l->dying = false;
	l->dial_until = np_mono_add_ms(np_mono_now(), l->dial_ms);
	l->conn = link_conn_open(l->paths, l->wake_fd);
	timer_update(l);
}

static void conn_close(struct link *l, int wait_ms)
{
	link_conn_close(l->conn, wait_ms);
	l->conn = NULL;
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
	if (!l->up && !l->dying && !np_mono_before(now, l->dial_until)) {
		l->dial_ms = l->dial_ms * 2 < LINK_DIAL_MAX_MS ? l->dial_ms * 2 : LINK_DIAL_MAX_MS;
		conn_close(l, 0);
		conn_open(l);
		return;
	}
	if (l->dying && !np_mono_before(now, l->dead_at)) {
		l->dying = false;
		link_reset(l);
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
	p->number = ++l->number | LINK_REQUEST_BIT;
	p->deadline = np_mono_add_ms(np_mono_now(), timeout_ms);
	p->done = done;
	call_of(req, &p->call);
	req->encoding = CTL_PROTOBUF;
	req->version = CTL_VERSION;
	snprintf(req->request_id, sizeof(req->request_id), "%08x", p->number);
	np_buf_init(&bytes, CTL_MESSAGE_MAX);
	err = ctl_request_encode(req, &bytes);
	if (err == NP_OK)
		err = link_conn_send(l->conn, p->number, &bytes);
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

static void reply_handle(struct link *l, nng_msg *msg)
{
	uint32_t number = link_conn_number(msg);
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
static bool end_drain(struct link *l, enum link_end_kind which)
{
	nng_msg *msg = NULL;
	int n = 0;

	do {
		msg = link_conn_take(l->conn, which);
		if (msg == NULL)
			break;
		if (which == LINK_CTL)
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
	struct link_conn_state st;
	bool more;

	(void)what;
	NP_CHECK_MAGIC(l, LINK_MAGIC);
	np_wake_fd_clear(fd);
	if (l->conn == NULL)
		return;
	st = link_conn_state(l->conn);
	if (st.up && !st.down && !l->up && !l->reset) {
		l->up = true;
		l->dial_ms = LINK_DIAL_MS;
		l->pid = st.pid;
		l->cb.on_up(l->arg, st.pid);
	}
	/* Replies first: what they are the answer to came before what is reported now. */
	more = end_drain(l, LINK_CTL);
	more = end_drain(l, LINK_EVENTS) || more;
	if (l->reset || (st.both_down && !more) || (st.down && !l->up))
		link_down(l);
	else if (more)
		np_wake_fd_set(l->wake_fd);
	/* A process that ends loses both: closing the other while it still reads is avoided. */
	if (st.down && l->up && l->conn == before && !l->dying && !l->reset) {
		l->dying = true;
		l->dead_at = np_mono_add_ms(np_mono_now(), DYING_MS);
	}
	timer_update(l);
}

void link_reset(struct link *l)
{
	l->reset = true;
	np_wake_fd_set(l->wake_fd);
}

/* A dial that is under way is left alone for a while. */
void link_kick(struct link *l)
{
	if (!l->up)
		l->dial_ms = LINK_DIAL_MS;
	if (l->conn == NULL) {
		conn_open(l);
	} else if (!l->up) {
		link_conn_kick(l->conn);
		l->dial_until = np_mono_add_ms(np_mono_now(), l->dial_ms);
		timer_update(l);
	}
}

/* nng 1.5.2 says so of a pipe on one thread, which an nng_close that never returns keeps for good. */
void link_peer_ended(struct link *l, int pid)
{
	if (l->up && l->pid == pid)
		link_reset(l);
}

enum np_err link_new(struct event_base *base, const char *ctl_path, const char *events_path,
		     const struct link_callbacks *cb, void *arg, struct link **out)
{
	struct link *l;

	if (strlen(ctl_path) >= LINK_PATH_LEN || strlen(events_path) >= LINK_PATH_LEN)
		return NP_ELIMIT;
	l = np_calloc(1, sizeof(*l));
	if (l == NULL)
		return NP_ENOMEM;
	l->magic = LINK_MAGIC;
	l->base = base;
	l->cb = *cb;
	l->arg = arg;
	l->dial_ms = LINK_DIAL_MS;
	snprintf(l->paths[LINK_CTL], LINK_PATH_LEN, "%s", ctl_path);
	snprintf(l->paths[LINK_EVENTS], LINK_PATH_LEN, "%s", events_path);
	l->timer = evtimer_new(base, on_timer, l);
	l->wake_fd = np_wake_fd_open();
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
