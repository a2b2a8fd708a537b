/*
 * fuzz_gob.c - state files of the original program: whatever is in them, nothing points outside of
 * the input, and reading twice gives the same.
 */
#include "gob.h"

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	const uint8_t *data;
	size_t size, instances, bytes;
};

static void check_text(struct seen *s, struct gob_text t)
{
	const uint8_t *p = (const uint8_t *)t.p;

	if (p == NULL) {
		NP_ASSERT(t.len == 0);
		return;
	}
	NP_ASSERT(p >= s->data && p + t.len <= s->data + s->size);
	for (size_t i = 0; i < t.len; i++)
		s->bytes += p[i];
}

static enum np_err visit(void *arg, const struct gob_instance *inst)
{
	struct seen *s = arg;

	s->instances++;
	NP_ASSERT(s->instances <= s->size);
	NP_ASSERT(inst->ntags <= GOB_TAGS_MAX);
	check_text(s, inst->id);
	check_text(s, inst->alias);
	check_text(s, inst->type);
	check_text(s, inst->status);
	check_text(s, inst->url);
	check_text(s, inst->config);
	check_text(s, inst->peer_sid);
	check_text(s, inst->peer_type);
	check_text(s, inst->peer_alias);
	for (size_t i = 0; i < inst->ntags; i++) {
		check_text(s, inst->tags[i].name);
		check_text(s, inst->tags[i].value);
	}
	return NP_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen first = {.data = data, .size = size}, second = first;
	struct np_diag diag = {.text = ""};
	enum np_err err = gob_read(data, size, visit, &first, &diag);

	NP_ASSERT((err == NP_OK) == (diag.text[0] == '\0'));
	NP_ASSERT(diag.offset <= size);
	NP_ASSERT(gob_read(data, size, visit, &second, NULL) == err);
	NP_ASSERT(first.instances == second.instances && first.bytes == second.bytes);
	NP_ASSERT(gob_read(data, size, NULL, NULL, NULL) == err);
	return 0;
}
