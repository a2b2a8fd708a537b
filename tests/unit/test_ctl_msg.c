/*
 * test_ctl_msg.c - the control protocol's messages: every one in both encodings against the bytes
 * of another implementation, every refusal with its path.
 */
#include "ctl_msg_bed.h"

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
