/*
 * test_ctl_msg.c - the control protocol's messages: every one in both encodings against the bytes
 * of another implementation, every refusal with its path, failing memory, hostile bytes.
 */
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

static enum np_err request_decode(const void *in, size_t len, union message *m, struct np_diag *d)
{
	return ctl_request_decode(in, len, &m->request, d);
}

static enum np_err request_encode(union message *m, enum ctl_encoding enc, struct np_buf *out)
{
	m->request.encoding = enc;
	return ctl_request_encode(&m->request, out);
}

static void request_release(union message *m)
{
	ctl_request_release(&m->request);
}

static enum np_err reply_decode(const void *in, size_t len, union message *m, struct np_diag *d)
{
	return ctl_reply_decode(in, len, &m->reply, d);
}

static enum np_err reply_encode(union message *m, enum ctl_encoding enc, struct np_buf *out)
{
	return ctl_reply_encode(&m->reply, enc, out);
}

static void reply_release(union message *m)
{
	ctl_reply_release(&m->reply);
}

static enum np_err event_decode(const void *in, size_t len, union message *m, struct np_diag *d)
{
	return ctl_event_decode(in, len, &m->event, d);
}

static enum np_err event_encode(union message *m, enum ctl_encoding enc, struct np_buf *out)
{
	return ctl_event_encode(&m->event, enc, out);
}

static void event_release(union message *m)
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

static void from_hex(const char *hex, struct bytes *b)
{
	b->len = strlen(hex) / 2;
	assert_true(b->len <= sizeof b->data);
	assert_int_equal(np_parse_hex(hex, strlen(hex), b->data, b->len), NP_OK);
}

static void assert_is(const struct kind *k, union message *m, enum ctl_encoding enc,
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

/* Each sample from either form gives both forms. */
static void decode_encode__every_sample__bytes_of_the_other_implementation(void **state)
{
	size_t i, j;

	(void)state;
	for (i = 0; i < COUNT(kinds); i++) {
		for (j = 0; j < kinds[i].n; j++) {
			const struct kind *k = &kinds[i];
			const struct ctl_sample *s = &k->samples[j];
			struct np_diag diag;
			struct bytes pb;
			union message m;

			from_hex(s->hex, &pb);
			if (k->decode(s->json, strlen(s->json), &m, &diag) != NP_OK)
				fail_msg("%s: %s", s->json, diag.text);
			assert_is(k, &m, CTL_PROTOBUF, pb.data, pb.len);
			assert_is(k, &m, CTL_JSON, s->json, strlen(s->json));
			k->release(&m);
			if (k->decode(pb.data, pb.len, &m, &diag) != NP_OK)
				fail_msg("%s: %s", s->hex, diag.text);
			assert_is(k, &m, CTL_PROTOBUF, pb.data, pb.len);
			assert_is(k, &m, CTL_JSON, s->json, strlen(s->json));
			k->release(&m);
		}
	}
}

/* The members themselves: two that are swapped would still go round. */
static void request_decode__apply__members_as_given(void **state)
{
	const char *json = ctl_request_samples[1].json;
	struct ctl_request r;

	(void)state;
	assert_int_equal(ctl_request_decode(json, strlen(json), &r, NULL), NP_OK);
	assert_int_equal(r.encoding, CTL_JSON);
	assert_int_equal(r.version, 2);
	assert_string_equal(r.request_id, "r1");
	assert_int_equal(r.epoch, 7);
	assert_int_equal(r.base_revision, 41);
	assert_int_equal(r.revision, 42);
	assert_true(r.dry_run);
	assert_int_equal(r.command, CTL_CMD_APPLY);
	assert_string_equal(r.apply.id, "web1");
	assert_string_equal(r.apply.url, "client://k@h:1/t:2?x=é\"\\\n");
	assert_int_equal(r.apply.desired, CTL_DESIRED_RUNNING);
	assert_int_equal(r.apply.restart_nonce, 3);
	assert_int_equal(r.apply.cert_pem.len, 1);
	assert_memory_equal(r.apply.key_pem.data, "KK", 2);
	assert_memory_equal(r.apply.ca_pem.data, "AAA", 3);
	assert_memory_equal(r.apply.auth_salt.data, "\1\2", 2);
	assert_memory_equal(r.apply.auth_k.data, "\377\376\375", 3);
	ctl_request_release(&r);
	assert_int_equal(r.command, CTL_CMD_NONE);
}

static void event_decode__full_ones__members_as_given(void **state)
{
	struct ctl_event e;
	struct ctl_reply r;
	const char *json;

	(void)state;
	json =
	    "{\"lease\":{\"applied_revision\":1,\"state\":\"NODE_STATE_ORPHANED\",\"instances\":2,"
	    "\"running\":3,\"errors\":4,\"cpu_permille\":5,\"mem_rss\":6,\"fds\":7,\"tcps\":8,"
	    "\"udps\":9,\"tcp_rx\":10,\"tcp_tx\":11,\"udp_rx\":12,\"udp_tx\":13}}";
	assert_int_equal(ctl_event_decode(json, strlen(json), &e, NULL), NP_OK);
	assert_int_equal(e.kind, CTL_EVENT_LEASE);
	assert_int_equal(e.lease.applied_revision, 1);
	assert_int_equal(e.lease.state, CTL_NODE_ORPHANED);
	assert_int_equal(e.lease.instances, 2);
	assert_int_equal(e.lease.running, 3);
	assert_int_equal(e.lease.errors, 4);
	assert_int_equal(e.lease.cpu_permille, 5);
	assert_int_equal(e.lease.mem_rss, 6);
	assert_int_equal(e.lease.fds, 7);
	assert_int_equal(e.lease.tcps, 8);
	assert_int_equal(e.lease.udps, 9);
	assert_int_equal(e.lease.tcp_rx, 10);
	assert_int_equal(e.lease.tcp_tx, 11);
	assert_int_equal(e.lease.udp_rx, 12);
	assert_int_equal(e.lease.udp_tx, 13);
	json = "{\"logs\":{\"lines\":[{\"level\":\"LEVEL_WARN\",\"text\":\"t\"},{\"level\":50}]}}";
	assert_int_equal(ctl_event_decode(json, strlen(json), &e, NULL), NP_OK);
	assert_int_equal(e.lines[0].level, NP_LOG_WARN);
	assert_int_equal(e.lines[1].level, NP_LOG_INFO);
	ctl_event_release(&e);
	json = "{\"get\":{\"stats\":{\"starts\":1,\"pool\":2,\"tcps\":3,\"udps\":4,\"tcp_rx\":5,"
	       "\"tcp_tx\":6,\"udp_rx\":7,\"udp_tx\":8}}}";
	assert_int_equal(ctl_reply_decode(json, strlen(json), &r, NULL), NP_OK);
	assert_int_equal(r.result, CTL_CMD_GET);
	assert_true(r.get.has_stats && !r.get.has_status && !r.get.has_spec);
	assert_false(r.get.stats.has_ping);
	assert_int_equal(r.get.stats.starts, 1);
	assert_int_equal(r.get.stats.pool, 2);
	assert_int_equal(r.get.stats.tcps, 3);
	assert_int_equal(r.get.stats.udps, 4);
	assert_int_equal(r.get.stats.tcp_rx, 5);
	assert_int_equal(r.get.stats.tcp_tx, 6);
	assert_int_equal(r.get.stats.udp_rx, 7);
	assert_int_equal(r.get.stats.udp_tx, 8);
	json = "{\"info\":{\"features\":[\"a\",\"\",\"b c\",\"d\"]}}";
	assert_int_equal(ctl_reply_decode(json, strlen(json), &r, NULL), NP_OK);
	assert_string_equal(r.info.features, "a d");
}

static void decode_ok(const char *json, struct ctl_request *r)
{
	struct np_diag diag;

	if (ctl_request_decode(json, strlen(json), r, &diag) != NP_OK)
		fail_msg("%s: %s", json, diag.text);
}

static void request_decode__other_spellings__accepted(void **state)
{
	static const char *const same[] = {
	    "{\"requestId\":\"q\",\"baseRevision\":5,\"dryRun\":true,\"info\":{}}",
	    "{\"request_id\":\"q\",\"base_revision\":\"5\",\"dry_run\":true,\"info\":{}}\n",
	    "{ \"info\" : { } , \"request_id\":\"\\u0071\" ,\"base_revision\":5.0,\"dry_run\":true"
	    ",\"hello\":null,\"list\":null } \t\r\n",
	    "{\"base_revision\":5e0,\"request_id\":\"q\",\"epoch\":null,\"dry_run\":true,\"info\":{"
	    "},"
	    "\"version\":\"0\"}",
	};
	struct ctl_request r;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(same); i++) {
		decode_ok(same[i], &r);
		assert_string_equal(r.request_id, "q");
		assert_int_equal(r.base_revision, 5);
		assert_true(r.dry_run);
		assert_int_equal(r.version, 1);
		assert_int_equal(r.command, CTL_CMD_INFO);
		ctl_request_release(&r);
	}
	decode_ok("{\"action\":{\"id\":\"a\",\"verb\":3}}", &r);
	assert_int_equal(r.action.verb, CTL_RESTART);
	decode_ok("{\"action\":{\"id\":\"a\",\"verb\":99}}", &r);
	assert_int_equal(r.action.verb, CTL_VERB_UNSPECIFIED);
	decode_ok("{\"ping\":{\"nonce\":9007199254740992,\"timeMs\":\"-9223372036854775808\"}}",
		  &r);
	assert_true(r.ping.nonce == UINT64_C(1) << 53);
	assert_true(r.ping.time_ms == INT64_MIN);
	decode_ok("{\"apply\":{\"spec\":{\"id\":\"a\",\"auth_k\":\"_-8\"}}}", &r);
	assert_int_equal(r.apply.auth_k.len, 2);
	assert_memory_equal(r.apply.auth_k.data, "\377\357", 2);
	assert_string_equal(r.apply.url, "");
	ctl_request_release(&r);
	decode_ok("{\"request_id\":\"\\ud83d\\ude00\"}", &r);
	assert_string_equal(r.request_id, "😀");
	assert_int_equal(r.command, CTL_CMD_NONE);
}

struct refusal {
	const char *json;
	const char *text; /* how the diagnosis begins */
};

static const struct refusal refusals[] = {
    {"{", "message: no valid JSON"},
    {"{]", "message: no valid JSON"},
    {"{\"info\":{}", "message: no valid JSON"},
    {"{\"info\":{}}x", "message: text after the end"},
    {"{\"info\":{}}{}", "message: text after the end"},
    {"{\"version\":01}", "message: no valid JSON"},
    {"{\"version\":1.}", "message: no valid JSON"},
    {"{\"version\":-}", "message: no valid JSON"},
    {"{\"version\":1e}", "message: no valid JSON"},
    {"{\"version\":+1}", "message: no valid JSON"},
    {"{\"request_id\":\"a\nb\"}", "message: no valid JSON"},
    {"{\"request_id\":\"\\u0000\"}", "message: no valid JSON"},
    {"{\"request_id\":\"a\\\\\\u0000\"}", "message: no valid JSON"},
    {"{\"request_id\":\"\\ud800\"}", "message: no valid JSON"},
    {"{\"request_id\":\"\\x\"}", "message: no valid JSON"},
    {"{\"request_id\":\"\xff\"}", "message: text has to be UTF-8"},
    {"{\"request_id\":\"\xc0\x80\"}", "message: text has to be UTF-8"},
    {"{\"request_id\":\"\xed\xa0\x80\"}", "message: text has to be UTF-8"},
    {"{\"a\":[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}", "message: more than 16 levels"},
    {"{\"\":1}", "message: unknown name"},
    {"{\"nope\":1}", "nope: unknown name"},
    {"{\"Version\":1}", "Version: unknown name"},
    {"{\"requestid\":\"a\"}", "requestid: unknown name"},
    {"{\"request_Id\":\"a\"}", "request_Id: unknown name"},
    {"{\"apply\":{\"spec\":{\"id\":\"a\",\"x\":null}}}", "apply.spec.x: unknown name"},
    {"{\"version\":1,\"version\":1}", "version: given twice"},
    {"{\"request_id\":\"a\",\"requestId\":\"a\"}", "requestId: given twice"},
    {"{\"info\":null,\"info\":{}}", "info: given twice"},
    {"{\"ping\":{},\"info\":{}}", "info: excludes another"},
    {"{\"info\":1}", "info: an object is needed"},
    {"{\"info\":[]}", "info: an object is needed"},
    {"{\"version\":true}", "version: a whole number is needed"},
    {"{\"version\":1.5}", "version: a whole number is needed"},
    {"{\"version\":\"\"}", "version: a whole number is needed"},
    {"{\"version\":\" 1\"}", "version: a whole number is needed"},
    {"{\"version\":\"1e1\"}", "version: a whole number is needed"},
    {"{\"version\":-1}", "version: out of range"},
    {"{\"version\":4294967296}", "version: out of range"},
    {"{\"epoch\":-1}", "epoch: out of range"},
    {"{\"epoch\":9007199254740994}", "epoch: a whole number is needed"},
    {"{\"epoch\":1e400}", "epoch: a whole number is needed"},
    {"{\"epoch\":\"18446744073709551616\"}", "epoch: a whole number is needed"},
    {"{\"ping\":{\"time_ms\":\"9223372036854775808\"}}", "ping.time_ms: out of range"},
    {"{\"ping\":{\"time_ms\":\"-9223372036854775809\"}}", "ping.time_ms: out of range"},
    {"{\"request_id\":5}", "request_id: a text is needed"},
    {"{\"dry_run\":1}", "dry_run: true or false"},
    {"{\"dry_run\":\"true\"}", "dry_run: true or false"},
    {"{\"action\":{\"id\":\"a\",\"verb\":\"START\"}}", "action.verb: unknown name"},
    {"{\"action\":{\"id\":\"a\",\"verb\":true}}", "action.verb: a name or a number"},
    {"{\"action\":{\"id\":\"a\",\"verb\":2147483648}}", "action.verb: out of range"},
    {"{\"apply\":{\"spec\":{\"id\":\"a\",\"auth_k\":\"a\"}}}", "apply.spec.auth_k: base64"},
    {"{\"apply\":{\"spec\":{\"id\":\"a\",\"auth_k\":\"a*==\"}}}", "apply.spec.auth_k: base64"},
    {"{\"apply\":{\"spec\":{\"id\":\"a\",\"auth_k\":\"=\"}}}", "apply.spec.auth_k: base64"},
    {"{\"apply\":{\"spec\":{\"id\":\"a\",\"auth_k\":1}}}", "apply.spec.auth_k: base64"},
    {"{\"list\":{\"ids\":\"a\"}}", "list.ids: a list is needed"},
    {"{\"list\":{\"ids\":[\"a\",null]}}", "list.ids[1]: a text is needed"},
    {"{\"list\":{\"ids\":[\"a\",\"\"]}}", "list.ids[1]: an id has"},
    {"{\"list\":{\"after\":\"A\"}}", "list.after: an id has"},
    {"{\"snapshot\":{\"instances\":[{\"id\":\"a\"},{}]}}", "snapshot.instances[1].id: an id"},
    {"{\"apply\":{}}", "apply.spec: missing"},
    {"{\"apply\":{\"spec\":{}}}", "apply.spec.id: an id has"},
    {"{\"remove\":{}}", "remove.id: an id has"},
    {"{\"get\":{\"id\":\"a_b\"}}", "get.id: an id has"},
    {"{\"action\":{\"verb\":1}}", "action.id: an id has"},
    {"{\"log_level\":{}}", "log_level.level: a level is needed"},
    {"{\"log_level\":{\"level\":77}}", "log_level.level: a level is needed"},
    {"{\"log_level\":{\"id\":\"é\",\"level\":2}}", "log_level.id: an id has"},
};

static void request_decode__bad_json__refused_with_path(void **state)
{
	struct ctl_request r;
	struct np_diag diag;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(refusals); i++) {
		const struct refusal *x = &refusals[i];

		memset(&diag, 0, sizeof diag);
		if (ctl_request_decode(x->json, strlen(x->json), &r, &diag) != NP_EINVAL)
			fail_msg("accepted: %s", x->json);
		if (strncmp(diag.text, x->text, strlen(x->text)) != 0)
			fail_msg("%s: %s, not %s", x->json, diag.text, x->text);
		assert_int_equal(r.command, CTL_CMD_NONE);
		assert_int_equal(r.encoding, CTL_JSON);
		assert_int_equal(ctl_request_decode(x->json, strlen(x->json), &r, NULL), NP_EINVAL);
	}
}

static void request_decode__refused__request_id_known_if_it_could_be_read(void **state)
{
	static const char *const json[] = {
	    "{\"request_id\":\"r9\",\"nope\":1}",
	    "{\"nope\":1,\"ping\":{\"nonce\":-1},\"requestId\":\"r9\"}",
	    "{\"request_id\":\"r9\",\"get\":{\"id\":\"\"}}",
	};
	struct ctl_request r;
	struct bytes pb;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(json); i++) {
		assert_int_equal(ctl_request_decode(json[i], strlen(json[i]), &r, NULL), NP_EINVAL);
		assert_string_equal(r.request_id, "r9");
	}
	from_hex("12027239c20100", &pb); /* request_id "r9", get {} */
	assert_int_equal(ctl_request_decode(pb.data, pb.len, &r, NULL), NP_EINVAL);
	assert_int_equal(r.encoding, CTL_PROTOBUF);
	assert_string_equal(r.request_id, "r9");
}

static void request_decode__bad_protobuf__refused(void **state)
{
	static const struct refusal bad[] = {
	    {"ff", "message: neither protobuf nor JSON"},
	    {"0a", "message: neither protobuf nor JSON"},
	    {"120572", "message: neither protobuf nor JSON"},
	    {"0b", "message: neither protobuf nor JSON"},	 /* a group */
	    {"1000", "message: neither protobuf nor JSON"},	 /* request_id as a number */
	    {"1202ff41", "request_id: text has to be UTF-8"},	 /* not UTF-8 */
	    {"1203610062", "request_id: text has to be UTF-8"},	 /* a NUL within */
	    {"9a01070a050a03610062", "apply.spec.id: text has"}, /* nested */
	    {"ba01052a03610062", "list.ids: text has"},		 /* in a list */
	    {"9a0100", "apply.spec: missing"},
	    {"c20100", "get.id: an id has"},
	    {"da0100", "log_level.level: a level is needed"},
	};
	struct ctl_request r;
	struct np_diag diag;
	struct bytes pb;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(bad); i++) {
		from_hex(bad[i].json, &pb);
		if (ctl_request_decode(pb.data, pb.len, &r, &diag) != NP_EINVAL)
			fail_msg("accepted: %s", bad[i].json);
		if (strncmp(diag.text, bad[i].text, strlen(bad[i].text)) != 0)
			fail_msg("%s: %s", bad[i].json, diag.text);
	}
}

static void request_decode__unknown_parts_of_protobuf__ignored(void **state)
{
	struct ctl_request r;
	struct ctl_event e;
	struct ctl_reply p;
	struct bytes pb;

	(void)state;
	assert_int_equal(ctl_request_decode("", 0, &r, NULL), NP_OK);
	assert_int_equal(r.command, CTL_CMD_NONE);
	assert_int_equal(r.version, 1);
	from_hex("f20100920302ff00", &pb); /* commands 30 and 50: of later days */
	assert_int_equal(ctl_request_decode(pb.data, pb.len, &r, NULL), NP_OK);
	assert_int_equal(r.command, CTL_CMD_NONE);
	from_hex("aa01050a016110f701", &pb); /* action a, verb 247 */
	assert_int_equal(ctl_request_decode(pb.data, pb.len, &r, NULL), NP_EINVAL); /* cut */
	from_hex("aa01060a016110f701", &pb);
	assert_int_equal(ctl_request_decode(pb.data, pb.len, &r, NULL), NP_OK);
	assert_int_equal(r.action.verb, CTL_VERB_UNSPECIFIED);
	from_hex("ca01021063", &pb); /* subscribe, level 99: as if it were not there */
	assert_int_equal(ctl_request_decode(pb.data, pb.len, &r, NULL), NP_OK);
	assert_false(r.subscribe.has_log_level);
	from_hex("1063", &pb); /* code 99 */
	assert_int_equal(ctl_reply_decode(pb.data, pb.len, &p, NULL), NP_OK);
	assert_int_equal(p.code, CTL_CODE_UNSPECIFIED);
	from_hex("4200a20602ff00", &pb); /* bodies 8 and 100 */
	assert_int_equal(ctl_event_decode(pb.data, pb.len, &e, NULL), NP_OK);
	assert_int_equal(e.kind, CTL_EVENT_NONE);
}

static char *repeated(const char *head, const char *part, size_t n, const char *tail)
{
	size_t size = strlen(head) + n * strlen(part) + strlen(tail) + 1, at = 0, i;
	char *s = malloc(size);

	assert_non_null(s);
	at += (size_t)snprintf(s, size, "%s", head);
	for (i = 0; i < n; i++)
		at += (size_t)snprintf(s + at, size - at, "%s", part);
	snprintf(s + at, size - at, "%s", tail);
	return s;
}

static void assert_bound(const char *head, const char *part, size_t most, const char *tail,
			 enum np_err past, const char *text)
{
	char *fits = repeated(head, part, most, tail), *over = repeated(head, part, most + 1, tail);
	struct ctl_request r;
	struct np_diag diag;

	if (ctl_request_decode(fits, strlen(fits), &r, &diag) != NP_OK)
		fail_msg("%s: %s", head, diag.text);
	ctl_request_release(&r);
	assert_int_equal(ctl_request_decode(over, strlen(over), &r, &diag), past);
	if (strncmp(diag.text, text, strlen(text)) != 0)
		fail_msg("%s: %s", head, diag.text);
	free(fits);
	free(over);
}

static void request_decode__largest_sizes__accepted_and_one_more_refused(void **state)
{
	(void)state;
	assert_bound("{\"request_id\":\"", "x", 64, "\"}", NP_ELIMIT,
		     "request_id: longer than 64 bytes");
	assert_bound("{\"get\":{\"id\":\"", "x", 64, "\"}}", NP_EINVAL, "get.id: an id has");
	assert_bound("{\"apply\":{\"spec\":{\"id\":\"a\",\"url\":\"", "x", 4096, "\"}}}", NP_ELIMIT,
		     "apply.spec.url: longer than 4096 bytes");
	assert_bound("{\"apply\":{\"spec\":{\"id\":\"a\",\"key_pem\":\"", "AAAA", 16384 / 3,
		     "AA==\"}}}", NP_ELIMIT, "apply.spec.key_pem: longer than 16384 bytes");
	assert_bound("{\"apply\":{\"spec\":{\"id\":\"a\",\"auth_k\":\"", "AAAA", 64 / 3,
		     "AA==\"}}}", NP_ELIMIT, "apply.spec.auth_k: longer than 64 bytes");
	assert_bound("{\"list\":{\"ids\":[\"a\"", ",\"b\"", 999, "]}}", NP_ELIMIT,
		     "list.ids: more than 1000");
	assert_bound("{\"snapshot\":{\"instances\":[{\"id\":\"a\"}", ",{\"id\":\"b\"}", 499, "]}}",
		     NP_ELIMIT, "snapshot.instances: more than 500");
	assert_bound("{\"info\":{}", " ", CTL_MESSAGE_MAX - 11, "}", NP_ELIMIT,
		     "message: longer than 1048576 bytes");
}

/* Bytes that ask for far more memory than their length are stopped in either encoding. */
static void decode__flood_of_tiny_parts__stopped_by_the_cap(void **state)
{
	static uint8_t flood[CTL_MESSAGE_MAX];
	struct ctl_request r;
	struct ctl_event e;
	struct np_diag diag;
	char *json;
	size_t i, n = 0;

	(void)state;
	flood[n++] = 0xb2; /* snapshot, 1 048 568 bytes: empty instances */
	flood[n++] = 0x01;
	flood[n++] = 0xf8;
	flood[n++] = 0xff;
	flood[n++] = 0x3f;
	for (i = 0; i < 0xffff8 / 2; i++) {
		flood[n++] = 0x2a;
		flood[n++] = 0x00;
	}
	assert_int_equal(ctl_request_decode(flood, n, &r, &diag), NP_ELIMIT);
	assert_string_equal(diag.text, "message: takes too much memory");
	for (i = 0; i + 1 < sizeof flood; i += 2) { /* unknown fields */
		flood[i] = 0x78;
		flood[i + 1] = 0;
	}
	assert_int_equal(ctl_request_decode(flood, sizeof flood, &r, &diag), NP_ELIMIT);
	json = repeated("{\"metrics\":[0", ",0", 400000, "]}");
	assert_int_equal(ctl_event_decode(json, strlen(json), &e, &diag), NP_ELIMIT);
	assert_string_equal(diag.text, "message: takes too much memory");
	free(json);
}

/* Whatever breaks, nothing is left over (a sanitizer looks) and the next call works. */
static void decode_encode__each_allocation_failing__no_memory(void **state)
{
	size_t i, j;
	unsigned form;

	(void)state;
	for (i = 0; i < COUNT(kinds); i++) {
		for (j = 0; j < 2 * kinds[i].n; j++) {
			const struct kind *k = &kinds[i];
			const struct ctl_sample *s = &k->samples[j / 2];
			struct np_buf out;
			struct bytes pb;
			union message m;
			enum np_err err;
			long n = 0;

			from_hex(s->hex, &pb);
			do {
				np_alloc_fail_after(n++);
				err = j % 2 == 0 ? k->decode(s->json, strlen(s->json), &m, NULL)
						 : k->decode(pb.data, pb.len, &m, NULL);
				np_alloc_fail_after(-1);
				assert_true(err == NP_OK || err == NP_ENOMEM);
			} while (err != NP_OK);
			for (form = CTL_PROTOBUF; form <= CTL_JSON; form++) {
				n = 0;
				do {
					np_buf_init(&out, OUT_MAX);
					np_alloc_fail_after(n++);
					err = k->encode(&m, (enum ctl_encoding)form, &out);
					np_alloc_fail_after(-1);
					assert_true(err == NP_OK || err == NP_ENOMEM);
					np_buf_release(&out);
				} while (err != NP_OK);
			}
			assert_is(k, &m, CTL_PROTOBUF, pb.data, pb.len);
			k->release(&m);
		}
	}
}

static void encode__buffer_full__limit_and_content_kept(void **state)
{
	struct ctl_event e = {.kind = CTL_EVENT_OVERFLOW, .dropped = 5, .boot_id = "0123456789"};
	unsigned form;

	(void)state;
	for (form = CTL_PROTOBUF; form <= CTL_JSON; form++) {
		struct np_buf out;

		np_buf_init(&out, 12);
		np_buf_put_str(&out, "before");
		assert_int_equal(ctl_event_encode(&e, (enum ctl_encoding)form, &out), NP_ELIMIT);
		assert_int_equal(np_buf_len(&out), 6);
		assert_memory_equal(np_buf_ptr(&out), "before", 6);
		np_buf_release(&out);
	}
}

static void encode__more_than_a_receiver_takes__limit(void **state)
{
	static char url[CTL_URL_MAX + 2];
	struct ctl_request r = {.command = CTL_CMD_APPLY, .apply = {.id = "a", .url = url}};
	struct ctl_request s = {.command = CTL_CMD_SNAPSHOT};
	struct np_buf out;

	(void)state;
	np_buf_init(&out, OUT_MAX);
	memset(url, 'u', CTL_URL_MAX + 1);
	assert_int_equal(ctl_request_encode(&r, &out), NP_ELIMIT);
	s.snapshot.n = CTL_CHUNK_MAX + 1; /* told before the list is looked at */
	assert_int_equal(ctl_request_encode(&s, &out), NP_ELIMIT);
	assert_int_equal(np_buf_len(&out), 0);
	np_buf_release(&out);
}

/* A log line that was cut within a character, or is too long, must not cost the whole event. */
static void event_encode__text_not_utf8_or_long__mended(void **state)
{
	static char text[CTL_LINE_MAX + 100];
	struct ctl_line lines[] = {{.id = "a", .text = text}, {.text = NULL}};
	struct ctl_event e = {.kind = CTL_EVENT_LOGS, .borrowed = true, .n = 2, .lines = lines};
	struct ctl_event back;
	struct np_buf out;

	(void)state;
	np_buf_init(&out, OUT_MAX);
	memset(text, 'x', sizeof text - 1);
	memcpy(text,
	       "\xff"
	       "é",
	       3);
	memcpy(text + CTL_LINE_MAX - 1, "é", 2);
	assert_int_equal(ctl_event_encode(&e, CTL_PROTOBUF, &out), NP_OK);
	ctl_event_release(&e);
	assert_int_equal(ctl_event_decode(np_buf_ptr(&out), np_buf_len(&out), &back, NULL), NP_OK);
	assert_int_equal(back.n, 2);
	assert_int_equal(strlen(back.lines[0].text), CTL_LINE_MAX);
	assert_memory_equal(back.lines[0].text, "?éx", 4);
	assert_string_equal(back.lines[0].text + CTL_LINE_MAX - 2, "x?");
	assert_string_equal(back.lines[1].text, "");
	ctl_event_release(&back);
	np_buf_release(&out);
}

/* Refused, or the same after being written and read in either form. */
static void assert_sane(const struct kind *k, const uint8_t *p, size_t len)
{
	union message m, again;
	struct np_buf pb, json, back;

	if (k->decode(p, len, &m, NULL) != NP_OK)
		return;
	np_buf_init(&pb, OUT_MAX);
	np_buf_init(&json, OUT_MAX);
	np_buf_init(&back, OUT_MAX);
	assert_int_equal(k->encode(&m, CTL_PROTOBUF, &pb), NP_OK);
	assert_int_equal(k->encode(&m, CTL_JSON, &json), NP_OK);
	k->release(&m);
	assert_int_equal(k->decode(np_buf_ptr(&json), np_buf_len(&json), &again, NULL), NP_OK);
	assert_int_equal(k->encode(&again, CTL_PROTOBUF, &back), NP_OK);
	k->release(&again);
	assert_int_equal(np_buf_len(&pb), np_buf_len(&back));
	if (np_buf_len(&pb) > 0)
		assert_memory_equal(np_buf_ptr(&pb), np_buf_ptr(&back), np_buf_len(&pb));
	np_buf_release(&pb);
	np_buf_release(&json);
	np_buf_release(&back);
}

static void decode__bit_flips_and_truncations__refused_or_consistent(void **state)
{
	size_t i, j, at;

	(void)state;
	for (i = 0; i < COUNT(kinds); i++) {
		for (j = 0; j < kinds[i].n; j++) {
			const struct kind *k = &kinds[i];
			struct bytes b;

			from_hex(k->samples[j].hex, &b);
			for (at = 0; at < b.len; at++) {
				uint8_t *short_copy = malloc(at + 1);

				assert_non_null(short_copy);
				memcpy(short_copy, b.data, at);
				assert_sane(k, short_copy, at);
				free(short_copy);
				b.data[at] ^= (uint8_t)(1u << (at * 5 + j) % 8);
				assert_sane(k, b.data, b.len);
				b.data[at] ^= (uint8_t)(1u << (at * 5 + j) % 8);
			}
			b.len = strlen(k->samples[j].json);
			memcpy(b.data, k->samples[j].json, b.len);
			for (at = 0; at < b.len; at++) {
				b.data[at] ^= (uint8_t)(1u << (at * 5 + j) % 8);
				assert_sane(k, b.data, b.len);
				b.data[at] ^= (uint8_t)(1u << (at * 5 + j) % 8);
			}
		}
	}
}

static void spec_copy__each_allocation_failing__deep_copy_or_no_memory(void **state)
{
	const char *json = ctl_request_samples[1].json;
	struct ctl_spec copy;
	struct ctl_request r;
	enum np_err err;
	long n = 0;

	(void)state;
	decode_ok(json, &r);
	do {
		np_alloc_fail_after(n++);
		err = ctl_spec_copy(&r.apply, &copy);
		np_alloc_fail_after(-1);
	} while (err == NP_ENOMEM);
	assert_int_equal(err, NP_OK);
	assert_int_equal(n, 7); /* the url and five blobs failed once each */
	assert_ptr_not_equal(copy.url, r.apply.url);
	assert_string_equal(copy.url, r.apply.url);
	assert_string_equal(copy.id, "web1");
	assert_int_equal(copy.auth_k.len, 3);
	assert_memory_equal(copy.auth_k.data, r.apply.auth_k.data, 3);
	ctl_request_release(&r);
	ctl_spec_release(&copy);
	assert_null(copy.url);
	assert_null(copy.key_pem.data);
}

static void names__known_and_unknown__as_in_the_proto_file(void **state)
{
	(void)state;
	assert_string_equal(ctl_code_name(CTL_OK), "CODE_OK");
	assert_string_equal(ctl_code_name(CTL_INTERNAL), "CODE_INTERNAL");
	assert_string_equal(ctl_code_name((enum ctl_code)99), "CODE_UNSPECIFIED");
	assert_string_equal(ctl_state_name(CTL_RUNNING), "STATE_RUNNING");
	assert_string_equal(ctl_state_name((enum ctl_state)99), "STATE_UNSPECIFIED");
	assert_true(ctl_id_valid("a-0"));
	assert_false(ctl_id_valid(""));
	assert_false(ctl_id_valid("a.b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(decode_encode__every_sample__bytes_of_the_other_implementation),
	    cmocka_unit_test(request_decode__apply__members_as_given),
	    cmocka_unit_test(event_decode__full_ones__members_as_given),
	    cmocka_unit_test(request_decode__other_spellings__accepted),
	    cmocka_unit_test(request_decode__bad_json__refused_with_path),
	    cmocka_unit_test(request_decode__refused__request_id_known_if_it_could_be_read),
	    cmocka_unit_test(request_decode__bad_protobuf__refused),
	    cmocka_unit_test(request_decode__unknown_parts_of_protobuf__ignored),
	    cmocka_unit_test(request_decode__largest_sizes__accepted_and_one_more_refused),
	    cmocka_unit_test(decode__flood_of_tiny_parts__stopped_by_the_cap),
	    cmocka_unit_test(decode_encode__each_allocation_failing__no_memory),
	    cmocka_unit_test(encode__buffer_full__limit_and_content_kept),
	    cmocka_unit_test(encode__more_than_a_receiver_takes__limit),
	    cmocka_unit_test(event_encode__text_not_utf8_or_long__mended),
	    cmocka_unit_test(decode__bit_flips_and_truncations__refused_or_consistent),
	    cmocka_unit_test(spec_copy__each_allocation_failing__deep_copy_or_no_memory),
	    cmocka_unit_test(names__known_and_unknown__as_in_the_proto_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
