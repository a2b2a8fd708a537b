/*
 * master_json.h - where the API of this host is, for `nodepass ctl` of the same user.
 */
#ifndef CP_MASTER_JSON_H
#define CP_MASTER_JSON_H

#include "core/config.h"

/*
 * master_json_write - @run_dir/master.json with the URL of the API (@root: its path), our pid and
 * the @pin of its certificate ("" without TLS); the key is not in it. Who reads it meanwhile gets the
 * old one whole. An error is a warning in the log.
 */
void master_json_write(const char *run_dir, const struct np_config *cfg, const char *root,
		       const char *pin);

#endif
