/*
 * test_ctl_msg_limits.c - the control protocol's messages: sizes, failing memory, hostile bytes.
 */
#include "ctl_msg_bed.h"

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
