/*
 * relay_rate.c - rate=: who may move how many bytes, and the directions that wait for their share.
 *
 * The bucket belongs to the instance, the lists of those who wait to the shard.
 */
#include "relay.h"

#include "channel_turn.h"
#include "shard.h"

#include <utlist.h>

#define RATE_QUANTUM_MIN 1500
#define RATE_QUANTUM_MAX (64 * 1024)
#define THROTTLE_BATCH	 64

static int64_t now_ns(void)
{
	return np_mono_now().us * 1000;
}

/* What one direction may take before the next one has its turn: 5 ms of the rate, less when many
 * wait, so that a round takes half a second. */
static uint32_t quantum(const struct instance *inst, int dir, uint64_t rate)
{
	uint32_t waits = atomic_load_explicit(&inst->rate_waits[dir], memory_order_relaxed);
	uint64_t q = rate / (waits > 100 ? 2 * (uint64_t)waits : 200);

	if (q < RATE_QUANTUM_MIN)
		return RATE_QUANTUM_MIN;
	return q > RATE_QUANTUM_MAX ? RATE_QUANTUM_MAX : (uint32_t)q;
}

static struct session *session_of(struct session_wait *wait)
{
	return (struct session *)((char *)(wait - wait->dir) - offsetof(struct session, wait));
}

static void throttle_arm(struct shard *sh, int64_t wait_ns)
{
	/* Less than a millisecond would only be a busy loop. */
	shard_throttle_after(sh, wait_ns > 1000000 ? wait_ns / 1000 : 1000);
}

static void throttle_enqueue(struct session_wait *wait, int64_t wait_ns)
{
	struct shard *sh = session_of(wait)->shard;

	if (!wait->queued) {
		wait->queued = true;
		if (wait->credit > 0) /* in the middle of its turn */
			DL_PREPEND(sh->throttled[wait->dir], wait);
		else
			DL_APPEND(sh->throttled[wait->dir], wait);
		atomic_fetch_add_explicit(&sh->inst->rate_waits[wait->dir], 1,
					  memory_order_relaxed);
	}
	throttle_arm(sh, wait_ns);
}

static void throttle_dequeue(struct shard *sh, struct session_wait *wait)
{
	DL_DELETE(sh->throttled[wait->dir], wait);
	wait->queued = false;
	atomic_fetch_sub_explicit(&sh->inst->rate_waits[wait->dir], 1, memory_order_relaxed);
}

size_t relay_grant(struct session *s, int dir, size_t want)
{
	struct np_bucket *b = &s->shard->inst->rate[dir];
	uint64_t rate = atomic_load_explicit(&b->rate_bytes_s, memory_order_relaxed);
	struct session_wait *wait = &s->wait[dir];
	int64_t wait_ns = 0;
	size_t q, n;

	if (rate == 0)
		return want;
	if (wait->queued)
		return 0;
	if (s->shard->throttled[dir] != NULL && wait->credit == 0) {
		throttle_enqueue(wait, 1000000);
		return 0;
	}
	q = wait->credit > 0 ? wait->credit : quantum(s->shard->inst, dir, rate);
	want = want < q ? want : q;
	n = np_bucket_take(b, now_ns(), want, want, &wait_ns);
	if (n == 0)
		throttle_enqueue(wait, wait_ns);
	else
		wait->credit -= n < wait->credit ? (uint32_t)n : wait->credit;
	return n;
}

void relay_refund(struct session *s, int dir, size_t unused)
{
	struct np_bucket *b = &s->shard->inst->rate[dir];

	if (unused > 0 && atomic_load_explicit(&b->rate_bytes_s, memory_order_relaxed) != 0)
		np_bucket_refund(b, unused);
}

void relay_forget(struct session *s)
{
	for (int dir = 0; dir < 2; dir++) {
		if (s->wait[dir].queued)
			throttle_dequeue(s->shard, &s->wait[dir]);
	}
}

static void throttle_go(struct session *s, int dir)
{
	/* A turn is so many bytes, in however many pieces they come. */
	if (s->wait[dir].credit == 0)
		s->wait[dir].credit =
		    quantum(s->shard->inst, dir,
			    atomic_load_explicit(&s->shard->inst->rate[dir].rate_bytes_s,
						 memory_order_relaxed));
	if (s->role == SESSION_SINGLE)
		relay_single(s);
	else if (dir == RATE_RX)
		relay_from_outer(s);
	else if (s->channel != NULL)
		channel_resume(s->channel);
	if (!s->wait[dir].queued)
		s->wait[dir].credit = 0;
}

/* The first in line first: it keeps its place until the bucket has its share. */
static void throttle_run_dir(struct shard *sh, int dir)
{
	struct np_bucket *b = &sh->inst->rate[dir];

	for (unsigned i = 0; sh->throttled[dir] != NULL; i++) {
		struct session_wait *wait = sh->throttled[dir];
		uint64_t rate = atomic_load_explicit(&b->rate_bytes_s, memory_order_relaxed);
		int64_t wait_ns = 0;

		if (i == THROTTLE_BATCH) { /* the sockets have their turn */
			throttle_arm(sh, 0);
			return;
		}
		if (rate != 0) {
			size_t q = wait->credit > 0 ? wait->credit : quantum(sh->inst, dir, rate);
			size_t n = np_bucket_take(b, now_ns(), q, q, &wait_ns);

			if (n == 0) {
				throttle_arm(sh, wait_ns);
				return;
			}
			np_bucket_refund(b, n);
		}
		throttle_dequeue(sh, wait);
		throttle_go(session_of(wait), dir);
	}
}

void relay_throttle_run(struct shard *sh)
{
	throttle_run_dir(sh, RATE_RX);
	throttle_run_dir(sh, RATE_TX);
}
