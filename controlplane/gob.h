/*
 * gob.h - reader of the original program's state file: a gob that holds a map of instances.
 *
 * Pure: bytes in, calls out. Members are found by their names in the file's own type definitions,
 * so that versions with more or fewer of them are read, too. Every length is checked against what
 * is left, so work and memory are bounded by the input's size.
 */
#ifndef CP_GOB_H
#define CP_GOB_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define GOB_FILE_MAX   (64 * 1024 * 1024)
#define GOB_NEST_MAX   8
#define GOB_TYPES_MAX  32 /* definitions in a file; the known ones have 5 */
#define GOB_FIELDS_MAX 64 /* of one structure; the known ones have up to 25 */
#define GOB_TAGS_MAX   256

/* Bytes of the input, not terminated; NULL and 0 when the member is missing. */
struct gob_text {
	const char *p; /* borrowed from the input */
	size_t len;
};

struct gob_tag {
	struct gob_text name, value;
};

enum gob_counter { GOB_TCP_RX = 0, GOB_TCP_TX, GOB_UDP_RX, GOB_UDP_TX, GOB_COUNTERS };

struct gob_instance {
	struct gob_text id; /* the key of the map */
	struct gob_text alias, type, status, url, config;
	struct gob_text peer_sid, peer_type, peer_alias;
	bool restart;
	uint64_t total[GOB_COUNTERS];
	struct gob_tag tags[GOB_TAGS_MAX];
	size_t ntags;	  /* at most GOB_TAGS_MAX */
	size_t tags_left; /* that had no room */
};

/* Anything but NP_OK ends the reading and is its result. */
typedef enum np_err (*gob_visit_fn)(void *arg, const struct gob_instance *inst);

/*
 * gob_read - @visit (may be NULL: only check) for every instance, in the file's order.
 * Errors: NP_ETRUNCATED, NP_EPROTO (with the offset), NP_ELIMIT, NP_ENOMEM, those of @visit.
 * An error may come after instances have been visited.
 */
enum np_err gob_read(const void *data, size_t len, gob_visit_fn visit, void *arg,
		     struct np_diag *diag) NP_MUST_CHECK;

#endif
