/*
 * channel_splice.c - the spliced half of a channel: payload of large frames that never comes into
 * this process.
 *
 * Outwards it lies in ch->out, which the socket owes (ch->owed) with its header before anything of
 * tx; inwards in ch->in, on its way to the session's outer socket.
 */
#include "channel_priv.h"
#include "relay.h"
#include "shard.h"

#include <errno.h>
#include <sys/socket.h>

/* The header stays in the socket's last segment, as its payload follows at once. */
static enum stream_status write_header(struct channel *ch, size_t *n)
{
	size_t len;
	const uint8_t *p = np_frame_out_header(&ch->owed, &len);
	ssize_t w;

	do {
		w = send(ch->stream.fd, p, len, MSG_NOSIGNAL | MSG_MORE);
	} while (w == -1 && errno == EINTR);
	if (w > 0) {
		*n = (size_t)w;
		return STREAM_OK;
	}
	if (w == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return STREAM_AGAIN;
	ch->stream.sys_errno = errno;
	return STREAM_FAILED;
}

void channel_write_owed(struct channel *ch)
{
	while (ch->writable && np_frame_out_owed(&ch->owed) > 0) {
		size_t n = 0;
		enum stream_status status =
		    ch->owed.header_left > 0
			? write_header(ch, &n)
			: pipe_drain(&ch->out, &ch->stream, ch->owed.payload_left, &n);

		if (status == STREAM_AGAIN) {
			channel_write_blocked(ch);
		} else if (status != STREAM_OK) {
			channel_write_failed(ch);
			return;
		} else {
			np_frame_out_wrote(&ch->owed, n);
		}
	}
	if (np_frame_out_owed(&ch->owed) == 0)
		pipe_give(ch->shard->worker, &ch->out);
}

void channel_send_piped(struct channel *ch)
{
	struct np_frame f = {NP_FRAME_DATA, ch->turn.number, ch->out.len};

	np_frame_out_begin(&ch->owed, &f);
	channel_flush(ch);
}

bool channel_may_splice(const struct channel *ch)
{
	const struct session *s = ch->session;

	return relay_splice_min() > 0 && ch->stream.ssl == NULL && s != NULL &&
	       s->state == SESSION_RUNNING && s->outer.stream.ssl == NULL;
}

/* What lies in the pipe to the outer socket. false: some of it stays there. */
bool channel_deliver_piped(struct channel *ch)
{
	ch->parsing = true;
	if (ch->session != NULL)
		relay_pipe_to_outer(ch->session, &ch->in);
	ch->parsing = false;
	if (ch->state != CHANNEL_CLOSED && ch->in.len > 0)
		ch->blocked = true;
	return ch->in.len == 0;
}

bool channel_begin_splice(struct channel *ch)
{
	return ch->in_frame && ch->bulk && ch->left >= relay_splice_min() &&
	       (ch->actions & NP_TURN_DROP) == 0 && channel_may_splice(ch) &&
	       pipe_take(ch->shard->worker, &ch->in);
}

/* Payload of a large frame goes through the pipe. false: nothing more to do now. */
bool channel_splice_once(struct channel *ch)
{
	size_t n = 0;
	enum stream_status status = pipe_fill(&ch->in, &ch->stream, ch->left, &n);

	if (status != STREAM_OK) {
		pipe_give(ch->shard->worker, &ch->in);
		return channel_read_stopped(ch, status);
	}
	ch->last_rx = worker_pass_now(ch->shard->worker);
	ch->left -= (uint32_t)n;
	ch->in_frame = ch->left > 0;
	return channel_deliver_piped(ch) && ch->state != CHANNEL_CLOSED;
}
