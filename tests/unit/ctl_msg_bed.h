/*
 * ctl_msg_bed.h - for tests: the three kinds of message of the control protocol behind one face.
 */
#ifndef NP_TEST_CTL_MSG_BED_H
#define NP_TEST_CTL_MSG_BED_H

#include "ctl_samples.h"

#include "base/alloc.h"
#include "base/num.h"
#include "wire/ctl_msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define OUT_MAX	 (4 * CTL_MESSAGE_MAX)

/* The three kinds of message behind one face. */
union message {
	struct ctl_request request;
	struct ctl_reply reply;
	struct ctl_event event;
};

struct kind {
	enum np_err (*decode)(const void *in, size_t len, union message *out, struct np_diag *diag);
	enum np_err (*encode)(union message *m, enum ctl_encoding enc, struct np_buf *out);
	void (*release)(union message *m);
	const struct ctl_sample *samples;
	size_t n;
};

static inline enum np_err request_decode(const void *in, size_t len, union message *m,
					 struct np_diag *d)
{
	return ctl_request_decode(in, len, &m->request, d);
}

static inline enum np_err request_encode(union message *m, enum ctl_encoding enc,
					 struct np_buf *out)
{
	m->request.encoding = enc;
	return ctl_request_encode(&m->request, out);
}

static inline void request_release(union message *m)
{
	ctl_request_release(&m->request);
}

static inline enum np_err reply_decode(const void *in, size_t len, union message *m,
				       struct np_diag *d)
{
	return ctl_reply_decode(in, len, &m->reply, d);
}

static inline enum np_err reply_encode(union message *m, enum ctl_encoding enc, struct np_buf *out)
{
	return ctl_reply_encode(&m->reply, enc, out);
}

static inline void reply_release(union message *m)
{
	ctl_reply_release(&m->reply);
}

static inline enum np_err event_decode(const void *in, size_t len, union message *m,
				       struct np_diag *d)
{
	return ctl_event_decode(in, len, &m->event, d);
}

static inline enum np_err event_encode(union message *m, enum ctl_encoding enc, struct np_buf *out)
{
	return ctl_event_encode(&m->event, enc, out);
}

static inline void event_release(union message *m)
{
	ctl_event_release(&m->event);
}

static const struct kind kinds[] = {
    {request_decode, request_encode, request_release, ctl_request_samples,
     COUNT(ctl_request_samples)},
    {reply_decode, reply_encode, reply_release, ctl_reply_samples, COUNT(ctl_reply_samples)},
    {event_decode, event_encode, event_release, ctl_event_samples, COUNT(ctl_event_samples)},
};

struct bytes {
	uint8_t data[4096];
	size_t len;
};

static inline void from_hex(const char *hex, struct bytes *b)
{
	b->len = strlen(hex) / 2;
	assert_true(b->len <= sizeof b->data);
	assert_int_equal(np_parse_hex(hex, strlen(hex), b->data, b->len), NP_OK);
}

static inline void assert_is(const struct kind *k, union message *m, enum ctl_encoding enc,
			     const void *want, size_t len)
{
	struct np_buf out;

	np_buf_init(&out, OUT_MAX);
	assert_int_equal(k->encode(m, enc, &out), NP_OK);
	if (enc == CTL_JSON) {
		assert_true(np_buf_len(&out) > 0);
		assert_int_equal(np_buf_ptr(&out)[np_buf_len(&out) - 1], '\n');
		out.len--;
		assert_string_equal(np_buf_cstr(&out), want);
	}
	assert_int_equal(np_buf_len(&out), len);
	if (len > 0)
		assert_memory_equal(np_buf_ptr(&out), want, len);
	np_buf_release(&out);
}

static inline void decode_ok(const char *json, struct ctl_request *r)
{
	struct np_diag diag;

	if (ctl_request_decode(json, strlen(json), r, &diag) != NP_OK)
		fail_msg("%s: %s", json, diag.text);
}

#endif
