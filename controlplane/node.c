/*
 * node.c - connection, Hello, events and leases of a node. See node.h and node_priv.h.
 */
#include "node.h"

#include "node_priv.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/banned.h"

int64_t node_now_ms(void)
{
	return np_mono_now().us / 1000;
}

enum np_err node_send(struct node *n, struct ctl_request *req, int timeout_ms, link_reply_fn done)
{
	req->epoch = n->epoch;
	n->sent = np_mono_now();
	return link_send(n->link, req, timeout_ms, done);
}

void node_wake(struct node *n)
{
	event_active(n->pump, EV_TIMEOUT, 0);
}

void node_start_over(struct node *n, int64_t wait_ms)
{
	n->state = NODE_HELLO; /* nothing more is sent in this session */
	if (wait_ms == 0)
		link_reset(n->link);
	else
		n->again = np_mono_add_ms(np_mono_now(), wait_ms);
}

bool node_fenced(struct node *n, const struct ctl_reply *reply)
{
	if (reply->code != CTL_FENCED)
		return false;
	np_log(NP_LOG_ERROR, NULL, "the data plane belongs to another control plane: %s",
	       reply->text);
	node_start_over(n, NODE_AGAIN_MS);
	return true;
}

/* -- session -- */

static void on_ignored(void *arg, const struct link_call *call, enum np_err err,
		       const struct ctl_reply *reply)
{
	(void)arg;
	(void)call;
	(void)err;
	(void)reply;
}

static void on_subscribed(void *arg, const struct link_call *call, enum np_err err,
			  const struct ctl_reply *reply)
{
	struct node *n = arg;

	(void)call;
	if (n->state != NODE_UP || (err == NP_OK && reply->code == CTL_OK))
		return;
	np_log(NP_LOG_WARN, NULL, "the data plane will not report its lines: %s",
	       err == NP_OK ? reply->text : np_err_text(err));
}

static void subscribe(struct node *n)
{
	struct ctl_request req = {.command = CTL_CMD_SUBSCRIBE};

	req.subscribe.has_stats_ms = true;
	req.subscribe.stats_ms = n->stats_ms;
	req.subscribe.has_log_level = true;
	req.subscribe.log_level = NP_LOG_DEBUG; /* each instance has its own level there */
	req.subscribe.has_session_sample = true;
	if (node_send(n, &req, NODE_QUERY_MS, on_subscribed) != NP_OK)
		np_log(NP_LOG_WARN, NULL, "the data plane will not report its lines");
}

static void session_begin(struct node *n, const struct ctl_reply *reply)
{
	const struct ctl_node_info *info = &reply->hello.info;
	bool held =
	    !reply->hello.need_snapshot && info->applied_revision == n->cb.desired_revision(n->arg);

	if (info->pid != 0)
		n->pid = (int)info->pid;
	snprintf(n->boot_id, sizeof(n->boot_id), "%s", info->boot_id);
	n->state = NODE_UP;
	n->heard = np_mono_now();
	n->suspect = false;
	n->behind = 0;
	n->listing = false;
	n->list_wanted = true;
	n->held = held;
	n->reported = false;
	reconcile_up(&n->rec, n->boot_id, info->applied_revision, held, node_now_ms());
	subscribe(n);
	n->cb.on_up(n->arg, info, held);
	node_pump(n);
}

static void on_hello(void *arg, const struct link_call *call, enum np_err err,
		     const struct ctl_reply *reply)
{
	struct node *n = arg;

	(void)call;
	if (n->state != NODE_HELLO || err == NP_ECLOSED)
		return;
	if (err == NP_OK && node_fenced(n, reply))
		return;
	if (err != NP_OK || reply->code != CTL_OK || reply->result != CTL_CMD_HELLO) {
		np_log(NP_LOG_ERROR, NULL, "the data plane did not answer as expected: %s",
		       err != NP_OK ? np_err_text(err) : reply->text);
		node_start_over(n, NODE_AGAIN_MS);
		return;
	}
	session_begin(n, reply);
}

static void on_link_up(void *arg, int pid)
{
	struct node *n = arg;
	struct ctl_request req = {.command = CTL_CMD_HELLO};

	NP_CHECK_MAGIC(n, NODE_MAGIC);
	n->state = NODE_HELLO;
	n->again = (struct np_mono){0};
	n->pid = pid;
	n->seq = 0;
	memcpy(req.hello.controller_id, n->controller_id, sizeof(n->controller_id));
	snprintf(req.hello.node_id, sizeof(req.hello.node_id), "local");
	req.hello.min_version = CTL_VERSION;
	req.hello.max_version = CTL_VERSION;
	req.hello.lease_ms = NODE_LEASE_MS;
	req.hello.desired_revision = n->cb.desired_revision(n->arg);
	if (node_send(n, &req, NODE_QUERY_MS, on_hello) != NP_OK)
		node_start_over(n, NODE_AGAIN_MS);
}

static void shutdown_end(struct node *n)
{
	void (*done)(void *arg) = n->shutdown_done;

	n->shutdown_done = NULL;
	if (done != NULL)
		done(n->shutdown_arg);
}

static void on_link_down(void *arg)
{
	struct node *n = arg;
	bool was_up = n->boot_id[0] != '\0';

	NP_CHECK_MAGIC(n, NODE_MAGIC);
	n->state = NODE_DOWN;
	n->pid = 0;
	n->boot_id[0] = '\0';
	n->again = (struct np_mono){0};
	n->listing = n->list_wanted = false;
	n->reported = false;
	id_queue_clear(&n->touched);
	node_snapshot_drop(n);
	reconcile_down(&n->rec);
	if (was_up)
		n->cb.on_down(n->arg);
	shutdown_end(n);
}

/* -- events -- */

static void check_lease(struct node *n, const struct ctl_lease *lease)
{
	bool other = lease->applied_revision != n->rec.head;

	if (!reconcile_is_idle(&n->rec) || !other) {
		n->behind = 0;
	} else if (++n->behind >= NODE_BEHIND_LEASES) {
		np_log(NP_LOG_WARN, NULL,
		       "the data plane is at another revision applied=%" PRIu64 " told=%" PRIu64,
		       lease->applied_revision, n->rec.head);
		n->behind = 0;
		reconcile_repair(&n->rec, node_now_ms(), 0);
		node_wake(n);
	}
	n->cb.on_lease(n->arg, lease);
}

static void deliver(struct node *n, const struct ctl_event *ev)
{
	switch (ev->kind) {
	case CTL_EVENT_LEASE:
		check_lease(n, &ev->lease);
		break;
	case CTL_EVENT_CHANGES:
		for (size_t i = 0; i < ev->n; i++)
			node_report_status(n, &ev->changes[i]);
		break;
	case CTL_EVENT_STATS:
		for (size_t i = 0; i < ev->n; i++)
			n->cb.on_stats(n->arg, ev->boot_id, &ev->stats[i]);
		break;
	case CTL_EVENT_LOGS:
		for (size_t i = 0; i < ev->n; i++)
			n->cb.on_line(n->arg, &ev->lines[i]);
		break;
	case CTL_EVENT_METRICS:
		for (size_t i = 0; i < ev->n; i++)
			n->cb.on_metrics(n->arg, &ev->metrics[i]);
		break;
	case CTL_EVENT_OVERFLOW:
	case CTL_EVENT_SESSIONS:
	case CTL_EVENT_NONE:
		break;
	}
	if ((ev->kind == CTL_EVENT_LOGS || ev->kind == CTL_EVENT_OVERFLOW) && ev->dropped > 0)
		n->cb.on_lines_dropped(n->arg, ev->dropped);
}

static void on_link_event(void *arg, const struct ctl_event *ev)
{
	struct node *n = arg;

	NP_CHECK_MAGIC(n, NODE_MAGIC);
	if (n->state == NODE_UP && strcmp(ev->boot_id, n->boot_id) != 0) {
		/* Both sockets belong to one process, unless it changed between the two dials. */
		np_log(NP_LOG_WARN, NULL, "the data plane was started again");
		node_start_over(n, 0);
		return;
	}
	n->heard = np_mono_now();
	if (n->seq != 0 && ev->seq != n->seq + 1 && n->state == NODE_UP) {
		np_log(NP_LOG_WARN, NULL,
		       "events of the data plane were missed after=%" PRIu64 " next=%" PRIu64,
		       n->seq, ev->seq);
		n->list_wanted = true;
		node_wake(n);
	}
	n->seq = ev->seq;
	/* What is reported before Hello is in the list that follows it. */
	if (n->state == NODE_UP)
		deliver(n, ev);
}

/* -- time -- */

static void check_silence(struct node *n)
{
	bool silent = np_mono_diff_ms(np_mono_now(), n->heard) > 2 * NODE_LEASE_MS;

	/* Twice in a row: it may have been this process that did not run. */
	if (silent && n->suspect) {
		np_log(NP_LOG_WARN, NULL, "no event of the data plane for %lld ms",
		       (long long)np_mono_diff_ms(np_mono_now(), n->heard));
		node_start_over(n, 0);
	}
	n->suspect = silent;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct node *n = arg;
	struct ctl_request ping = {.command = CTL_CMD_PING};

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(n, NODE_MAGIC);
	if (np_mono_is_set(n->again) && !np_mono_before(np_mono_now(), n->again)) {
		n->again = (struct np_mono){0};
		link_reset(n->link);
	}
	if (n->state != NODE_UP)
		return;
	/* A window that is full is no idle one. */
	if (np_mono_diff_ms(np_mono_now(), n->sent) >= NODE_LEASE_MS - NODE_TICK_MS &&
	    node_send(n, &ping, NODE_QUERY_MS, on_ignored) != NP_OK)
		n->sent = np_mono_now();
	check_silence(n);
	node_pump(n);
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
	struct node *n = arg;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(n, NODE_MAGIC);
	node_pump(n);
}

/* -- for the owner -- */

static enum np_err node_init(struct node *n, struct event_base *base, const char *run_dir)
{
	static const struct link_callbacks callbacks = {
	    .on_up = on_link_up, .on_down = on_link_down, .on_event = on_link_event};
	const struct timeval tick = {.tv_usec = NODE_TICK_MS * 1000};
	char ctl[sizeof(((struct sockaddr_un *)NULL)->sun_path)], events[sizeof(ctl)];
	int a = snprintf(ctl, sizeof(ctl), "%s/ctl.sock", run_dir);
	int b = snprintf(events, sizeof(events), "%s/events.sock", run_dir);

	if (a < 0 || b < 0 || (size_t)a >= sizeof(ctl) || (size_t)b >= sizeof(events))
		return NP_ELIMIT;
	n->pump = evtimer_new(base, on_pump, n);
	n->tick = event_new(base, -1, EV_PERSIST, on_tick, n);
	if (n->pump == NULL || n->tick == NULL || event_add(n->tick, &tick) != 0)
		return NP_ENOMEM;
	return link_new(base, ctl, events, &callbacks, n, &n->link);
}

enum np_err node_new(struct event_base *base, const char *run_dir, const char *controller_id,
		     uint64_t epoch, uint32_t stats_ms, const struct node_callbacks *cb, void *arg,
		     struct node **out)
{
	struct node *n = np_calloc(1, sizeof(*n));
	enum np_err err;

	if (n == NULL)
		return NP_ENOMEM;
	n->magic = NODE_MAGIC;
	n->cb = *cb;
	n->arg = arg;
	n->epoch = epoch;
	n->stats_ms = stats_ms;
	snprintf(n->controller_id, sizeof(n->controller_id), "%s", controller_id);
	reconcile_init(&n->rec, NODE_QUEUE_MAX);
	n->touched.max = NODE_QUEUE_MAX;
	err = node_init(n, base, run_dir);
	if (err != NP_OK) {
		node_free(n);
		return err;
	}
	*out = n;
	return NP_OK;
}

void node_changed(struct node *n, const char *id)
{
	reconcile_changed(&n->rec, id, node_now_ms());
	if (n->state == NODE_UP)
		node_wake(n);
}

bool node_is_up(const struct node *n)
{
	return n->state == NODE_UP;
}

int node_pid(const struct node *n)
{
	return n->pid;
}

void node_kick(struct node *n)
{
	link_kick(n->link);
}

void node_ended(struct node *n, int pid)
{
	link_peer_ended(n->link, pid);
}

static void on_shutdown(void *arg, const struct link_call *call, enum np_err err,
			const struct ctl_reply *reply)
{
	struct node *n = arg;

	(void)call;
	(void)reply;
	if (err != NP_ECLOSED) /* then on_link_down reports */
		shutdown_end(n);
}

void node_shutdown(struct node *n, uint32_t grace_ms, void (*done)(void *arg), void *arg)
{
	struct ctl_request req = {.command = CTL_CMD_SHUTDOWN};

	req.drain.grace_ms = grace_ms;
	n->shutdown_done = done;
	n->shutdown_arg = arg;
	if (n->state != NODE_UP || node_send(n, &req, NODE_QUERY_MS, on_shutdown) != NP_OK)
		shutdown_end(n);
}

void node_free(struct node *n)
{
	if (n == NULL)
		return;
	link_free(n->link);
	if (n->pump != NULL)
		event_free(n->pump);
	if (n->tick != NULL)
		event_free(n->tick);
	node_snapshot_drop(n);
	id_queue_clear(&n->touched);
	reconcile_release(&n->rec);
	n->magic = 0;
	np_free(n);
}
