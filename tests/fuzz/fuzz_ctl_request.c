/*
 * fuzz_ctl_request.c - arbitrary bytes as a request: refused with a diagnosis of one line, or the
 * same after being written and read in either encoding.
 */
#include "ctl_again.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum np_err decode(const void *in, size_t len, union ctl_any *out)
{
	struct np_diag diag = {.text = ""};
	enum np_err err = ctl_request_decode(in, len, &out->request, &diag);

	NP_ASSERT(err == NP_OK || (diag.text[0] != '\0' && strchr(diag.text, '\n') == NULL));
	NP_ASSERT(err == NP_OK || out->request.command == CTL_CMD_NONE);
	return err;
}

static enum np_err encode(union ctl_any *m, enum ctl_encoding enc, struct np_buf *out)
{
	m->request.encoding = enc;
	return ctl_request_encode(&m->request, out);
}

static void release(union ctl_any *m)
{
	ctl_request_release(&m->request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ctl_face face = {decode, encode, release};

	ctl_again(&face, data, size);
	return 0;
}
