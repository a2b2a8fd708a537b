/*
 * relay_priv.h - inside of relay: what its files share.
 */
#ifndef NP_RELAY_PRIV_H
#define NP_RELAY_PRIV_H

#include "relay.h"
#include "runtime.h"
#include "shard.h"

#define RELAY_ROUNDS 4 /* reads of a direction in one callback */
/* Reads that show bulk, and how many of them in a row; from then on it is spliced. */
#define RELAY_BULK_READ	 (32 * 1024)
#define RELAY_BULK_AFTER 2

/* relay_read_max - what one read by copy takes: eight buffers, as far as the scratch has them. */
static inline size_t relay_read_max(void)
{
	size_t n = (size_t)runtime.env.tcp_data_buf_size * 8,
	       max = WORKER_SCRATCH - NP_FRAME_HEADER;

	return n < max ? n : max;
}

static inline void relay_note_rx(struct session *s, size_t n)
{
	s->rx += n;
	s->last_active = worker_pass_now(s->shard->worker);
	counter_add(&s->shard->counters, COUNTER_TCP_RX, n);
}

static inline void relay_note_tx(struct session *s, size_t n)
{
	s->tx += n;
	s->last_active = worker_pass_now(s->shard->worker);
	counter_add(&s->shard->counters, COUNTER_TCP_TX, n);
}

/*
 * relay_begin_splice - is the next read of direction @dir (RATE_RX, RATE_TX: whose bytes they are)
 * from @from to @to to go through @p? It has a pipe then. relay_note_read - what a read found.
 */
bool relay_begin_splice(struct session *s, int dir, const struct stream *from,
			const struct stream *to, struct pipe *p);
void relay_note_read(struct session *s, int dir, size_t n);

#endif
