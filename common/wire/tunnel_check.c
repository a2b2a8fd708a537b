/*
 * tunnel_check.c - bounds of what control frames may say, and their names. The bounds are those of
 * docs/PROTOCOL.md and proto/tunnel.proto; both directions are held to them. Knows no protobuf.
 */
#include "wire/tunnel_check.h"

#include <string.h>

#define DAY_MS	      86400000u
#define REASON_MAX    65535u
#define IDLE_MAX      65535u
#define RATE_MAX      1000000u
#define SLOT_MAX      1000000u
#define REPORT_MIN_MS 100u

bool np_utf8_is_valid(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n) {
		uint8_t c = p[i++], low = 0x80, high = 0xbf;
		size_t more;

		if (c >= 0x01 && c <= 0x7f)
			continue;
		if (c >= 0xc2 && c <= 0xdf)
			more = 1;
		else if (c >= 0xe0 && c <= 0xef)
			more = 2;
		else if (c >= 0xf0 && c <= 0xf4)
			more = 3;
		else
			return false;
		if (c == 0xe0)
			low = 0xa0;
		else if (c == 0xed)
			high = 0x9f;
		else if (c == 0xf0)
			low = 0x90;
		else if (c == 0xf4)
			high = 0x8f;
		if (more > n - i)
			return false;
		for (; more > 0; more--, low = 0x80, high = 0xbf) {
			if (p[i] < low || p[i] > high)
				return false;
			i++;
		}
	}
	return true;
}

/* @max: characters without the NUL that must follow. */
static bool text_ok(const char *s, size_t max)
{
	size_t n = strnlen(s, max + 1);

	return n <= max && np_utf8_is_valid((const uint8_t *)s, n);
}

static bool welcome_ok(const struct np_msg_welcome *w)
{
	if (w->flow != NP_FLOW_REVERSE && w->flow != NP_FLOW_FORWARD)
		return false;
	if (w->max < 1 || w->max > IDLE_MAX || w->tls > 2)
		return false;
	if (w->fingerprints.n > NP_MSG_FINGERPRINTS_MAX || (w->tls > 0 && w->fingerprints.n == 0))
		return false;
	return w->report_interval_ms >= REPORT_MIN_MS && w->report_interval_ms <= DAY_MS &&
	       w->dial_budget_ms <= DAY_MS;
}

static bool update_ok(const struct np_msg_update *u)
{
	if (u->has_rate && u->rate > RATE_MAX)
		return false;
	if (u->has_slot && u->slot > SLOT_MAX)
		return false;
	if (u->has_read_ms && u->read_ms > DAY_MS)
		return false;
	if (u->has_min && u->min > IDLE_MAX)
		return false;
	return !u->has_max || (u->max >= 1 && u->max <= IDLE_MAX);
}

bool np_msg_is_valid(const struct np_msg *m)
{
	switch (m->kind) {
	case NP_MSG_HELLO:
		return m->hello.min_version >= 1 && m->hello.min_version <= m->hello.max_version &&
		       text_ok(m->hello.software, NP_MSG_LABEL_MAX);
	case NP_MSG_AUTH:
		return m->auth.dial_budget_ms <= DAY_MS && text_ok(m->auth.label, NP_MSG_LABEL_MAX);
	case NP_MSG_WELCOME:
		return welcome_ok(&m->welcome);
	case NP_MSG_REJECT:
		return (uint32_t)m->reject.reason <= REASON_MAX &&
		       text_ok(m->reject.text, NP_MSG_TEXT_MAX);
	case NP_MSG_UPDATE:
		return update_ok(&m->update);
	case NP_MSG_CERTIFICATE:
		return m->certificate.n >= 1 && m->certificate.n <= NP_MSG_FINGERPRINTS_MAX;
	case NP_MSG_DRAIN:
		return m->drain.deadline_ms <= DAY_MS;
	case NP_MSG_BYE:
		return m->bye.reason <= REASON_MAX && text_ok(m->bye.text, NP_MSG_TEXT_MAX);
	case NP_MSG_PROOF:
	case NP_MSG_PING:
	case NP_MSG_PONG:
	case NP_MSG_POOL_DEMAND:
	case NP_MSG_POOL_TARGET:
		return true;
	}
	return false;
}

const char *np_msg_name(enum np_msg_kind kind)
{
	switch (kind) {
	case NP_MSG_HELLO:
		return "Hello";
	case NP_MSG_AUTH:
		return "Auth";
	case NP_MSG_PROOF:
		return "Proof";
	case NP_MSG_WELCOME:
		return "Welcome";
	case NP_MSG_REJECT:
		return "Reject";
	case NP_MSG_PING:
		return "Ping";
	case NP_MSG_PONG:
		return "Pong";
	case NP_MSG_POOL_DEMAND:
		return "PoolDemand";
	case NP_MSG_POOL_TARGET:
		return "PoolTarget";
	case NP_MSG_UPDATE:
		return "Update";
	case NP_MSG_CERTIFICATE:
		return "Certificate";
	case NP_MSG_DRAIN:
		return "Drain";
	case NP_MSG_BYE:
		return "Bye";
	}
	return "unknown";
}

const char *np_reject_text(enum np_reject r)
{
	switch (r) {
#define NP_REJECT(name, value, text) \
	case NP_REJECT_##name:       \
		return text;
#include "tbl/rejects.def"
#undef NP_REJECT
	}
	return "unknown reason";
}
