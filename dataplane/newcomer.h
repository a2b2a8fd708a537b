/*
 * newcomer.h - inside of server: one connection to the tunnel port that has proved nothing yet.
 */
#ifndef NP_NEWCOMER_H
#define NP_NEWCOMER_H

#include "control.h"
#include "listener.h"
#include "server.h"

#define NEWCOMER_MAGIC 0x4e455743u
/* A client of NodePass 1.x tries again and again: said once in this time, source by source. */
#define COMPAT1_SAY_MS 60000

enum newcomer_state {
	NEWCOMER_FIRST = 0, /* its first bytes tell what it speaks */
	NEWCOMER_LINE,	    /* perhaps the first line of NodePass 1.x */
	NEWCOMER_TLS,
	NEWCOMER_PREAMBLE,
	NEWCOMER_AUTH,	 /* Hello went, Auth is due */
	NEWCOMER_PROOF,	 /* Auth came, its proof is due */
	NEWCOMER_REJECT, /* wrong: the answer waits */
};

struct newcomer {
	unsigned magic;
	struct grave grave;
	struct newcomer *prev, *next;	/* server->newcomers, oldest first */
	struct newcomer *rprev, *rnext; /* server->ready[known] */
	struct newcomer *sprev, *snext; /* src->newcomers, oldest first */
	bool is_ready, dead;
	struct server *server;
	struct newcomer_source *src; /* borrowed; lives as long as it has newcomers */
	enum newcomer_state state;
	struct stream stream;
	struct event ev;
	bool ev_added;
	struct np_addr addr;
	uint64_t source;
	bool known; /* the source holds a live session */
	struct np_mono accepted, deadline;
	uint8_t first[NP_PREAMBLE_LEN];
	size_t nfirst;
	struct np_buf line;	 /* NEWCOMER_LINE */
	struct control *control; /* owned until it is a peer's */
	struct np_msg_auth auth;
};

struct server {
	struct instance *inst;
	struct listener *listeners[INSTANCE_LISTENERS_MAX];
	struct newcomer *newcomers;
	struct newcomer *ready[2]; /* by known: of strangers, and of sources with a live session */
	unsigned nnewcomers, nunknown;	 /* nunknown: of sources without a live session */
	struct newcomer_source *sources; /* hash: how many of them a source has */
	struct task task;		 /* runs the ready ones, a few a pass */
	struct event *tick;		 /* deadlines; pending while there are newcomers */
	struct np_mono compat1_at; /* when a client of NodePass 1.x was mentioned, and which */
	uint64_t compat1_source;
	bool draining;
};

void newcomer_accept(void *server, int fd, const struct np_addr *addr);
/* newcomer_close - @why for the log at DEBUG; counted as a stranger unless @known. */
void newcomer_close(struct newcomer *nc, const char *why, bool known);
void newcomer_run_ready(struct worker *w, struct task *t);
void newcomer_tick(struct server *sv);
/* newcomer_detach - off the loop; its stream may be moved then. */
void newcomer_detach(struct newcomer *nc);
/* newcomer_leave - it became a peer or a channel. */
void newcomer_leave(struct newcomer *nc);

/* server_say_refused - WARN about a client, or counted: strangers cause these lines. */
void server_say_refused(struct instance *inst, const char *why, const char *name);
/* server_hello - TLS is up and ALPN says control. server_preamble - 40 bytes are in nc->first. */
void server_hello(struct newcomer *nc);
void server_preamble(struct newcomer *nc);

#endif
