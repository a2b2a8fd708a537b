/*
 * peer.c - the other end of a tunnel, as the home worker keeps it: its life and its channels. See
 * pool.h.
 */
#include "base/alloc.h"
#include "base/assert.h"
#include "channel.h"
#include "client.h"
#include "pool.h"
#include "runtime.h"

#include <utlist.h>

static void peer_release(struct grave *g)
{
	struct peer *p = (struct peer *)((char *)g - offsetof(struct peer, grave));

	p->magic = 0;
	dial_order_release(&p->order);
	np_wipe(p->d, sizeof(p->d));
	np_free(p->replay);
	np_free(p);
}

static void peer_on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	peer_event(arg, NP_PEER_EV_TIMER);
}

struct peer *peer_new(struct instance *inst)
{
	struct peer *p = np_calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->timer = evtimer_new(inst->home->base, peer_on_timer, p);
	if (p->timer == NULL) {
		np_free(p);
		return NULL;
	}
	p->magic = PEER_MAGIC;
	p->grave.release = peer_release;
	dial_order_init(&p->order);
	p->inst = inst;
	p->idle_target = UINT32_MAX;
	inst->pool.told = 0; /* it has not heard of those who wait */
	DL_APPEND(inst->pool.peers, p);
	return p;
}

void peer_add_channel(struct peer *p, struct channel *ch)
{
	DL_APPEND2(p->channels, ch, aprev, anext);
	if (ch->kind == NP_CHANNEL_STREAM)
		p->nchannels++;
}

void peer_maybe_free(struct peer *p)
{
	if (p->state != NP_PEER_ENDED || p->channels != NULL || p->control != NULL ||
	    p->makers != 0)
		return;
	if (p->inst->client != NULL)
		client_forget(p->inst->client, p);
	DL_DELETE(p->inst->pool.peers, p);
	event_free(p->timer);
	p->timer = NULL;
	worker_bury(p->inst->home, &p->grave);
}

static void peer_close_idle(struct peer *p)
{
	struct channel *ch;

	DL_FOREACH2(p->channels, ch, anext)
	{
		if (ch->h_idle) {
			DL_DELETE2(p->idle, ch, hprev, hnext);
			p->nidle--;
			ch->h_idle = false;
		}
		channel_command_close(ch); /* a busy one finishes its turn */
	}
}

void peer_event(struct peer *p, enum np_peer_event ev)
{
	enum np_peer_state old = p->state;
	unsigned act;

	NP_CHECK_MAGIC(p, PEER_MAGIC);
	act = np_peer_fsm(&p->state, ev);
	if (p->state != old)
		INSTANCE_LOG(p->inst, DEBUG, "peer %s %s -> %s", p->name, np_peer_state_name(old),
			     np_peer_state_name(p->state));
	if (old == NP_PEER_LOST && p->state != NP_PEER_LOST)
		evtimer_del(p->timer);
	if ((act & NP_PEER_DO_TIMER) != 0) {
		struct timeval tv = tv_of_ms(3 * runtime.env.report_interval_ms);

		evtimer_add(p->timer, &tv);
	}
	if ((act & NP_PEER_DO_CLOSE_IDLE) != 0)
		peer_close_idle(p);
	peer_maybe_free(p);
}
