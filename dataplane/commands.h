/*
 * commands.h - what a request means: who may ask, in which order changes count, what is answered.
 *
 * ctl_request -> registry -> ctl_reply. Holds the session with the controller (epoch, revision,
 * ownership) and nothing on disk. No sockets, no clock: time is an argument, what needs the
 * surroundings goes through struct commands_ops. Thread: main.
 */
#ifndef NP_COMMANDS_H
#define NP_COMMANDS_H

#include "base/mono.h"
#include "registry.h"
#include "wire/ctl_msg.h"

#define COMMANDS_LEASE_MS     5000 /* until a controller wishes another one */
#define COMMANDS_LEASE_MIN_MS 1000
#define COMMANDS_LEASE_MAX_MS 60000
#define COMMANDS_LEASES	      4 /* without a request: the controller is gone */
#define COMMANDS_STAGING_MS   30000
#define COMMANDS_RETRY_MS     200
#define COMMANDS_GRACE_MAX_MS 86400000
#define COMMANDS_PAGE_BYTES   600000 /* of a page, roughly: replies stay below CTL_MESSAGE_MAX */
#define COMMANDS_PROBE_MAX    10     /* connections of one request */
#define COMMANDS_PROBE_MAX_MS 10000  /* for each of them */

struct commands;
struct command_call;

/* What the dispatcher asks of its surroundings. None of them blocks. */
struct commands_ops {
	/* The status of an instance is to be reported (a refusal was noted). */
	void (*changed)(void *arg, const char *id);
	void (*subscribe)(void *arg, const struct ctl_request *r);
	void (*lease)(void *arg, uint32_t lease_ms);
	void (*drain)(void *arg, uint32_t grace_ms, bool cancel);
	void (*shutdown)(void *arg, uint32_t grace_ms);
	/* Takes @call and answers it later with what commands_reply_to has begun; NP_ELIMIT: busy. */
	enum np_err (*probe)(void *arg, struct command_call *call, const struct ctl_request *r);
};

/* Where this node is in its life; DRAINING and DRAINED hide who owns it. */
enum commands_drain { COMMANDS_SERVING = 0, COMMANDS_DRAINING, COMMANDS_DRAINED };

/*
 * commands_new - @boot_id: CTL_BOOT_ID_LEN hexadecimal digits, copied. @registry, @ops and @arg are
 * borrowed for its life. NULL without memory.
 */
struct commands *commands_new(struct registry *registry, const struct commands_ops *ops, void *arg,
			      const char *boot_id, int64_t start_time_ms);
void commands_free(struct commands *c);

/*
 * commands_handle - @r is emptied of what is kept, and released by the caller. True: *out is the
 * answer, released by the caller. False: @call was taken and is answered later.
 */
bool commands_handle(struct commands *c, struct ctl_request *r, struct command_call *call,
		     struct np_mono now, int64_t wall_ms, struct ctl_reply *out);
/* commands_reply_to - *out zeroed, with what every answer carries; code CTL_OK. */
void commands_reply_to(struct commands *c, const char *request_id, struct ctl_reply *out);
/* commands_tick - once a second: a silent controller, a forgotten snapshot. */
void commands_tick(struct commands *c, struct np_mono now);

void commands_set_drain(struct commands *c, enum commands_drain drain);
enum ctl_node_state commands_state(const struct commands *c);
uint64_t commands_applied(const struct commands *c);
const char *commands_node_id(const struct commands *c);
const char *commands_boot_id(const struct commands *c);

#endif
