/*
 * import.h - takes over the state file of the original program at the first start.
 */
#ifndef CP_IMPORT_H
#define CP_IMPORT_H

#include "model.h"

#include "core/dirs.h"

/*
 * import_run - call at a start with an empty store, between model_load and model_ensure_key. Reads
 * the file that NP_IMPORT_GOB names, else gob/nodepass.gob beside the executable, and leaves it as
 * it is; one log line says what came. Nothing is taken from a file that is damaged anywhere.
 * @get: the environment. Writes through model_flush, so it runs the loop.
 * Errors: NP_OK also without a file; NP_ENOTFOUND (NP_IMPORT_GOB names none), NP_EPROTO,
 * NP_ETRUNCATED, NP_ELIMIT, NP_ESYS, NP_ENOMEM, the store's; @diag names the file.
 * Thread: main. Blocks.
 */
enum np_err import_run(struct model *m, np_dirs_get_fn get, void *arg,
		       struct np_diag *diag) NP_MUST_CHECK;

#endif
