/*
 * tunnel_msg.c - control channel frames: generated protobuf types on one side, own structs on the
 * other.
 *
 * Ranges are checked in one place, on the own structs, for what is sent (NP_EINVAL) as for what
 * came (NP_EPROTO). Never hands out memory of protobuf-c: all is copied, and freed before return.
 */
#include "wire/tunnel_msg.h"

#include "base/alloc.h"
#include "wire/tunnel_check.h"

#include <string.h>

#include "tunnel.pb-c.h"

/* Cap under protobuf-c: a hostile message can ask for ninety times its length. */
#define ALLOC_BASE     65536u
#define ALLOC_PER_BYTE 24u
#define ALLOC_MAX      1048576u

#define PB(name)       Nodepass__Tunnel__V2__##name
#define PB_INIT(name)  nodepass__tunnel__v2__##name##__init
#define PB_KIND(name)  NODEPASS__TUNNEL__V2__FRAME__KIND_##name

/* A frame on its way out; the members of u hold pointers into the np_msg that is packed. */
struct outgoing {
	PB(Frame) frame;
	union {
		PB(Hello) hello;
		PB(Auth) auth;
		PB(Proof) proof;
		PB(Welcome) welcome;
		PB(Reject) reject;
		PB(Ping) ping;
		PB(Pong) pong;
		PB(PoolDemand) demand;
		PB(PoolTarget) target;
		PB(Update) update;
		PB(Certificate) certificate;
		PB(Drain) drain;
		PB(Bye) bye;
	} u;
	ProtobufCBinaryData fingerprints[NP_MSG_FINGERPRINTS_MAX];
};

/* What one unpack has asked for. Never counted down, so freeing and asking again is no way around
 * it. */
struct cap {
	size_t left;
	bool over;
	bool no_memory;
};

static void *cap_alloc(void *data, size_t n)
{
	struct cap *c = data;
	void *p;

	if (n > c->left) {
		c->over = true;
		return NULL;
	}
	c->left -= n;
	p = np_malloc(n);
	if (p == NULL)
		c->no_memory = true;
	return p;
}

static void cap_free(void *data, void *p)
{
	(void)data;
	np_free(p);
}

static size_t cap_of(size_t len)
{
	size_t n = ALLOC_BASE + ALLOC_PER_BYTE * len;

	return n < ALLOC_MAX ? n : ALLOC_MAX;
}

/* The generated struct does not know const; what is packed is only read. */
static ProtobufCBinaryData out_bytes(const void *p, size_t n)
{
	return (ProtobufCBinaryData){.len = n, .data = (uint8_t *)(uintptr_t)p};
}

static ProtobufCBinaryData out_text(const char *s)
{
	return out_bytes(s, strlen(s));
}

static void out_fingerprints(const struct np_msg_fingerprints *f, struct outgoing *o, size_t *n,
			     ProtobufCBinaryData **list)
{
	uint32_t i;

	for (i = 0; i < f->n; i++)
		o->fingerprints[i] = out_bytes(f->sha256[i], NP_FINGERPRINT_LEN);
	*n = f->n;
	*list = o->fingerprints;
}

static void out_hello(const struct np_msg_hello *m, PB(Hello) * h)
{
	PB_INIT(hello)(h);
	h->min_version = m->min_version;
	h->max_version = m->max_version;
	h->salt = out_bytes(m->salt, NP_SALT_LEN);
	h->software = out_text(m->software);
}

static void out_auth(const struct np_msg_auth *m, PB(Auth) * a)
{
	PB_INIT(auth)(a);
	a->method = m->method;
	a->version = m->version;
	a->features = m->features;
	a->label = out_text(m->label);
	a->instance_id = out_bytes(m->instance_id, NP_INSTANCE_ID_LEN);
	a->boot_id = out_bytes(m->boot_id, NP_BOOT_ID_LEN);
	a->dial_budget_ms = m->dial_budget_ms;
	if (m->has_takeover) {
		a->takeover_session = out_bytes(m->takeover_session, NP_SESSION_ID_LEN);
		a->takeover = out_bytes(m->takeover, NP_PROOF_LEN);
	}
}

static void out_welcome(const struct np_msg_welcome *m, struct outgoing *o)
{
	PB(Welcome) *w = &o->u.welcome;

	PB_INIT(welcome)(w);
	w->session_id = out_bytes(m->session_id, NP_SESSION_ID_LEN);
	w->flow = m->flow == NP_FLOW_REVERSE ? NODEPASS__TUNNEL__V2__FLOW__FLOW_REVERSE
					     : NODEPASS__TUNNEL__V2__FLOW__FLOW_FORWARD;
	w->max = m->max;
	w->tls = m->tls;
	out_fingerprints(&m->fingerprints, o, &w->n_fingerprints, &w->fingerprints);
	w->features = m->features;
	w->report_interval_ms = m->report_interval_ms;
	w->dial_rate = m->dial_rate;
	w->boot_id = out_bytes(m->boot_id, NP_BOOT_ID_LEN);
	w->dial_budget_ms = m->dial_budget_ms;
}

#define OUT_IF(u, m, field, FIELD)                                               \
	do {                                                                     \
		if ((m)->has_##field) {                                          \
			(u)->has_##field##_case =                                \
			    NODEPASS__TUNNEL__V2__UPDATE__HAS_##FIELD##_##FIELD; \
			(u)->field = (m)->field;                                 \
		}                                                                \
	} while (0)

static void out_update(const struct np_msg_update *m, PB(Update) * u)
{
	PB_INIT(update)(u);
	OUT_IF(u, m, rate, RATE);
	OUT_IF(u, m, slot, SLOT);
	OUT_IF(u, m, read_ms, READ_MS);
	OUT_IF(u, m, min, MIN);
	OUT_IF(u, m, max, MAX);
}

/* The kinds with one or two fields. */
static void out_small(const struct np_msg *m, struct outgoing *o)
{
	switch (m->kind) {
	case NP_MSG_PROOF:
		PB_INIT(proof)(&o->u.proof);
		o->u.proof.proof = out_bytes(m->proof.proof, NP_PROOF_LEN);
		break;
	case NP_MSG_REJECT:
		PB_INIT(reject)(&o->u.reject);
		o->u.reject.reason = (uint32_t)m->reject.reason;
		o->u.reject.text = out_text(m->reject.text);
		break;
	case NP_MSG_PING:
		PB_INIT(ping)(&o->u.ping);
		o->u.ping.time_us = m->ping.time_us;
		break;
	case NP_MSG_PONG:
		PB_INIT(pong)(&o->u.pong);
		o->u.pong.time_us = m->ping.time_us;
		break;
	case NP_MSG_POOL_DEMAND:
		PB_INIT(pool_demand)(&o->u.demand);
		o->u.demand.n = m->count.n;
		break;
	case NP_MSG_POOL_TARGET:
		PB_INIT(pool_target)(&o->u.target);
		o->u.target.idle = m->count.n;
		break;
	case NP_MSG_DRAIN:
		PB_INIT(drain)(&o->u.drain);
		o->u.drain.deadline_ms = m->drain.deadline_ms;
		break;
	case NP_MSG_BYE:
		PB_INIT(bye)(&o->u.bye);
		o->u.bye.reason = m->bye.reason;
		o->u.bye.text = out_text(m->bye.text);
		break;
	case NP_MSG_HELLO:
	case NP_MSG_AUTH:
	case NP_MSG_WELCOME:
	case NP_MSG_UPDATE:
	case NP_MSG_CERTIFICATE:
		break; /* the caller's */
	}
}

static void out_msg(const struct np_msg *m, struct outgoing *o)
{
	PB_INIT(frame)(&o->frame);
	/* np_msg_kind is the field number of the frame's oneof, and so is the generated case. */
	o->frame.kind_case = (PB(Frame__KindCase))m->kind;
	o->frame.hello = &o->u.hello; /* a union of pointers: this sets whichever it is */
	switch (m->kind) {
	case NP_MSG_HELLO:
		out_hello(&m->hello, &o->u.hello);
		break;
	case NP_MSG_AUTH:
		out_auth(&m->auth, &o->u.auth);
		break;
	case NP_MSG_WELCOME:
		out_welcome(&m->welcome, o);
		break;
	case NP_MSG_UPDATE:
		out_update(&m->update, &o->u.update);
		break;
	case NP_MSG_CERTIFICATE:
		PB_INIT(certificate)(&o->u.certificate);
		out_fingerprints(&m->certificate, o, &o->u.certificate.n_fingerprints,
				 &o->u.certificate.fingerprints);
		break;
	case NP_MSG_PROOF:
	case NP_MSG_REJECT:
	case NP_MSG_PING:
	case NP_MSG_PONG:
	case NP_MSG_POOL_DEMAND:
	case NP_MSG_POOL_TARGET:
	case NP_MSG_DRAIN:
	case NP_MSG_BYE:
		out_small(m, o);
		break;
	}
}

enum np_err np_msg_pack(const struct np_msg *m, struct np_buf *out)
{
	struct outgoing o;
	size_t n;
	uint8_t *p;

	if (!np_msg_is_valid(m))
		return NP_EINVAL;
	if (out->err != NP_OK)
		return out->err;
	out_msg(m, &o);
	n = nodepass__tunnel__v2__frame__get_packed_size(&o.frame);
	p = np_buf_reserve(out, 4 + n);
	if (p == NULL)
		return out->err;
	p[0] = (uint8_t)(n >> 24);
	p[1] = (uint8_t)(n >> 16);
	p[2] = (uint8_t)(n >> 8);
	p[3] = (uint8_t)n;
	nodepass__tunnel__v2__frame__pack(&o.frame, p + 4);
	np_buf_commit(out, 4 + n);
	return NP_OK;
}

static bool in_fixed(const ProtobufCBinaryData *b, uint8_t *out, size_t n)
{
	if (b->len != n)
		return false;
	memcpy(out, b->data, n);
	return true;
}

/* @out holds @max bytes and a NUL, and is zero. */
static bool in_text(const ProtobufCBinaryData *b, char *out, size_t max)
{
	if (b->len > max || !np_utf8_is_valid(b->data, b->len))
		return false;
	if (b->len > 0) /* data is NULL then */
		memcpy(out, b->data, b->len);
	return true;
}

static bool in_fingerprints(const ProtobufCBinaryData *list, size_t n,
			    struct np_msg_fingerprints *out)
{
	size_t i;

	if (n > NP_MSG_FINGERPRINTS_MAX)
		return false;
	for (i = 0; i < n; i++) {
		if (!in_fixed(&list[i], out->sha256[i], NP_FINGERPRINT_LEN))
			return false;
	}
	out->n = (uint32_t)n;
	return true;
}

static bool in_hello(const PB(Hello) * h, struct np_msg_hello *out)
{
	out->min_version = h->min_version;
	out->max_version = h->max_version;
	return in_fixed(&h->salt, out->salt, NP_SALT_LEN) &&
	       in_text(&h->software, out->software, NP_MSG_LABEL_MAX);
}

static bool in_auth(const PB(Auth) * a, struct np_msg_auth *out)
{
	out->method = a->method;
	out->version = a->version;
	out->features = a->features;
	out->dial_budget_ms = a->dial_budget_ms;
	out->has_takeover = a->takeover_session.len > 0 || a->takeover.len > 0;
	if (out->has_takeover &&
	    !(in_fixed(&a->takeover_session, out->takeover_session, NP_SESSION_ID_LEN) &&
	      in_fixed(&a->takeover, out->takeover, NP_PROOF_LEN)))
		return false;
	return in_text(&a->label, out->label, NP_MSG_LABEL_MAX) &&
	       in_fixed(&a->instance_id, out->instance_id, NP_INSTANCE_ID_LEN) &&
	       in_fixed(&a->boot_id, out->boot_id, NP_BOOT_ID_LEN);
}

static bool in_welcome(const PB(Welcome) * w, struct np_msg_welcome *out)
{
	if (w->flow == NODEPASS__TUNNEL__V2__FLOW__FLOW_REVERSE)
		out->flow = NP_FLOW_REVERSE;
	else if (w->flow == NODEPASS__TUNNEL__V2__FLOW__FLOW_FORWARD)
		out->flow = NP_FLOW_FORWARD;
	else
		return false;
	out->max = w->max;
	out->tls = w->tls;
	out->features = w->features;
	out->report_interval_ms = w->report_interval_ms;
	out->dial_rate = w->dial_rate;
	out->dial_budget_ms = w->dial_budget_ms;
	return in_fixed(&w->session_id, out->session_id, NP_SESSION_ID_LEN) &&
	       in_fingerprints(w->fingerprints, w->n_fingerprints, &out->fingerprints) &&
	       in_fixed(&w->boot_id, out->boot_id, NP_BOOT_ID_LEN);
}

#define IN_IF(u, out, field, FIELD)                                        \
	do {                                                               \
		if ((u)->has_##field##_case ==                             \
		    NODEPASS__TUNNEL__V2__UPDATE__HAS_##FIELD##_##FIELD) { \
			(out)->has_##field = true;                         \
			(out)->field = (u)->field;                         \
		}                                                          \
	} while (0)

static bool in_update(const PB(Update) * u, struct np_msg_update *out)
{
	IN_IF(u, out, rate, RATE);
	IN_IF(u, out, slot, SLOT);
	IN_IF(u, out, read_ms, READ_MS);
	IN_IF(u, out, min, MIN);
	IN_IF(u, out, max, MAX);
	return true;
}

/* protobuf-c calls its case an enum, so -Wswitch-enum holds here, too: a new kind is not forgotten.
 */
static bool in_msg(const PB(Frame) * f, struct np_msg *out)
{
	out->kind = (enum np_msg_kind)f->kind_case;
	switch (f->kind_case) {
	case PB_KIND(HELLO):
		return in_hello(f->hello, &out->hello);
	case PB_KIND(AUTH):
		return in_auth(f->auth, &out->auth);
	case PB_KIND(PROOF):
		return in_fixed(&f->proof->proof, out->proof.proof, NP_PROOF_LEN);
	case PB_KIND(WELCOME):
		return in_welcome(f->welcome, &out->welcome);
	case PB_KIND(REJECT):
		out->reject.reason = (enum np_reject)f->reject->reason;
		return in_text(&f->reject->text, out->reject.text, NP_MSG_TEXT_MAX);
	case PB_KIND(PING):
		out->ping.time_us = f->ping->time_us;
		return true;
	case PB_KIND(PONG):
		out->ping.time_us = f->pong->time_us;
		return true;
	case PB_KIND(POOL_DEMAND):
		out->count.n = f->pool_demand->n;
		return true;
	case PB_KIND(POOL_TARGET):
		out->count.n = f->pool_target->idle;
		return true;
	case PB_KIND(UPDATE):
		return in_update(f->update, &out->update);
	case PB_KIND(CERTIFICATE):
		return in_fingerprints(f->certificate->fingerprints, f->certificate->n_fingerprints,
				       &out->certificate);
	case PB_KIND(DRAIN):
		out->drain.deadline_ms = f->drain->deadline_ms;
		return true;
	case PB_KIND(BYE):
		out->bye.reason = f->bye->reason;
		return in_text(&f->bye->text, out->bye.text, NP_MSG_TEXT_MAX);
	case NODEPASS__TUNNEL__V2__FRAME__KIND__NOT_SET:
#ifdef PROTOBUF_C__FORCE_ENUM_TO_BE_INT_SIZE
	case _NODEPASS__TUNNEL__V2__FRAME__KIND__CASE_IS_INT_SIZE:
#endif
		return false;
	}
	return false;
}

static bool read_varint(struct np_reader *r, uint64_t *out)
{
	unsigned shift;

	*out = 0;
	for (shift = 0; shift < 64; shift += 7) {
		uint8_t c = np_reader_u8(r);

		*out |= (uint64_t)(c & 0x7f) << shift;
		if ((c & 0x80) == 0)
			return r->err == NP_OK;
	}
	return false;
}

/*
 * Exactly one member of the oneof in the bytes of a frame? protobuf-c would merge two of a kind and
 * let the last of several win: two readers could then see two different messages.
 */
static bool has_one_kind(const uint8_t *p, size_t len)
{
	struct np_reader r = np_reader_of(p, len);
	unsigned kinds = 0;

	while (r.left > 0) {
		uint64_t tag, n = 0;

		/* protobuf-c keeps 32 bits of a tag: a longer one would be another field to it. */
		if (!read_varint(&r, &tag) || tag > UINT32_MAX)
			return false;
		switch (tag & 7) {
		case 0:
			if (!read_varint(&r, &n))
				return false;
			n = 0;
			break;
		case 1:
			n = 8;
			break;
		case 2:
			if (!read_varint(&r, &n))
				return false;
			break;
		case 5:
			n = 4;
			break;
		default:
			return false;
		}
		if (n > r.left)
			return false;
		if (n > 0)
			(void)np_reader_bytes(&r, (size_t)n);
		if (tag >> 3 >= NP_MSG_HELLO && tag >> 3 <= NP_MSG_BYE)
			kinds++;
	}
	return kinds == 1;
}

enum np_err np_msg_unpack(const uint8_t *p, size_t len, struct np_msg *out)
{
	struct cap cap = {.left = cap_of(len)};
	ProtobufCAllocator allocator = {
	    .alloc = cap_alloc, .free = cap_free, .allocator_data = &cap};
	struct np_msg m;
	PB(Frame) * f;
	bool ok;

	if (len > NP_MSG_MAX || !has_one_kind(p, len))
		return NP_EPROTO;
	f = nodepass__tunnel__v2__frame__unpack(&allocator, len, p);
	if (f == NULL) {
		if (cap.no_memory)
			return NP_ENOMEM;
		return cap.over ? NP_ELIMIT : NP_EPROTO;
	}
	memset(&m, 0, sizeof m); /* padding too: equal messages are equal bytes */
	ok = in_msg(f, &m) && np_msg_is_valid(&m);
	nodepass__tunnel__v2__frame__free_unpacked(f, &allocator);
	if (!ok)
		return NP_EPROTO;
	memcpy(out, &m, sizeof m);
	return NP_OK;
}
