/*
 * alloc.c - the C library's allocator behind a counter that can let one allocation fail.
 *
 * The counters are per thread: a test that makes an allocation fail disturbs no other thread.
 */
#include "base/alloc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static _Thread_local long fail_after = -1;
static _Thread_local unsigned long count;

static bool is_refused(void)
{
	count++;
	if (fail_after < 0)
		return false;
	return fail_after-- == 0;
}

void *np_malloc(size_t n)
{
	if (is_refused())
		return NULL;
	return malloc(n != 0 ? n : 1);
}

void *np_calloc(size_t n, size_t size)
{
	if (is_refused())
		return NULL;
	if (n == 0 || size == 0)
		return calloc(1, 1);
	return calloc(n, size);
}

void *np_realloc(void *p, size_t n)
{
	if (is_refused())
		return NULL;
	/* realloc(p, 0) frees p with some C libraries; here p stays valid until it succeeded. */
	return realloc(p, n != 0 ? n : 1);
}

char *np_strdup(const char *s)
{
	return np_strndup(s, strlen(s));
}

char *np_strndup(const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *p = np_malloc(len + 1);

	if (p == NULL)
		return NULL;
	memcpy(p, s, len);
	p[len] = '\0';
	return p;
}

void np_free(void *p)
{
	free(p);
}

void np_alloc_fail_after(long n)
{
	fail_after = n < 0 ? -1 : n;
}

unsigned long np_alloc_count(void)
{
	return count;
}
