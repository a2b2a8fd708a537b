/*
 * config.h - one URL as checked values: parse, defaults, canonical form, difference.
 *
 * URL text -> struct np_config. Everything is driven by tbl/params.def; there is no second list of
 * parameters. Pure: files named by a URL are not opened here.
 */
#ifndef NP_CORE_CONFIG_H
#define NP_CORE_CONFIG_H

#include "base/buf.h"
#include "base/log.h"
#include "core/addr.h"
#include "core/netlist.h"

enum np_role { NP_ROLE_SERVER = 0, NP_ROLE_CLIENT, NP_ROLE_MASTER };

#define NP_URL_MAX 4096
#define NP_KEY_MAX 1024
#define NP_PIN_LEN 32

/* One per row of tbl/params.def, in its order: NP_PARAM_LOG, NP_PARAM_TLS, … */
enum np_param {
#define NP_PARAM(id, name, ...) NP_PARAM_##id,
#include "tbl/params.def"
#undef NP_PARAM
	NP_PARAM_COUNT
};

struct np_config {
	enum np_role role;
	char *url; /* owned; as given */
	char *key; /* owned; percent-decoded or derived from the port; a secret */
	size_t key_len;
	bool key_given;		     /* false: derived from the port, protects nothing */
	struct np_hostport tunnel;   /* or the API address */
	struct np_hostport *targets; /* owned */
	size_t ntargets;
	char *prefix;		    /* owned; master only, "/api" by default */
	bool given[NP_PARAM_COUNT]; /* written in the URL with a value */
	uint64_t inert;		    /* bit per parameter: given, but without effect for this role */

	enum np_log_level log;
	int tls;
	char *crt, *keyfile; /* owned, NULL = absent */
	uint32_t min, max;
	int mode;
	int64_t read_ms; /* 0 = never */
	uint64_t rate;	 /* Mbit/s, 0 = off */
	int proxy;
	uint32_t slot; /* 0 = off */
	bool notcp, noudp;
	int64_t dns_ms;
	bool dial_auto;
	struct np_addr dial; /* port 0; set when !dial_auto */
	int lbs;
	unsigned block; /* bit n = kind n (1 SOCKS, 2 HTTP, 3 TLS) */
	char *sni, *ca; /* owned, NULL = absent */
	char *store;	/* owned; master only, NULL = in the state directory */
	bool has_pin;
	uint8_t pin[NP_PIN_LEN];
	struct np_netlist allow, deny; /* of visitors */
	struct np_netlist accept;      /* balancers that send a PROXY header */
};

/*
 * np_config_parse - @url to *out; on success the caller releases it with np_config_release.
 * Errors: NP_EINVAL, NP_ERANGE, NP_EUNSUPPORTED ('not available in this version'), NP_ENOMEM;
 * @diag names the offender, its value and what is allowed. Never mentions the key.
 */
enum np_err np_config_parse(const char *url, struct np_config *out,
			    struct np_diag *diag) NP_MUST_CHECK;
void np_config_release(struct np_config *c); /* wipes the key */

/*
 * np_config_canonical - the URL with every parameter that its role has and its default filled in
 * ('config' of the API). @with_key false: the user part is left out.
 */
enum np_err np_config_canonical(const struct np_config *c, bool with_key,
				struct np_buf *out) NP_MUST_CHECK;

/* np_config_normal - the URL with the parameters that were given a value, in the order of their
 * names ('url' of the API); its user part included. */
enum np_err np_config_normal(const struct np_config *c, struct np_buf *out) NP_MUST_CHECK;

/* np_config_public_url - scheme, host, target and query without the user part; for argv and logs.
 */
enum np_err np_config_public_url(const struct np_config *c, struct np_buf *out) NP_MUST_CHECK;

/*
 * np_config_warnings - calls @fn once per thing to say at WARN: a parameter of the other core, one
 * given at the end where it has no effect once the flow is known is said elsewhere, a port-derived
 * key, a short key, type=0/quic=0.
 */
void np_config_warnings(const struct np_config *c, void (*fn)(void *arg, const char *text),
			void *arg);

enum np_change { NP_CHANGE_NONE = 0, NP_CHANGE_LIVE, NP_CHANGE_RESTART };
/*
 * np_config_diff - what it takes to go from @a to @b: nothing, taken over live, or a new listener.
 * Other targets are LIVE where they are dialled; an end that listens on its target address has to
 * ask np_config_same_targets, too.
 */
enum np_change np_config_diff(const struct np_config *a, const struct np_config *b);

bool np_config_same_targets(const struct np_config *a, const struct np_config *b);

/* np_config_has_pair - are crt= and key= used? A client with a server shows them when it is asked.
 * np_config_has_ca - the same of ca=. */
bool np_config_has_pair(const struct np_config *c);
bool np_config_has_ca(const struct np_config *c);

const char *np_role_name(enum np_role role);
const char *np_param_name(enum np_param p);

/* np_param_end - the end of a tunnel that a parameter acts on; single-end: both in one. */
enum np_end { NP_END_EITHER = 0, NP_END_INGRESS, NP_END_EGRESS };
enum np_end np_param_end(enum np_param p);

/* np_config_help - the parameter part of `nodepass --help`; np_config_markdown - the README table.
 */
void np_config_help(struct np_buf *out);
void np_config_markdown(struct np_buf *out);

#endif
