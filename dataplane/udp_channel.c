/*
 * udp_channel.c - the flows of kind 2 channels: what DOPEN, DGRAM and DCLOSE do. See udp.h.
 */
#include "udp.h"

#include "base/alloc.h"
#include "core/proxyproto.h"
#include "runtime.h"
#include "shard.h"
#include "udp_io.h"

struct udp_flows *udp_flows_new(struct channel *ch, bool ingress)
{
	struct udp_flows *f = np_calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	f->channel = ch;
	f->ingress = ingress;
	return f;
}

unsigned udp_flows_count(const struct udp_flows *f)
{
	return f != NULL ? HASH_CNT(hh_id, f->by_id) : 0;
}

bool udp_flows_leave(struct udp_flows *f)
{
	struct udp_flow *fl, *next;

	HASH_ITER (hh_id, f->by_id, fl, next)
		udp_flow_leave(fl);
	return f->by_id != NULL;
}

/* The channel is closed: an egress' flows end, an ingress' ones are opened anew elsewhere when they
 * are used again. */
void udp_flows_close(struct udp_flows *f)
{
	struct udp_flow *fl, *next;

	udp_io_frames_forget(f->channel->shard->worker->udp, f->channel);
	f->recent = NULL;
	HASH_ITER (hh_id, f->by_id, fl, next) {
		if (fl->leaving) {
			udp_flow_end(fl, NP_REASON_DONE, false);
		} else if (f->ingress) {
			HASH_DELETE(hh_id, f->by_id, fl);
			fl->flows = NULL;
		} else {
			udp_flow_end(fl, NP_REASON_CHANNEL_LOST, false);
		}
	}
}

void udp_flows_free(struct udp_flows *f)
{
	np_free(f);
}

static void refuse_flow(struct udp_flows *f, const uint8_t id[4])
{
	channel_put(f->channel, NP_FRAME_DCLOSE, id, 4);
}

static void egress_open(struct udp_flows *f, uint32_t id, const uint8_t *payload, size_t len)
{
	struct instance *inst = f->channel->shard->inst;
	struct np_proxy_info info;
	struct udp_flow *fl;

	if (np_proxy_read_strict(payload + 4, len - 4, true, &info) != NP_OK) {
		channel_violation(f->channel, "bad DOPEN");
		return;
	}
	if (!instance_admits(inst, &info.src)) {
		struct session_record r = {
		    .udp = true, .reason = NP_REASON_DENIED, .visitor = &info.src, .target = "-"};

		shard_record(f->channel->shard, &r);
		refuse_flow(f, payload);
		return;
	}
	if (instance_cfg(inst)->noudp ||
	    atomic_load_explicit(&inst->draining, memory_order_relaxed) ||
	    HASH_CNT(hh_id, f->by_id) >= UDP_FLOWS_PER_CHANNEL || !instance_slot_take(inst)) {
		refuse_flow(f, payload);
		return;
	}
	fl = udp_flow_new(inst, &info.src, &info.dst);
	if (fl == NULL) {
		instance_slot_give(inst);
		refuse_flow(f, payload);
		return;
	}
	fl->id = id;
	HASH_ADD(hh_id, f->by_id, id, sizeof(fl->id), fl);
	if (fl->hh_id.tbl == NULL) {
		udp_flow_end(fl, NP_REASON_NO_MEMORY, false);
		refuse_flow(f, payload);
		return;
	}
	fl->flows = f;
	DL_APPEND(f->list, fl);
	udp_flow_target(fl);
}

static void frame_dgram(struct udp_flows *f, struct udp_flow *fl, const uint8_t *payload,
			size_t len)
{
	struct instance *inst = f->channel->shard->inst;

	if (fl == NULL) {
		udp_dropped(inst, 1);
		if (np_mono_diff_ms(np_mono_now(), f->last_dclose) >= 1000) {
			f->last_dclose = np_mono_now();
			refuse_flow(f, payload);
		}
		return;
	}
	if (!udp_flow_is_admitted(fl)) {
		udp_dropped(inst, 1);
		return;
	}
	udp_flow_touch(fl);
	if (!udp_rate(inst, fl, RATE_TX, len - 4))
		return;
	if (f->ingress)
		udp_flow_to_visitor(fl, payload + 4, len - 4);
	else
		udp_flow_to_target(fl, payload + 4, len - 4);
}

void udp_flows_frame(struct udp_flows *f, const struct np_frame *frame, const uint8_t *payload)
{
	struct np_reader r = np_reader_of(payload, frame->len);
	uint32_t id = np_reader_u32(&r);
	struct udp_flow *fl = NULL;

	if (frame->type != NP_FRAME_DOPEN && frame->type != NP_FRAME_DGRAM &&
	    frame->type != NP_FRAME_DCLOSE)
		return; /* RETIRE: it is closed by who made it */
	if (f->recent != NULL && f->recent->id == id)
		fl = f->recent;
	else
		HASH_FIND(hh_id, f->by_id, &id, sizeof(id), fl);
	f->recent = fl;
	if (frame->type == NP_FRAME_DGRAM) {
		frame_dgram(f, fl, payload, frame->len);
	} else if (frame->type == NP_FRAME_DCLOSE) {
		if (fl != NULL)
			udp_flow_end(fl, NP_REASON_DONE, false);
	} else if (f->ingress || fl != NULL) {
		channel_violation(f->channel, "DOPEN");
	} else {
		egress_open(f, id, payload, frame->len);
	}
}

void udp_flows_parsed(struct udp_flows *f)
{
	udp_io_flush(f->channel->shard->worker->udp);
}

void udp_flows_tick(struct udp_flows *f, struct np_mono now)
{
	while (f->list != NULL && f->channel->state != CHANNEL_CLOSED &&
	       np_mono_diff_ms(now, f->list->last) >= runtime.env.udp_read_timeout_ms)
		udp_flow_end(f->list, NP_REASON_UDP_IDLE, true);
	udp_io_tick(f->channel->shard->worker, now);
}
