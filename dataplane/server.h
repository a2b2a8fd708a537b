/*
 * server.h - the tunnel port of a server: strangers until they prove a key, then peers and their
 * channels.
 *
 * Nothing here holds up who is authenticated: handshakes take at most HANDSHAKE_STEPS steps a loop
 * pass, everything has one deadline, and at the cap the source with the most unauthenticated
 * connections loses its oldest one.
 */
#ifndef NP_SERVER_H
#define NP_SERVER_H

#include "instance.h"

#define NEWCOMERS_MAX	     1024
#define HANDSHAKE_STEPS	     4
#define AUTH_DEADLINE_MIN_MS 10000
#define REJECT_DELAY_MS	     1000
#define PEERS_MAX	     1024
#define PEERS_PER_SOURCE_MAX 64
#define CHANNELS_EXTRA	     16 /* beyond max and the sessions in use */
#define SERVER_DIAL_RATE     256

struct server;

/* server_new - takes the @n listening sockets. Errors: NP_ENOMEM. Thread: home, as all of it. */
enum np_err server_new(struct instance *inst, const int *fds, unsigned n,
		       struct server **out) NP_MUST_CHECK;
void server_free(struct server *sv);
/* server_prepare - salt and K of the key, or those of @auth; blocks for a word key. Before instance_start.
 * Errors: NP_ECRYPTO. */
enum np_err server_prepare(struct instance *inst, const struct instance_auth *auth) NP_MUST_CHECK;
void server_announce_certificate(struct instance *inst);
/* server_drain - tells all peers; server_bye - says Bye to all and drops them. */
void server_drain(struct server *sv, int64_t ms);
void server_bye(struct server *sv);
/* server_close - listens no more; server_leave - says Bye to all, their sessions run on. */
void server_close(struct server *sv);
void server_leave(struct server *sv);
/* server_tell_max - max= changed: Update to all clients; who comes later hears it in Welcome. */
void server_tell_max(struct server *sv);
int server_listener_fd(const struct server *sv, int i); /* borrowed; -1 = none */

#endif
