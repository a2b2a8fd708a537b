/*
 * tunnel_samples.h - one control frame of every kind with the values of tests/golden.py; shared by
 * the tests of golden bytes and of the message code. Order: as in enum tunnel_sample.
 */
#ifndef NP_TEST_TUNNEL_SAMPLES_H
#define NP_TEST_TUNNEL_SAMPLES_H

#include "wire/tunnel_msg.h"

#include <string.h>

enum tunnel_sample {
	SAMPLE_HELLO = 0,
	SAMPLE_AUTH,
	SAMPLE_AUTH_TAKEOVER, /* takeover itself: 0x60, 0x61, … unless the test sets it */
	SAMPLE_WELCOME,
	SAMPLE_PROOF,
	SAMPLE_REJECT,
	SAMPLE_PING,
	SAMPLE_PING_ZERO,
	SAMPLE_PONG,
	SAMPLE_POOL_DEMAND,
	SAMPLE_POOL_TARGET,
	SAMPLE_UPDATE,
	SAMPLE_UPDATE_ZERO_MIN,
	SAMPLE_UPDATE_EMPTY,
	SAMPLE_CERTIFICATE,
	SAMPLE_DRAIN,
	SAMPLE_BYE,
	SAMPLES
};

/* @n bytes counting up from @first. */
static inline void sample_run(uint8_t *out, unsigned first, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		out[i] = (uint8_t)(first + i);
}

static inline void sample_auth(struct np_msg_auth *a, bool takeover)
{
	*a = (struct np_msg_auth){.method = 1,
				  .version = 2,
				  .features = 0x8000000000000001u,
				  .label = "edge-1",
				  .dial_budget_ms = 15000,
				  .has_takeover = takeover};
	sample_run(a->instance_id, 0x20, sizeof a->instance_id);
	sample_run(a->boot_id, 0x30, sizeof a->boot_id);
	if (takeover) {
		sample_run(a->takeover_session, 0xd0, sizeof a->takeover_session);
		sample_run(a->takeover, 0x60, sizeof a->takeover);
	}
}

static inline void sample_welcome(struct np_msg_welcome *w)
{
	*w = (struct np_msg_welcome){.flow = NP_FLOW_FORWARD,
				     .max = 1024,
				     .tls = 1,
				     .features = 5,
				     .report_interval_ms = 5000,
				     .dial_rate = 256,
				     .dial_budget_ms = 10000};
	sample_run(w->session_id, 0xc0, sizeof w->session_id);
	sample_run(w->boot_id, 0xb0, sizeof w->boot_id);
	w->fingerprints.n = 2;
	sample_run(w->fingerprints.sha256[0], 0xe0, NP_FINGERPRINT_LEN);
	sample_run(w->fingerprints.sha256[1], 0x60, NP_FINGERPRINT_LEN);
}

static inline void sample_update(struct np_msg_update *u)
{
	*u = (struct np_msg_update){.has_rate = true,
				    .has_slot = true,
				    .has_read_ms = true,
				    .has_min = true,
				    .has_max = true,
				    .rate = 1000,
				    .slot = 65536,
				    .read_ms = 600000,
				    .min = 64,
				    .max = 1024};
}

/* The short kinds. */
static inline void sample_small(enum tunnel_sample which, struct np_msg *m)
{
	switch ((int)which) {
	case SAMPLE_PROOF:
		m->kind = NP_MSG_PROOF;
		sample_run(m->proof.proof, 0x11, NP_PROOF_LEN);
		break;
	case SAMPLE_REJECT:
		m->kind = NP_MSG_REJECT;
		m->reject.reason = NP_REJECT_AUTH;
		memcpy(m->reject.text, "wrong key", 10);
		break;
	case SAMPLE_PING:
	case SAMPLE_PING_ZERO:
		m->kind = NP_MSG_PING;
		m->ping.time_us = which == SAMPLE_PING ? 0xfedcba9876543210u : 0;
		break;
	case SAMPLE_PONG:
		m->kind = NP_MSG_PONG;
		m->ping.time_us = 1000000;
		break;
	case SAMPLE_POOL_DEMAND:
		m->kind = NP_MSG_POOL_DEMAND;
		m->count.n = 300;
		break;
	case SAMPLE_POOL_TARGET:
		m->kind = NP_MSG_POOL_TARGET;
		m->count.n = 64;
		break;
	case SAMPLE_CERTIFICATE:
		m->kind = NP_MSG_CERTIFICATE;
		m->certificate.n = 1;
		sample_run(m->certificate.sha256[0], 0xe0, NP_FINGERPRINT_LEN);
		break;
	case SAMPLE_DRAIN:
		m->kind = NP_MSG_DRAIN;
		m->drain.deadline_ms = 5000;
		break;
	case SAMPLE_BYE:
		m->kind = NP_MSG_BYE;
		m->bye.reason = NP_REJECT_STOPPED;
		memcpy(m->bye.text, "stopped", 8);
		break;
	default:
		break;
	}
}

static inline void tunnel_sample(enum tunnel_sample which, struct np_msg *m)
{
	memset(m, 0, sizeof *m);
	switch ((int)which) {
	case SAMPLE_HELLO:
		m->kind = NP_MSG_HELLO;
		m->hello.min_version = 2;
		m->hello.max_version = 3;
		sample_run(m->hello.salt, 0x10, NP_SALT_LEN);
		memcpy(m->hello.software, "nodepass/2 \xc3\xa9", 14);
		break;
	case SAMPLE_AUTH:
	case SAMPLE_AUTH_TAKEOVER:
		m->kind = NP_MSG_AUTH;
		sample_auth(&m->auth, which == SAMPLE_AUTH_TAKEOVER);
		break;
	case SAMPLE_WELCOME:
		m->kind = NP_MSG_WELCOME;
		sample_welcome(&m->welcome);
		break;
	case SAMPLE_UPDATE:
	case SAMPLE_UPDATE_ZERO_MIN:
	case SAMPLE_UPDATE_EMPTY:
		m->kind = NP_MSG_UPDATE;
		if (which == SAMPLE_UPDATE)
			sample_update(&m->update);
		m->update.has_min = which != SAMPLE_UPDATE_EMPTY;
		break;
	default:
		sample_small(which, m);
		break;
	}
}

#endif
