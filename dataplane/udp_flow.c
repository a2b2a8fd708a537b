/*
 * udp_flow.c - one flow: its target socket, its idle time, its end. See udp_flow.h.
 */
#include "udp_flow.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "dial.h"
#include "runtime.h"
#include "shard.h"
#include "udp_io.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct counters *udp_counters(struct instance *inst)
{
	return &inst->shards[inst->home->index]->counters;
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

static uint16_t gso_max(void)
{
	return runtime.env.udp_offload != 0 ? UINT16_MAX : 0;
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
	fl->gso_max = gso_max();
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

	udp_io_frames_flush(ch->shard->worker->udp); /* its datagrams first */
	channel_put(ch, NP_FRAME_DCLOSE, id, sizeof(id));
	channel_flush(ch);
}

static void flow_off_lists(struct udp_flow *fl)
{
	if (fl->ingress != NULL && fl->ingress->recent == fl)
		fl->ingress->recent = NULL;
	if (fl->flows != NULL && fl->flows->recent == fl)
		fl->flows->recent = NULL;
	if (fl->ingress != NULL) {
		if (!fl->leaving)
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
	if (udp_io_is_queued(inst->home->udp, fl))
		udp_io_flush(inst->home->udp);
	if (fl->ingress != NULL && fl->fd == -1 && inst->mode != MODE_SINGLE &&
	    np_buf_len(&fl->held) > 0)
		fl->ingress->holding--;
	udp_flow_held_drop(fl);
	r.tx = fl->tx;
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
	counter_ends(udp_counters(inst), &udp_counters(inst)->udps);
	shard_record(inst->shards[inst->home->index], &r);
	if (!fl->slotless)
		instance_slot_give(inst);
	worker_bury(inst->home, &fl->grave);
	if (ch != NULL)
		send_dclose(ch, fl->id);
}

/* One that takes its place can have its slot; one that was replaced lives as long as it has some. */
void udp_flow_leave(struct udp_flow *fl)
{
	struct udp_ingress *u = fl->ingress;

	if (fl->leaving)
		return;
	fl->leaving = true;
	if (u != NULL) {
		HASH_DELETE(hh_key, u->by_key, fl);
		if (u->recent == fl)
			u->recent = NULL;
	}
	fl->slotless = !fl->inst->retiring;
	if (fl->slotless)
		instance_slot_give(fl->inst);
}

/* The list is in order of activity, so that the idle ones are found at its head. */
void udp_flow_touch(struct udp_flow *fl)
{
	struct udp_flow **list = fl->ingress != NULL ? &fl->ingress->list : &fl->flows->list;

	fl->last = worker_pass_now(fl->inst->home);
	if ((*list)->prev == fl) /* the last one already */
		return;
	DL_DELETE(*list, fl);
	DL_APPEND(*list, fl);
}

/* allow= and deny= are asked again when they changed; a flow that may not be here any more ends. */
bool udp_flow_is_admitted(struct udp_flow *fl)
{
	if (fl->lists == fl->inst->lists)
		return true;
	fl->lists = fl->inst->lists;
	if (instance_admits(fl->inst, &fl->visitor))
		return true;
	udp_flow_end(fl, NP_REASON_DENIED, true);
	return false;
}

void udp_dropped(struct instance *inst, size_t n)
{
	counter_add(udp_counters(inst), COUNTER_UDP_DROPPED, n);
}

/* -- datagrams that wait -- */

void udp_flow_hold(struct udp_flow *fl, const uint8_t *p, size_t len)
{
	size_t before = np_buf_len(&fl->held);

	if (np_buf_space(&fl->held) < len + 2 || fl->inst->udp_held + len + 2 > UDP_HELD_ALL_MAX) {
		udp_dropped(fl->inst, 1);
		return;
	}
	if (before == 0)
		fl->held_since = np_mono_now();
	np_buf_put_u16(&fl->held, (uint16_t)len);
	np_buf_put(&fl->held, p, len);
	fl->inst->udp_held += np_buf_len(&fl->held) - before;
}

void udp_flow_held_send(struct udp_flow *fl,
			void (*fn)(struct udp_flow *fl, const uint8_t *p, size_t len))
{
	struct np_buf held = fl->held;
	struct np_reader r = np_reader_of(np_buf_ptr(&held), np_buf_len(&held));

	np_buf_init(&fl->held, UDP_HELD_MAX);
	fl->inst->udp_held -= np_buf_len(&held);
	while (r.left > 0) {
		uint16_t len = np_reader_u16(&r);
		const uint8_t *p = np_reader_bytes(&r, len);

		if (p == NULL)
			break;
		if (fl->dead)
			udp_dropped(fl->inst, 1);
		else
			fn(fl, p, len);
	}
	udp_io_flush(fl->inst->home->udp);
	np_buf_release(&held);
}

void udp_flow_held_drop(struct udp_flow *fl)
{
	struct np_reader r = np_reader_of(np_buf_ptr(&fl->held), np_buf_len(&fl->held));
	size_t n = 0;

	for (; r.left > 0; n++)
		(void)np_reader_bytes(&r, np_reader_u16(&r));
	udp_dropped(fl->inst, n);
	fl->inst->udp_held -= np_buf_len(&fl->held);
	np_buf_release(&fl->held);
}

/* -- target -- */

static void target_datagram(struct udp_flow *fl, const uint8_t *p, size_t len)
{
	if (len > udp_recv_max()) {
		udp_dropped(fl->inst, 1);
		return;
	}
	if (!udp_rate(fl->inst, fl, fl->ingress != NULL ? RATE_TX : RATE_RX, len))
		return;
	if (fl->ingress != NULL) {
		udp_flow_to_visitor(fl, p, len);
		return;
	}
	fl->rx += len;
	counter_add(udp_counters(fl->inst), COUNTER_UDP_RX, len);
	udp_flow_to_channel(fl, p, len);
}

static bool has_choice(const struct udp_flow *fl)
{
	return fl->settings != NULL && fl->settings->cfg.ntargets > 1;
}

static void target_lives(struct udp_flow *fl)
{
	if (fl->target_lives)
		return;
	fl->target_lives = true;
	if (has_choice(fl))
		np_balance_lives(&fl->settings->balance, fl->target_index);
}

void udp_flow_refused(struct udp_flow *fl)
{
	fl->target_refused = true;
}

/*
 * The target refuses: its next datagrams go to another one. What was refused is lost, datagrams may
 * be. Who had answered may refuse a late datagram of a conversation that is over for it: a second
 * refusal without an answer between them counts. false: the flow was ended.
 */
static bool target_refuses(struct udp_flow *fl)
{
	struct np_mono now = worker_pass_now(fl->inst->home);

	fl->target_refused = false;
	if (!has_choice(fl) || fl->fd == -1)
		return true;
	if (fl->target_lives) {
		fl->target_lives = false;
		fl->target_since = now;
		return true;
	}
	np_balance_failed(&fl->settings->balance, fl->target_index, now);
	if (fl->moved && np_mono_diff_ms(now, fl->target_since) < UDP_MOVE_MS)
		return true;
	if (udp_io_is_queued(fl->inst->home->udp, fl))
		udp_io_flush(fl->inst->home->udp);
	fl->target_refused = false;
	event_del(&fl->ev);
	fl->ev_added = false;
	close(fl->fd);
	fl->fd = -1;
	fl->moved = true;
	fl->gso_max = gso_max();
	return udp_flow_target(fl);
}

static void target_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct udp_flow *fl = arg;
	struct udp_io *io = fl->inst->home->udp;
	struct udp_packet *packets;
	size_t n;

	(void)what;
	NP_CHECK_MAGIC(fl, UDP_FLOW_MAGIC);
	packets = udp_io_recv(io, fd, &n);
	if (n == 0 && udp_io_refused(io)) {
		(void)target_refuses(fl);
		return;
	}
	if (n > 0) {
		udp_flow_touch(fl);
		target_lives(fl);
	}
	for (size_t i = 0; i < n; i++) {
		const struct udp_packet *p = &packets[i];
		size_t off = 0;

		do {
			size_t left = p->len - off, len = left < p->segment ? left : p->segment;

			if (!fl->dead)
				target_datagram(fl, p->data + off, len);
			off += len;
		} while (off < p->len);
	}
	udp_io_flush(io);
	udp_io_frames_flush(io);
}

static bool flow_connect(struct udp_flow *fl, const struct resolve_answer *a)
{
	const struct np_config *cfg = &fl->settings->cfg;

	for (size_t i = 0; i < a->n && fl->fd == -1; i++) {
		struct np_addr to = a->addr[i];

		np_addr_set_port(&to, cfg->targets[fl->target_index].port);
		fl->fd = dial_udp(&to, cfg->dial_auto ? NULL : &cfg->dial);
		if (fl->fd != -1)
			np_addr_format(&to, fl->target);
	}
	if (!has_choice(fl)) {
		settings_release(fl->settings);
		fl->settings = NULL;
	}
	if (fl->fd == -1) {
		udp_flow_end(fl, a->n == 0 ? NP_REASON_RESOLVE_FAILED : NP_REASON_DIAL_FAILED,
			     true);
		return false;
	}
	udp_io_prepare(fl->fd);
	if (udp_io_init(fl->inst->home) != NP_OK ||
	    event_assign(&fl->ev, fl->inst->home->base, fl->fd, EV_READ | EV_PERSIST,
			 target_on_readable, fl) != 0 ||
	    event_add(&fl->ev, NULL) != 0) {
		udp_flow_end(fl, NP_REASON_NO_MEMORY, true);
		return false;
	}
	fl->ev_added = true;
	udp_flow_held_send(fl, udp_flow_to_target);
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
	fl->target_since = np_mono_now();
	np_balance_order(&fl->settings->balance, fl->target_since, order);
	fl->target_index = order[0];
	fl->target_lives = false;
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
	if (fl->target_refused && !target_refuses(fl))
		return;
	if (fl->fd != -1) {
		if (!fl->target_lives && np_mono_diff_ms(worker_pass_now(fl->inst->home),
							 fl->target_since) > UDP_LIVES_MS)
			target_lives(fl);
		udp_io_to_target(fl->inst->home->udp, fl, p, len);
	} else if (np_mono_diff_ms(np_mono_now(), fl->target_since) >
		   runtime.env.udp_dial_timeout_ms) {
		udp_dropped(fl->inst, 1);
		udp_flow_end(fl, NP_REASON_RESOLVE_FAILED, true);
	} else {
		udp_flow_hold(fl, p, len);
	}
}

void udp_flow_to_visitor(struct udp_flow *fl, const uint8_t *p, size_t len)
{
	udp_io_to_visitor(fl->inst->home->udp, fl, p, len);
}

void udp_flow_sent(struct udp_flow *fl, bool outer, size_t n, size_t bytes, bool ok)
{
	if (!ok) {
		udp_dropped(fl->inst, n);
	} else if (outer) {
		fl->tx += bytes;
		counter_add(udp_counters(fl->inst), COUNTER_UDP_TX, bytes);
	}
}

/*
 * A burst, or a peer that has no processor for some milliseconds, may fill DATAGRAM_BURST. What
 * stands for longer only makes datagrams late: then DATAGRAM_BACKLOG is all.
 */
bool udp_has_room(struct udp_flows *f, size_t len)
{
	struct channel *ch = f->channel;
	struct udp_io *io = ch->shard->worker->udp;
	struct np_mono now;
	size_t max = DATAGRAM_BURST;

	if (channel_waiting(ch) + udp_io_frames_len(io, ch) + len <= DATAGRAM_BACKLOG) {
		f->behind_since = (struct np_mono){0};
		return true;
	}
	udp_io_frames_flush(io);
	channel_flush(ch);
	if (ch->state == CHANNEL_CLOSED)
		return false;
	now = worker_pass_now(ch->shard->worker);
	if (!np_mono_is_set(f->behind_since))
		f->behind_since = now;
	if (np_mono_diff_ms(now, f->behind_since) > DATAGRAM_BURST_MS)
		max = DATAGRAM_BACKLOG;
	return channel_waiting(ch) + len <= max;
}

void udp_flow_to_channel(struct udp_flow *fl, const uint8_t *p, size_t len)
{
	if (fl->flows == NULL || !udp_has_room(fl->flows, len) || fl->flows == NULL)
		udp_dropped(fl->inst, 1);
	else
		udp_io_frame(fl->inst->home->udp, fl, NP_FRAME_DGRAM, p, len);
}
