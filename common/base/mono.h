/*
 * mono.h - monotonic time as a type, so that it is never mixed with wall-clock time or durations.
 */
#ifndef NP_BASE_MONO_H
#define NP_BASE_MONO_H

#include <stdbool.h>
#include <stdint.h>

struct np_mono {
	int64_t us; /* CLOCK_MONOTONIC; 0 = never */
};

/* np_mono_now - the clock itself. core/ gets `now` as an argument and never calls it. */
struct np_mono np_mono_now(void);

static inline struct np_mono np_mono_add_ms(struct np_mono t, int64_t ms)
{
	return (struct np_mono){t.us + ms * 1000};
}
static inline struct np_mono np_mono_add_us(struct np_mono t, int64_t us)
{
	return (struct np_mono){t.us + us};
}
/* np_mono_diff_us - from @b to @a, negative when @a is earlier. */
static inline int64_t np_mono_diff_us(struct np_mono a, struct np_mono b)
{
	return a.us - b.us;
}
static inline int64_t np_mono_diff_ms(struct np_mono a, struct np_mono b)
{
	return (a.us - b.us) / 1000;
}
static inline bool np_mono_before(struct np_mono a, struct np_mono b)
{
	return a.us < b.us;
}
static inline bool np_mono_is_set(struct np_mono t)
{
	return t.us != 0;
}

#endif
