/*
 * channel_write.c - frames to a channel's socket: at once as far as it takes them, the rest waits in
 * ch->tx.
 */
#include "channel_priv.h"
#include "shard.h"

#include <string.h>

void channel_put(struct channel *ch, enum np_frame_type type, const void *payload, size_t len)
{
	bool stream_frame = type <= NP_FRAME_DONE;
	struct np_frame f = {type, stream_frame ? ch->turn.number : 0, (uint32_t)len};
	uint8_t header[NP_FRAME_HEADER];

	if (ch->state == CHANNEL_CLOSED)
		return;
	channel_release(ch);
	np_frame_write(&f, header);
	np_buf_put(&ch->tx, header, sizeof(header));
	if (len > 0)
		np_buf_put(&ch->tx, payload, len);
	if (ch->tx.err != NP_OK)
		channel_close(ch, np_err_text(ch->tx.err));
}

bool channel_send(struct channel *ch, enum np_frame_type type, const void *payload, size_t len)
{
	uint8_t code = type == NP_FRAME_STATUS ? *(const uint8_t *)payload : 0;

	if (ch->state == CHANNEL_CLOSED || !np_turn_tx(&ch->turn, type, code))
		return false;
	channel_put(ch, type, payload, len);
	return true;
}

void channel_write_failed(struct channel *ch)
{
	channel_close(ch,
		      ch->stream.sys_errno != 0 ? strerror(ch->stream.sys_errno) : "write failed");
}

void channel_write_blocked(struct channel *ch)
{
	ch->writable = false;
	if (ch->state != CHANNEL_BUSY || ch->stalled)
		return;
	ch->stalled = true;
	channel_user_timeout(ch->stream.fd, 0);
}

static void write_drained(struct channel *ch)
{
	ch->pong_waits = false;
	if (!ch->stalled)
		return;
	ch->stalled = false;
	channel_user_timeout(ch->stream.fd, CHANNEL_USER_TIMEOUT_MS);
}

/* As much of @p as the socket takes now. The channel may be closed on return. */
static size_t write_some(struct channel *ch, const uint8_t *p, size_t len)
{
	size_t done = 0;

	while (ch->state != CHANNEL_CLOSED && ch->writable && done < len) {
		size_t n = 0;

		switch (stream_write(&ch->stream, p + done, len - done, &n)) {
		case STREAM_OK:
			done += n;
			break;
		case STREAM_AGAIN:
			channel_write_blocked(ch);
			break;
		case STREAM_EOF:
		case STREAM_FAILED:
			channel_write_failed(ch);
			break;
		}
	}
	return done;
}

void channel_flush(struct channel *ch)
{
	size_t done;

	if (ch->state == CHANNEL_CLOSED || ch->held)
		return;
	if (np_frame_out_owed(&ch->owed) > 0) {
		channel_write_owed(ch);
		if (ch->state == CHANNEL_CLOSED || np_frame_out_owed(&ch->owed) > 0)
			return;
	}
	if (np_buf_len(&ch->tx) > 0) {
		done = write_some(ch, np_buf_ptr(&ch->tx), np_buf_len(&ch->tx));
		if (ch->state == CHANNEL_CLOSED)
			return;
		np_buf_consume(&ch->tx, done);
	}
	if (np_buf_len(&ch->tx) > 0)
		return;
	write_drained(ch);
	np_buf_release(&ch->tx); /* buffers exist only while bytes wait */
}

void channel_hold(struct channel *ch)
{
	if (ch->state == CHANNEL_CLOSED)
		return;
	ch->held = true;
	worker_defer_later(ch->shard->worker, &ch->task);
}

void channel_release(struct channel *ch)
{
	if (!ch->held)
		return;
	ch->held = false;
	if (ch->task.later)
		worker_undefer(ch->shard->worker, &ch->task);
}

void channel_send_data(struct channel *ch, uint8_t *buf, size_t len)
{
	struct np_frame f = {NP_FRAME_DATA, ch->turn.number, (uint32_t)len};

	np_frame_write(&f, buf);
	channel_send_frames(ch, buf, NP_FRAME_HEADER + len);
}

void channel_send_frames(struct channel *ch, const uint8_t *buf, size_t len)
{
	size_t done = 0;

	if (ch->held && len > CHANNEL_HELD_MAX) {
		channel_release(ch);
		channel_flush(ch);
	}
	if (ch->state != CHANNEL_CLOSED && channel_waiting(ch) == 0)
		done = write_some(ch, buf, len);
	if (ch->state == CHANNEL_CLOSED)
		return;
	channel_release(ch);
	if (done < len) {
		np_buf_put(&ch->tx, buf + done, len - done);
		if (ch->tx.err != NP_OK)
			channel_close(ch, np_err_text(ch->tx.err));
		else if (ch->writable)
			channel_flush(ch);
	}
}
