/*
 * alloc.h - allocation with a hook that tests use to let each allocation fail in turn.
 *
 * np_malloc & co. return NULL without memory and never abort. Memory is given back with np_free.
 */
#ifndef NP_BASE_ALLOC_H
#define NP_BASE_ALLOC_H

#include <stddef.h>

void *np_malloc(size_t n) __attribute__((malloc, alloc_size(1)));
void *np_calloc(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2)));
void *np_realloc(void *p, size_t n) __attribute__((alloc_size(2)));
char *np_strdup(const char *s) __attribute__((malloc));
char *np_strndup(const char *s, size_t n) __attribute__((malloc));
void np_free(void *p);

/*
 * np_alloc_fail_after - the (@n + 1)th allocation of this thread from now on fails, once; @n < 0 =
 * none. For tests only. np_alloc_count - allocations of this thread so far.
 */
void np_alloc_fail_after(long n);
unsigned long np_alloc_count(void);

#endif
