/*
 * env.h - the NP_* variables of tbl/env.def as checked values.
 */
#ifndef NP_CORE_ENV_H
#define NP_CORE_ENV_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* Durations in ms, sizes in bytes; a field per row of tbl/env.def. */
struct np_env {
	int64_t tcp_data_buf_size;
	int64_t udp_data_buf_size;
	int64_t handshake_timeout_ms;
	int64_t tcp_dial_timeout_ms;
	int64_t udp_dial_timeout_ms;
	int64_t udp_read_timeout_ms;
	int64_t pool_get_timeout_ms;
	int64_t min_pool_interval_ms;
	int64_t max_pool_interval_ms;
	int64_t report_interval_ms;
	int64_t fallback_interval_ms;
	int64_t service_cooldown_ms;
	int64_t shutdown_timeout_ms;
	int64_t reload_interval_ms;
	int64_t semaphore_limit;
	int64_t pipe_size;
	int64_t udp_offload; /* 0 or 1 */
	int64_t workers;     /* 0 = not set: min(usable CPUs, 4) */
};

/*
 * np_env_load - every variable through @get (getenv or a test's); one that does not parse or lies
 * out of range keeps its default and is reported through @warn ("NP_X=abc: not a duration, using
 * 5s").
 */
void np_env_load(struct np_env *out, const char *(*get)(void *arg, const char *name),
		 void (*warn)(void *arg, const char *text), void *arg);

/* np_env_help - lines for `nodepass --help`; np_env_markdown - the README table. */
void np_env_help(struct np_buf *out);
void np_env_markdown(struct np_buf *out);

#endif
