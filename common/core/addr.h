/*
 * addr.h - host:port texts and socket addresses. Pure: nothing is resolved here.
 */
#ifndef NP_CORE_ADDR_H
#define NP_CORE_ADDR_H

#include "base/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define NP_HOST_MAX	 253
#define NP_ADDR_TEXT_MAX 64 /* "[v6%scope]:port" and its NUL */
#define NP_TARGETS_MAX	 64

/* host:port as a user wrote it: a name, an IPv4, an IPv6 (stored without brackets) or "" = all
 * addresses. */
struct np_hostport {
	char host[NP_HOST_MAX + 1];
	uint16_t port; /* 1..65535 */
};

/* A socket address, IPv4 or IPv6. */
struct np_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t len; /* 0 = unset */
};

/*
 * np_hostport_parse - "host:port", "[v6]:port", ":port". @field names the offender in @diag
 * ("tunnel address", "target address"). The text of @diag quotes the value.
 * Errors: NP_EINVAL, NP_ERANGE (port).
 */
enum np_err np_hostport_parse(const char *s, size_t len, const char *field, struct np_hostport *out,
			      struct np_diag *diag) NP_MUST_CHECK;
/* np_hostport_list_parse - comma list; an empty member is an error. @max members at most. */
enum np_err np_hostport_list_parse(const char *s, size_t len, const char *field,
				   struct np_hostport *out, size_t max, size_t *n,
				   struct np_diag *diag) NP_MUST_CHECK;
/* np_hostport_format - "host:port" or "[v6]:port". @out holds NP_HOST_MAX + 9 bytes. */
void np_hostport_format(const struct np_hostport *hp, char *out, size_t max);

/* np_addr_from_literal - true when @host is an IP literal (no name), *out filled. "" is no literal.
 */
bool np_addr_from_literal(const char *host, uint16_t port, struct np_addr *out);
/* np_addr_format - "1.2.3.4:80", "[::1]:80"; IPv4-mapped IPv6 in its IPv4 form; "-" when unset. */
void np_addr_format(const struct np_addr *a, char out[NP_ADDR_TEXT_MAX]);
/* np_addr_format_host - the same without port and brackets. */
void np_addr_format_host(const struct np_addr *a, char out[NP_ADDR_TEXT_MAX]);
uint16_t np_addr_port(const struct np_addr *a);
void np_addr_set_port(struct np_addr *a, uint16_t port);
bool np_addr_equal(const struct np_addr *a,
		   const struct np_addr *b); /* family, address, port, scope */
bool np_addr_same_host(const struct np_addr *a, const struct np_addr *b);
uint64_t np_addr_hash(const struct np_addr *a, uint64_t seed);
/* np_addr_unmap - turns an IPv4-mapped IPv6 address into the IPv4 one; others unchanged. */
void np_addr_unmap(struct np_addr *a);
/* np_addr_source_key - the /32 or /64 that limits per source go by, as 8 comparable bytes + family.
 */
uint64_t np_addr_source_key(const struct np_addr *a);

/*
 * np_addr_order - RFC 8305 order in place: families alternate, first family that of the first
 * entry; order within a family kept.
 */
void np_addr_order(struct np_addr *list, size_t n);

#endif
