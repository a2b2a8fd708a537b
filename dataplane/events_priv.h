/*
 * events_priv.h - inside of events: its state and what its files have of each other.
 */
#ifndef NP_EVENTS_PRIV_H
#define NP_EVENTS_PRIV_H

#include "events.h"

#include <pthread.h>
#include <stdatomic.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* An instance whose status waits to be sent. */
struct change {
	char id[CTL_ID_MAX + 1];
	UT_hash_handle hh;
};

/* An id of Subscribe. */
struct wanted {
	char id[CTL_ID_MAX + 1];
	UT_hash_handle hh;
};

/* Lines and session ends of all threads on their way to main. */
struct feed {
	atomic_bool logs, sessions; /* somebody subscribed */
	atomic_int level;	    /* enum np_log_level; of lines */
	atomic_uint sample;	    /* one of so many sessions */
	atomic_uint sample_next;
	int wake_fd;
	pthread_mutex_t lock;	      /* guards the rest; a leaf: nothing is called under it */
	struct ctl_line *lines;	      /* owned, EVENTS_LINES_QUEUE_MAX; a ring */
	struct ctl_session_end *ends; /* owned, EVENTS_SESSIONS_QUEUE_MAX; a ring */
	size_t first_line, nlines, first_end, nends;
	uint64_t lost_lines, lost_ends;
};

struct events {
	struct event_base *base; /* borrowed, as the next three */
	struct registry *registry;
	const struct commands *commands;
	struct event_edge *edge;
	struct event *changes_timer, *stats_timer, *lease_timer, *feed_wake, *feed_timer;
	struct change *changes; /* hash */
	struct wanted *wanted;	/* hash; empty = all */
	uint64_t lost_changes;
	int64_t stats_ms;
	struct np_mono last_full, last_stats;
	struct np_mono cpu_since; /* of the share in the lease */
	int64_t cpu_us;
	struct feed feed;
};

void events_send(struct events *e, struct ctl_event *ev);
/* events_is_wanted - did Subscribe leave @id in? "" (the process) always. */
bool events_is_wanted(const struct events *e, const char *id);

/* events_stats.c */
/* events_stats_last - @id is about to go: what moved since it was last said. */
void events_stats_last(struct events *e, const char *id);
void events_stats_on_timer(evutil_socket_t fd, short what, void *arg);

/* events_lease.c */
void events_lease_on_timer(evutil_socket_t fd, short what, void *arg);

/* events_feed.c */
enum np_err feed_start(struct events *e) NP_MUST_CHECK;
void feed_stop(struct events *e);
void feed_subscribe(struct events *e, const struct ctl_request *r);

#endif
