/*
 * fuzz_ctl_event.c - arbitrary bytes as an event and as a reply, what a controller receives:
 * refused, or the same after being written and read in either encoding.
 */
#include "ctl_again.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum np_err event_decode(const void *in, size_t len, union ctl_any *out)
{
	return ctl_event_decode(in, len, &out->event, NULL);
}

static enum np_err event_encode(union ctl_any *m, enum ctl_encoding enc, struct np_buf *out)
{
	return ctl_event_encode(&m->event, enc, out);
}

static void event_release(union ctl_any *m)
{
	ctl_event_release(&m->event);
}

static enum np_err reply_decode(const void *in, size_t len, union ctl_any *out)
{
	return ctl_reply_decode(in, len, &out->reply, NULL);
}

static enum np_err reply_encode(union ctl_any *m, enum ctl_encoding enc, struct np_buf *out)
{
	return ctl_reply_encode(&m->reply, enc, out);
}

static void reply_release(union ctl_any *m)
{
	ctl_reply_release(&m->reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ctl_face event = {event_decode, event_encode, event_release};
	static const struct ctl_face reply = {reply_decode, reply_encode, reply_release};

	ctl_again(&event, data, size);
	ctl_again(&reply, data, size);
	return 0;
}
