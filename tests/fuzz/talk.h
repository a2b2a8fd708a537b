/*
 * talk.h - for the targets that talk to a real instance: one worker, sockets over loopback, and a
 * clock and a TLS that are made up.
 *
 * TLS is left out by the linker (--wrap, see tests/CMakeLists.txt): its handshake is over at once,
 * ALPN is what the target says, exporters are fixed, bytes are plain. The clock is the machine's
 * plus what talk_jump added; libevent sees it, too. Include it once in a target.
 */
#ifndef NP_FUZZ_TALK_H
#define NP_FUZZ_TALK_H

#include "channel.h"
#include "control.h"
#include "newcomer.h"
#include "offload.h"
#include "runtime.h"
#include "session.h"

#include "base/assert.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TALK_KEY "np1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

struct runtime runtime;

/* -- the clock -- */

static _Atomic int64_t talk_ahead_ns;

int clock_gettime(clockid_t id, struct timespec *t);
int clock_gettime(clockid_t id, struct timespec *t)
{
	int rc = (int)syscall(SYS_clock_gettime, id, t);
	int64_t ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec + talk_ahead_ns;

	if (rc != 0 || (id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_COARSE))
		return rc;
	t->tv_sec = ns / 1000000000;
	t->tv_nsec = ns % 1000000000;
	return 0;
}

/* -- TLS -- */

static _Atomic int talk_alpn = TLS_CONTROL;

enum stream_status __wrap_stream_handshake(struct stream *s);
enum stream_status __wrap_stream_handshake(struct stream *s)
{
	struct stream tls = *s;

	stream_init(s, tls.fd);
	tls.fd = -1;
	stream_close(&tls, false); /* with the byte that said TLS */
	return STREAM_OK;
}

const char *__wrap_stream_handshake_error(struct stream *s, char *out, size_t max);
const char *__wrap_stream_handshake_error(struct stream *s, char *out, size_t max)
{
	(void)snprintf(out, max, "%s", strerror(s->sys_errno));
	return out;
}

enum tls_alpn __wrap_tls_alpn(const SSL *ssl);
enum tls_alpn __wrap_tls_alpn(const SSL *ssl)
{
	(void)ssl;
	return (enum tls_alpn)talk_alpn;
}

static void talk_exporter(const char *label, uint8_t out[NP_EXPORTER_LEN])
{
	memset(out, strcmp(label, NP_EXPORTER_CONTROL) == 0 ? 'e' : 'd', NP_EXPORTER_LEN);
}

enum np_err __wrap_tls_exporter(SSL *ssl, const char *label, uint8_t out[NP_EXPORTER_LEN]);
enum np_err __wrap_tls_exporter(SSL *ssl, const char *label, uint8_t out[NP_EXPORTER_LEN])
{
	(void)ssl;
	talk_exporter(label, out);
	return NP_OK;
}

/* -- the worker -- */

struct talk_call {
	struct mail mail;
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void talk_deliver(struct worker *w, struct mail *m)
{
	struct talk_call *c = (struct talk_call *)m;

	(void)w;
	if (c->fn != NULL)
		c->fn(c->arg);
	sem_post(&c->done);
}

/* talk_on_worker - @fn(@arg) has run there. */
static void talk_on_worker(void (*fn)(void *arg), void *arg)
{
	struct talk_call c = {.mail.deliver = talk_deliver, .fn = fn, .arg = arg};

	sem_init(&c.done, 0, 0);
	worker_post(worker_at(0), &c.mail);
	while (sem_wait(&c.done) == -1 && errno == EINTR)
		;
	sem_destroy(&c.done);
}

struct talk_passes {
	struct task task;
	int left;
	sem_t *done;
};

static void talk_pass(struct worker *w, struct task *t)
{
	struct talk_passes *p = (struct talk_passes *)t;

	if (--p->left > 0)
		worker_defer(w, t);
	else
		sem_post(p->done);
}

static void talk_begin_passes(void *arg)
{
	worker_defer(worker_at(0), &((struct talk_passes *)arg)->task);
}

/* talk_settle - what the sockets brought has been acted on: a connection takes some passes of the
 * loop from its accept to the first answer. */
static void talk_settle(void)
{
	sem_t done;
	struct talk_passes p = {.task.run = talk_pass, .left = 8, .done = &done};

	sem_init(&done, 0, 0);
	talk_on_worker(talk_begin_passes, &p);
	while (sem_wait(&done) == -1 && errno == EINTR)
		;
	sem_destroy(&done);
}

static void talk_jump(int64_t ms)
{
	talk_ahead_ns += ms * 1000000;
	talk_settle();
}

/* -- sockets -- */

static char talk_host[16];

static struct sockaddr_in talk_addr(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

	NP_ASSERT(inet_pton(AF_INET, talk_host, &a.sin_addr) == 1);
	return a;
}

static int talk_listen(uint16_t port)
{
	struct sockaddr_in a = talk_addr(port);
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	NP_ASSERT(fd != -1);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	NP_ASSERT(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 64) == 0);
	return fd;
}

static int talk_connect(uint16_t port)
{
	struct sockaddr_in a = talk_addr(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
		if (fd != -1)
			close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void talk_close(int *fd, bool abort)
{
	const struct linger hard = {1, 0};

	if (*fd == -1)
		return;
	if (abort)
		setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(*fd);
	*fd = -1;
}

/* talk_await - an answer that is due has come, or will not: the kernel of a busy machine delivers late
 * even over loopback. */
static void talk_await(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	talk_settle();
	(void)poll(&p, 1, ms);
}

/* -- the beginning -- */

static sem_t talk_started;

static void talk_on_state(struct instance *inst, void *arg)
{
	(void)arg;
	if (inst->state == INSTANCE_RUNNING)
		sem_post(&talk_started);
	NP_ASSERT(inst->state != INSTANCE_ERROR);
}

static void talk_start(void *inst)
{
	instance_start(inst);
}

/* talk_instance - of @url; @wait: until it runs, which a client does with its first session. */
static struct instance *talk_instance(const char *url, bool wait)
{
	const struct instance_material none = {.has_auth = false};
	struct np_diag diag = {.text = ""};
	struct np_config cfg;
	struct instance *inst = NULL;

	if (np_config_parse(url, &cfg, &diag) != NP_OK ||
	    instance_new("", &cfg, &none, worker_at(0), &inst, &diag) != NP_OK) {
		fprintf(stderr, "%s: %s\n", url, diag.text);
		abort();
	}
	inst->on_state = talk_on_state;
	sem_init(&talk_started, 0, 0);
	talk_on_worker(talk_start, inst);
	while (wait && sem_wait(&talk_started) == -1 && errno == EINTR)
		;
	return inst;
}

static const char *talk_no_variable(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	return NULL;
}

static void talk_no_warning(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

static void talk_init(void)
{
	unsigned pid = (unsigned)getpid();

	snprintf(talk_host, sizeof(talk_host), "127.%u.%u.%u", 100 + pid % 100, pid / 100 % 250,
		 1 + pid / 25000 % 250);
	np_env_load(&runtime.env, talk_no_variable, talk_no_warning, NULL);
	NP_ASSERT(workers_start(1) == NP_OK);
}

/* -- what the input says -- */

struct talk_in {
	const uint8_t *p;
	size_t left;
};

static uint8_t talk_u8(struct talk_in *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->p++;
}

static const uint8_t *talk_bytes(struct talk_in *in, size_t *n)
{
	const uint8_t *p = in->p;

	if (*n > in->left)
		*n = in->left;
	in->p += *n;
	in->left -= *n;
	return p;
}

/* -- connections of the other end, and what it may say on them -- */

#define CONNS 8 /* of peers; visitors and targets have as many */

enum { WANT_NOTHING, WANT_CONTROL, WANT_CHANNEL };

struct conn {
	int fd;
	int kind;
	enum np_channel_kind channel;
	uint16_t turn;
	struct np_buf got;	  /* a control connection's, until it is live */
	struct np_buf transcript; /* Hello, Auth, Welcome */
	bool asked;		  /* Auth was sent; said again only when the session is live */
	bool live;
};

static void conn_close(struct conn *c, bool abort)
{
	talk_close(&c->fd, abort);
	np_buf_release(&c->got);
	np_buf_release(&c->transcript);
	c->kind = WANT_NOTHING;
	c->asked = c->live = false;
}

static void conn_send(struct conn *c, const void *p, size_t n)
{
	if (c->fd != -1)
		(void)!send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* conn_fill - what came is got. */
static void conn_fill(struct conn *c)
{
	uint8_t buf[4096];
	ssize_t n;

	while (c->fd != -1 && (n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		np_buf_put(&c->got, buf, (size_t)n);
}

/* conn_frames - @on_frame is called with each whole control frame of what was got. */
static void conn_frames(struct conn *c,
			void (*on_frame)(struct conn *c, const uint8_t *p, size_t len))
{
	while (np_buf_len(&c->got) >= 4) {
		const uint8_t *p = np_buf_ptr(&c->got);
		size_t len =
		    4 + ((size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3]);

		NP_ASSERT(len <= 4 + NP_MSG_MAX);
		if (np_buf_len(&c->got) < len)
			break;
		on_frame(c, p, len);
		np_buf_consume(&c->got, len);
	}
}

/* talk_take_targets - who waits at @fd gets a place, or is closed. @proved: somebody has proved the
 * key; nothing reaches a target before. */
static void talk_take_targets(int fd, int places[CONNS], bool proved)
{
	int got;

	while ((got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1) {
		int *place = NULL;

		NP_ASSERT(proved);
		for (int i = 0; i < CONNS && place == NULL; i++)
			place = places[i] == -1 ? &places[i] : NULL;
		if (place != NULL)
			*place = got;
		else
			close(got);
	}
}

/* talk_close_all - some with an abort, some in order. */
static void talk_close_all(struct conn conns[CONNS], int visitors[CONNS], int targets[CONNS])
{
	for (int i = 0; i < CONNS; i++) {
		conn_close(&conns[i], i % 2 != 0);
		talk_close(&visitors[i], i % 2 != 0);
		talk_close(&targets[i], i % 2 == 0);
	}
}

/* put_msg - what is to be proved is noted; a Hello after Auth is not: the answer, which may come later
 * than it is sent, was made without it. */
static void put_msg(struct conn *c, const struct np_msg *m)
{
	struct np_buf out;
	bool counts = (m->kind == NP_MSG_HELLO && !c->asked) || m->kind == NP_MSG_AUTH ||
		      m->kind == NP_MSG_WELCOME;

	np_buf_init(&out, 1 << 17);
	if (np_msg_pack(m, &out) == NP_OK) {
		if (counts && !c->live)
			np_buf_put(&c->transcript, np_buf_ptr(&out), np_buf_len(&out));
		conn_send(c, np_buf_ptr(&out), np_buf_len(&out));
	}
	np_buf_release(&out);
}

static void step_message(struct conn *c, struct talk_in *in)
{
	static const enum np_msg_kind kinds[] = {
	    NP_MSG_PING, NP_MSG_PONG,	NP_MSG_POOL_DEMAND, NP_MSG_POOL_TARGET, NP_MSG_DRAIN,
	    NP_MSG_BYE,	 NP_MSG_UPDATE, NP_MSG_HELLO,	    NP_MSG_CERTIFICATE};
	struct np_msg m = {.kind = kinds[talk_u8(in) % (sizeof(kinds) / sizeof(kinds[0]))]};
	uint8_t how = talk_u8(in), few = talk_u8(in);

	if (c->kind != WANT_CONTROL)
		return;
	if (m.kind == NP_MSG_PING || m.kind == NP_MSG_PONG)
		m.ping.time_us = (uint64_t)how << (few % 57);
	else if (m.kind == NP_MSG_POOL_DEMAND || m.kind == NP_MSG_POOL_TARGET)
		m.count.n = (uint32_t)how << (few % 25);
	else if (m.kind == NP_MSG_CERTIFICATE)
		m.certificate.n = 1;
	else if (m.kind == NP_MSG_HELLO)
		m.hello.min_version = m.hello.max_version = how;
	put_msg(c, &m);
}

/* Bytes as they are, or with a length in front of them. */
static void step_raw(struct conn *c, struct talk_in *in, bool framed)
{
	uint8_t buf[4 + 64] = {0};
	size_t n = talk_u8(in) % 64u;
	const uint8_t *p = talk_bytes(in, &n);

	buf[3] = (uint8_t)n;
	memcpy(buf + 4, p, n);
	conn_send(c, framed ? buf : buf + 4, framed ? n + 4 : n);
}

/* -- frames -- */

static size_t open_payload(uint8_t *out, size_t max, uint8_t how, bool datagram)
{
	struct np_proxy_info i = {.udp = datagram, .has_trace = true};
	size_t skip = 4;

	memset(out, 0, 4);
	out[datagram ? 3 : 0] = datagram ? how & 3 : (uint8_t)(1 + (how & 1));
	i.trace[0] = how >> 2 & 3;
	NP_ASSERT(np_addr_from_literal("127.0.0.1", 4, &i.src) &&
		  np_addr_from_literal("127.0.0.2", 5, &i.dst));
	return skip + np_proxy_v2_write(&i, out + skip, max - skip);
}

static void step_frame(struct conn *c, struct talk_in *in)
{
	uint8_t type = talk_u8(in), how = talk_u8(in), buf[NP_FRAME_HEADER + 640];
	uint8_t *payload = buf + NP_FRAME_HEADER;
	struct np_frame f = {.type = (enum np_frame_type)(1 + type % 12), .turn = c->turn};
	size_t n = how % 48u;

	if (c->kind != WANT_CHANNEL)
		return;
	if (f.type == NP_FRAME_OPEN || f.type == NP_FRAME_DOPEN) {
		n = open_payload(payload, sizeof(buf) - NP_FRAME_HEADER, how,
				 f.type == NP_FRAME_DOPEN);
		if (f.type == NP_FRAME_OPEN)
			f.turn = c->turn = np_turn_next(c->turn);
	} else {
		static const int8_t lengths[] = {
		    [NP_FRAME_FIN] = 0,	  [NP_FRAME_RESET] = 1, [NP_FRAME_DONE] = 0,
		    [NP_FRAME_PING] = 8,  [NP_FRAME_PONG] = 8,	[NP_FRAME_RETIRE] = 0,
		    [NP_FRAME_DCLOSE] = 4};
		size_t want = lengths[f.type] > 0 || f.type == NP_FRAME_FIN ||
				      f.type == NP_FRAME_DONE || f.type == NP_FRAME_RETIRE
				  ? (size_t)lengths[f.type]
				  : n;
		const uint8_t *p = talk_bytes(in, &want);

		memcpy(payload, p, want);
		n = want;
		if (f.type == NP_FRAME_DGRAM || f.type == NP_FRAME_DCLOSE)
			memset(payload, 0, n < 3 ? n : 3);
	}
	if (f.type >= NP_FRAME_PING)
		f.turn = 0;
	f.len = (uint32_t)n;
	np_frame_write(&f, buf);
	if (type >= 0xf0) /* one bit of the header is wrong */
		buf[how % NP_FRAME_HEADER] ^= 1 << (type & 7);
	conn_send(c, buf, NP_FRAME_HEADER + n);
}

/* -- visitors and targets -- */

static void step_visitor(int *fd, uint16_t port, struct talk_in *in)
{
	uint8_t how = talk_u8(in);

	if (*fd == -1)
		*fd = talk_connect(port);
	else if ((how & 3) == 0)
		talk_close(fd, (how & 4) != 0);
	else if ((how & 3) == 1)
		shutdown(*fd, SHUT_WR);
	else
		(void)!send(*fd, "visitor's bytes", 1 + how % 15u, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void step_target(int *fd, struct talk_in *in)
{
	uint8_t how = talk_u8(in), buf[1024];

	if (*fd == -1)
		return;
	switch (how & 3) {
	case 0:
		talk_close(fd, (how & 4) != 0);
		break;
	case 1:
		shutdown(*fd, SHUT_WR);
		break;
	case 2:
		(void)!send(*fd, "target's bytes", 1 + how % 14u, MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	default:
		(void)!recv(*fd, buf, sizeof(buf), MSG_DONTWAIT);
	}
}

#endif
