/*
 * moved.h - which instances have numbers that changed: a bit each, so that who reports need not look
 * at thousands of idle ones.
 *
 * Any thread marks, main takes. A mark costs a load where it is set already. All relaxed: main may
 * see the mark a moment before the number it stands for, or clear a mark that a worker still sees
 * set. So who takes marks looks at each marked instance in the next round, too.
 */
#ifndef NP_MOVED_H
#define NP_MOVED_H

#include <stdatomic.h>
#include <stdint.h>

#define MOVED_MAX   10239 /* numbers from 1; REGISTRY_MAX fits */
#define MOVED_NONE  0	  /* of an instance that nobody reports on */
#define MOVED_WORDS ((MOVED_MAX + 1) / 64)

extern _Atomic uint64_t moved_words[MOVED_WORDS];

/* moved_mark - something of instance @number changed. Thread: any. */
static inline void moved_mark(uint32_t number)
{
	_Atomic uint64_t *word = &moved_words[number / 64];
	uint64_t bit = UINT64_C(1) << number % 64;

	if ((atomic_load_explicit(word, memory_order_relaxed) & bit) == 0)
		atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
}

/* moved_take - calls @fn with each marked number and takes the marks away. Thread: main. */
void moved_take(void (*fn)(void *arg, uint32_t number), void *arg);

#endif
