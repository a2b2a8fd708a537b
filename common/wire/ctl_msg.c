/*
 * ctl_msg.c - requests, replies and events between bytes and own structs: size, strings, unpack or
 * JSON, then the tables of ctl_table.c. Nothing of protobuf-c's memory outlives a call.
 */
#include "wire/ctl_msg.h"

#include "base/alloc.h"
#include "wire/ctl_json.h"
#include "wire/ctl_priv.h"

#include <string.h>

#include "control.pb-c.h"

#define PB(name) Nodepass__Ctl__V1__##name
/* Field numbers of the commands and results, less their enum ctl_command. */
#define COMMAND_NUMBERS 15

_Static_assert(NODEPASS__CTL__V1__REQUEST__COMMAND_HELLO == COMMAND_NUMBERS + CTL_CMD_HELLO &&
		   NODEPASS__CTL__V1__REQUEST__COMMAND_SHUTDOWN ==
		       COMMAND_NUMBERS + CTL_CMD_SHUTDOWN,
	       "commands are numbered as in control.proto");
_Static_assert(NODEPASS__CTL__V1__REPLY__RESULT_SHUTDOWN == COMMAND_NUMBERS + CTL_CMD_SHUTDOWN,
	       "results are numbered as commands");
_Static_assert((int)NODEPASS__CTL__V1__EVENT__BODY_METRICS == (int)CTL_EVENT_METRICS,
	       "events are numbered as in control.proto");
_Static_assert((int)NODEPASS__CTL__V1__CODE__CODE_INTERNAL == (int)CTL_INTERNAL,
	       "codes are numbered as in control.proto");

/* @in to a message of @d in @mem. On error *out may be what could be read of it, else NULL. */
static enum np_err parse(const ProtobufCMessageDescriptor *d, const void *in, size_t len,
			 struct ctl_mem *mem, void **out, struct np_diag *diag)
{
	enum np_err checked;

	*out = NULL;
	ctl_mem_init(mem, len);
	if (len > CTL_MESSAGE_MAX)
		return ctl_refuse(diag, NP_ELIMIT, NULL, "longer than %d bytes", CTL_MESSAGE_MAX);
	if (len > 0 && *(const uint8_t *)in == '{')
		return ctl_json_read(d, in, len, mem, out, diag);
	checked = ctl_wire_check(d, in, len, NULL, diag);
	if (checked != NP_OK)
		return checked;
	*out = protobuf_c_message_unpack(d, &mem->allocator, len, len > 0 ? in : (const void *)"");
	if (*out != NULL)
		return NP_OK;
	if (ctl_mem_error(mem, NP_OK) == NP_ELIMIT)
		return ctl_refuse(diag, NP_ELIMIT, NULL, "takes too much memory");
	return ctl_mem_error(mem, ctl_refuse(diag, NP_EINVAL, NULL, "neither protobuf nor JSON"));
}

static enum np_err print(const void *message, enum ctl_encoding enc, struct np_buf *out)
{
	size_t before = np_buf_len(out), n;
	uint8_t *p;

	if (out->err != NP_OK)
		return out->err;
	if (enc == CTL_JSON) {
		ctl_json_write(message, out);
		if (out->err != NP_OK)
			out->len = (uint32_t)before; /* no half message */
		return out->err;
	}
	n = protobuf_c_message_get_packed_size(message);
	if (n == 0)
		return NP_OK;
	p = np_buf_reserve(out, n);
	if (p == NULL)
		return out->err;
	protobuf_c_message_pack(message, p);
	np_buf_commit(out, n);
	return NP_OK;
}

/* The body of a oneof: a new message in its pointer. @b may be NULL: nothing is set. */
static enum np_err body_out(const struct ctl_binds *b, const void *own, void *pointer,
			    struct ctl_mem *mem)
{
	void *m = ctl_new(mem, b->pb);

	if (m == NULL)
		return ctl_mem_error(mem, NP_ENOMEM);
	memcpy(pointer, &m, sizeof m);
	return ctl_bind_out(b, own, m, mem);
}

static enum np_err body_in(const struct ctl_binds *b, const ProtobufCMessageDescriptor *envelope,
			   uint32_t number, const void *m, void *own, struct np_diag *diag)
{
	const ProtobufCFieldDescriptor *f =
	    protobuf_c_message_descriptor_get_field(envelope, number);
	struct ctl_path at = {.name = f == NULL ? "" : f->name};

	return m == NULL ? NP_EINVAL : ctl_bind_in(b, m, own, &at, diag);
}

/* A message that is all or nothing. */
struct decoding {
	const ProtobufCMessageDescriptor *pb;
	size_t size; /* of our own struct */
	enum np_err (*in)(const void *m, void *out, struct np_diag *diag);
	void (*release)(void *out);
};

static enum np_err decode(const struct decoding *d, const void *in, size_t len, void *out,
			  struct np_diag *diag)
{
	struct ctl_mem mem;
	void *m;
	enum np_err err;

	memset(out, 0, d->size);
	err = parse(d->pb, in, len, &mem, &m, diag);
	if (err == NP_OK)
		err = d->in(m, out, diag);
	if (err != NP_OK) {
		d->release(out);
		memset(out, 0, d->size);
	}
	ctl_mem_release(&mem);
	return err;
}

/* ------------------------------------------------------------- requests */

static enum np_err request_in(const PB(Request) * m, struct ctl_request *out, struct np_diag *diag)
{
	const ProtobufCMessageDescriptor *d = &nodepass__ctl__v1__request__descriptor;
	uint32_t number = (uint32_t)m->command_case;
	const struct ctl_binds *b;
	enum np_err err = ctl_bind_in(&ctl_binds_request, m, out, NULL, diag);

	if (err != NP_OK)
		return err;
	if (out->version == 0)
		out->version = CTL_VERSION;
	if (number <= COMMAND_NUMBERS)
		return NP_OK;
	b = ctl_binds_command((enum ctl_command)(number - COMMAND_NUMBERS));
	if (b == NULL)
		return NP_OK;
	out->command = (enum ctl_command)(number - COMMAND_NUMBERS);
	return body_in(b, d, number, m->hello, out,
		       diag); /* a union of pointers: whichever it is */
}

/* What is known of a refused request, for the answer. */
static void request_refused(const PB(Request) * m, struct ctl_request *out)
{
	enum ctl_encoding encoding = out->encoding;

	ctl_request_release(out);
	memset(out, 0, sizeof *out);
	out->encoding = encoding;
	if (m != NULL && strlen(m->request_id) <= CTL_REQUEST_ID_MAX)
		memcpy(out->request_id, m->request_id, strlen(m->request_id));
}

enum np_err ctl_request_decode(const void *in, size_t len, struct ctl_request *out,
			       struct np_diag *diag)
{
	struct ctl_mem mem;
	void *m;
	enum np_err err;

	memset(out, 0, sizeof *out);
	out->encoding = len > 0 && *(const uint8_t *)in == '{' ? CTL_JSON : CTL_PROTOBUF;
	err = parse(&nodepass__ctl__v1__request__descriptor, in, len, &mem, &m, diag);
	if (err == NP_OK)
		err = request_in(m, out, diag);
	if (err != NP_OK)
		request_refused(m, out);
	ctl_mem_release(&mem);
	return err;
}

void ctl_request_release(struct ctl_request *r)
{
	const struct ctl_binds *b = ctl_binds_command(r->command);

	if (b != NULL)
		ctl_bind_release(b, r);
	r->command = CTL_CMD_NONE;
}

enum np_err ctl_request_encode(const struct ctl_request *r, struct np_buf *out)
{
	const struct ctl_binds *b = ctl_binds_command(r->command);
	PB(Request) m = NODEPASS__CTL__V1__REQUEST__INIT;
	struct ctl_mem mem;
	enum np_err err;

	ctl_mem_init(&mem, 0);
	err = ctl_bind_out(&ctl_binds_request, r, &m, &mem);
	if (err == NP_OK && b != NULL) {
		m.command_case = (PB(Request__CommandCase))(COMMAND_NUMBERS + r->command);
		err = body_out(b, r, &m.hello, &mem);
	}
	if (err == NP_OK)
		err = print(&m, r->encoding, out);
	ctl_mem_release(&mem);
	return err;
}

/* ------------------------------------------------------------- replies */

static enum np_err reply_in(const void *pb, void *own, struct np_diag *diag)
{
	const PB(Reply) *m = pb;
	struct ctl_reply *out = own;
	const ProtobufCMessageDescriptor *d = &nodepass__ctl__v1__reply__descriptor;
	uint32_t number = (uint32_t)m->result_case;
	const struct ctl_binds *b;
	size_t at;
	enum np_err err = ctl_bind_in(&ctl_binds_reply, m, out, NULL, diag);

	if (err != NP_OK || number <= COMMAND_NUMBERS)
		return err;
	b = ctl_binds_result((enum ctl_command)(number - COMMAND_NUMBERS), &at);
	if (b == NULL)
		return NP_OK;
	out->result = (enum ctl_command)(number - COMMAND_NUMBERS);
	return body_in(b, d, number, m->hello, (char *)out + at, diag);
}

static void reply_free(void *out)
{
	ctl_reply_release(out);
}

enum np_err ctl_reply_decode(const void *in, size_t len, struct ctl_reply *out,
			     struct np_diag *diag)
{
	static const struct decoding d = {&nodepass__ctl__v1__reply__descriptor, sizeof(*out),
					  reply_in, reply_free};

	return decode(&d, in, len, out, diag);
}

void ctl_reply_release(struct ctl_reply *r)
{
	size_t at;
	const struct ctl_binds *b = ctl_binds_result(r->result, &at);

	if (b != NULL)
		ctl_bind_release(b, (char *)r + at);
	r->result = CTL_CMD_NONE;
}

enum np_err ctl_reply_encode(const struct ctl_reply *r, enum ctl_encoding enc, struct np_buf *out)
{
	size_t at;
	const struct ctl_binds *b = ctl_binds_result(r->result, &at);
	PB(Reply) m = NODEPASS__CTL__V1__REPLY__INIT;
	struct ctl_mem mem;
	enum np_err err;

	ctl_mem_init(&mem, 0);
	err = ctl_bind_out(&ctl_binds_reply, r, &m, &mem);
	if (err == NP_OK && b != NULL) {
		m.result_case = (PB(Reply__ResultCase))(COMMAND_NUMBERS + r->result);
		err = body_out(b, (const char *)r + at, &m.hello, &mem);
	}
	if (err == NP_OK)
		err = print(&m, enc, out);
	ctl_mem_release(&mem);
	return err;
}

/* ------------------------------------------------------------- events */

static enum np_err event_in(const void *pb, void *own, struct np_diag *diag)
{
	const PB(Event) *m = pb;
	struct ctl_event *out = own;
	const ProtobufCMessageDescriptor *d = &nodepass__ctl__v1__event__descriptor;
	const struct ctl_binds *b = ctl_binds_body((enum ctl_event_kind)m->body_case);
	enum np_err err = ctl_bind_in(&ctl_binds_event, m, out, NULL, diag);

	if (err != NP_OK || b == NULL)
		return err;
	out->kind = (enum ctl_event_kind)m->body_case;
	return body_in(b, d, (uint32_t)m->body_case, m->lease, out, diag);
}

static void event_free(void *out)
{
	ctl_event_release(out);
}

enum np_err ctl_event_decode(const void *in, size_t len, struct ctl_event *out,
			     struct np_diag *diag)
{
	static const struct decoding d = {&nodepass__ctl__v1__event__descriptor, sizeof(*out),
					  event_in, event_free};

	return decode(&d, in, len, out, diag);
}

void ctl_event_release(struct ctl_event *e)
{
	const struct ctl_binds *b = ctl_binds_body(e->kind);

	if (b != NULL && !e->borrowed)
		ctl_bind_release(b, e);
	e->kind = CTL_EVENT_NONE;
	e->n = 0;
	e->changes = NULL;
	e->stats = NULL;
	e->lines = NULL;
	e->sessions = NULL;
	e->metrics = NULL;
}

enum np_err ctl_event_encode(const struct ctl_event *e, enum ctl_encoding enc, struct np_buf *out)
{
	const struct ctl_binds *b = ctl_binds_body(e->kind);
	PB(Event) m = NODEPASS__CTL__V1__EVENT__INIT;
	struct ctl_mem mem;
	enum np_err err;

	ctl_mem_init(&mem, 0);
	err = ctl_bind_out(&ctl_binds_event, e, &m, &mem);
	if (err == NP_OK && b != NULL) {
		m.body_case = (PB(Event__BodyCase))e->kind;
		err = body_out(b, e, &m.lease, &mem);
	}
	if (err == NP_OK)
		err = print(&m, enc, out);
	ctl_mem_release(&mem);
	return err;
}

/* ------------------------------------------------------------- helpers */

static bool blob_copy(const struct ctl_blob *from, struct ctl_blob *to)
{
	if (from->len == 0)
		return true;
	to->data = np_malloc(from->len);
	if (to->data == NULL)
		return false;
	memcpy(to->data, from->data, from->len);
	to->len = from->len;
	return true;
}

enum np_err ctl_spec_copy(const struct ctl_spec *from, struct ctl_spec *to)
{
	struct ctl_spec s = *from;

	s.url = np_strdup(from->url == NULL ? "" : from->url);
	s.cert_pem = s.key_pem = s.ca_pem = s.auth_salt = s.auth_k = (struct ctl_blob){0};
	if (s.url == NULL || !blob_copy(&from->cert_pem, &s.cert_pem) ||
	    !blob_copy(&from->key_pem, &s.key_pem) || !blob_copy(&from->ca_pem, &s.ca_pem) ||
	    !blob_copy(&from->auth_salt, &s.auth_salt) || !blob_copy(&from->auth_k, &s.auth_k)) {
		ctl_spec_release(&s);
		return NP_ENOMEM;
	}
	*to = s;
	return NP_OK;
}

void ctl_spec_release(struct ctl_spec *s)
{
	ctl_bind_release(&ctl_binds_spec, s);
}

const char *ctl_code_name(enum ctl_code code)
{
	const ProtobufCEnumValue *v =
	    protobuf_c_enum_descriptor_get_value(&nodepass__ctl__v1__code__descriptor, (int)code);

	return v == NULL ? "CODE_UNSPECIFIED" : v->name;
}

const char *ctl_state_name(enum ctl_state state)
{
	const ProtobufCEnumValue *v =
	    protobuf_c_enum_descriptor_get_value(&nodepass__ctl__v1__state__descriptor, (int)state);

	return v == NULL ? "STATE_UNSPECIFIED" : v->name;
}
