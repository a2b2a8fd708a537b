/*
 * relay_splice.c - the mover that splices: when it takes the place of the copying one, and bytes
 * that lie in a pipe.
 *
 * A read of the source fills an empty pipe, which is drained at once; what the destination does not
 * take stays in the pipe, and nothing more is read meanwhile. Small exchanges are copied: a pipe
 * costs one system call more each way.
 */
#include "relay_priv.h"

#define SPLICE_MIN (16 * 1024)

size_t relay_splice_min(void)
{
	if (runtime.relay == RELAY_COPY)
		return 0;
	return runtime.relay == RELAY_SPLICE ? 1 : SPLICE_MIN;
}

bool relay_begin_splice(struct session *s, int dir, const struct stream *from,
			const struct stream *to, struct pipe *p)
{
	if (from->ssl != NULL || to->ssl != NULL || runtime.relay == RELAY_COPY)
		return false;
	if (s->bulk[dir] < RELAY_BULK_AFTER && runtime.relay != RELAY_SPLICE)
		return false;
	return pipe_take(s->shard->worker, p);
}

void relay_note_read(struct session *s, int dir, size_t n)
{
	bool spliced = s->bulk[dir] >= RELAY_BULK_AFTER;

	if (n < (spliced ? SPLICE_MIN : RELAY_BULK_READ))
		s->bulk[dir] = 0;
	else if (!spliced)
		s->bulk[dir]++;
}

void relay_pipe_to_outer(struct session *s, struct pipe *p)
{
	struct worker *w = s->shard->worker;

	while (s->state == SESSION_RUNNING && p->len > 0 && s->outer.writable) {
		size_t grant = relay_grant(s, RATE_TX, p->len), n = 0;
		enum stream_status status;

		if (grant == 0)
			return;
		status = pipe_drain(p, &s->outer.stream, grant, &n);
		relay_refund(s, RATE_TX, grant - n);
		if (status == STREAM_AGAIN) {
			s->outer.writable = false;
		} else if (status != STREAM_OK) {
			session_abort(s, session_outer_reset(s)); /* closes @p, too */
			return;
		} else {
			relay_note_tx(s, n);
			s->delivered = true;
		}
	}
	if (p->len == 0)
		pipe_give(w, p);
}
