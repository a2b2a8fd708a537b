/*
 * ctl_mem.c - memory of one message with a ceiling, refusals with their path, and the check of a
 * packed message's strings, whose lengths protobuf-c does not keep.
 */
#include "wire/ctl_priv.h"

#include "base/alloc.h"
#include "core/proof.h"
#include "wire/tunnel_check.h"

#include <stdio.h>
#include <string.h>

#define WIRE_VARINT 0
#define WIRE_64	    1
#define WIRE_BYTES  2
#define WIRE_32	    5
#define REFUSAL_MAX 512

/* One allocation each, so that an address sanitizer sees what runs past its end. */
struct ctl_mem_block {
	struct ctl_mem_block *next;
	size_t size; /* of data */
	max_align_t data[];
};

static void *get_for_protobuf(void *data, size_t n)
{
	return ctl_mem_get(data, n);
}

static void keep(void *data, void *p)
{
	(void)data;
	(void)p;
}

void ctl_mem_init(struct ctl_mem *m, size_t len)
{
	size_t cap = CTL_MEM_BASE + CTL_MEM_PER_BYTE * len;

	*m = (struct ctl_mem){0};
	m->left = len == 0 || cap > CTL_MEM_MAX ? CTL_MEM_MAX : cap;
	m->allocator = (ProtobufCAllocator){
	    .alloc = get_for_protobuf,
	    .free = keep,
	    .allocator_data = m,
	};
}

void *ctl_mem_get(struct ctl_mem *m, size_t n)
{
	struct ctl_mem_block *b;

	if (n > m->left) {
		m->over = true;
		return NULL;
	}
	b = np_calloc(1, sizeof *b + n);
	if (b == NULL) {
		m->no_memory = true;
		return NULL;
	}
	m->left -= n;
	b->size = n;
	b->next = m->blocks;
	m->blocks = b;
	return b->data;
}

enum np_err ctl_mem_error(const struct ctl_mem *m, enum np_err otherwise)
{
	if (m->no_memory)
		return NP_ENOMEM;
	return m->over ? NP_ELIMIT : otherwise;
}

void ctl_mem_release(struct ctl_mem *m)
{
	while (m->blocks != NULL) {
		struct ctl_mem_block *b = m->blocks;

		m->blocks = b->next;
		np_wipe(b->data, b->size);
		np_free(b);
	}
}

void *ctl_new(struct ctl_mem *mem, const ProtobufCMessageDescriptor *d)
{
	void *m = ctl_mem_get(mem, d->sizeof_message);

	if (m != NULL)
		protobuf_c_message_init(d, m);
	return m;
}

static void put_path(struct np_buf *b, const struct ctl_path *p)
{
	if (p == NULL)
		return;
	put_path(b, p->up);
	if (p->name == NULL)
		np_buf_putf(b, "[%zu]", p->index);
	else
		np_buf_putf(b, "%s%.64s", np_buf_len(b) > 0 ? "." : "", p->name);
}

enum np_err ctl_refuse(struct np_diag *diag, enum np_err err, const struct ctl_path *path,
		       const char *fmt, ...)
{
	char reason[REFUSAL_MAX];
	struct np_buf b;
	const char *at;
	va_list ap;

	if (diag == NULL)
		return err;
	va_start(ap, fmt);
	vsnprintf(reason, sizeof reason, fmt, ap);
	va_end(ap);
	np_buf_init(&b, REFUSAL_MAX);
	put_path(&b, path);
	at = np_buf_cstr(&b);
	if (at == NULL || at[0] == '\0')
		at = "message";
	err = np_diag_set(diag, err, at, "%s: %s", at, reason);
	np_buf_release(&b);
	return err;
}

/* ------------------------------------------------------------- strings of a packed message */

struct wire {
	const uint8_t *p;
	size_t left;
};

static bool wire_varint(struct wire *w, uint64_t *out)
{
	unsigned shift;

	*out = 0;
	for (shift = 0; shift < 64 && w->left > 0; shift += 7) {
		uint8_t c = *w->p++;

		w->left--;
		*out |= (uint64_t)(c & 0x7f) << shift;
		if (c < 0x80)
			return true;
	}
	return false;
}

/* One field: its number and, if it is WIRE_BYTES, what it holds (otherwise *p is NULL). */
static bool wire_field(struct wire *w, uint32_t *number, const uint8_t **p, size_t *len)
{
	uint64_t tag, n = 0;

	*p = NULL;
	*len = 0;
	if (!wire_varint(w, &tag))
		return false;
	*number = (uint32_t)(tag >> 3);
	switch (tag & 7) {
	case WIRE_VARINT:
		return wire_varint(w, &n);
	case WIRE_64:
		n = 8;
		break;
	case WIRE_32:
		n = 4;
		break;
	case WIRE_BYTES:
		if (!wire_varint(w, &n))
			return false;
		*p = w->p;
		*len = (size_t)n;
		break;
	default:
		return false;
	}
	if (n > w->left)
		return false;
	w->p += n;
	w->left -= (size_t)n;
	return true;
}

enum np_err ctl_wire_check(const ProtobufCMessageDescriptor *d, const uint8_t *p, size_t len,
			   const struct ctl_path *path, struct np_diag *diag)
{
	struct wire w = {p, len};

	while (w.left > 0) {
		const ProtobufCFieldDescriptor *f;
		struct ctl_path at = {.up = path};
		enum np_err err = NP_OK;
		uint32_t number;

		if (!wire_field(&w, &number, &p, &len))
			return NP_OK;
		if (p == NULL)
			continue;
		f = protobuf_c_message_descriptor_get_field(d, number);
		if (f == NULL)
			continue;
		at.name = f->name;
		if (f->type == PROTOBUF_C_TYPE_MESSAGE)
			err = ctl_wire_check(f->descriptor, p, len, &at, diag);
		else if (f->type == PROTOBUF_C_TYPE_STRING && !np_utf8_is_valid(p, len))
			err = ctl_refuse(diag, NP_EINVAL, &at, "text has to be UTF-8 without NUL");
		if (err != NP_OK)
			return err;
	}
	return NP_OK;
}
