/*
 * config_table.h - rows of tbl/params.def and the parts of a URL, for the config_*.c files alone.
 */
#ifndef NP_CORE_CONFIG_TABLE_H
#define NP_CORE_CONFIG_TABLE_H

#include "core/config.h"

enum np_param_type {
	NP_TYPE_LEVEL = 0,
	NP_TYPE_INT,
	NP_TYPE_U32,
	NP_TYPE_U64,
	NP_TYPE_BOOL,
	NP_TYPE_DURATION,
	NP_TYPE_TEXT,
	NP_TYPE_NAME,
	NP_TYPE_SOURCE,
	NP_TYPE_KINDS,
	NP_TYPE_HASH,
	NP_TYPE_CIDRS,
	NP_TYPE_COMPAT,
	NP_TYPE_STORE,
	NP_TYPE_OTHER, /* of other releases: 0 without effect, the rest refused */
};

struct np_param_row {
	const char *name;
	enum np_param_type type;
	int64_t min, max;
	const char *def; /* NULL = none */
	unsigned roles;	 /* bit per enum np_role */
	enum np_end end;
	enum np_change change;
	size_t offset, size; /* of its field; size 0 = none */
	const char *values;  /* NULL = made from type and range */
	const char *help;
};

const struct np_param_row *np_param_row(enum np_param p);

static inline bool np_param_is_of(const struct np_param_row *row, enum np_role role)
{
	return (row->roles >> role & 1u) != 0;
}

/* np_param_values - what @row allows: "0, 1 or 2", "a whole number from 0 to 65535". */
#define NP_VALUES_MAX 96
void np_param_values(const struct np_param_row *row, char out[NP_VALUES_MAX]);

/*
 * np_param_set - checks @value (NUL-terminated, decoded) and stores it in its field of @c.
 * Errors: NP_EINVAL, NP_ERANGE, NP_EUNSUPPORTED, NP_ENOMEM.
 */
enum np_err np_param_set(enum np_param p, const char *value, struct np_config *c,
			 struct np_diag *diag) NP_MUST_CHECK;

struct np_slice {
	const char *s;
	size_t len;
};

/* A URL cut up; nothing is decoded. */
struct np_url {
	struct np_slice scheme, user, host, path, query;
	bool has_user, has_path; /* path: behind the '/' */
};

/* np_url_split - Errors: NP_EINVAL, NP_ERANGE (too long). Quotes nothing that may be the key. */
enum np_err np_url_split(const char *url, struct np_url *out, struct np_diag *diag) NP_MUST_CHECK;
bool np_role_from_scheme(struct np_slice scheme, enum np_role *out);

/* np_query_next - the next non-empty "name[=value]" of *rest; false at the end. */
bool np_query_next(struct np_slice *rest, struct np_slice *name, struct np_slice *value);
/* np_param_by_name - NP_PARAM_COUNT when there is none. */
enum np_param np_param_by_name(struct np_slice name);

/*
 * np_percent_decode - @in to @out (holds in.len + 1 bytes, NUL-terminated). @plus: '+' is a blank.
 * Errors: NP_EINVAL, *bad = where the escape that is wrong, or is a NUL, begins.
 */
enum np_err np_percent_decode(struct np_slice in, bool plus, char *out, size_t *len,
			      size_t *bad) NP_MUST_CHECK;
/* np_percent_encode - all but letters, digits, "-._~" and the bytes of @keep becomes %XX. */
void np_percent_encode(struct np_buf *out, const char *s, size_t len, const char *keep);

#endif
