/*
 * fuzz_pem.c - certificate files: a pair, or trust anchors, taken or refused with one line. The first
 * byte says how much of the rest is the certificate's file.
 */
#include "core/pem.h"

#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const struct np_diag *diag)
{
	NP_ASSERT(diag->text[0] != '\0' && strchr(diag->text, '\n') == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct np_diag diag = {.text = ""};
	struct stack_st_X509 *certs;
	struct np_pem crt, key;
	struct np_pem_pair pair;
	size_t at;

	if (size == 0)
		return 0;
	at = 1 + (size - 1) * data[0] / 255;
	crt = (struct np_pem){"a\nb", data + 1, at - 1};
	key = (struct np_pem){"c", data + at, size - at};
	if (np_pem_pair_read(&crt, &key, &pair, &diag) == NP_OK) {
		NP_ASSERT(pair.cert != NULL && pair.key != NULL);
		np_pem_pair_release(&pair);
	} else {
		check_line(&diag);
	}
	diag.text[0] = '\0';
	if (np_pem_certs_read(&crt, &certs, &diag) == NP_OK)
		np_pem_certs_free(certs);
	else
		check_line(&diag);
	return 0;
}
