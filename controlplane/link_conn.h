/*
 * link_conn.h - the two sockets of a link: dialled, closed, and what came through them. For link.c.
 *
 * A raw req socket: several requests are on their way at once and are answered in their order; the
 * number in the header of the protocol tells which reply is for which. Nothing is ever repeated.
 *
 * nng never dials by itself here: a thread of the connection's does, one attempt after the other,
 * and closes the sockets only between two of them; a dialer ends with its first connection. Who leaves
 * in the middle of the handshake of nng 1.5.2 leaves a listener of nng's without an accept.
 */
#ifndef CP_LINK_CONN_H
#define CP_LINK_CONN_H

#include "base/buf.h"

#include <nng/nng.h>
#include <stdbool.h>
#include <sys/un.h>

#define LINK_PATH_LEN	 sizeof(((struct sockaddr_un *)NULL)->sun_path)
#define LINK_REQUEST_BIT 0x80000000u /* the last word of the header of a request or reply */

enum link_end_kind { LINK_CTL = 0, LINK_EVENTS, LINK_END_COUNT };

struct link_conn;

struct link_conn_state {
	bool up;	      /* both were connected */
	bool down, both_down; /* one, both of them are not any more */
	int pid;	      /* of the other end, 0 = not known */
};

/* link_conn_open - begins to dial both, again and again; @wake_fd (an eventfd, duplicated) is written
 * when something happened. NULL: it was logged why. */
struct link_conn *link_conn_open(const char (*paths)[LINK_PATH_LEN], int wake_fd);
/* link_conn_kick - the next attempt is made at once. */
void link_conn_kick(struct link_conn *conn);
/* link_conn_close - when its dial has ended, which can last 10 s; waits @wait_ms for it at most. NULL
 * is fine. */
void link_conn_close(struct link_conn *conn, int wait_ms);
struct link_conn_state link_conn_state(struct link_conn *conn);
/* link_conn_take - the next message, the caller's; NULL: none. */
nng_msg *link_conn_take(struct link_conn *conn, enum link_end_kind which);
/* link_conn_send - a request. Errors: NP_ENOMEM, NP_EAGAIN. link_conn_number - of a reply. */
enum np_err link_conn_send(struct link_conn *conn, uint32_t number,
			   const struct np_buf *bytes) NP_MUST_CHECK;
uint32_t link_conn_number(const nng_msg *msg);

#endif
