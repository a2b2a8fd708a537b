/*
 * pick.h - which instances a person means: ids, beginnings of ids, aliases, "all". Pure.
 */
#ifndef CTL_PICK_H
#define CTL_PICK_H

#include "json.h"

/*
 * pick - marks in @chosen (@l->n of them, all false before) what the words name. An id comes before
 * an alias, a whole alias before a beginning of either; what is not unique is refused.
 * Errors: NP_ENOTFOUND, NP_EINVAL (stands for several); @diag names the word.
 */
enum np_err pick(const struct inst_list *l, char *const *words, size_t n, bool *chosen,
		 struct np_diag *diag) NP_MUST_CHECK;

#endif
