/*
 * command_edge.c - see command_edge.h.
 */
#include "command_edge.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/wake_fd.h"
#include "core/proof.h"
#include "edge_door.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EDGE_MAGIC 0x43454447u

struct command_call {
	nng_msg *msg; /* owned; its header is the address of the reply */
};

struct command_edge {
	unsigned magic;
	nng_socket socket;
	struct edge_door *door; /* owned */
	nng_aio *aio;
	struct event *wake;
	int wake_fd;
	command_edge_fn on_request;
	void *arg;

	pthread_mutex_t lock; /* guards the rest; never held around a call of nng */
	nng_msg *queue[COMMAND_QUEUE_MAX];
	size_t first, count;
	bool paused;  /* no receive is under way */
	bool closing; /* what is received is dropped */
};

/* On a thread of nng's. */
static void on_received(void *arg)
{
	struct command_edge *e = arg;
	int rc = nng_aio_result(e->aio);
	nng_msg *msg = rc == 0 ? nng_aio_get_msg(e->aio) : NULL;
	bool again;

	if (rc == NNG_ECLOSED || rc == NNG_ECANCELED)
		return;
	pthread_mutex_lock(&e->lock);
	if (e->closing && msg != NULL) {
		nng_msg_free(msg);
	} else if (msg != NULL) {
		e->queue[(e->first + e->count) % COMMAND_QUEUE_MAX] = msg;
		e->count++;
	}
	/* After an error the loop begins anew, so that a lasting one does not spin here. */
	again = msg != NULL && (e->count < COMMAND_QUEUE_MAX || e->closing);
	e->paused = !again;
	pthread_mutex_unlock(&e->lock);
	np_wake_fd_set(e->wake_fd);
	if (again)
		nng_recv_aio(e->socket, e->aio);
}

static void handle(struct command_edge *e, nng_msg *msg)
{
	struct command_call *call = np_calloc(1, sizeof(*call));

	if (call == NULL) {
		nng_msg_free(msg);
		return;
	}
	call->msg = msg;
	e->on_request(e->arg, call, nng_msg_body(msg), nng_msg_len(msg),
		      door_is_friend(e->door, nng_msg_get_pipe(msg)));
}

static nng_msg *queue_pop(struct command_edge *e, bool *resume)
{
	nng_msg *msg = NULL;

	pthread_mutex_lock(&e->lock);
	if (e->count > 0) {
		msg = e->queue[e->first];
		e->first = (e->first + 1) % COMMAND_QUEUE_MAX;
		e->count--;
	}
	*resume = e->paused && e->count < COMMAND_QUEUE_LOW;
	if (*resume)
		e->paused = false;
	pthread_mutex_unlock(&e->lock);
	return msg;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct command_edge *e = arg;
	nng_msg *msg = NULL;
	int round = 0;

	(void)what;
	NP_ASSERT(e->magic == EDGE_MAGIC);
	np_wake_fd_clear(fd);
	do {
		bool resume;

		msg = queue_pop(e, &resume);
		if (resume)
			nng_recv_aio(e->socket, e->aio);
		if (msg != NULL)
			handle(e, msg);
	} while (msg != NULL && ++round < COMMAND_BATCH_MAX);
	if (msg != NULL) /* perhaps more: after what else the loop has to do */
		np_wake_fd_set(e->wake_fd);
}

static enum np_err say(struct np_diag *diag, const char *path, int rc)
{
	return np_diag_set(diag, rc == NNG_ENOMEM ? NP_ENOMEM : NP_ESYS, "socket", "%s: %s", path,
			   nng_strerror(rc));
}

static enum np_err listen_on(struct command_edge *e, const char *path, struct event_base *base,
			     struct np_diag *diag)
{
	enum np_err err;
	int rc = nng_rep0_open_raw(&e->socket);

	if (rc != 0)
		return say(diag, path, rc);
	rc = nng_socket_set_size(e->socket, NNG_OPT_RECVMAXSZ, COMMAND_MESSAGE_MAX);
	err =
	    rc == 0 ? door_open(e->socket, path, base, true, &e->door, diag) : say(diag, path, rc);
	if (err != NP_OK)
		nng_close(e->socket);
	return err;
}

static void edge_free(struct command_edge *e)
{
	if (e->wake != NULL)
		event_free(e->wake);
	if (e->aio != NULL)
		nng_aio_free(e->aio);
	if (e->wake_fd != -1)
		close(e->wake_fd);
	pthread_mutex_destroy(&e->lock);
	e->magic = 0;
	np_free(e);
}

enum np_err command_edge_open(const char *path, struct event_base *base, command_edge_fn on_request,
			      void *arg, struct command_edge **out, struct np_diag *diag)
{
	struct command_edge *e;
	enum np_err err;

	e = np_calloc(1, sizeof(*e));
	if (e == NULL)
		return NP_ENOMEM;
	e->magic = EDGE_MAGIC;
	e->on_request = on_request;
	e->arg = arg;
	pthread_mutex_init(&e->lock, NULL);
	e->wake_fd = np_wake_fd_open();
	if (e->wake_fd != -1)
		e->wake = event_new(base, e->wake_fd, EV_READ | EV_PERSIST, on_wake, e);
	if (e->wake == NULL || event_add(e->wake, NULL) != 0 ||
	    nng_aio_alloc(&e->aio, on_received, e) != 0) {
		edge_free(e);
		return NP_ENOMEM;
	}
	err = listen_on(e, path, base, diag);
	if (err != NP_OK) {
		edge_free(e);
		return err;
	}
	nng_recv_aio(e->socket, e->aio);
	*out = e;
	return NP_OK;
}

void command_edge_reply(struct command_edge *e, struct command_call *call, const void *data,
			size_t len)
{
	nng_msg *reply = NULL;

	/* The whole header: the pipe and, behind devices, the way back. */
	if (len > 0 && nng_msg_alloc(&reply, 0) == 0 &&
	    nng_msg_header_append(reply, nng_msg_header(call->msg),
				  nng_msg_header_len(call->msg)) == 0 &&
	    nng_msg_append(reply, data, len) == 0 && nng_sendmsg(e->socket, reply, 0) == 0)
		reply = NULL;
	if (reply != NULL)
		nng_msg_free(reply);
	np_wipe(nng_msg_body(call->msg), nng_msg_len(call->msg)); /* keys, in URLs and else */
	nng_msg_free(call->msg);
	np_free(call);
}

void command_edge_close(struct command_edge *e)
{
	bool resume, closed;
	nng_msg *msg;

	if (e == NULL)
		return;
	pthread_mutex_lock(&e->lock);
	e->closing = true;
	pthread_mutex_unlock(&e->lock);
	do { /* receiving goes on when it had stopped */
		msg = queue_pop(e, &resume);
		if (resume)
			nng_recv_aio(e->socket, e->aio);
		if (msg != NULL)
			nng_msg_free(msg);
	} while (msg != NULL);
	closed = door_close(e->door, e->socket);
	door_shut(e->door);
	if (!closed) /* of a thread that is still there */
		return;
	nng_aio_stop(e->aio);
	edge_free(e);
}
