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
	SSL_free(s->ssl);
	s->ssl = NULL;
	np_buf_release(&s->prefix); /* the byte that said TLS */
	return STREAM_OK;
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

/* talk_settle - what the sockets brought has been acted on: a few passes of the loop. */
static void talk_settle(void)
{
	for (int i = 0; i < 3; i++)
		talk_on_worker(NULL, NULL);
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

/* talk_instance - of @url, running (@wait: a client runs before it has a session). */
static struct instance *talk_instance(const char *url)
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
	while (sem_wait(&talk_started) == -1 && errno == EINTR)
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

#endif
