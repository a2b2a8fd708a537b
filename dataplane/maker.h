/*
 * maker.h - the making of one data channel at the client: connect, TLS, preamble, the server's
 * first PING.
 *
 * Begins on the home worker, works on the channel's worker, ends on the home worker with
 * client_made.
 */
#ifndef NP_MAKER_H
#define NP_MAKER_H

#include "channel.h"
#include "dial.h"

#define MAKER_MAGIC	0x4d414b45u
#define MAKER_HELLO_LEN (NP_FRAME_HEADER + 8) /* the server's first PING */

enum maker_state { MAKER_DIALING = 0, MAKER_TLS, MAKER_PREAMBLE, MAKER_HELLO, MAKER_DONE };

struct maker {
	unsigned magic;
	struct mail mail;
	struct grave grave;
	struct maker *prev, *next; /* shard->makers */
	struct shard *shard;
	struct client *client; /* home's */
	struct peer *peer;
	/* what it works with; copied, so that home may go on */
	struct np_addr addr;
	enum np_channel_kind kind;
	bool ingress;
	uint64_t conn_id;
	uint8_t session_id[NP_SESSION_ID_LEN];
	uint8_t d[NP_EXPORTER_LEN];
	SSL *ssl; /* owned until it is the stream's; NULL = tls=0 */
	struct np_msg_fingerprints fingerprints;
	unsigned certificates; /* the client's */
	/* how far it is */
	enum maker_state state;
	struct dial *dial;
	struct stream stream;
	struct event ev;
	bool ev_added;
	struct np_mono start, deadline;
	uint8_t buf[NP_PREAMBLE_LEN];
	size_t done;
	/* what came out */
	struct channel *channel; /* NULL = failed */
	int64_t took_us;
	SSL_SESSION *ticket; /* owned; a newer one than it came with */
	bool resumed;
	char why[160];
};

/* maker_start - takes @m, filled in by the client. Thread: home. */
void maker_start(struct maker *m);
/* maker_tick - its deadline. maker_cancel - the shard stops. Thread: the shard's worker. */
void maker_tick(struct maker *m, struct np_mono now);
void maker_fail(struct maker *m, const char *why);

#endif
