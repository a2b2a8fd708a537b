/*
 * ctl_json_out.c - a generated message as JSON, straight into the buffer: 64-bit numbers keep all
 * their digits, which a tree of doubles would not. Fields come in the order of their numbers.
 */
#include "wire/ctl_json.h"

#include "base/base64.h"

#include <inttypes.h>

static void write_message(const ProtobufCMessage *m, struct np_buf *out);

static void write_text(const char *s, struct np_buf *out)
{
	np_buf_put_u8(out, '"');
	while (*s != '\0') {
		const char *from = s;

		while ((uint8_t)*s >= 0x20 && *s != '"' && *s != '\\' && *s != 0x7f)
			s++;
		np_buf_put(out, from, (size_t)(s - from));
		if (*s == '\0')
			break;
		if (*s == '"' || *s == '\\')
			np_buf_putf(out, "\\%c", *s);
		else if (*s == '\n')
			np_buf_put_str(out, "\\n");
		else
			np_buf_putf(out, "\\u%04x", (unsigned)(uint8_t)*s);
		s++;
	}
	np_buf_put_u8(out, '"');
}

static void write_bytes(const ProtobufCBinaryData *b, struct np_buf *out)
{
	size_t i;

	np_buf_put_u8(out, '"');
	for (i = 0; i < b->len; i += 3) {
		size_t left = b->len - i;
		uint32_t v = (uint32_t)b->data[i] << 16;
		char four[4];

		if (left > 1)
			v |= (uint32_t)b->data[i + 1] << 8;
		if (left > 2)
			v |= b->data[i + 2];
		four[0] = np_base64[v >> 18];
		four[1] = np_base64[v >> 12 & 63];
		four[2] = '=';
		four[3] = '=';
		if (left > 1)
			four[2] = np_base64[v >> 6 & 63];
		if (left > 2)
			four[3] = np_base64[v & 63];
		np_buf_put(out, four, sizeof four);
	}
	np_buf_put_u8(out, '"');
}

static void write_enum(const ProtobufCEnumDescriptor *d, int number, struct np_buf *out)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(d, number);

	if (v != NULL)
		write_text(v->name, out);
	else
		np_buf_putf(out, "%d", number);
}

/* @at: the value, in a field or in a list. Types that the schema may not have are not written. */
static void write_value(const ProtobufCFieldDescriptor *f, const void *at, struct np_buf *out)
{
	if (f->type == PROTOBUF_C_TYPE_UINT32)
		np_buf_putf(out, "%" PRIu32, *(const uint32_t *)at);
	else if (f->type == PROTOBUF_C_TYPE_INT32)
		np_buf_putf(out, "%" PRId32, *(const int32_t *)at);
	else if (f->type == PROTOBUF_C_TYPE_UINT64)
		np_buf_putf(out, "\"%" PRIu64 "\"", *(const uint64_t *)at);
	else if (f->type == PROTOBUF_C_TYPE_INT64)
		np_buf_putf(out, "\"%" PRId64 "\"", *(const int64_t *)at);
	else if (f->type == PROTOBUF_C_TYPE_BOOL)
		np_buf_put_str(out, *(const protobuf_c_boolean *)at ? "true" : "false");
	else if (f->type == PROTOBUF_C_TYPE_ENUM)
		write_enum(f->descriptor, *(const int *)at, out);
	else if (f->type == PROTOBUF_C_TYPE_STRING)
		write_text(*(char *const *)at, out);
	else if (f->type == PROTOBUF_C_TYPE_BYTES)
		write_bytes(at, out);
	else if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		write_message(*(ProtobufCMessage *const *)at, out);
	else
		np_buf_put_str(out, "null");
}

size_t ctl_json_size(const ProtobufCFieldDescriptor *f)
{
	if (f->type == PROTOBUF_C_TYPE_UINT64 || f->type == PROTOBUF_C_TYPE_INT64)
		return 8;
	if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE)
		return sizeof(void *);
	if (f->type == PROTOBUF_C_TYPE_BYTES)
		return sizeof(ProtobufCBinaryData);
	return 4;
}

/* Neither unset nor the default; a set member of a oneof is there whatever its value. */
static bool is_there(const ProtobufCFieldDescriptor *f, const char *m)
{
	const void *at = m + f->offset, *count = m + f->quantifier_offset;
	const char *text;

	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)count == f->id;
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return *(const size_t *)count > 0;
	if (f->type == PROTOBUF_C_TYPE_STRING) {
		text = *(char *const *)at;
		return text != NULL && text[0] != '\0';
	}
	if (f->type == PROTOBUF_C_TYPE_BYTES)
		return ((const ProtobufCBinaryData *)at)->len > 0;
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return *(void *const *)at != NULL;
	if (ctl_json_size(f) == 8)
		return *(const uint64_t *)at != 0;
	return *(const uint32_t *)at != 0;
}

static void write_list(const ProtobufCFieldDescriptor *f, const char *m, struct np_buf *out)
{
	size_t n = *(const size_t *)(const void *)(m + f->quantifier_offset), i;
	const char *list = *(char *const *)(const void *)(m + f->offset);

	np_buf_put_u8(out, '[');
	for (i = 0; i < n; i++) {
		if (i > 0)
			np_buf_put_u8(out, ',');
		write_value(f, list + i * ctl_json_size(f), out);
	}
	np_buf_put_u8(out, ']');
}

static void write_message(const ProtobufCMessage *m, struct np_buf *out)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	const char *base = (const char *)m;
	char before = '{';
	unsigned i;

	for (i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];

		if (!is_there(f, base))
			continue;
		np_buf_putf(out, "%c\"%s\":", before, f->name);
		before = ',';
		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			write_list(f, base, out);
		else
			write_value(f, base + f->offset, out);
	}
	np_buf_put_str(out, before == '{' ? "{}" : "}");
}

void ctl_json_write(const ProtobufCMessage *message, struct np_buf *out)
{
	write_message(message, out);
	np_buf_put_u8(out, '\n');
}
