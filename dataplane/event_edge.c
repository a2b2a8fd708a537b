/*
 * event_edge.c - see event_edge.h.
 */
#include "event_edge.h"

#include "base/alloc.h"
#include "base/log.h"
#include "edge_door.h"
#include "wire/ctl_msg.h"

#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>

#include <stdatomic.h>

struct stream {
	nng_socket socket;
	struct edge_door *door; /* owned */
	enum ctl_encoding encoding;
	uint64_t seq;
	atomic_int pipes; /* counted by nng's threads */
	bool open;
};

enum { STREAM_PROTOBUF = 0, STREAM_JSON, STREAM_COUNT };

struct event_edge {
	struct stream streams[STREAM_COUNT];
};

/* On a thread of nng's. Every pipe has one of each. */
static void on_pipe(nng_pipe p, nng_pipe_ev ev, void *arg)
{
	struct stream *s = arg;

	(void)p;
	if (ev == NNG_PIPE_EV_ADD_PRE)
		atomic_fetch_add(&s->pipes, 1);
	else
		atomic_fetch_sub(&s->pipes, 1);
}

static enum np_err stream_open(struct stream *s, const char *path, struct event_base *base,
			       struct np_diag *diag)
{
	int rc = nng_pub0_open(&s->socket);

	s->open = rc == 0;
	if (rc == 0)
		rc = nng_socket_set_int(s->socket, NNG_OPT_SENDBUF, EVENT_QUEUE_MAX);
	if (rc == 0)
		rc = nng_socket_set_size(s->socket, NNG_OPT_RECVMAXSZ, CTL_MESSAGE_MAX);
	if (rc == 0)
		rc = nng_pipe_notify(s->socket, NNG_PIPE_EV_ADD_PRE, on_pipe, s);
	if (rc == 0)
		rc = nng_pipe_notify(s->socket, NNG_PIPE_EV_REM_POST, on_pipe, s);
	if (rc != 0)
		return np_diag_set(diag, rc == NNG_ENOMEM ? NP_ENOMEM : NP_ESYS, "socket", "%s: %s",
				   path, nng_strerror(rc));
	return door_open(s->socket, path, base, false, &s->door, diag);
}

enum np_err event_edge_open(const char *path, const char *json_path, struct event_base *base,
			    struct event_edge **out, struct np_diag *diag)
{
	struct event_edge *e = np_calloc(1, sizeof(*e));
	enum np_err err;

	if (e == NULL)
		return NP_ENOMEM;
	e->streams[STREAM_PROTOBUF].encoding = CTL_PROTOBUF;
	e->streams[STREAM_JSON].encoding = CTL_JSON;
	err = stream_open(&e->streams[STREAM_PROTOBUF], path, base, diag);
	if (err == NP_OK)
		err = stream_open(&e->streams[STREAM_JSON], json_path, base, diag);
	if (err != NP_OK) {
		event_edge_close(e);
		return err;
	}
	*out = e;
	return NP_OK;
}

static void stream_send(struct stream *s, struct ctl_event *ev)
{
	struct np_buf out;
	nng_msg *msg = NULL;

	/* Counted also when nobody listens: who comes back sees that something was missed. */
	ev->seq = ++s->seq;
	if (atomic_load(&s->pipes) == 0)
		return;
	np_buf_init(&out, CTL_MESSAGE_MAX);
	if (ctl_event_encode(ev, s->encoding, &out) != NP_OK || out.err != NP_OK ||
	    nng_msg_alloc(&msg, 0) != 0 ||
	    nng_msg_append(msg, np_buf_ptr(&out), np_buf_len(&out)) != 0 ||
	    nng_sendmsg(s->socket, msg, 0) != 0) {
		np_log(NP_LOG_WARN, NULL, "an event was lost kind=%d bytes=%zu", (int)ev->kind,
		       np_buf_len(&out));
		if (msg != NULL)
			nng_msg_free(msg);
	}
	np_buf_release(&out);
}

void event_edge_send(struct event_edge *e, struct ctl_event *ev)
{
	for (int i = 0; i < STREAM_COUNT; i++)
		stream_send(&e->streams[i], ev);
}

unsigned event_edge_listeners(struct event_edge *e)
{
	unsigned n = 0;

	for (int i = 0; i < STREAM_COUNT; i++)
		n += (unsigned)atomic_load(&e->streams[i].pipes);
	return n;
}

void event_edge_close(struct event_edge *e)
{
	bool closed = true;

	if (e == NULL)
		return;
	for (int i = 0; i < STREAM_COUNT; i++) {
		struct stream *s = &e->streams[i];

		if (s->door != NULL)
			closed = door_close(s->door, s->socket) && closed;
		else if (s->open)
			nng_close(s->socket);
		door_shut(s->door);
	}
	if (closed)
		np_free(e);
}
