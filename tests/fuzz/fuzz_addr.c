/*
 * fuzz_addr.c - host:port texts and lists, IP literals: what parses is formatted and parses again
 * to the same.
 */
#include "core/addr.h"

#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_one(const struct np_hostport *hp)
{
	char text[NP_HOST_MAX + 9], formatted[NP_ADDR_TEXT_MAX];
	struct np_hostport again;
	struct np_addr a, b;

	np_hostport_format(hp, text, sizeof(text));
	NP_ASSERT(np_hostport_parse(text, strlen(text), "f", &again, NULL) == NP_OK);
	NP_ASSERT(strcmp(hp->host, again.host) == 0 && hp->port == again.port);
	if (!np_addr_from_literal(hp->host, hp->port, &a))
		return;
	np_addr_format(&a, formatted);
	NP_ASSERT(np_hostport_parse(formatted, strlen(formatted), "f", &again, NULL) == NP_OK);
	NP_ASSERT(np_addr_from_literal(again.host, again.port, &b));
	NP_ASSERT(np_addr_same_host(&a, &b) && np_addr_port(&a) == np_addr_port(&b));
	NP_ASSERT(np_addr_source_key(&a) == np_addr_source_key(&b));
	np_addr_unmap(&a);
	NP_ASSERT(np_addr_equal(&a, &b) && np_addr_hash(&a, 1) == np_addr_hash(&b, 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct np_hostport list[NP_TARGETS_MAX];
	struct np_diag diag;
	size_t n = 0;

	if (size == 0)
		return 0;
	if (np_hostport_list_parse((const char *)data, size, "target address", list, NP_TARGETS_MAX,
				   &n, &diag) != NP_OK) {
		NP_ASSERT(diag.text[0] != '\0' && diag.offset <= size);
		return 0;
	}
	NP_ASSERT(n >= 1 && n <= NP_TARGETS_MAX);
	for (size_t i = 0; i < n; i++)
		check_one(&list[i]);
	return 0;
}
