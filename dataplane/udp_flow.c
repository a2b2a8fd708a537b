/*
 * udp_flow.c - one flow: its target socket, its idle time, its end. See udp_flow.h.
 */
#include "udp_flow.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "dial.h"
#include "runtime.h"
#include "shard.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct counters *udp_counters(struct instance *inst)
{
	return &inst->shards[inst->home->index]->counters;
}

bool udp_rate(struct instance *inst, int dir, size_t len)
{
	struct np_bucket *b = &inst->rate[dir];
	int64_t now = np_mono_now().us * 1000, wait;
	size_t got;

	if (len == 0 || atomic_load_explicit(&b->rate_bytes_s, memory_order_relaxed) == 0)
		return true;
	got = np_bucket_take(b, now, len, len, &wait);
	if (got > 0 && got < len) /* more than a burst: goes whole, paid for by what comes later */
		np_bucket_charge(b, len - got);
	if (got > 0)
		return true;
	counter_add(udp_counters(inst), COUNTER_UDP_DROPPED, 1);
	return false;
}

size_t udp_recv_max(void)
{
	size_t n = (size_t)runtime.env.udp_data_buf_size;

	return n < NP_DGRAM_MAX ? n : NP_DGRAM_MAX;
}

static void flow_release(struct grave *g)
{
	struct udp_flow *fl = (struct udp_flow *)((char *)g - offsetof(struct udp_flow, grave));

	fl->magic = 0;
	np_free(fl);
}

struct udp_flow *udp_flow_new(struct instance *inst, const struct np_addr *visitor,
			      const struct np_addr *local)
{
	struct udp_flow *fl = np_calloc(1, sizeof(*fl));
	struct counters *c = udp_counters(inst);

	if (fl == NULL)
		return NULL;
	fl->magic = UDP_FLOW_MAGIC;
	fl->grave.release = flow_release;
	fl->inst = inst;
	fl->visitor = *visitor;
	fl->local = *local;
	fl->fd = -1;
	fl->lists = inst->lists;
	np_buf_init(&fl->held, UDP_HELD_MAX);
	fl->start = fl->last = np_mono_now();
	counter_begins(c, &c->udps);
	counter_add(c, COUNTER_UDP_SESSIONS, 1);
	shard_wake(inst->shards[inst->home->index]);
	return fl;
}

/* The last thing a flow does: the channel may be closed by it. */
static void send_dclose(struct channel *ch, uint32_t flow)
{
	uint8_t id[4] = {(uint8_t)(flow >> 24), (uint8_t)(flow >> 16), (uint8_t)(flow >> 8),
			 (uint8_t)flow};

	channel_put(ch, NP_FRAME_DCLOSE, id, sizeof(id));
	channel_flush(ch);
}

static void flow_off_lists(struct udp_flow *fl)
{
	if (fl->ingress != NULL) {
		HASH_DELETE(hh_key, fl->ingress->by_key, fl);
		DL_DELETE(fl->ingress->list, fl);
	} else if (fl->flows != NULL) {
		DL_DELETE(fl->flows->list, fl);
	}
	if (fl->flows != NULL)
		HASH_DELETE(hh_id, fl->flows->by_id, fl);
	fl->flows = NULL;
}

void udp_flow_end(struct udp_flow *fl, enum np_reason reason, bool tell)
{
	struct instance *inst = fl->inst;
	struct channel *ch;
	struct session_record r = {
	    .udp = true,
	    .reason = reason,
	    .visitor = &fl->visitor,
	    .target = fl->target[0] != '\0' ? fl->target : "-",
	    .rx = fl->rx,
	    .tx = fl->tx,
	    .ms = np_mono_diff_ms(np_mono_now(), fl->start),
	};

	NP_CHECK_MAGIC(fl, UDP_FLOW_MAGIC);
	if (fl->dead)
		return;
	fl->dead = true;
	ch = tell && fl->flows != NULL ? fl->flows->channel : NULL;
	flow_off_lists(fl);
	resolve_cancel(&fl->resolving);
	settings_release(fl->settings);
	fl->settings = NULL;
	if (fl->ev_added)
		event_del(&fl->ev);
	if (fl->fd != -1)
		close(fl->fd);
	fl->fd = -1;
	inst->udp_held -= np_buf_len(&fl->held);
	np_buf_release(&fl->held);
	counter_ends(udp_counters(inst), &udp_counters(inst)->udps);
	shard_record(inst->shards[inst->home->index], &r);
	instance_slot_give(inst);
	worker_bury(inst->home, &fl->grave);
	if (ch != NULL)
		send_dclose(ch, fl->id);
}

/* The list is in order of activity, so that the idle ones are found at its head. */
void udp_flow_touch(struct udp_flow *fl)
{
	struct udp_flow **list = fl->ingress != NULL ? &fl->ingress->list : &fl->flows->list;

	fl->last = np_mono_now();
	DL_DELETE(*list, fl);
	DL_APPEND(*list, fl);
}

/* -- target -- */

static void target_datagram(struct udp_flow *fl, uint8_t *buf, size_t len)
{
	if (!udp_rate(fl->inst, fl->ingress != NULL ? RATE_TX : RATE_RX, len))
		return;
	if (fl->ingress != NULL) {
		udp_flow_to_visitor(fl, buf + DGRAM_HEAD, len);
		return;
	}
	fl->rx += len;
	counter_add(udp_counters(fl->inst), COUNTER_UDP_RX, len);
	udp_flow_to_channel(fl, buf, len);
}

static void target_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct udp_flow *fl = arg;
	uint8_t *buf = fl->inst->home->scratch;
	struct channel *ch;

	(void)what;
	NP_CHECK_MAGIC(fl, UDP_FLOW_MAGIC);
	for (int i = 0; i < UDP_BATCH && !fl->dead; i++) {
		ssize_t n = recv(fd, buf + DGRAM_HEAD, udp_recv_max(), MSG_TRUNC);

		if (n == -1 && (errno == ECONNREFUSED || errno == EHOSTUNREACH ||
				errno == ENETUNREACH || errno == EINTR))
			continue; /* an ICMP answer to an earlier datagram: UDP promises nothing */
		if (n == -1)
			break;
		udp_flow_touch(fl);
		if ((size_t)n > udp_recv_max())
			counter_add(udp_counters(fl->inst), COUNTER_UDP_DROPPED, 1);
		else
			target_datagram(fl, buf, (size_t)n);
	}
	ch = !fl->dead && fl->flows != NULL ? fl->flows->channel : NULL;
	if (ch != NULL)
		channel_flush(ch);
}

static void send_held(struct udp_flow *fl)
{
	struct np_reader r = np_reader_of(np_buf_ptr(&fl->held), np_buf_len(&fl->held));

	while (r.left > 0) {
		uint16_t len = np_reader_u16(&r);
		const uint8_t *p = np_reader_bytes(&r, len);

		if (p == NULL)
			break;
		udp_flow_to_target(fl, p, len);
	}
	fl->inst->udp_held -= np_buf_len(&fl->held);
	np_buf_release(&fl->held);
}

static bool flow_connect(struct udp_flow *fl, const struct resolve_answer *a)
{
	const struct np_config *cfg = &fl->settings->cfg;
	const int size = UDP_SOCKET_BUFFER;

	for (size_t i = 0; i < a->n && fl->fd == -1; i++) {
		struct np_addr to = a->addr[i];

		np_addr_set_port(&to, cfg->targets[fl->target_index].port);
		fl->fd = dial_udp(&to, cfg->dial_auto ? NULL : &cfg->dial);
		if (fl->fd != -1)
			np_addr_format(&to, fl->target);
	}
	settings_release(fl->settings);
	fl->settings = NULL;
	if (fl->fd == -1) {
		udp_flow_end(fl, a->n == 0 ? NP_REASON_RESOLVE_FAILED : NP_REASON_DIAL_FAILED,
			     true);
		return false;
	}
	(void)setsockopt(fl->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (event_assign(&fl->ev, fl->inst->home->base, fl->fd, EV_READ | EV_PERSIST,
			 target_on_readable, fl) != 0 ||
	    event_add(&fl->ev, NULL) != 0) {
		udp_flow_end(fl, NP_REASON_NO_MEMORY, true);
		return false;
	}
	fl->ev_added = true;
	send_held(fl);
	return true;
}

static void on_answer(struct resolve_request *r, const struct resolve_answer *a)
{
	struct udp_flow *fl = (struct udp_flow *)((char *)r - offsetof(struct udp_flow, resolving));

	NP_CHECK_MAGIC(fl, UDP_FLOW_MAGIC);
	flow_connect(fl, a);
}

bool udp_flow_target(struct udp_flow *fl)
{
	struct instance *inst = fl->inst;
	uint8_t order[NP_TARGETS_MAX];
	struct resolve_answer a;
	enum np_err err;

	settings_release(fl->settings);
	fl->settings = settings_hold(instance_settings(inst));
	np_balance_order(&fl->settings->balance, np_mono_now(), order);
	fl->target_index = order[0];
	fl->resolving.on_answer = on_answer;
	err = resolve(inst->home, fl->settings->cfg.targets[order[0]].host,
		      fl->settings->cfg.dns_ms, &fl->resolving, &a);
	if (err == NP_OK)
		return flow_connect(fl, &a);
	if (err == NP_EAGAIN)
		return true;
	udp_flow_end(fl, NP_REASON_NO_MEMORY, true);
	return false;
}

void udp_flow_to_target(struct udp_flow *fl, const uint8_t *p, size_t len)
{
	struct counters *c = udp_counters(fl->inst);

	if (fl->fd == -1 &&
	    np_mono_diff_ms(np_mono_now(), fl->start) > runtime.env.udp_dial_timeout_ms) {
		udp_flow_end(fl, NP_REASON_RESOLVE_FAILED, true);
		return;
	}
	if (fl->fd == -1) {
		if (np_buf_space(&fl->held) >= len + 2 &&
		    fl->inst->udp_held + len + 2 <= UDP_HELD_ALL_MAX) {
			size_t before = np_buf_len(&fl->held);

			np_buf_put_u16(&fl->held, (uint16_t)len);
			np_buf_put(&fl->held, p, len);
			fl->inst->udp_held += np_buf_len(&fl->held) - before;
		} else {
			counter_add(c, COUNTER_UDP_DROPPED, 1);
		}
		return;
	}
	/* A second try: the first may only deliver the ICMP error of an earlier datagram. */
	if (send(fl->fd, p, len, MSG_NOSIGNAL) == -1 &&
	    (errno != ECONNREFUSED || send(fl->fd, p, len, MSG_NOSIGNAL) == -1)) {
		counter_add(c, COUNTER_UDP_DROPPED, 1);
		return;
	}
	if (fl->ingress == NULL) {
		fl->tx += len;
		counter_add(c, COUNTER_UDP_TX, len);
	}
}

void udp_flow_to_channel(struct udp_flow *fl, uint8_t *buf, size_t len)
{
	struct channel *ch = fl->flows->channel;
	struct np_frame f = {NP_FRAME_DGRAM, 0, (uint32_t)(len + 4)};

	if (np_buf_len(&ch->tx) + len > DATAGRAM_BACKLOG) {
		channel_flush(ch);
		if (fl->flows == NULL || np_buf_len(&ch->tx) + len > DATAGRAM_BACKLOG) {
			counter_add(udp_counters(fl->inst), COUNTER_UDP_DROPPED, 1);
			return;
		}
	}
	np_frame_write(&f, buf);
	buf[NP_FRAME_HEADER] = (uint8_t)(fl->id >> 24);
	buf[NP_FRAME_HEADER + 1] = (uint8_t)(fl->id >> 16);
	buf[NP_FRAME_HEADER + 2] = (uint8_t)(fl->id >> 8);
	buf[NP_FRAME_HEADER + 3] = (uint8_t)fl->id;
	np_buf_put(&ch->tx, buf, DGRAM_HEAD + len);
	if (ch->tx.err != NP_OK)
		channel_close(ch, np_err_text(ch->tx.err));
}
