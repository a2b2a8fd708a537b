/*
 * node_fake.h - for tests: a data plane that is played by the test: an nng rep socket in raw mode and
 * a pub socket, which note what is asked and answer as they are told to.
 */
#ifndef NP_TEST_NODE_FAKE_H
#define NP_TEST_NODE_FAKE_H

#include "node.h"

#include "base/alloc.h"
#include "base/mono.h"
#include "nng_end.h"

#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/reqrep0/rep.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ASKED_MAX 256

struct asked {
	enum ctl_command command;
	char id[CTL_ID_MAX + 1];
	uint64_t epoch, base, revision;
	size_t n;
	uint32_t index;
	bool last;
};

static struct fake {
	nng_socket ctl, events;
	bool open, silent; /* silent: no answers */
	char boot_id[CTL_BOOT_ID_LEN + 1];
	uint64_t applied, seq;
	enum ctl_code apply_code; /* 0 = as it should be */
	size_t staged, instances, gaps;
	struct asked asked[ASKED_MAX];
	size_t nasked;
	struct np_mono last_lease;
} fake;

static char dir[64];

static inline void fake_open(const char *boot_id)
{
	char url[128];

	memset(&fake, 0, sizeof(fake));
	snprintf(fake.boot_id, sizeof(fake.boot_id), "%s", boot_id);
	assert_int_equal(nng_rep0_open_raw(&fake.ctl), 0);
	assert_int_equal(nng_pub0_open(&fake.events), 0);
	snprintf(url, sizeof(url), "ipc://%s/ctl.sock", dir);
	assert_int_equal(nng_listen(fake.ctl, url, NULL, 0), 0);
	snprintf(url, sizeof(url), "ipc://%s/events.sock", dir);
	assert_int_equal(nng_listen(fake.events, url, NULL, 0), 0);
	fake.open = true;
}

static inline void fake_close(void)
{
	if (!fake.open)
		return;
	nng_end(fake.ctl);
	nng_end(fake.events);
	fake.open = false;
}

static inline void fake_event(struct ctl_event *ev)
{
	struct np_buf b;

	memcpy(ev->boot_id, fake.boot_id, sizeof(fake.boot_id));
	ev->seq = ++fake.seq;
	ev->borrowed = true;
	np_buf_init(&b, CTL_MESSAGE_MAX);
	assert_int_equal(ctl_event_encode(ev, CTL_PROTOBUF, &b), NP_OK);
	assert_int_equal(nng_send(fake.events, (void *)(uintptr_t)np_buf_ptr(&b), np_buf_len(&b),
				  NNG_FLAG_NONBLOCK),
			 0);
	np_buf_release(&b);
}

static inline void fake_lease(void)
{
	struct ctl_event ev = {.kind = CTL_EVENT_LEASE};

	ev.lease.applied_revision = fake.applied;
	ev.lease.state = CTL_NODE_MANAGED;
	fake_event(&ev);
	fake.last_lease = np_mono_now();
}

static inline void fake_status(const char *id, enum ctl_state state)
{
	struct ctl_status st = {.revision = 1, .state = state};
	struct ctl_event ev = {.kind = CTL_EVENT_CHANGES, .n = 1, .changes = &st};

	snprintf(st.id, sizeof(st.id), "%s", id);
	fake_event(&ev);
}

static inline void answer_change(const struct ctl_request *r, struct ctl_reply *out)
{
	if (r->revision <= fake.applied)
		return;
	if (r->base_revision != fake.applied) {
		out->code = CTL_GAP;
		fake.gaps++;
		return;
	}
	if (r->command == CTL_CMD_APPLY && fake.apply_code != 0) {
		out->code = fake.apply_code;
		snprintf(out->text, sizeof(out->text), "no such port");
		if (out->code == CTL_BUSY)
			return;
	}
	fake.applied = r->revision;
}

static inline void answer_snapshot(const struct ctl_request *r, struct ctl_reply *out)
{
	out->result = CTL_CMD_SNAPSHOT;
	if (r->snapshot.index == 0)
		fake.staged = 0;
	fake.staged += r->snapshot.n;
	if (!r->snapshot.last)
		return;
	assert_int_equal(fake.staged, r->snapshot.total);
	fake.instances = fake.staged;
	fake.applied = r->revision;
}

/* Two pages of one instance each. */
static inline void answer_list(const struct ctl_request *r, struct ctl_reply *out)
{
	struct ctl_view *v = np_calloc(1, sizeof(*v));
	bool first = r->list.after[0] == '\0';

	out->result = CTL_CMD_LIST;
	out->list.views = v;
	out->list.n = 1;
	v->has_status = v->has_stats = true;
	snprintf(v->status.id, sizeof(v->status.id), "%s", first ? "p1" : "p2");
	memcpy(v->stats.id, v->status.id, sizeof(v->stats.id));
	v->status.state = CTL_RUNNING;
	v->stats.starts = 1;
	if (first)
		snprintf(out->list.next, sizeof(out->list.next), "p1");
}

static inline void note(const struct ctl_request *r)
{
	struct asked *a = &fake.asked[fake.nasked];

	assert_true(fake.nasked < ASKED_MAX);
	fake.nasked++;
	*a = (struct asked){.command = r->command,
			    .epoch = r->epoch,
			    .base = r->base_revision,
			    .revision = r->revision};
	if (r->command == CTL_CMD_APPLY)
		memcpy(a->id, r->apply.id, sizeof(a->id));
	if (r->command == CTL_CMD_REMOVE)
		memcpy(a->id, r->remove.id, sizeof(a->id));
	if (r->command == CTL_CMD_SNAPSHOT) {
		a->n = r->snapshot.n;
		a->index = r->snapshot.index;
		a->last = r->snapshot.last;
	}
}

static inline void answer(nng_msg *msg)
{
	struct ctl_request r;
	struct ctl_reply out = {.code = CTL_OK};
	struct np_diag diag;
	struct np_buf b;
	nng_msg *reply;

	assert_int_equal(ctl_request_decode(nng_msg_body(msg), nng_msg_len(msg), &r, &diag), NP_OK);
	note(&r);
	memcpy(out.request_id, r.request_id, sizeof(out.request_id));
	memcpy(out.boot_id, fake.boot_id, sizeof(out.boot_id));
	if (r.command == CTL_CMD_HELLO) {
		out.result = CTL_CMD_HELLO;
		out.hello.version = 1;
		out.hello.need_snapshot = r.hello.desired_revision != fake.applied;
		out.hello.info.applied_revision = fake.applied;
		out.hello.info.pid = 4242;
		memcpy(out.hello.info.boot_id, fake.boot_id, sizeof(fake.boot_id));
	} else if (r.command == CTL_CMD_APPLY || r.command == CTL_CMD_REMOVE) {
		answer_change(&r, &out);
	} else if (r.command == CTL_CMD_SNAPSHOT) {
		answer_snapshot(&r, &out);
	} else if (r.command == CTL_CMD_LIST) {
		answer_list(&r, &out);
	}
	out.applied_revision = fake.applied;
	np_buf_init(&b, CTL_MESSAGE_MAX);
	assert_int_equal(ctl_reply_encode(&out, r.encoding, &b), NP_OK);
	assert_int_equal(nng_msg_alloc(&reply, 0), 0);
	assert_int_equal(nng_msg_header_append(reply, nng_msg_header(msg), nng_msg_header_len(msg)),
			 0);
	assert_int_equal(nng_msg_append(reply, np_buf_ptr(&b), np_buf_len(&b)), 0);
	if (nng_sendmsg(fake.ctl, reply, 0) != 0)
		nng_msg_free(reply);
	np_buf_release(&b);
	ctl_request_release(&r);
	ctl_reply_release(&out);
}

static inline void fake_turn(void)
{
	nng_msg *msg;

	while (fake.open && !fake.silent && nng_recvmsg(fake.ctl, &msg, NNG_FLAG_NONBLOCK) == 0) {
		answer(msg);
		nng_msg_free(msg);
	}
	if (fake.open && !fake.silent &&
	    np_mono_diff_ms(np_mono_now(), fake.last_lease) >= NODE_LEASE_MS)
		fake_lease();
}

static inline size_t asked_count(enum ctl_command command)
{
	size_t n = 0;

	for (size_t i = 0; i < fake.nasked; i++)
		n += fake.asked[i].command == command;
	return n;
}

static inline const struct asked *asked_last(enum ctl_command command)
{
	for (size_t i = fake.nasked; i > 0; i--)
		if (fake.asked[i - 1].command == command)
			return &fake.asked[i - 1];
	fail_msg("never asked for %d", (int)command);
	return NULL;
}

#endif
