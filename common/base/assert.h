/*
 * assert.h - checks for bugs of ours. Kept in release builds; never used for what a peer, a user,
 * memory or descriptors can cause.
 */
#ifndef NP_BASE_ASSERT_H
#define NP_BASE_ASSERT_H

_Noreturn void np_assert_failed(const char *expr, const char *file, int line);

#define NP_ASSERT(e)                                              \
	do {                                                      \
		if (__builtin_expect(!(e), 0))                    \
			np_assert_failed(#e, __FILE__, __LINE__); \
	} while (0)

/* Objects that are reached through void * start with `unsigned magic`. */
#define NP_CHECK_MAGIC(obj, value) NP_ASSERT((obj) != NULL && (obj)->magic == (value))

#endif
