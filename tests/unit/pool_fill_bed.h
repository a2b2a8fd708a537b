/*
 * pool_fill_bed.h - for tests of the pool's size: time and limits.
 */
#ifndef NP_TEST_POOL_FILL_BED_H
#define NP_TEST_POOL_FILL_BED_H

#include "core/pool_fill.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct np_mono t0 = {7000000};

static inline struct np_mono at_ms(int64_t ms)
{
	return np_mono_add_ms(t0, ms);
}

static inline struct np_pool_fill fill_of(uint32_t min, uint32_t max)
{
	struct np_pool_fill_limits l = {.min = min, .max = max};
	struct np_pool_fill f;

	np_pool_fill_init(&f, &l, t0);
	return f;
}

#endif
