/*
 * where.h - which API is talked to, and with which key.
 *
 * What the command line and the environment do not say is found: the address in the file that a
 * running master writes into its run-time folder, the key by asking nodepass-controlplane, which
 * reads it from the store as the user who owns it. The key is kept nowhere.
 */
#ifndef CTL_WHERE_H
#define CTL_WHERE_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

#define WHERE_URL_MAX  1024
#define WHERE_KEY_MAX  256
#define WHERE_PATH_MAX 4096
#define WHERE_PIN_SIZE 45

struct where_options {
	const char *api, *key, *key_file, *cacert; /* NULL = not given */
	bool insecure;
};

struct where {
	char url[WHERE_URL_MAX]; /* without '/' at its end; "" = no master runs here */
	char key[WHERE_KEY_MAX]; /* a secret */
	const char *cacert;	 /* borrowed from the options */
	bool insecure;		 /* the certificate is not looked at */
	bool local;		 /* found in the run-time folder of this machine */
	uid_t owner;		 /* as whom where_program runs */
	gid_t group;
};

/*
 * where_find - options, then NP_API, NP_API_KEY, then what runs here. A key is looked for only with
 * @with_key. Blocks. Errors: NP_ENOTFOUND, NP_EINVAL, NP_ESYS with @diag; NP_ENOTFOUND
 * leaves url "" and owner set, so that where_program can be used.
 */
enum np_err where_find(const struct where_options *o, bool with_key, struct where *out,
		       struct np_diag *diag) NP_MUST_CHECK;
/*
 * where_pin - SHA-256 of the public key of the master that runs here now, in base64; it is read
 * anew each time, because a restart or new files change it. False: not local, no TLS or no master.
 * Blocks.
 */
bool where_pin(const struct where *w, char out[WHERE_PIN_SIZE]) NP_MUST_CHECK;
/*
 * where_program - runs nodepass-controlplane @option as the owner of the state and takes the one
 * line that it prints. Blocks. Errors: NP_ENOTFOUND (no such program), NP_ESYS (it failed).
 */
enum np_err where_program(const struct where *w, const char *option, char out[WHERE_KEY_MAX],
			  struct np_diag *diag) NP_MUST_CHECK;

/*
 * where_url - @text as the root of an API: "http://" when there is no scheme, "/api/v1" when there
 * is no path. Pure. Errors: NP_EINVAL with @diag.
 */
enum np_err where_url(const char *text, char out[WHERE_URL_MAX],
		      struct np_diag *diag) NP_MUST_CHECK;

#endif
