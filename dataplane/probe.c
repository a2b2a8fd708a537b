/*
 * probe.c - see probe.h. A job of offload.h does the work; its result waits for main in a list.
 */
#include "probe.h"

#include "base/alloc.h"
#include "base/mono.h"
#include "base/wake_fd.h"
#include "offload.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct probe {
	struct offload_job job; /* first: the job is the probe */
	struct probes *probes;
	struct np_hostport target;
	uint32_t timeout_ms, count;
	struct probe_result result;
	void *tag;
	bool done;
	struct probe *next; /* in probes->all */
};

/*
 * Outlives probes_free when a job was abandoned: the helper thread still writes into its probe,
 * but never here after @closed.
 */
struct probes {
	probe_done_fn on_done;
	probe_drop_fn on_drop;
	void *arg;
	struct event *wake;
	int wake_fd;
	pthread_mutex_t lock; /* guards `done` of the probes and `closed` */
	bool closed;
	struct probe *all; /* owned; only main changes the list */
	unsigned n;
};

/* Connects once. 0 = ok, else errno. */
static int connect_once(const struct addrinfo *ai, int64_t timeout_ms, int64_t *took_us)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err = 0;
	struct np_mono begin = np_mono_now(), until = np_mono_add_ms(begin, timeout_ms);
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(err);

	if (fd == -1)
		return errno;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) == -1) {
		int rc = -1;

		err = errno;
		while (err == EINPROGRESS && rc == -1) {
			int64_t left = np_mono_diff_ms(until, np_mono_now());

			rc = poll(&pfd, 1, left > 0 ? (int)left : 0);
			if (rc == -1 && errno != EINTR)
				err = errno;
		}
		if (rc == 0)
			err = ETIMEDOUT;
		else if (rc == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1)
			err = errno;
	}
	*took_us = np_mono_diff_us(np_mono_now(), begin);
	close(fd);
	return err;
}

static void measure(struct probe *p, const struct addrinfo *ai)
{
	struct probe_result *r = &p->result;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < p->count; i++) {
		int64_t us = 0;
		int err = connect_once(ai, p->timeout_ms, &us);
		uint32_t rtt = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;

		r->sent++;
		if (err != 0) {
			snprintf(r->error, sizeof(r->error), "%s", strerror(err));
			continue;
		}
		r->ok++;
		sum += rtt;
		if (r->ok == 1 || rtt < r->rtt_min_us)
			r->rtt_min_us = rtt;
		if (rtt > r->rtt_max_us)
			r->rtt_max_us = rtt;
	}
	if (r->ok > 0)
		r->rtt_avg_us = (uint32_t)(sum / r->ok);
}

/* On a helper thread. */
static void probe_run(struct offload_job *job)
{
	struct probe *p = (struct probe *)job;
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	char port[8];
	int rc;

	snprintf(port, sizeof(port), "%u", p->target.port);
	rc = getaddrinfo(p->target.host[0] != '\0' ? p->target.host : NULL, port, &hints, &list);
	if (rc != 0) {
		snprintf(p->result.error, sizeof(p->result.error), "%s", gai_strerror(rc));
		return;
	}
	measure(p, list);
	freeaddrinfo(list);
}

/* On a worker: main has no mailbox, it is told by the eventfd. */
static void probe_deliver(struct worker *w, struct mail *m)
{
	struct probe *p = (struct probe *)m;
	struct probes *all = p->probes;

	(void)w;
	pthread_mutex_lock(&all->lock);
	p->done = true;
	np_wake_fd_set(all->wake_fd);
	pthread_mutex_unlock(&all->lock);
}

static struct probe *take_done(struct probes *all)
{
	struct probe **at, *p = NULL;

	pthread_mutex_lock(&all->lock);
	for (at = &all->all; *at != NULL && !(*at)->done; at = &(*at)->next)
		continue;
	p = *at;
	if (p != NULL) {
		*at = p->next;
		all->n--;
	}
	pthread_mutex_unlock(&all->lock);
	return p;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct probes *all = arg;
	struct probe *p;

	(void)what;
	np_wake_fd_clear(fd);
	while ((p = take_done(all)) != NULL) {
		all->on_done(all->arg, p->tag, &p->result);
		np_free(p);
	}
}

struct probes *probes_new(struct event_base *base, probe_done_fn done, probe_drop_fn drop,
			  void *arg)
{
	struct probes *all = np_calloc(1, sizeof(*all));

	if (all == NULL)
		return NULL;
	all->on_done = done;
	all->on_drop = drop;
	all->arg = arg;
	pthread_mutex_init(&all->lock, NULL);
	all->wake_fd = np_wake_fd_open();
	if (all->wake_fd != -1)
		all->wake = event_new(base, all->wake_fd, EV_READ | EV_PERSIST, on_wake, all);
	if (all->wake == NULL || event_add(all->wake, NULL) != 0) {
		probes_free(all);
		return NULL;
	}
	return all;
}

enum np_err probe_start(struct probes *all, const char *target, uint32_t timeout_ms, uint32_t count,
			void *tag)
{
	struct probe *p;
	enum np_err err;

	if (all->n >= PROBES_MAX)
		return NP_ELIMIT;
	p = np_calloc(1, sizeof(*p));
	if (p == NULL)
		return NP_ENOMEM;
	err = np_hostport_parse(target, strlen(target), "target", &p->target, NULL);
	if (err != NP_OK) {
		np_free(p);
		return err;
	}
	p->probes = all;
	p->timeout_ms = timeout_ms;
	p->count = count;
	p->tag = tag;
	p->job.done.deliver = probe_deliver;
	p->job.reply_to = worker_at(0);
	p->job.class = OFFLOAD_LIGHT;
	p->job.run = probe_run;
	pthread_mutex_lock(&all->lock);
	p->next = all->all;
	all->all = p;
	all->n++;
	pthread_mutex_unlock(&all->lock);
	err = offload_submit(&p->job);
	if (err != NP_OK) {
		pthread_mutex_lock(&all->lock);
		all->all = p->next;
		all->n--;
		pthread_mutex_unlock(&all->lock);
		np_free(p);
	}
	return err;
}

void probes_free(struct probes *all)
{
	struct probe *p, *next;

	if (all == NULL)
		return;
	if (all->wake != NULL)
		event_free(all->wake);
	for (p = all->all; p != NULL; p = next) {
		next = p->next;
		all->on_drop(all->arg, p->tag);
		/* One that never came back may be in its helper thread's hands to this day. */
		if (p->done)
			np_free(p);
	}
	if (all->wake_fd != -1)
		close(all->wake_fd);
	pthread_mutex_destroy(&all->lock);
	np_free(all);
}
