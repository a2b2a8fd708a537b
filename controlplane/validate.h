/*
 * validate.h - what clients may store: URLs of instances, texts, meta. Pure.
 *
 * An instance's URL is checked completely, what the master's URL hands down is put in, and the
 * result is one normal form ("url") and one with all defaults ("config").
 */
#ifndef CP_VALIDATE_H
#define CP_VALIDATE_H

#include "core/config.h"

/* What the master's URL hands down to instances. */
struct validate_defaults {
	const char *log; /* as written, NULL = not given */
	int tls;
	const char *crt, *key; /* NULL = not given */
};

struct validated {
	enum np_role role;
	char *url, *config; /* owned; hold the tunnel key */
};

/*
 * validate_url - Errors: NP_EINVAL with @diag beginning "Invalid URL scheme" or "Invalid URL
 * format", then the offender; NP_ENOMEM. On success the caller releases *out.
 */
enum np_err validate_url(const char *given, const struct validate_defaults *d,
			 struct validated *out, struct np_diag *diag) NP_MUST_CHECK;
void validated_release(struct validated *v);

#endif
