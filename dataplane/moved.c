/*
 * moved.c - marks of instances whose numbers changed. See moved.h.
 */
#include "moved.h"

_Atomic uint64_t moved_words[MOVED_WORDS];

void moved_take(void (*fn)(void *arg, uint32_t number), void *arg)
{
	for (uint32_t w = 0; w < MOVED_WORDS; w++) {
		uint64_t bits = 0;

		if (atomic_load_explicit(&moved_words[w], memory_order_relaxed) != 0)
			bits = atomic_exchange_explicit(&moved_words[w], 0, memory_order_relaxed);
		for (uint32_t i = 0; bits != 0; i++, bits >>= 1)
			if ((bits & 1) != 0 && w * 64 + i != MOVED_NONE)
				fn(arg, w * 64 + i);
	}
}
