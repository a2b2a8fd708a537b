/*
 * state_set.h - the states that an exhaustive test has seen: a set of 16-byte keys in the order of
 * their discovery, so that walking it by index is a breadth-first search. For tests only.
 */
#ifndef NP_TEST_STATE_SET_H
#define NP_TEST_STATE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct state_key {
	uint64_t a, b;
};

struct state_set {
	struct state_key *keys; /* owned; in order of discovery */
	size_t n, max;
	uint32_t *slots; /* owned; index + 1, 0 = free; a power of two, at most half full */
	size_t mask;
};

static inline uint64_t state_key_hash(struct state_key k)
{
	uint64_t h = (k.a ^ 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;

	h = (h ^ h >> 32 ^ k.b) * 0xc4ceb9fe1a85ec53u;
	return h ^ h >> 29;
}

static inline void state_set_place(struct state_set *s, size_t index)
{
	size_t i = (size_t)state_key_hash(s->keys[index]) & s->mask;

	while (s->slots[i] != 0)
		i = (i + 1) & s->mask;
	s->slots[i] = (uint32_t)index + 1;
}

static inline void state_set_grow(struct state_set *s)
{
	s->max = s->max == 0 ? 4096 : s->max * 2;
	s->keys = realloc(s->keys, s->max * sizeof(*s->keys));
	free(s->slots);
	s->slots = calloc(s->max * 2, sizeof(*s->slots));
	if (s->keys == NULL || s->slots == NULL)
		abort();
	s->mask = s->max * 2 - 1;
	for (size_t i = 0; i < s->n; i++)
		state_set_place(s, i);
}

/* state_set_add - true when it is new. */
static inline bool state_set_add(struct state_set *s, struct state_key k)
{
	if (s->n == s->max)
		state_set_grow(s);
	for (size_t i = (size_t)state_key_hash(k) & s->mask; s->slots[i] != 0;
	     i = (i + 1) & s->mask) {
		const struct state_key *have = &s->keys[s->slots[i] - 1];

		if (have->a == k.a && have->b == k.b)
			return false;
	}
	s->keys[s->n++] = k;
	state_set_place(s, s->n - 1);
	return true;
}

static inline void state_set_release(struct state_set *s)
{
	free(s->keys);
	free(s->slots);
	*s = (struct state_set){0};
}

#endif
