/*
 * supervise.h - the data plane process on this machine: found or started, watched, started again.
 * Thread: the loop's.
 *
 * Started again at once the first time, then after 100 ms doubling to 5 s; back to the start after
 * 10 s of health. A data plane that already holds $NP_RUN_DIR/lock is adopted and watched by pidfd. Its
 * standard output and error are read (its log has the default form, whatever ours has); the last lines
 * before a death are its last words.
 */
#ifndef CP_SUPERVISE_H
#define CP_SUPERVISE_H

#include "base/err.h"

#include <event2/event.h>
#include <stdbool.h>

#define SUPERVISE_PAUSE_MIN_MS 100
#define SUPERVISE_PAUSE_MAX_MS 5000
#define SUPERVISE_HEALTHY_MS   10000
#define SUPERVISE_READY_MS     10000 /* it has to say that it is ready within this */
#define SUPERVISE_WORDS_MAX    20    /* lines of last words that are kept */

struct supervise;

struct supervise_callbacks {
	void (*on_ready)(void *arg, int pid, bool adopted);
	/* @words: how it ended and its last lines, for the log and an event. */
	void (*on_exit)(void *arg, int pid, const char *words);
	void (*on_output)(void *arg, const char *line); /* what it says outside of events */
};

/* supervise_new - @external: only watches, never starts or stops one. Errors: NP_ENOMEM, NP_ESYS,
 * NP_ENOTFOUND (the program; @diag names the places). */
enum np_err supervise_new(struct event_base *base, const char *run_dir, bool external,
			  const struct supervise_callbacks *cb, void *arg, struct supervise **out,
			  struct np_diag *diag) NP_MUST_CHECK;
/* supervise_new_program - with the path of a program; NULL = external. Errors: NP_ENOMEM. */
enum np_err supervise_new_program(struct event_base *base, const char *run_dir, const char *program,
				  const struct supervise_callbacks *cb, void *arg,
				  struct supervise **out) NP_MUST_CHECK;
void supervise_start(struct supervise *s);
bool supervise_is_external(const struct supervise *s);
/* supervise_stop - no more restarts; SIGTERM, SIGKILL after @grace_ms; @done when it is gone (at
 * once when external). */
void supervise_stop(struct supervise *s, int grace_ms, void (*done)(void *arg), void *arg);
bool supervise_is_external(const struct supervise *s);
/* supervise_find - the path of a program beside our own executable or in libexec. */
enum np_err supervise_find(const char *program, char *out, size_t max,
			   struct np_diag *diag) NP_MUST_CHECK;
void supervise_free(struct supervise *s);

#endif
