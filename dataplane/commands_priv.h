/*
 * commands_priv.h - inside of commands: its state, and what its files have of each other.
 */
#ifndef NP_COMMANDS_PRIV_H
#define NP_COMMANDS_PRIV_H

#include "commands.h"

/* A snapshot whose last chunk has not come. id[0] == 0: none. */
struct staging {
	char id[65];
	uint64_t revision;
	uint32_t next; /* index of the next chunk */
	struct np_mono deadline;
	struct ctl_spec *specs; /* owned */
	size_t n, cap;
};

struct commands {
	struct registry *registry; /* borrowed */
	const struct commands_ops *ops;
	void *arg;
	char boot_id[CTL_BOOT_ID_LEN + 1], controller_id[65], node_id[65];
	int64_t start_time_ms;
	uint64_t epoch;	  /* the highest one seen; 0 = nobody owns this node */
	uint64_t applied; /* node revision */
	uint32_t lease_ms;
	struct np_mono last_request; /* of the owner */
	bool orphaned;
	bool resync; /* the next snapshot counts whatever its revision is: see snapshot_check */
	enum commands_drain drain;
	struct staging staging;
};

void reply_error(struct ctl_reply *out, enum ctl_code code, const char *fmt, ...) NP_PRINTF(3, 4);

/* commands_read.c */
void commands_info(struct commands *c, struct ctl_node_info *out);
void commands_list(struct commands *c, const struct ctl_request *r, struct ctl_reply *out);
void commands_get(struct commands *c, const struct ctl_request *r, struct ctl_reply *out);

/* commands_snapshot.c */
void commands_snapshot(struct commands *c, struct ctl_request *r, struct np_mono now,
		       struct ctl_reply *out);
void staging_drop(struct commands *c);
/* spec_equal - do they ask for the same? Revisions aside. */
bool spec_equal(const struct ctl_spec *a, const struct ctl_spec *b);

#endif
