/*
 * runtime.h - what is fixed for the life of the process: environment, boot id.
 * Written by main before the workers start; read-only afterwards.
 */
#ifndef NP_RUNTIME_H
#define NP_RUNTIME_H

#include "core/env.h"
#include "wire/tunnel_msg.h"

/* NP_RELAY: how bytes of plain sockets are moved. */
enum relay_mode { RELAY_AUTO = 0, RELAY_COPY, RELAY_SPLICE };

struct runtime {
	enum relay_mode relay;
	struct np_env env;
	uint8_t boot_id[NP_BOOT_ID_LEN];
};

extern struct runtime runtime;

#endif
