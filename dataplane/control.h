/*
 * control.h - a control channel: length-prefixed protobuf frames over TLS, pings, limits. Either
 * end.
 *
 * Lives on the instance's home worker. Owned by a newcomer or a peer (server), or by the client.
 */
#ifndef NP_CONTROL_H
#define NP_CONTROL_H

#include "core/addr.h"
#include "stream.h"
#include "wire/tunnel_msg.h"
#include "worker.h"

struct instance;
struct control;

#define CONTROL_FRAMES_PER_S	 100
#define CONTROL_TX_MAX		 (256 * 1024)
#define CONTROL_SILENT_INTERVALS 3

struct control_ops {
	/* one frame; may close the control channel */
	void (*on_message)(struct control *c, const struct np_msg *m);
	/* it ended by itself (never after control_close); @why for the log. The owner calls
	 * control_close. */
	void (*on_lost)(struct control *c, const char *why);
};

struct control {
	unsigned magic;
	struct grave grave;
	struct instance *inst;
	struct stream stream;
	struct event ev;
	struct event *ping_timer;
	struct np_buf rx, tx;
	struct np_buf transcript; /* Hello, Auth, Welcome as sent; wiped when authenticated */
	bool authenticated;	  /* larger frames, pings */
	bool closed, lost, paused;
	struct np_mono last_rx, window;
	unsigned frames_in_window;
	const struct control_ops *ops;
	void *arg; /* the owner */
	struct np_addr peer;
	char name[NP_ADDR_TEXT_MAX];
	uint8_t e[NP_EXPORTER_LEN], d[NP_EXPORTER_LEN];
};

/*
 * control_new - takes the stream (TLS, handshake finished) on success. Exporters are taken here.
 * Errors: NP_ENOMEM, NP_ESTATE, NP_ECRYPTO. Thread: home, as all of it.
 */
enum np_err control_new(struct instance *inst, struct stream *stream, const struct np_addr *peer,
			const struct control_ops *ops, void *arg,
			struct control **out) NP_MUST_CHECK;
void control_set_owner(struct control *c, const struct control_ops *ops, void *arg);
/* control_send - Hello, Auth and Welcome are added to the transcript. Failures end in on_lost,
 * later. */
void control_send(struct control *c, const struct np_msg *m);
/* control_authenticated - from now on large frames and pings. */
void control_authenticated(struct control *c);
/* control_pause - no message is handed on until control_resume. */
void control_pause(struct control *c);
void control_resume(struct control *c);
/* control_close - what waits is sent if the socket takes it; no callback follows. */
void control_close(struct control *c, bool abort);

#endif
