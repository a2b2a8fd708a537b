/*
 * ctl_again.h - what was read from arbitrary bytes, written and read again in both encodings,
 * gives the same bytes. For the fuzz targets of the control protocol.
 */
#ifndef NP_FUZZ_CTL_AGAIN_H
#define NP_FUZZ_CTL_AGAIN_H

#include "base/assert.h"
#include "wire/ctl_msg.h"

#include <string.h>

#define AGAIN_MAX (16 * CTL_MESSAGE_MAX)

union ctl_any {
	struct ctl_request request;
	struct ctl_reply reply;
	struct ctl_event event;
};

struct ctl_face {
	enum np_err (*decode)(const void *in, size_t len, union ctl_any *out);
	enum np_err (*encode)(union ctl_any *m, enum ctl_encoding enc, struct np_buf *out);
	void (*release)(union ctl_any *m);
};

static inline void ctl_again(const struct ctl_face *f, const uint8_t *data, size_t size)
{
	struct np_buf first[2], second;
	union ctl_any m;
	unsigned enc;

	if (f->decode(data, size, &m) != NP_OK)
		return;
	for (enc = CTL_PROTOBUF; enc <= CTL_JSON; enc++) {
		np_buf_init(&first[enc], AGAIN_MAX);
		NP_ASSERT(f->encode(&m, (enum ctl_encoding)enc, &first[enc]) == NP_OK);
	}
	f->release(&m);
	for (enc = CTL_PROTOBUF; enc <= CTL_JSON; enc++) {
		enum np_err err = f->decode(np_buf_ptr(&first[enc]), np_buf_len(&first[enc]), &m);

		/* Empty parts cost less in one form than in the other: the cap may hold. */
		NP_ASSERT(err == NP_OK || err == NP_ELIMIT);
		if (err != NP_OK)
			continue;
		np_buf_init(&second, AGAIN_MAX);
		NP_ASSERT(f->encode(&m, CTL_PROTOBUF, &second) == NP_OK);
		NP_ASSERT(np_buf_len(&second) == np_buf_len(&first[CTL_PROTOBUF]));
		NP_ASSERT(np_buf_len(&second) == 0 ||
			  memcmp(np_buf_ptr(&second), np_buf_ptr(&first[CTL_PROTOBUF]),
				 np_buf_len(&second)) == 0);
		np_buf_release(&second);
		f->release(&m);
	}
	np_buf_release(&first[CTL_PROTOBUF]);
	np_buf_release(&first[CTL_JSON]);
}

#endif
