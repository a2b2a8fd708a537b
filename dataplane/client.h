/*
 * client.h - a dual-end client: its control connection, and the channels it keeps ready for its
 * server.
 *
 * The life of the connection is np_client_fsm (core/tunnel_fsm.h), the number of channels
 * np_pool_fill (core/pool_fill.h); here both are carried out. Lives on the instance's home worker.
 */
#ifndef NP_CLIENT_H
#define NP_CLIENT_H

#include "instance.h"

#define CLIENT_BACKOFF_BASE_MS 100
#define CLIENT_LIVED_MS	       1000 /* a session that lived so long starts the back-off anew */
/* The host answers but refuses: its server starts, in a few ms, or may be back any moment. */
#define CLIENT_REFUSED_BASE_MS 2
#define CLIENT_REFUSED_CAP_MS  500
#define CLIENT_NEW_SALTS \
	5 /* salts taken at once; one more every CLIENT_SALT_MS (a server makes us derive K) */
#define CLIENT_SALT_MS 10000
#define CLIENT_MAKER_FAILURES \
	3 /* channels closed before their PING: a back-off step and a WARN \
				 */
#define CLIENT_FLOWS_PER_CHANNEL 32 /* UDP flows, then one more datagram channel */

struct client;
struct maker;

/* client_new - blocks on the trust store's files. @material: NULL or without them: the files of
 * the URL are read here. Errors: NP_ENOMEM, NP_EINVAL (@diag: ca). Before instance_start. */
enum np_err client_new(struct instance *inst, const struct instance_material *material,
		       struct client **out, struct np_diag *diag) NP_MUST_CHECK;
/* client_new_blocks - would it read files? */
bool client_new_blocks(const struct np_config *cfg);
/* client_take_files - what crt=, key= and ca= give, now the instance's; NULL = none are given. */
struct tls_files *client_take_files(struct client *c);
/* client_new_certificate - the files of the instance changed: the next channels show the new one. */
void client_new_certificate(struct instance *inst);
void client_start(struct client *c);
/* client_drain - tells the server; client_stop - Bye, and the session ends. */
void client_drain(struct client *c, int64_t ms);
void client_stop(struct client *c);
/* client_configure - min= may have changed. */
void client_configure(struct client *c);
void client_free(struct client *c);
/* What the pool reports: a visitor got a channel; so many wait; a channel of @p is gone. */
void client_opened(struct client *c);
void client_demand(struct client *c, uint32_t waiting);
void client_channel_gone(struct client *c, struct peer *p);
/* client_forget - @p is about to be freed. */
void client_forget(struct client *c, const struct peer *p);
/* client_made - a maker ended: @ch is up (NULL = failed, @why). */
void client_made(struct client *c, struct maker *m, struct channel *ch);

#endif
