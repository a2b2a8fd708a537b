/*
 * tunnel_msg.h - frames of the control channel: protobuf bytes <-> own structs without heap.
 * The only user of the generated tunnel types is tunnel_msg.c. Bounds: docs/PROTOCOL.md,
 * tunnel_check.c.
 */
#ifndef NP_WIRE_TUNNEL_MSG_H
#define NP_WIRE_TUNNEL_MSG_H

#include "base/buf.h"
#include "core/proof.h"

#define NP_MSG_MAX		65536 /* one frame without its 4-byte length */
#define NP_MSG_MAX_UNAUTH	1024  /* before authentication */
#define NP_MSG_VERSION		2
#define NP_MSG_TEXT_MAX		200
#define NP_MSG_LABEL_MAX	64
#define NP_MSG_FINGERPRINTS_MAX 4
#define NP_BOOT_ID_LEN		16
#define NP_INSTANCE_ID_LEN	16

enum np_msg_kind {
	NP_MSG_HELLO = 1,
	NP_MSG_AUTH,
	NP_MSG_PROOF,
	NP_MSG_WELCOME,
	NP_MSG_REJECT,
	NP_MSG_PING,
	NP_MSG_PONG,
	NP_MSG_POOL_DEMAND,
	NP_MSG_POOL_TARGET,
	NP_MSG_UPDATE,
	NP_MSG_CERTIFICATE,
	NP_MSG_DRAIN,
	NP_MSG_BYE,
};
enum np_flow {
	NP_FLOW_REVERSE = 1,
	NP_FLOW_FORWARD = 2
};		 /* as the server's mode: 1 server receives, 2 server sends */
enum np_reject { /* hints; see tbl/rejects.def */
#define NP_REJECT(name, value, text) NP_REJECT_##name = (value),
#include "tbl/rejects.def"
#undef NP_REJECT
};

struct np_msg_hello {
	uint32_t min_version, max_version;
	uint8_t salt[NP_SALT_LEN];
	char software[NP_MSG_LABEL_MAX + 1];
};
struct np_msg_auth {
	uint32_t method; /* 1 = key proof */
	uint32_t version;
	uint64_t features;
	char label[NP_MSG_LABEL_MAX + 1];
	uint8_t instance_id[NP_INSTANCE_ID_LEN];
	uint8_t boot_id[NP_BOOT_ID_LEN];
	uint32_t dial_budget_ms;
	bool has_takeover;
	uint8_t takeover_session[NP_SESSION_ID_LEN];
	uint8_t takeover[NP_PROOF_LEN];
};
struct np_msg_proof {
	uint8_t proof[NP_PROOF_LEN];
};
struct np_msg_fingerprints {
	uint32_t n;
	uint8_t sha256[NP_MSG_FINGERPRINTS_MAX][NP_FINGERPRINT_LEN];
};
struct np_msg_welcome {
	uint8_t session_id[NP_SESSION_ID_LEN];
	enum np_flow flow;
	uint32_t max;
	uint32_t tls;
	struct np_msg_fingerprints fingerprints;
	uint64_t features;
	uint32_t report_interval_ms;
	uint32_t dial_rate;
	uint8_t boot_id[NP_BOOT_ID_LEN];
	uint32_t dial_budget_ms;
};
struct np_msg_reject {
	enum np_reject reason;
	char text[NP_MSG_TEXT_MAX + 1];
};
struct np_msg_ping {
	uint64_t time_us;
};
struct np_msg_count {
	uint32_t n; /* PoolDemand: waiting visitors; PoolTarget: idle channels to keep */
};
struct np_msg_update { /* absent fields are unchanged */
	bool has_rate, has_slot, has_read_ms, has_min, has_max;
	uint64_t rate;
	uint32_t slot;
	uint64_t read_ms;
	uint32_t min, max;
};
struct np_msg_drain {
	uint32_t deadline_ms;
};
struct np_msg_bye {
	uint32_t reason; /* enum np_reject */
	char text[NP_MSG_TEXT_MAX + 1];
};

struct np_msg {
	enum np_msg_kind kind;
	union {
		struct np_msg_hello hello;
		struct np_msg_auth auth;
		struct np_msg_proof proof;
		struct np_msg_welcome welcome;
		struct np_msg_reject reject;
		struct np_msg_ping ping;   /* PING and PONG */
		struct np_msg_count count; /* POOL_DEMAND and POOL_TARGET */
		struct np_msg_update update;
		struct np_msg_fingerprints certificate;
		struct np_msg_drain drain;
		struct np_msg_bye bye;
	};
};

/*
 * np_msg_pack - appends a 4-byte big-endian length and the frame. The same bounds hold as for
 * np_msg_unpack. Errors: NP_EINVAL (@out untouched), NP_ENOMEM, NP_ELIMIT (buffer full): these two
 * stay in @out as sticky error.
 */
enum np_err np_msg_pack(const struct np_msg *m, struct np_buf *out) NP_MUST_CHECK;
/*
 * np_msg_unpack - one frame without its length. Strings are UTF-8 without NUL, lengths in bounds,
 * fixed-size fields exact. The allocator under protobuf-c is capped. Unknown fields are ignored;
 * no, more than one or an unknown kind, anything out of bounds: NP_EPROTO. Over the allocation cap:
 * NP_ELIMIT. Without memory: NP_ENOMEM. Reasons this release does not know (up to 65 535) are
 * accepted, np_reject_text calls them unknown. On success *out is zero behind what is set, padding
 * included. @out is untouched on error.
 */
enum np_err np_msg_unpack(const uint8_t *p, size_t len, struct np_msg *out) NP_MUST_CHECK;
const char *np_msg_name(enum np_msg_kind kind);
const char *np_reject_text(enum np_reject r);

#endif
